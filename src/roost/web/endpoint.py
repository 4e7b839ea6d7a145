"""The ASGI side of sockets: from the request to open a WebSocket to its end.

Works on any ASGI server. One that offers the extension "roost.frames" (`roost.web.frames`) is spared its queues:
frames go straight from the transport to the connection and back. A client that is kept out gets its HTTP status where
the server has the extension "websocket.http.response"; elsewhere it is closed, which is 403 by the specification.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from contextvars import Context
from typing import Any, Final

from roost.core.backlog import SlowReaders
from roost.runtime.clock import Timer
from roost.web.admission import Admitted, Denied, admit
from roost.web.answer import answer, encode, refuse, retry_after
from roost.web.connection import BROKEN, Connection, Live
from roost.web.frames import EXTENSION, FrameProtocol
from roost.web.outlet import PortableOutlet, Send
from roost.web.socket import Socket
from roost.wire import phoenix

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
# Any: scopes and messages of ASGI are open dicts by its specification.

IDLE: Final = 1002
"""The close code of a client that was silent for too long (as Phoenix on Bandit closes)."""
TOO_BIG: Final = 1009
"""The close code after a message that is too long (RFC 6455, 7.4.1)."""
SWEEPS: Final = 12
"""How often it is looked for idle clients in the time that one may be silent."""
UPGRADE: Final = "websocket.http.response"


class SocketEndpoint:
    """An ASGI application that serves one Socket class at `<mount>/websocket`.

    Attributes:
        slow_readers: the clients here that do not keep up, counted.
    """

    def __init__(self, kind: type[Socket], live: Live, context: Context) -> None:
        self.slow_readers = SlowReaders(kind.slow_reader, phoenix.look)
        self._kind = kind
        self._live = live
        self._context = context
        self._connections: dict[Connection, None] = {}
        self._sweep: Timer | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def clients(self) -> Collection[Connection]:
        """The clients that are connected."""
        return self._connections.keys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket, or say to a plain request that this is none."""
        if scope["type"] == "http":
            await _not_upgraded(scope, send)
            return
        opening = await receive()
        if opening["type"] != "websocket.connect":
            return
        verdict = await admit(self._kind, scope, transport="websocket", connects=self._live.connects)
        if isinstance(verdict, Denied):
            await _deny(scope, send, verdict)
            return
        await send({"type": "websocket.accept", "subprotocol": verdict.subprotocol, "headers": []})
        frames = scope.get("extensions", {}).get(EXTENSION)
        if isinstance(frames, FrameProtocol):
            await self._serve_frames(frames, verdict, receive, send)
        else:
            await self._serve_portably(verdict, receive, send)

    async def _serve_frames(self, frames: FrameProtocol, client: Admitted, receive: Receive, send: Send) -> None:
        connection = Connection(self._live, client.socket, client.serializer, frames, client.id)
        self._opened(connection)
        run, take, most = self._context.run, connection.take, self._kind.frame_bytes_max

        def hear(data: bytes, binary: bool) -> None:
            if len(data) <= most:
                run(take, data, binary=binary)
            else:
                connection.close(TOO_BIG)

        def heard() -> None:
            connection.heard_at = self._live.clock.now()

        frames.listen(hear, heard, self.slow_readers)
        try:
            while True:
                message = await receive()
                kind = message["type"]
                if kind == "websocket.receive":
                    self._take(connection, message)  # it came before `listen`
                elif kind == "roost.close":
                    await send({"type": "websocket.close", "code": message["code"], "reason": ""})
                else:
                    return
        finally:
            self._lost(connection)

    async def _serve_portably(self, client: Admitted, receive: Receive, send: Send) -> None:
        """Serve until the client is gone, or given up: then the server ends the connection, since the application has
        returned."""
        loop, patience = asyncio.get_running_loop(), asyncio.timeout(None)
        try:
            async with patience:
                outlet = await PortableOutlet.open(
                    self._live.scheduler, send, lambda: patience.reschedule(loop.time()), self.slow_readers
                )
                await self._serve_outlet(outlet, client, receive)
        except TimeoutError:
            if not patience.expired():
                raise

    async def _serve_outlet(self, outlet: PortableOutlet, client: Admitted, receive: Receive) -> None:
        connection = Connection(self._live, client.socket, client.serializer, outlet, client.id)
        self._opened(connection)
        try:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive":
                    return
                self._take(connection, message)
                ready = asyncio.Event()
                if not connection.when_ready(ready.set):
                    await ready.wait()
        finally:
            self._lost(connection)
            outlet.lost()

    def _take(self, connection: Connection, message: Mapping[str, Any]) -> None:
        text, data = message.get("text"), message.get("bytes")
        given = data if text is None else text
        if not isinstance(given, str | bytes):
            connection.close(BROKEN)
        elif _is_longer(given, self._kind.frame_bytes_max):
            connection.close(TOO_BIG)
        else:
            self._context.copy().run(connection.take, given, binary=text is None)

    # The life of connections

    def _opened(self, connection: Connection) -> None:
        self._connections[connection] = None
        if self._sweep is None:
            self._sweep = self._live.clock.call_later(self._kind.idle_s / SWEEPS, self._close_idle)

    def _lost(self, connection: Connection) -> None:
        del self._connections[connection]
        if connection.is_open:
            connection.lost()
        if not self._connections and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _close_idle(self) -> None:
        oldest = self._live.clock.now() - self._kind.idle_s
        for connection in [each for each in self._connections if each.is_open and each.heard_at <= oldest]:
            connection.close(IDLE)
        self._sweep = self._live.clock.call_later(self._kind.idle_s / SWEEPS, self._close_idle)


async def _not_upgraded(scope: Scope, send: Send) -> None:
    """A request without an upgrade: 426 for a GET, 400 for what a WebSocket never begins with."""
    if scope["method"] == "GET":
        upgrade = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))
        await refuse(send, 426, "upgrade_required", "this is a WebSocket: send a request to upgrade", *upgrade)
    else:
        await refuse(send, 400, "bad_request", f"a WebSocket begins with GET, not with {scope['method']}")


async def _deny(scope: Scope, send: Send, verdict: Denied) -> None:
    if UPGRADE not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return

    async def send_refusal(message: MutableMapping[str, Any]) -> None:
        await send({**message, "type": "websocket." + message["type"]})

    body = encode({"error": "connect_refused", "message": verdict.reason})
    pause = () if verdict.retry_after_s is None else (retry_after(verdict.retry_after_s),)
    await answer(send_refusal, verdict.status, body, *pause)


def _is_longer(data: str | bytes, size_bytes: int) -> bool:
    if len(data) > size_bytes:
        return True
    # A character is at most four bytes of UTF-8.
    return isinstance(data, str) and len(data) * 4 > size_bytes and len(data.encode("utf-8", "replace")) > size_bytes
