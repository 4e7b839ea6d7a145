"""Where a connection's frames go out: the server's own fast path, or any ASGI server's `send`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from roost.errors import Overloaded
from roost.limits import SOCKET_BUFFER_BYTES_MAX
from roost.otp import GenServer, Scheduler, cast
from roost.wire import phoenix

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""ASGI's `send`. Any: the messages of ASGI are open dicts by its specification."""

TOO_SLOW = 1013
"""The close code of a client that does not read (RFC 6455 registry: Try Again Later)."""

logger = logging.getLogger("roost.socket")


class Outlet(Protocol):
    """A connection as the rest of Roost sees it. Nothing here blocks or raises.

    Frames may be collected until `flush`, which follows at the end of the turn (`roost.live.turn`).
    """

    @property
    def write(self) -> Callable[[bytes], object]:
        """Sends one ready frame; lost when the connection is closing. It stays the same function."""

    def flush(self) -> None:
        """Send what was collected."""

    def close(self, code: int) -> None:
        """Close with a WebSocket close code, after what was written."""

    def pause(self) -> None:
        """Read nothing more from the client for now."""

    def resume(self) -> None:
        """Read on."""


class _Sender(GenServer):
    """Awaits the server's `send`, one message at a time."""

    def init(self, send: Send, sent: Callable[[int], None]) -> None:
        self._send = send
        self._sent = sent

    @cast
    async def transmit(self, frame: bytes) -> None:
        """Send one text frame."""
        await self._give({"type": "websocket.send", "text": phoenix.text_of(frame)})
        self._sent(len(frame))

    @cast
    async def hang_up(self, code: int) -> None:
        """Close."""
        await self._give({"type": "websocket.close", "code": code, "reason": ""})

    async def _give(self, message: MutableMapping[str, Any]) -> None:
        try:
            await self._send(message)
        except (OSError, RuntimeError) as error:
            # The client is gone, or the server has already closed: each ASGI server has its own way to say so.
            logger.debug("not sent: %r", error)


class PortableOutlet:
    """Frames go out through ASGI's `send`, by a process of their own, so that a broadcast waits for nobody."""

    __slots__ = ("_closing", "_sender", "_waiting_bytes")

    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._waiting_bytes = 0
        self._closing = False

    @classmethod
    async def open(cls, scheduler: Scheduler, send: Send) -> PortableOutlet:
        """An outlet with its sender running."""
        outlets: list[PortableOutlet] = []
        with scheduler.entered():
            sender = await _Sender.start(send, lambda size: outlets[0]._sent(size))
        outlets.append(cls(sender))
        return outlets[0]

    def write(self, frame: bytes) -> None:
        """Queue one frame; a client with more than SOCKET_BUFFER_BYTES_MAX waiting is closed instead."""
        if self._closing:
            return
        self._waiting_bytes += len(frame)
        if self._waiting_bytes > SOCKET_BUFFER_BYTES_MAX:
            logger.warning("closing a socket that does not read: %d bytes wait", self._waiting_bytes)
            self.close(TOO_SLOW)
            return
        try:
            self._sender.transmit(frame)
        except Overloaded:
            self.close(TOO_SLOW)

    def flush(self) -> None:
        """The sender sends as fast as the server lets it; nothing to do here."""

    def close(self, code: int) -> None:
        """Close after what is queued; at once when the client does not read."""
        if self._closing:
            return
        self._closing = True
        try:
            self._sender.hang_up(code)
        except Overloaded:
            self._sender.exit("kill")

    def pause(self) -> None:
        """The endpoint reads no further while a connection is busy; nothing to do here."""

    def resume(self) -> None:
        """See `pause`."""

    def lost(self) -> None:
        """The connection is gone: stop the sender."""
        self._closing = True
        self._sender.exit("kill")

    def _sent(self, size_bytes: int) -> None:
        self._waiting_bytes -= size_bytes
