"""The ASGI side of sockets: from the request to open a WebSocket to its end.

Works on any ASGI server. One that offers the extension "roost.frames" (`roost.web.frames`) is spared its queues:
frames go straight from the transport to the connection and back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextvars import Context
from typing import Any, Final
from urllib.parse import parse_qsl

from roost.errors import Refusal
from roost.limits import SOCKET_IDLE_S
from roost.runtime.clock import Timer
from roost.web.connection import BROKEN, Connection, Live
from roost.web.frames import EXTENSION, FrameProtocol
from roost.web.origin import is_welcome
from roost.web.outlet import PortableOutlet, Send
from roost.web.socket import ConnectInfo, Socket, seal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
# Any: scopes and messages of ASGI are open dicts by its specification.

IDLE: Final = 1002
"""The close code of a client that was silent for SOCKET_IDLE_S (as Phoenix on Bandit closes)."""
SWEEP_S: Final = SOCKET_IDLE_S / 12
TOKEN_PROTOCOL: Final = "base64url.bearer.phx."

logger = logging.getLogger("roost.socket")


class SocketEndpoint:
    """An ASGI application that serves one Socket class at `<mount>/websocket`."""

    def __init__(self, kind: type[Socket], live: Live, context: Context) -> None:
        self._kind = kind
        self._live = live
        self._context = context
        self._connections: dict[Connection, None] = {}
        self._sweep: Timer | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        opening = await receive()
        if opening["type"] != "websocket.connect":
            return
        socket = await self._connect(scope)
        if socket is None:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        subprotocol = "phoenix" if "phoenix" in scope.get("subprotocols", ()) else None
        await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        frames = scope.get("extensions", {}).get(EXTENSION)
        if isinstance(frames, FrameProtocol):
            await self._serve_frames(frames, socket, receive, send)
        else:
            await self._serve_portably(socket, receive, send)

    async def _connect(self, scope: Scope) -> Socket | None:
        """Decide on a client: its socket when it may come in."""
        headers = _headers(scope["headers"])
        kind = self._kind
        if not is_welcome(headers.get("origin"), headers.get("host"), scope.get("scheme", "ws"), kind.origins):
            logger.warning("refused a socket: a page of %s", headers.get("origin"))
            return None
        params = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if not _is_version_2(params.get("vsn")):
            logger.warning("refused a socket: protocol version %r is not 2.0.0", params.get("vsn"))
            return None
        socket = kind()
        try:
            outcome = socket.connect(params, _info(scope, headers))
            if outcome is not None:
                await outcome
        except Refusal as refusal:
            logger.info("refused a socket: %s", refusal)
            return None
        seal(socket)
        return socket

    async def _serve_frames(self, frames: FrameProtocol, socket: Socket, receive: Receive, send: Send) -> None:
        connection = Connection(self._live, socket, frames)
        self._opened(connection)
        run, take = self._context.run, connection.take
        frames.listen(lambda text: run(take, text))
        try:
            while True:
                message = await receive()
                kind = message["type"]
                if kind == "websocket.receive":
                    self._take(connection, message)
                elif kind == "roost.close":
                    await send({"type": "websocket.close", "code": message["code"], "reason": ""})
                else:
                    return
        finally:
            self._lost(connection)

    async def _serve_portably(self, socket: Socket, receive: Receive, send: Send) -> None:
        outlet = await PortableOutlet.open(self._live.scheduler, send)
        connection = Connection(self._live, socket, outlet)
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
        text = message.get("text")
        if isinstance(text, str):
            self._context.copy().run(connection.take, text)
        else:
            connection.close(BROKEN)

    # Idle clients

    def _opened(self, connection: Connection) -> None:
        self._connections[connection] = None
        if self._sweep is None:
            self._sweep = self._live.clock.call_later(SWEEP_S, self._close_idle)

    def _lost(self, connection: Connection) -> None:
        del self._connections[connection]
        if connection.is_open:
            connection.lost()
        if not self._connections and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _close_idle(self) -> None:
        oldest = self._live.clock.now() - SOCKET_IDLE_S
        for connection in [each for each in self._connections if each.is_open and each.heard_at <= oldest]:
            connection.close(IDLE)
        self._sweep = self._live.clock.call_later(SWEEP_S, self._close_idle)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _is_version_2(version: str | None) -> bool:
    parts = (version or "").split(".")
    return len(parts) == 3 and parts[:2] == ["2", "0"] and parts[2].isdecimal()


def _info(scope: Scope, headers: Mapping[str, str]) -> ConnectInfo:
    client = scope.get("client")
    return ConnectInfo(
        peer=None if client is None else (str(client[0]), int(client[1] or 0)),
        user_agent=headers.get("user-agent", ""),
        headers={name: value for name, value in headers.items() if name.startswith("x-")},
        auth_token=_token(scope.get("subprotocols", ())),
    )


def _token(subprotocols: Iterable[str]) -> str | None:
    """The token among the subprotocols. Despite its name it is in standard base64, without padding."""
    import base64
    import binascii

    for name in subprotocols:
        if name.startswith(TOKEN_PROTOCOL):
            text = name.removeprefix(TOKEN_PROTOCOL).translate({ord("-"): "+", ord("_"): "/"})
            try:
                return base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None
