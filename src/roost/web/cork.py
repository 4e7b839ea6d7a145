"""One write for one HTTP response.

uvicorn writes the head of a response and its body one after the other, and uvloop makes a system call of each. Here
what is written within one turn of the loop leaves together at its end.

And bounds for requests that do not arrive: a head over HEAD_BYTES_MAX or one that takes longer than HEAD_S, and a body
that makes no progress for BODY_SILENCE_S, end the connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from roost.limits import BODY_SILENCE_S, HEAD_BYTES_MAX, HEAD_S

LINGER_S: Final = 1.0
"""How long a client that was refused may take to see it."""


class Cork:
    """A transport that collects what is written in one turn; everything else goes to the real one.

    Attributes:
        lingers: whether `close` lets the client see what was written before the connection ends. One that is closed
            while something unread has arrived is reset, and the client may lose the answer.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
        self.lingers = False
        self._is_ending = False
        self._loop = loop
        self._parts: list[bytes] = []

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Write at the end of this turn."""
        parts = self._parts
        if not parts:
            self._loop.call_soon(self.flush)
        parts.append(data)

    def flush(self) -> None:
        """Write what was collected."""
        parts = self._parts
        if parts:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            if not self.is_closing():
                self.transport.write(data)

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._is_ending or self.transport.is_closing()

    def close(self) -> None:
        """Close after everything is written."""
        self.flush()
        if self.lingers and not self.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()
            self._is_ending = True
            self._loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection; on an upgrade the WebSocket gets the bare transport."""

    _in_head = True
    _head_bytes = 0
    _cut: asyncio.TimerHandle | None = None
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Put the cork on."""
        super().connection_made(cast("asyncio.Transport", Cork(transport, self.loop)))
        self._cut = self.loop.call_later(HEAD_S, self._too_slow)

    def data_received(self, data: bytes) -> None:
        """Act on what has arrived, and see to it that the rest of the request arrives in time."""
        if self._is_refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._in_time()
        super().data_received(data)
        if self.transport.is_closing():
            self._in_time()
        elif self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response(f"The head of the request is over {HEAD_BYTES_MAX} bytes.")
        elif self._cut is None and (not self._in_head or self._head_bytes):
            self._cut = self.loop.call_later(HEAD_S if self._in_head else BODY_SILENCE_S, self._too_slow)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, and read nothing that follows."""
        self._is_refused = True
        cast("Cork", self.transport).lingers = True
        self._in_time()
        super().send_400_response(msg)

    def on_headers_complete(self) -> None:
        """The head has arrived."""
        self._in_time()
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body has arrived; what follows is the head of another request."""
        self._in_time()
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Take the cork off."""
        self._in_time()
        self._in_head, self._head_bytes = True, 0
        self.transport = cast("Cork", self.transport).transport
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._in_time()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None

    def _too_slow(self) -> None:
        self._cut = None
        if self.flow.read_paused:
            # It is the application that takes its time: the client is not even listened to.
            self._cut = self.loop.call_later(BODY_SILENCE_S, self._too_slow)
        else:
            self.transport.abort()
