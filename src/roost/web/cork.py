"""One write for one HTTP response.

uvicorn writes the head of a response and its body one after the other, and uvloop makes a system call of each. Here
what is written within one turn of the loop leaves together at its end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Cork:
    """A transport that collects what is written in one turn; everything else goes to the real one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.transport = transport
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
            if not self.transport.is_closing():
                self.transport.write(data)

    def close(self) -> None:
        """Close after everything is written."""
        self.flush()
        self.transport.close()


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection; on an upgrade the WebSocket gets the bare transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Put the cork on."""
        super().connection_made(cast("asyncio.Transport", Cork(transport, self.loop)))

    def handle_websocket_upgrade(self) -> None:
        """Take the cork off."""
        self.transport = cast("Cork", self.transport).transport
        super().handle_websocket_upgrade()
