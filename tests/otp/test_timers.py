"""Timers: what is left of them, whom they outlive, and intervals that neither drift nor pile up."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.errors import ConfigError, NotSendable, Overloaded, TooLarge
from roost.limits import TIMER_S_MAX
from roost.otp import GenServer, Interval, call, info, remote_handle, send, send_after, timers
from roost.otp.remote import Transport
from roost.sim import run, turns
from roost.sim.loop import running_loop
from tests.otp.virtual import virtual_scheduler


class Note(msgspec.Struct, frozen=True):
    text: str


class Beat(msgspec.Struct, frozen=True):
    pass


class Slow(msgspec.Struct, frozen=True):
    pass


class Stray(msgspec.Struct, frozen=True):
    pass


class Ticker(GenServer):
    """Writes down when what arrived."""

    interval: Interval

    def init(self) -> None:
        self.heard: list[tuple[str, float]] = []
        self.ticks: list[tuple[int, int, float]] = []
        self.gate = asyncio.Event()

    def now(self) -> float:
        return self.scheduler.runtime.clock.now()

    @call
    def start_timer(self, delay_s: float, text: str) -> None:
        self.timer = self.send_after(delay_s, Note(text))

    @call
    def every(self, period_s: float, first_s: float | None = None, slow: bool = False) -> None:
        self.interval = self.send_every(period_s, Slow() if slow else Beat(), first_s=first_s)

    @call
    def every_stray(self, period_s: float) -> None:
        self.interval = self.send_every(period_s, Stray())

    @call
    def every_bad(self) -> None:
        self.send_every(1.0, object())

    @call
    def stop_ticks(self) -> float | None:
        return self.interval.cancel()

    @call
    async def hold(self) -> None:
        await self.gate.wait()

    @info
    def note(self, message: Note) -> None:
        self.heard.append((message.text, self.now()))

    @info
    def beat(self, message: Beat) -> None:
        self.ticks.append((self.interval.tick, self.interval.missed, self.now()))

    @info
    async def slow_beat(self, message: Slow) -> None:
        self.ticks.append((self.interval.tick, self.interval.missed, self.now()))
        await asyncio.sleep(self.nap_s())

    def nap_s(self) -> float:
        """How long the next slow tick keeps it busy."""
        return 2.5


def inside(ticker: Ticker) -> Ticker:
    """The state itself, which nobody but a test may see."""
    server = ticker._process.server
    assert isinstance(server, Ticker)
    return server


@pytest.mark.virtual_time
async def test_cancel_says_what_was_left_and_only_once() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.start_timer(10.0, "never")
        timer = inside(ticker).timer
        await asyncio.sleep(4.0)
        assert timer.left_s() == pytest.approx(6.0)
        assert timer.cancel() == pytest.approx(6.0)
        assert (timer.cancel(), timer.left_s()) == (None, None)
        await asyncio.sleep(20.0)
        assert inside(ticker).heard == []


@pytest.mark.virtual_time
async def test_a_timer_that_has_sent_has_nothing_left() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.start_timer(3.0, "tea")
        timer = inside(ticker).timer
        await asyncio.sleep(3.5)
        assert inside(ticker).heard == [("tea", 3.0)]
        assert (timer.cancel(), timer.left_s()) == (None, None)
        ties = ticker._process.ties
        assert ties is not None
        assert not ties.timers


@pytest.mark.virtual_time
async def test_cancelling_does_not_take_back_what_waits_in_the_mailbox() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.start_timer(1.0, "delivered")
        timer = inside(ticker).timer
        holding = asyncio.ensure_future(ticker.hold())
        await asyncio.sleep(2.0)
        assert timer.cancel() is None
        inside(ticker).gate.set()
        await holding
        await turns(3)
        assert inside(ticker).heard == [("delivered", 2.0)]


@pytest.mark.virtual_time
async def test_a_timer_ends_with_its_process() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.start_timer(10.0, "never")
        await ticker.every(2.0)
        timer, interval = inside(ticker).timer, inside(ticker).interval
        await ticker.stop()
        assert (timer.cancel(), timer.left_s()) == (None, None)
        assert (interval.cancel(), interval.left_s()) == (None, None)
        assert ticker._process.ties is None, "asking a timer gives the dead no ties"
        assert not [handle for handle in running_loop()._scheduled if not handle.cancelled()]


@pytest.mark.virtual_time
async def test_anybody_may_send_later_and_to_the_dead_it_is_silence(caplog: pytest.LogCaptureFixture) -> None:
    with virtual_scheduler().entered():
        ticker, doomed = await Ticker.start(), await Ticker.start()
        timer = send_after(ticker, 2.0, Note("from outside"))
        late = send_after(doomed, 2.0, Note("too late"))
        await doomed.stop()
        assert late.cancel() is None
        assert send_after(doomed, 1.0, Note("for nobody")).left_s() is None
        assert timer.left_s() == 2.0
        await asyncio.sleep(3.0)
        assert inside(ticker).heard == [("from outside", 2.0)]
        assert not caplog.records


@pytest.mark.virtual_time
async def test_what_makes_no_sense_is_refused() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        for delay_s in (-1.0, -1e-9, float("nan"), float("inf"), TIMER_S_MAX * 1.01, 1_700_000_000_000):
            with pytest.raises(ConfigError, match=r"delay_s.* is not between 0 and"):
                send_after(ticker, delay_s, Note("x"))
            with pytest.raises(ConfigError, match="delay_s"):
                await ticker.start_timer(delay_s, "x")
            with pytest.raises(ConfigError, match="period_s"):
                await ticker.every(delay_s)
            with pytest.raises(ConfigError, match="first_s"):
                await ticker.every(1.0, delay_s)
        for period_s in (0.0, 0.0009):
            with pytest.raises(ConfigError, match=r"period_s.* is not between 0\.001 and"):
                await ticker.every(period_s)
        for seconds in ("5", timedelta(seconds=5), None):
            with pytest.raises(ConfigError, match=r"delay_s: .* is not a number of seconds"):
                send_after(ticker, seconds, Note("x"))  # type: ignore[arg-type]  # the mistake that is meant
        with pytest.raises(ConfigError, match="target: 'ticker' is not the handle of a process"):
            send_after("ticker", 1.0, Note("x"))  # type: ignore[arg-type]  # the mistake that is meant
        with pytest.raises(NotSendable):
            await ticker.every_bad()
        with pytest.raises(NotSendable):
            send_after(ticker, 1.0, object())
        assert not [handle for handle in running_loop()._scheduled if not handle.cancelled()]
        send_after(ticker, TIMER_S_MAX, Note("x")).cancel()


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), "5", timedelta(seconds=5)])
async def test_times_that_make_no_sense_are_refused_wherever_one_can_say_them(seconds: float) -> None:
    class Waiting(GenServer):
        @call
        def wait(self) -> None:
            self.receive_timeout(seconds)

        @call
        def ping(self) -> str:
            return "pong"

    waiting = await Waiting.start()
    with pytest.raises(ConfigError, match="timeout_s"):
        await waiting.wait()
    with pytest.raises(ConfigError, match="timeout_s"):
        waiting.with_timeout(seconds)
    with pytest.raises(ConfigError, match="timeout_s"):
        remote_handle(Waiting, "waiting", "b@host", cast("Transport", None)).with_timeout(seconds)
    assert await waiting.with_timeout(None).with_timeout(1).ping() == "pong"


@pytest.mark.virtual_time
async def test_a_process_has_so_many_timers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "PROCESS_TIMERS_MAX", 3)
    with virtual_scheduler().entered():
        ticker, other = await Ticker.start(), await Ticker.start()
        await ticker.every(1.0)
        send_after(ticker, 1.5, Note("one"))
        last = send_after(ticker, 10.0, Note("never"))
        with pytest.raises(TooLarge, match="PROCESS_TIMERS_MAX: 4 is over the limit of 3"):
            send_after(ticker, 1.0, Note("too many"))
        with pytest.raises(TooLarge):
            await ticker.every(1.0)
        send_after(other, 1.0, Note("another process"))
        await asyncio.sleep(2.0)
        send_after(ticker, 1.0, Note("two"))
        last.cancel()
        send_after(ticker, 1.0, Note("three"))
        await asyncio.sleep(2.0)
        assert [text for text, _ in inside(ticker).heard] == ["one", "two", "three"]


async def test_a_process_of_another_node_sets_its_own_timers() -> None:
    there = remote_handle(Ticker, "ticker", "b@host", cast("Transport", None))
    with pytest.raises(ConfigError, match="on another node"):
        send_after(there, 1.0, Note("x"))


@pytest.mark.virtual_time
async def test_ticks_come_when_they_are_due() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.every(2.0)
        assert inside(ticker).interval.left_s() == 2.0
        await asyncio.sleep(7.0)
        assert inside(ticker).ticks == [(1, 0, 2.0), (2, 0, 4.0), (3, 0, 6.0)]
        assert inside(ticker).interval.left_s() == 1.0
        assert await ticker.stop_ticks() == 1.0
        assert await ticker.stop_ticks() is None
        await asyncio.sleep(7.0)
        assert len(inside(ticker).ticks) == 3


@pytest.mark.virtual_time
async def test_the_first_tick_may_come_earlier_or_later() -> None:
    with virtual_scheduler().entered():
        at_once, later = await Ticker.start(), await Ticker.start()
        await at_once.every(2.0, 0.0)
        await later.every(2.0, 5.0)
        await asyncio.sleep(7.5)
        assert [when for _, _, when in inside(at_once).ticks] == [0.0, 2.0, 4.0, 6.0]
        assert [when for _, _, when in inside(later).ticks] == [5.0, 7.0]


@pytest.mark.virtual_time
async def test_one_tick_waits_for_a_busy_process_and_says_how_many_it_stands_for() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.every(1.0)
        await asyncio.sleep(0.5)
        holding = asyncio.ensure_future(ticker.with_timeout(None).hold())
        await asyncio.sleep(5.0)  # ticks 1 to 5 fall due
        mail = ticker._process.mail
        assert mail is not None
        assert len(mail) == 2, "one message is two entries"
        inside(ticker).gate.set()
        await holding
        await asyncio.sleep(1.0)
        assert inside(ticker).ticks == [(5, 4, 5.5), (6, 0, 6.0)]


@pytest.mark.virtual_time
async def test_one_tick_waits_for_a_suspended_process() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.every(1.0)
        await ticker._process.suspend()
        await asyncio.sleep(3.5)
        assert inside(ticker).ticks == []
        assert len(ticker._process.mail or ()) == 2
        ticker._process.resume()
        await asyncio.sleep(1.0)
        assert inside(ticker).ticks == [(3, 2, 3.5), (4, 0, 4.0)]


@pytest.mark.virtual_time
async def test_a_tick_comes_into_a_full_mailbox_too() -> None:
    class Small(Ticker):
        mailbox_messages_max = 1

    with virtual_scheduler().entered():
        small = await Small.start()
        await small.every(1.0)
        holding = asyncio.ensure_future(small.with_timeout(None).hold())
        await asyncio.sleep(0.5)
        send(small, Note("fills it"))
        with pytest.raises(Overloaded):
            send(small, Note("one too many"))
        await asyncio.sleep(2.0)
        inside(small).gate.set()
        await holding
        await turns(3)
        assert inside(small).ticks == [(2, 1, 2.5)]


@pytest.mark.virtual_time
async def test_the_dead_set_no_timers() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        left_over = inside(ticker)
        await ticker.stop()
        assert left_over.send_after(1.0, Note("x")).left_s() is None
        assert left_over.send_every(1.0, Beat()).left_s() is None
        assert ticker._process.ties is None
        assert not [handle for handle in running_loop()._scheduled if not handle.cancelled()]


@pytest.mark.virtual_time
async def test_a_blocked_loop_delays_a_tick_and_shifts_none() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.every(1.0)
        await asyncio.sleep(0.5)
        running_loop()._now += 3.2  # somebody keeps the loop to himself
        await asyncio.sleep(1.0)
        assert inside(ticker).ticks == [(3, 2, 3.7), (4, 0, 4.0)]


@pytest.mark.virtual_time
async def test_a_tick_that_waits_is_not_handled_after_cancel() -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.every(1.0)
        holding = asyncio.ensure_future(ticker.hold())
        await asyncio.sleep(1.5)
        assert inside(ticker).interval.cancel() == 0.5
        inside(ticker).gate.set()
        await holding
        await turns(3)
        assert inside(ticker).ticks == []
        assert await ticker.stop_ticks() is None, "the process goes on"


@pytest.mark.virtual_time
async def test_a_tick_is_one_message_among_others(caplog: pytest.LogCaptureFixture) -> None:
    with virtual_scheduler().entered():
        ticker = await Ticker.start()
        await ticker.every_stray(1.0)
        await asyncio.sleep(1.5)
        assert "no @info handler takes a Stray" in caplog.text
        await ticker.stop_ticks()
        await ticker.every(1.0)
        holding = asyncio.ensure_future(ticker.hold())
        await turns(2)
        send_after(ticker, 0.5, Note("before"))
        send_after(ticker, 1.5, Note("after"))
        await asyncio.sleep(2.2)
        inside(ticker).gate.set()
        await holding
        await turns(3)
        assert [text for text, _ in inside(ticker).heard] == ["before", "after"]
        assert inside(ticker).ticks == [(2, 1, 3.7)]


@pytest.mark.virtual_time
async def test_async_handlers_take_ticks_too_one_at_a_time() -> None:
    with virtual_scheduler().entered():
        napper = await Ticker.start()
        await napper.every(1.0, slow=True)
        await asyncio.sleep(9.0)
        assert inside(napper).ticks == [(1, 0, 1.0), (3, 1, 3.5), (6, 2, 6.0), (8, 1, 8.5)]
        await napper.stop()


PERIOD_S = 3.7
DRIFT_STORY_S = 1_000_000.0


class Stumbler(Ticker):
    """Is often busy for a while when a tick comes, and sometimes for longer than a period."""

    def init(self) -> None:
        super().init()
        self.draw = random.Random(11)

    def nap_s(self) -> float:
        return self.draw.choice((0.0, 0.0, 0.1, 1.0, 3.0, 3.0, 6.0))


def drift_story(limit_s: float) -> list[tuple[int, int, float]]:
    """The ticks of a stumbling process within `limit_s` virtual seconds."""

    async def story() -> list[tuple[int, int, float]]:
        with virtual_scheduler().entered():
            stumbler = await Stumbler.start()
            await stumbler.every(PERIOD_S, slow=True)
            await asyncio.sleep(limit_s)
            heard = inside(stumbler).ticks
            await stumbler.stop()
            return heard

    return run(3, story(), shuffle=False, limit_s=2 * limit_s)


def check_no_drift(ticks: list[tuple[int, int, float]], story_s: float) -> None:
    """Every tick is handled at its own moment, or as soon as the process was free; none is unaccounted for."""
    seen = 0
    free_at_s = 0.0
    for tick, missed, when in ticks:
        assert tick == seen + missed + 1
        seen = tick
        due_s = tick * PERIOD_S
        assert due_s - 1e-6 <= when < due_s + PERIOD_S, f"tick {tick}, due at {due_s}, came at {when}"
        if missed == 0 and when - free_at_s > 6.0:
            assert when == pytest.approx(due_s, abs=1e-6)
        free_at_s = when
    assert seen >= int(story_s / PERIOD_S) - 2


def test_no_drift_in_a_million_seconds() -> None:
    ticks = drift_story(DRIFT_STORY_S)
    check_no_drift(ticks, DRIFT_STORY_S)
    assert len(ticks) > 150_000
    on_time = sum(1 for tick, _, when in ticks if abs(when - tick * PERIOD_S) < 1e-6)
    assert on_time > 100_000, "most ticks find the process idle, to the microsecond"


def test_an_interval_that_counts_from_the_last_tick_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def fire_from_now(interval: Interval) -> None:
        interval._first_s = interval._process.scheduler.runtime.clock.now() - (interval._armed - 1) * PERIOD_S + 1e-5
        honest(interval)

    honest = Interval._fire
    monkeypatch.setattr(Interval, "_fire", fire_from_now)
    with pytest.raises(AssertionError):
        check_no_drift(drift_story(10_000.0), 10_000.0)


@settings(max_examples=40, deadline=None)
@given(
    period_ms=st.integers(1, 50),
    naps_ms=st.lists(st.integers(0, 120), max_size=30),
    stalls_ms=st.lists(st.integers(0, 200), max_size=5),
)
def test_ticks_are_accounted_for_however_busy_process_and_loop_are(
    period_ms: int, naps_ms: list[int], stalls_ms: list[int]
) -> None:
    class Sleepy(Ticker):
        def nap_s(self) -> float:
            return naps.pop() / 1000 if naps else 0.0

    async def story() -> None:
        with virtual_scheduler().entered():
            sleepy = await Sleepy.start()
            await sleepy.every(period_ms / 1000, slow=True)
            for stall_ms in stalls_ms:
                await asyncio.sleep(0.05)
                running_loop()._now += stall_ms / 1000
            await asyncio.sleep(4.0)
            ticks = inside(sleepy).ticks
            end_s = running_loop().time()
            await sleepy.stop()
        seen = 0
        for tick, missed, when in ticks:
            assert tick == seen + missed + 1
            assert missed >= 0
            assert tick * period_ms / 1000 <= when + 1e-6
            seen = tick
        assert seen >= (end_s * 1000 - 5) // period_ms - 1

    naps = list(naps_ms)
    run(0, story())
