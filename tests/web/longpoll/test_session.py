"""A session by itself: its polls, its posts, its time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost import limits
from roost.core.backlog import CloseSlow, SlowReaders
from roost.web.connection import BROKEN
from roost.web.longpoll.answers import Polled, Posted
from roost.web.longpoll.body import Said
from roost.web.longpoll.buffer import Buffer
from roost.web.longpoll.session import Inlet, Poll, Session
from roost.wire import phoenix
from tests.web.stage import HandClock

WINDOW_S = 10.0
SILENCE_S = WINDOW_S * limits.LONGPOLL_SILENCE_WINDOWS


class Story:
    """A session, and a connection that does as it is told."""

    def __init__(self, policy: CloseSlow | None = None) -> None:
        self.clock = HandClock()
        self.readers = SlowReaders(policy or CloseSlow(), phoenix.look)
        self.said: list[bytes] = []
        self.closed: list[int] = []
        self.is_ready = True
        self.on_ready: Callable[[], None] | None = None
        self.ended = 0
        self.polled: list[tuple[object, Polled]] = []
        self.posted: list[Posted] = []
        self.session = Session(self.clock, WINDOW_S, False, self._buffer, self._connect, self._end)

    def _buffer(self, on_ready: Callable[[], None], on_closed: Callable[[int], None]) -> Buffer:
        self.buffer = Buffer(self.readers, self.clock, on_ready, on_closed)
        return self.buffer

    def _connect(self, buffer: Buffer) -> Inlet:
        return Inlet(self._take, self._when_ready, lambda: self._close(1012), self._close)

    def _take(self, said: Said) -> None:
        self.said.append(said.data)
        if said.data == b"[broken":
            self.buffer.close(BROKEN)
        if said.data == b"[bug":
            raise ZeroDivisionError

    def _when_ready(self, action: Callable[[], None]) -> bool:
        self.on_ready = action
        return self.is_ready

    def _close(self, code: int) -> None:
        self.closed.append(code)
        self.buffer.close(code)

    def _end(self) -> None:
        self.ended += 1

    def write(self, *texts: str) -> None:
        """Messages of one turn."""
        for text in texts:
            self.buffer.write(phoenix.text_frame(text.encode()))
        self.buffer.flush()

    def poll(self, asker: object = 1, is_there: Callable[[], bool] = lambda: True) -> None:
        self.session.poll(Poll(asker, is_there, lambda polled: self.polled.append((asker, polled))))

    def post(self, *lines: bytes) -> None:
        self.session.post([Said(False, line) for line in lines], self.posted.append)

    def turn(self) -> None:
        self.clock.advance(0.0)


def test_what_was_written_before_a_poll_is_fetched_at_once() -> None:
    story = Story()
    story.write("a", "b")
    story.poll()
    assert story.polled == [(1, Polled(200, ("a", "b")))]
    assert not story.session.is_waiting


def test_a_poll_waits_for_the_end_of_the_turn_in_which_something_is_written() -> None:
    story = Story()
    story.poll()
    story.buffer.write(phoenix.text_frame(b"a"))
    assert story.polled == []
    story.write("b")
    assert story.polled == [(1, Polled(200, ("a", "b")))]


def test_a_poll_ends_with_its_window() -> None:
    story = Story()
    story.poll()
    story.clock.advance(WINDOW_S - 1)
    assert story.polled == []
    story.clock.advance(1)
    assert story.polled == [(1, Polled(204))]


def test_each_poll_has_a_window_of_its_own() -> None:
    story = Story()
    story.poll(1)
    story.clock.advance(WINDOW_S - 1)
    story.write("a")
    story.poll(2)
    story.clock.advance(WINDOW_S - 1)
    assert story.polled == [(1, Polled(200, ("a",)))]
    story.clock.advance(1)
    assert story.polled[1:] == [(2, Polled(204))]


def test_a_session_that_is_over_leaves_no_timer_behind() -> None:
    story = Story()
    story.is_ready = False
    story.poll()
    story.post(b"[1]")
    story.session.finish(1012)
    story.turn()
    assert [timer for timer in story.clock.timers if not timer[2]] == []


def test_a_poll_whose_asker_is_not_there_any_more_takes_nothing_along() -> None:
    story = Story()
    story.poll(1, lambda: False)
    story.write("a")
    assert story.polled == []
    story.poll(2)
    assert story.polled == [(2, Polled(200, ("a",)))]


def test_only_the_poll_that_waits_can_be_abandoned() -> None:
    story = Story()
    story.poll(1)
    story.poll(2)
    story.session.abandon(1)
    story.write("a")
    assert story.polled == [(1, Polled(204)), (2, Polled(200, ("a",)))]
    story.poll(3)
    story.session.abandon(3)
    story.write("b")
    assert len(story.polled) == 2


def test_the_client_may_be_silent_for_a_window_and_a_half_and_no_longer() -> None:
    story = Story()
    story.clock.advance(SILENCE_S - 1)
    story.post(b"[1]")
    story.clock.advance(SILENCE_S - 1)
    story.poll()
    for _ in range(5):
        story.clock.advance(WINDOW_S)  # the poll ends with its window
        story.poll()
    story.clock.advance(WINDOW_S)
    assert story.ended == 0
    story.clock.advance(SILENCE_S - 1)
    assert story.ended == 0
    story.clock.advance(1)
    assert story.ended == 1
    assert story.closed[0] == 1002
    story.poll(9)
    assert story.polled[-1] == (9, Polled(410))


def test_what_waits_when_the_server_closes_can_be_fetched_and_then_it_is_over() -> None:
    story = Story()
    story.write("a")
    story.session.drain()
    story.turn()
    assert story.ended == 0
    story.poll()
    assert story.polled == [(1, Polled(200, ("a",)))]
    assert story.ended == 1


def test_what_waits_when_the_server_closes_is_forgotten_when_nobody_fetches_it() -> None:
    story = Story()
    story.write("a")
    story.session.drain()
    story.clock.advance(SILENCE_S)
    assert story.ended == 1
    assert story.readers.waiting_bytes == 0


def test_a_poll_that_waits_is_told_when_the_server_closes() -> None:
    story = Story()
    story.poll()
    story.session.drain()
    story.turn()
    assert story.polled == [(1, Polled(410))]
    assert story.ended == 1


def test_a_client_over_its_budget_is_closed_and_nothing_of_it_is_kept() -> None:
    story = Story(CloseSlow(2_000))
    for _ in range(10):
        story.write("x" * 300)
    story.turn()
    assert story.closed == [1013]
    assert story.ended == 1
    assert story.readers.waiting_bytes == 0


def test_all_clients_together_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.web.longpoll.buffer.LONGPOLL_BYTES_MAX", 1_000)
    story = Story()
    other = Buffer(story.readers, story.clock, lambda: None, lambda code: None)
    other.write(phoenix.text_frame(b"x" * 900))
    story.write("y" * 900)
    story.turn()
    assert story.closed == [1013]
    assert other.is_open
    assert story.readers.waiting_bytes == other.backlog.size_bytes


def test_a_post_waits_while_the_channels_are_busy_and_says_how_much_was_taken() -> None:
    story = Story()
    story.is_ready = False
    story.post(b"[1]", b"[2]")
    assert story.posted == []
    story.post(b"[3]")
    assert [posted.status for posted in story.posted] == [409]
    story.is_ready = True
    assert story.on_ready is not None
    story.on_ready()
    story.turn()
    assert story.said == [b"[1]", b"[2]"]
    assert story.posted[-1] == Posted(200, 2)


def test_a_post_whose_channels_stay_busy_for_a_window_ends_with_408() -> None:
    story = Story()
    story.is_ready = False
    story.post(b"[1]")
    story.clock.advance(WINDOW_S)
    assert story.posted[0].status == 408
    assert story.posted[0].taken == 0
    story.is_ready = True
    assert story.on_ready is not None
    story.on_ready()
    story.turn()
    assert story.said == []  # the client has been told that it was not taken


def test_a_post_that_is_large_gives_the_others_their_turns() -> None:
    story = Story()
    line = b"[" + b"x" * limits.SOCKET_TURN_BYTES
    story.post(line, line, line)
    assert len(story.said) == 1
    story.turn()
    story.turn()
    assert story.posted == [Posted(200, 3)]


def test_a_frame_that_is_none_ends_the_session_and_its_post_says_which() -> None:
    story = Story()
    story.post(b"[1]", b"[broken", b"[3]")
    assert story.posted[0].status == 400
    assert story.posted[0].taken == 1
    story.turn()
    assert story.ended == 1


def test_a_post_that_waits_is_told_at_once_when_the_server_closes_whatever_can_still_be_fetched() -> None:
    story = Story()
    story.is_ready = False
    story.write("a")
    story.post(b"[1]")
    story.session.drain()
    story.turn()
    assert [posted.status for posted in story.posted] == [410]
    story.poll()
    assert story.polled == [(1, Polled(200, ("a",)))]


def test_a_frame_that_cannot_be_acted_on_ends_the_session() -> None:
    story = Story()
    story.post(b"[bug")
    assert story.posted[0].status == 400
    story.turn()
    assert story.ended == 1


def test_a_message_that_nobody_can_read_does_not_take_the_others_along() -> None:
    story = Story()
    story.write("a")
    story.buffer.write(phoenix.text_frame(b"\xff"))
    story.buffer.write(phoenix.binary_frame(b"\x07"))
    story.write("b")
    story.poll()
    assert story.polled == [(1, Polled(200, ("a", "b")))]


def test_a_post_that_waits_is_told_when_the_session_ends() -> None:
    story = Story()
    story.is_ready = False
    story.post(b"[1]")
    story.session.finish(1012)
    assert [posted.status for posted in story.posted] == [410]
    story.turn()
    assert story.ended == 1


Step = st.sampled_from(("write", "poll", "abandon", "gone", "window", "turn"))


@given(st.lists(Step, max_size=40), st.booleans())
def test_every_message_comes_once_and_in_order_whatever_polls_do(steps: list[str], closes: bool) -> None:
    story = Story()
    written: list[str] = []
    askers = 0
    there: dict[int, bool] = {}
    for step in steps:
        if step == "write":
            written.append(str(len(written)))
            story.write(written[-1])
        elif step == "poll":
            askers += 1
            number = askers
            there[number] = True
            story.poll(number, lambda number=number: there[number])  # type: ignore[misc]  # bound at once
        elif step == "abandon":
            story.session.abandon(askers)
        elif step == "gone":
            there[askers] = False
        else:
            story.clock.advance(WINDOW_S if step == "window" else 0.0)
        if story.ended:
            break
    if not story.ended:
        if closes:
            story.session.drain()
            story.turn()
        story.poll(0)
        heard = [text for _, polled in story.polled for text in polled.messages]
        assert heard == written
    assert len(story.polled) == len({asker for asker, _ in story.polled})
