"""A crowd of browsers: many WebSockets that speak the Phoenix protocol, in one generator for both sides."""

from __future__ import annotations

import asyncio
import itertools
from time import perf_counter

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from benchmarks.callers import Sample
from benchmarks.child import Failed
from benchmarks.line import percentile

CONNECTING = 64
"""Sockets that connect at the same time."""
JOIN_S = 20.0
"""How long connecting and joining may take."""


class _Browser(WSListener):
    """One socket: counts its broadcasts, and tells the crowd of its replies."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._arrived = crowd.arrived
        self._received = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        if frame.payload_size == self._crowd.broadcast_bytes:
            number = self._received
            self._received = number + 1
            self._arrived(number)
        else:
            self._crowd.on_reply(frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._crowd.on_closed()


class Crowd:
    """`size` sockets in one topic."""

    def __init__(self, url: str, topic: str, event: str, size: int) -> None:
        self._url, self._topic, self._event, self.size = url, topic, event, size
        self._payload = {"body": "x" * 64}
        self.broadcast_bytes = len(msgspec.json.encode((None, None, topic, event, self._payload)))
        self._sockets: list[WSTransport] = []
        self._refs = itertools.count(1)
        self._joined = 0
        self._all_joined = asyncio.Event()
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
        async with asyncio.timeout(JOIN_S * max(1.0, self.size / 1000)):
            turns = asyncio.Semaphore(CONNECTING)
            async with asyncio.TaskGroup() as group:
                for _ in range(self.size):
                    group.create_task(self._connect(turns))
            if not join:
                return
            for socket in self._sockets:
                self._send(socket, "phx_join", {})
            await self._all_joined.wait()
        self._check()

    async def _connect(self, turns: asyncio.Semaphore) -> None:
        async with turns:
            transport, _ = await ws_connect(lambda: _Browser(self), self._url, websocket_handshake_timeout=JOIN_S)
            self._sockets.append(transport)

    def _send(self, socket: WSTransport, event: str, payload: object) -> None:
        message = msgspec.json.encode(("1", str(next(self._refs)), self._topic, event, payload))
        socket.send(WSMsgType.TEXT, message)

    def on_reply(self, text: bytes) -> None:
        """Count a reply to a join; anything that is neither a good reply nor a broadcast breaks the crowd."""
        _, _, _, event, payload = msgspec.json.decode(text)
        if event != "phx_reply":
            return
        if payload["status"] != "ok":
            self._broken = f"a push was answered with {text[:200]!r}"
        self._joined += 1
        if self._joined == self.size or self._broken:
            self._all_joined.set()

    def on_closed(self) -> None:
        """Note a socket that the server closed."""
        if not self._closing:
            self._broken = "the server closed a socket"
            self._all_joined.set()
            self._idle.set()

    def _check(self) -> None:
        if self._broken:
            raise Failed(self._broken)

    def arrived(self, number: int) -> None:
        """One socket has received broadcast `number`; when all have, the next one is sent."""
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
        self._send(self._sockets[0], self._event, self._payload)

    async def broadcast(self, window_s: float, in_flight: int) -> Sample:
        """Publish with `in_flight` broadcasts on their way at any time, for `window_s` seconds.

        The rate is of deliveries, one per socket and broadcast; the latency is until the last socket has it.
        """
        self._latencies = []
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
        for socket in self._sockets:
            socket.disconnect(graceful=False)
