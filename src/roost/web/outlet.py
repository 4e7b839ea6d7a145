"""Where a connection's frames go out: the server's own fast path, or any ASGI server's `send`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from roost.core.backlog import Backlog, CloseSlow, SlowReaders
from roost.limits import SOCKET_WRITE_BYTES
from roost.otp import GenServer, Scheduler, cast
from roost.runtime.clock import Clock, Timer
from roost.wire import phoenix

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""ASGI's `send`. Any: the messages of ASGI are open dicts by its specification."""

TOO_SLOW = 1013
"""The close code of a client that does not read (RFC 6455 registry: Try Again Later)."""
CLOSING_S: Final = 3.0
"""How long a client may take to read what it was sent before a close, and to answer that, before it is given up."""

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

    def init(self, send: Send, sent: Callable[[], None]) -> None:
        self._send = send
        self._sent = sent

    @cast
    async def transmit(self, frames: list[bytes]) -> None:
        """Send some ready frames."""
        for frame in frames:
            is_binary, content = phoenix.opened(frame)
            if is_binary:
                await self._give({"type": "websocket.send", "bytes": content})
            else:
                await self._give({"type": "websocket.send", "text": content.decode()})
        self._sent()

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
    """Frames go out through ASGI's `send`, by a process of their own, so that a broadcast waits for nobody.

    While the server does not return from `send`, further frames wait in a `core.backlog`. Nothing tells whether that
    is because the client does not read: what is written within one turn waits in any case, and counts as behind.

    A close waits its turn, too. The connection of a client that does not read on may stay for as long as TCP is
    patient, so that after CLOSING_S nothing is kept for it any more.
    """

    __slots__ = ("_backlog", "_clock", "_close_code", "_given_up", "_is_closing", "_is_sending", "_patience", "_sender")

    def __init__(self, sender: _Sender, readers: SlowReaders, clock: Clock, given_up: Callable[[], object]) -> None:
        self._sender = sender
        self._backlog = Backlog(readers)
        self._clock = clock
        self._given_up = given_up
        self._patience: Timer | None = None
        self._is_sending = False
        self._is_closing = False
        self._close_code: int | None = None

    @classmethod
    async def open(
        cls, scheduler: Scheduler, send: Send, given_up: Callable[[], object], readers: SlowReaders | None = None
    ) -> PortableOutlet:
        """An outlet with its sender running.

        Args:
            scheduler: the node's.
            send: ASGI's.
            given_up: called when the connection is not `lost` within CLOSING_S of its close; nothing is sent any more.
            readers: the policy for a client that does not read, and where it is counted; `CloseSlow()` when not given.
        """
        outlets: list[PortableOutlet] = []
        with scheduler.entered():
            sender = await _Sender.start(send, lambda: outlets[0]._sent())
        clock = scheduler.runtime.clock
        outlets.append(cls(sender, readers or SlowReaders(CloseSlow(), phoenix.look), clock, given_up))
        return outlets[0]

    def write(self, frame: bytes) -> None:
        """Send one frame as soon as the server takes it; a client that is over its budget is closed instead."""
        if self._is_closing:
            return
        if not self._is_sending:
            self._is_sending = True
            self._sender.transmit([frame])
        elif not self._backlog.add(frame):
            logger.warning("closing a socket that does not read")
            self.close(TOO_SLOW)

    def flush(self) -> None:
        """The sender sends as fast as the server lets it; nothing to do here."""

    def close(self, code: int) -> None:
        """Close after what waits. A client that is not gone within CLOSING_S is given up."""
        if self._is_closing:
            return
        self._is_closing = True
        self._patience = self._clock.call_later(CLOSING_S, self._give_up)
        if self._backlog:
            self._close_code = code
        else:
            self._sender.hang_up(code)

    def pause(self) -> None:
        """The endpoint reads no further while a connection is busy; nothing to do here."""

    def resume(self) -> None:
        """See `pause`."""

    def lost(self) -> None:
        """The connection is gone: stop the sender."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._is_closing = True
        self._close_code = None
        self._backlog.clear()
        self._sender.exit("kill")

    def _give_up(self) -> None:
        self.lost()
        self._given_up()

    def _sent(self) -> None:
        frames = self._backlog.take(SOCKET_WRITE_BYTES)
        if frames:
            self._sender.transmit(frames)
            return
        self._is_sending = False
        if self._close_code is not None:
            self._sender.hang_up(self._close_code)
            self._close_code = None
