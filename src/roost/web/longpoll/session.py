"""A long-poll session: one client between its requests, on the node where it began.

A session is a Connection as that of a WebSocket. What is written to it waits in its `Buffer` until the client polls; a
poll that finds nothing waits for it in turn. One poll waits at a time: a new one sends the former home (204).

The session ends when its connection is closed, from either side, or when the client is silent for
LONGPOLL_SILENCE_WINDOWS windows: neither polls, nor waits, nor posts. What still waits then can be fetched when the
server closed it, and for as long again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from roost.errors import BadMessage, TooLarge
from roost.limits import (
    LONGPOLL_ANSWER_BYTES_MAX,
    LONGPOLL_SILENCE_WINDOWS,
    SOCKET_TURN_BYTES,
)
from roost.runtime.clock import Clock, Timer
from roost.web.connection import BROKEN
from roost.web.longpoll.answers import BAD_REQUEST, CONFLICT, GONE, NOTHING, OK, TIMEOUT, TOO_LARGE, Polled, Posted
from roost.web.longpoll.body import Said
from roost.web.longpoll.buffer import TOO_BIG, Buffer
from roost.wire.phoenix.plain import plain

logger = logging.getLogger("roost.socket")

SILENT: Final = 1002
"""The close code of a session whose client was silent."""
OVER: Final = "this session is over"


@dataclass(frozen=True, slots=True, eq=False)
class Poll:
    """A request that waits for messages.

    Attributes:
        asker: who it is for: tells polls apart.
        is_there: whether it can still be answered.
        answer: called at most once.
    """

    asker: object
    is_there: Callable[[], bool]
    answer: Callable[[Polled], None]


@dataclass(slots=True)
class _Post:
    rest: deque[Said]
    answer: Callable[[Posted], None]
    taken: int = 0
    late: Timer | None = None


@dataclass(frozen=True, slots=True)
class Inlet:
    """The connection of a session, as far as the session needs it.

    Attributes:
        take: acts on a frame of the client; raises TooLarge for one that is longer than its socket takes.
        when_ready: True when more may be taken; else it calls back when it may.
        drain: ends the channels in order, then closes.
        close: closes with a code.
    """

    take: Callable[[Said], None]
    when_ready: Callable[[Callable[[], None]], bool]
    drain: Callable[[], None]
    close: Callable[[int], None]


class Session:
    """One client.

    Args:
        clock: the node's.
        window_s: how long a poll waits, in seconds.
        encoded: whether the client knows the encoded form of binary frames (`roost.wire.phoenix.plain`).
        buffer: makes the outlet of the connection, from what hears of news and of its end.
        connect: makes the connection on that outlet.
        on_end: called once, when the session is over and holds nothing any more.
    """

    __slots__ = (
        "_buffer",
        "_clock",
        "_encoded",
        "_heard_at",
        "_inlet",
        "_is_over",
        "_on_end",
        "_poll",
        "_post",
        "_silence",
        "_window",
        "_window_s",
    )

    def __init__(
        self,
        clock: Clock,
        window_s: float,
        encoded: bool,
        buffer: Callable[[Callable[[], None], Callable[[int], None]], Buffer],
        connect: Callable[[Buffer], Inlet],
        on_end: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._window_s = window_s
        self._encoded = encoded
        self._on_end = on_end
        self._poll: Poll | None = None
        self._window: Timer | None = None
        self._post: _Post | None = None
        self._is_over = False
        self._heard_at = clock.now()
        self._silence: Timer = clock.call_later(self._silence_s, self._listen)
        self._buffer = buffer(self._deliver, self._closed)
        self._inlet = connect(self._buffer)

    @property
    def is_waiting(self) -> bool:
        """Whether a poll waits."""
        return self._poll is not None

    # What the client asks

    def poll(self, poll: Poll) -> None:
        """Answer with what waits, or as soon as something does, or with 204 after the window."""
        self._answer_poll(Polled(NOTHING))
        self._heard_at = self._clock.now()
        if self._is_over:
            poll.answer(Polled(GONE))
        elif self._buffer.backlog:
            poll.answer(self._fetch())
            self._settle()
        elif not self._buffer.is_open:
            poll.answer(Polled(GONE))
            self._settle()
        else:
            self._poll = poll
            self._window = self._clock.call_later(self._window_s, lambda: self._answer_poll(Polled(NOTHING)))

    def abandon(self, asker: object) -> None:
        """Whoever polled is gone: what comes now is for the next poll."""
        if self._poll is not None and self._poll.asker == asker:
            self._drop_poll()

    def post(self, frames: Sequence[Said], answer: Callable[[Posted], None]) -> None:
        """Act on frames of the client, in order.

        `answer` is called once: with 200 when all were taken; 400 when one is no frame, which closes the connection as
        it closes a WebSocket; 408 when its channels were so busy that not all could be taken within the window; 409
        while another post is being taken; 410 when the session is over; 413 when a frame is longer than its socket
        takes, which ends the session. Each says how many were taken.
        """
        self._heard_at = self._clock.now()
        if not self._buffer.is_open:
            answer(Posted(GONE, 0, OVER))
        elif self._post is not None:
            answer(Posted(CONFLICT, 0, "another post of this session is being taken"))
        else:
            self._post = _Post(deque(frames), answer)
            self._take()

    def drain(self) -> None:
        """End its channels in order and close it (1012); what waits, their last words too, can still be fetched."""
        self._inlet.drain()

    def finish(self, code: int) -> None:
        """It is over at once, whatever waits, with a close code: this node stops, or the client is gone."""
        self._inlet.close(code)
        self._finish()

    def _take(self) -> None:
        post = self._post
        if post is None:
            return
        taken_bytes = 0
        while post.rest and self._buffer.is_open:
            if taken_bytes >= SOCKET_TURN_BYTES:
                self._take_soon()
                return
            if not self._inlet.when_ready(self._take_soon):
                if post.late is None:
                    post.late = self._clock.call_later(self._window_s, self._give_up_post)
                return
            said = post.rest.popleft()
            taken_bytes += len(said.data)
            try:
                self._inlet.take(said)
            except TooLarge as error:
                self._inlet.close(TOO_BIG)
                self._answer_post(TOO_LARGE, f"frame {post.taken + 1} of this post: {error}; the session is over")
                return
            except Exception:  # a post that nobody answers would hold the session for ever
                logger.exception("a frame of a long poll could not be acted on")
                self._inlet.close(BROKEN)
            if self._buffer.is_open:
                post.taken += 1
        if self._buffer.is_open:
            self._answer_post(OK, "")
        elif self._buffer.code == BROKEN:
            self._answer_post(BAD_REQUEST, f"frame {post.taken + 1} of this post is none; the session is over")
        else:
            self._answer_post(GONE, OVER)

    def _take_soon(self) -> None:
        self._clock.call_later(0.0, self._take)

    def _give_up_post(self) -> None:
        self._answer_post(TIMEOUT, "the channels of this session are busy; send the rest again")

    def _answer_post(self, status: int, reason: str) -> None:
        post, self._post = self._post, None
        if post is not None:
            if post.late is not None:
                post.late.cancel()
            self._heard_at = self._clock.now()
            post.answer(Posted(status, post.taken, reason))

    # What the server says

    def _deliver(self) -> None:
        poll = self._poll
        if poll is None or not self._buffer.backlog:
            return
        if poll.is_there():
            self._answer_poll(self._fetch())
        else:
            self._drop_poll()

    def _fetch(self) -> Polled:
        frames = self._buffer.backlog.take(LONGPOLL_ANSWER_BYTES_MAX)
        messages: list[str] = []
        for frame in frames:
            try:
                messages.append(plain(frame, encoded=self._encoded))
            except BadMessage as error:  # from another node, as no serializer makes it: the others are not to suffer
                logger.error("a message for a long poll is left out: %s", error)
        return Polled(OK, tuple(messages))

    def _answer_poll(self, polled: Polled) -> None:
        poll = self._drop_poll()
        if poll is not None:
            poll.answer(polled)

    def _drop_poll(self) -> Poll | None:
        poll, self._poll = self._poll, None
        if self._window is not None:
            self._window.cancel()
            self._window = None
        if poll is not None:
            self._heard_at = self._clock.now()
        return poll

    # Its end

    def _closed(self, code: int) -> None:
        """The outlet was closed: by the connection, which knows it, or over its budget, which it has to be told."""
        self._inlet.close(code)
        self._take()
        self._deliver()
        self._settle()

    def _settle(self) -> None:
        """It is over when it is closed and everything was fetched."""
        if not self._buffer.is_open and not self._buffer.backlog:
            self._finish()

    @property
    def _silence_s(self) -> float:
        return self._window_s * LONGPOLL_SILENCE_WINDOWS

    def _listen(self) -> None:
        # A poll or a post that waits is no silence, and needs no mention: it is over within one window.
        left_s = self._heard_at + self._silence_s - self._clock.now()
        if left_s > 0:
            self._silence = self._clock.call_later(left_s, self._listen)
        else:
            self.finish(SILENT)

    def _finish(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._silence.cancel()
        self._buffer.backlog.clear()
        self._answer_poll(Polled(GONE))
        self._answer_post(GONE, OVER)
        self._on_end()
