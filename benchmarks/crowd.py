"""A crowd of browsers: many WebSockets in one generator, for all sides, each in its own dialect."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from time import perf_counter

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.callers import Sample, closed_loop
from benchmarks.child import Failed
from benchmarks.dialect import Dialect
from benchmarks.line import percentile

CONNECTING = 64
"""Sockets that connect at the same time."""
BEAT_S = 0.2
"""How long the answers to the heartbeats of a crowd may take, before it is measured."""
JOIN_S = 20.0
"""How long connecting and joining may take."""


class Browser(WSListener):
    """One socket: counts what it hears of the topic, and hands on what it is answered."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._dialect = crowd.dialect
        self._heard_bytes = crowd.dialect.heard_bytes
        self._arrived = crowd.arrived
        self._received = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._greeted: asyncio.Future[None] | None = None
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Connected."""
        self.transport = transport
        if self._dialect.greets:
            self._greeted = asyncio.get_running_loop().create_future()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Act on a message of the server."""
        if frame.msg_type != WSMsgType.TEXT:
            return
        if frame.payload_size == self._heard_bytes:
            number = self._received
            self._received = number + 1
            self._arrived(number)
            return
        text = frame.get_payload_as_bytes()
        if self._greeted is not None and not self._greeted.done():
            self._greeted.set_result(None)
            return
        try:
            number_answered = self._dialect.answer_to(text)
        except Failed as refusal:
            self._crowd.fail(str(refusal))
            return
        if number_answered is not None:
            future = self._waiting.pop(number_answered, None)
            if future is not None:
                future.set_result(None)
        elif (pong := self._dialect.pong(text)) is not None:
            self.say(pong)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        self._crowd.on_closed()

    def say(self, text: bytes) -> None:
        """Send one message."""
        self.transport.send(WSMsgType.TEXT, text)

    async def join(self) -> None:
        """Join the topic; returns when the server has answered."""
        if self._greeted is not None:
            await self._greeted
        answered = self._expect(0)
        self.say(self._dialect.join())
        await answered

    async def ask(self) -> None:
        """Ask something; returns with the answer."""
        number = next(self._numbers)
        answered = self._expect(number)
        self.say(self._dialect.ask(number))
        await answered

    def _expect(self, number: int) -> asyncio.Future[None]:
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        return future

    def give_up(self, reason: str) -> None:
        """Nobody waits any more."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Failed(reason))


class Crowd:
    """`size` sockets in one topic.

    Args:
        port: where the server listens on loopback.
        dialect: what it understands.
        size: how many sockets.
    """

    def __init__(self, port: int, dialect: Dialect, size: int) -> None:
        self._url = f"ws://127.0.0.1:{port}{dialect.path}"
        self.dialect, self.size = dialect, size
        self.browsers: list[Browser] = []
        self._closing = False
        self._broken: str | None = None
        self._counts: dict[int, int] = {}
        self._sent_at: dict[int, float] = {}
        self._sent = 0
        self._latencies: list[float] = []
        self.deliveries = 0
        """How many the last `broadcast` made."""
        self._until = 0.0
        self._idle = asyncio.Event()

    async def gather(self, join: bool = True) -> None:
        """Connect all, and join all to the topic."""
        await self.connect()
        if join:
            await self.join()

    async def connect(self, make: Callable[[], Browser] | None = None) -> None:
        """Connect all. `make` makes each of them, when they are more than a Browser."""
        turns = asyncio.Semaphore(CONNECTING)
        listen = make or partial(Browser, self)

        async def one() -> None:
            async with turns:
                _, connected = await ws_connect(listen, self._url, websocket_handshake_timeout=JOIN_S)
                assert isinstance(connected, Browser)
                self.browsers.append(connected)

        async with asyncio.timeout(self._patience_s()), asyncio.TaskGroup() as group:
            for _ in range(self.size):
                group.create_task(one())
        self._check()

    async def join(self) -> None:
        """Join all at once."""
        async with asyncio.timeout(self._patience_s()):
            await asyncio.gather(*(browser.join() for browser in self.browsers))
        self._check()

    def _patience_s(self) -> float:
        return JOIN_S * max(1.0, self.size / 1000)

    def fail(self, reason: str) -> None:
        """What was answered, or not answered, breaks the crowd."""
        self._broken = self._broken or reason
        self._idle.set()
        for browser in self.browsers:
            browser.give_up(reason)

    def on_closed(self) -> None:
        """Note a socket that the server closed."""
        if not self._closing:
            self.fail("the server closed a socket")

    def _check(self) -> None:
        if self._broken:
            raise Failed(self._broken)

    async def _beat(self) -> None:
        """Show the server that all are alive: between two turns of this crowd, those of the others take their time."""
        beat = self.dialect.beat()
        if beat is not None:
            for browser in self.browsers:
                browser.say(beat)
            await asyncio.sleep(BEAT_S)

    async def ask(self, window_s: float, callers: int) -> Sample:
        """Let the first `callers` sockets ask, each again when it is answered."""
        await self._beat()
        free = self.browsers[:callers]

        async def ask() -> None:
            browser = free.pop()
            await browser.ask()
            free.append(browser)

        return await closed_loop(callers, window_s, ask)

    def arrived(self, number: int) -> None:
        """One socket has heard broadcast `number`; when all have, the next one is sent."""
        count = self._counts.get(number, 0) + 1
        if count < self.size:
            self._counts[number] = count
            return
        del self._counts[number]
        now = perf_counter()
        self._latencies.append(now - self._sent_at.pop(number))
        if now < self._until:
            self._publish()
        elif not self._sent_at:
            self._idle.set()

    def _publish(self) -> None:
        self._sent_at[self._sent] = perf_counter()
        self._sent += 1
        self.browsers[0].say(self.dialect.publish())

    async def broadcast(self, window_s: float, in_flight: int) -> Sample:
        """Publish with `in_flight` broadcasts on their way at any time, for `window_s` seconds.

        The rate is of deliveries, one per socket and broadcast; the latency is until the last socket has it.
        """
        await self._beat()
        self._counts, self._latencies = {}, []
        self._idle.clear()
        start = perf_counter()
        self._until = start + window_s
        for _ in range(in_flight):
            self._publish()
        async with asyncio.timeout(window_s + JOIN_S):
            await self._idle.wait()
        elapsed_s = perf_counter() - start
        self._check()
        ordered = sorted(self._latencies)
        self.deliveries = len(ordered) * self.size
        return Sample(self.deliveries / elapsed_s, percentile(ordered, 0.5) * 1e6, percentile(ordered, 0.99) * 1e6)

    def leave(self) -> None:
        """Close all sockets at once."""
        self._closing = True
        for browser in self.browsers:
            browser.transport.disconnect(graceful=False)
