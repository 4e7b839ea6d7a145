"""The fast path between a socket and its transport: a protocol class for uvicorn that offers ready-frame writes.

uvicorn's own sans-I/O protocol does the handshake, the parsing, pings and closing. This subclass adds two shortcuts
under the ASGI scope extension "roost.frames": a frame that is already framed is written straight to the transport,
and a text message goes straight to a callback instead of through a queue to a waiting task.

Frames are collected while a turn of the loop lasts, and leave in one system call at its end.

A client that does not read: while the transport's buffer is below its high-water mark nothing is asked; above it,
each write looks at the buffer, and over SOCKET_BUFFER_BYTES_MAX the client is closed with 1013, and cut off if it
does not take even that.

A client that sends without end: the transport hands over megabytes within one turn. They are acted on in parts of
SOCKET_TURN_BYTES, one in each turn, and nothing more is read meanwhile, so that the node's heartbeats and its other
clients have their turns too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from roost.limits import SOCKET_BUFFER_BYTES_MAX, SOCKET_TURN_BYTES
from roost.web.outlet import TOO_SLOW

EXTENSION: Final = "roost.frames"
CLOSING_S: Final = 3.0
"""How long a client may take to answer a close before its connection is cut."""

logger = logging.getLogger("roost.socket")


class FrameProtocol(WebSocketsSansIOProtocol):
    """One WebSocket. It is the Outlet of its connection."""

    write: Callable[[bytes], object]
    _out: list[bytes]
    _send: Callable[[bytes], object]
    _on_text: Callable[[bytes], None] | None = None
    _cut: asyncio.TimerHandle | None = None
    _paused = False
    _rest = b""
    _part_due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open for writing."""
        super().connection_made(transport)
        self._out = []
        self.write = self._out.append
        self._send = self.transport.write

    async def run_asgi(self) -> None:
        """Run the application with the extension in its scope."""
        extensions: dict[str, object] = {**(self.scope.get("extensions") or {}), EXTENSION: self}
        self.scope["extensions"] = extensions  # type: ignore[typeddict-item]  # extensions are open by design
        await super().run_asgi()

    def listen(self, on_text: Callable[[bytes], None]) -> None:
        """Call `on_text` with each text message from now on, in the turn in which it arrives."""
        self._on_text = on_text
        # Only the handshake needed these; a connected client need not carry them for the rest of its life.
        del self.request, self.response

    def data_received(self, data: bytes) -> None:
        """Act on what has arrived, unless it is too much for one turn."""
        if len(data) <= SOCKET_TURN_BYTES and not self._rest:
            super().data_received(data)
            return
        self._rest += data
        if not self.transport.is_closing():
            self.transport.pause_reading()
        self._part_soon()

    def _part_soon(self) -> None:
        if not self._part_due and not self._paused:
            self._part_due = True
            self.loop.call_soon(self._take_part)

    def _take_part(self) -> None:
        self._part_due = False
        if self._paused:
            return  # `resume` goes on
        part, self._rest = self._rest[:SOCKET_TURN_BYTES], self._rest[SOCKET_TURN_BYTES:]
        if self.transport.is_closing():
            self._rest = b""
            return
        super().data_received(part)
        if self._rest:
            self._part_soon()
        else:
            self._read_on()

    def _read_on(self) -> None:
        if not self._paused and not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def handle_ping(self) -> None:
        """Answer within the same bounds as everything else that is written."""
        data = b"".join(self.conn.data_to_send())
        if data:
            self._send(data)

    def send_receive_event_to_app(self) -> None:
        """A whole message has arrived."""
        on_text = self._on_text
        if on_text is None or self.curr_msg_data_type != "text":
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if not self.close_sent:
            on_text(data)

    def flush(self) -> None:
        """The turn ends: send what was collected."""
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._send(data)

    def close(self, code: int) -> None:
        """Close with a code, after what was written; the application's task does it in its next turn."""
        self.flush()
        if self._send is _drop:
            return
        self._send = _drop
        self.queue.put_nowait({"type": "roost.close", "code": code})  # type: ignore[typeddict-item]  # our own message
        if self._cut is None:
            self._cut = self.loop.call_later(CLOSING_S, self._abort)

    def pause(self) -> None:
        """Read nothing more for now."""
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and not self.transport.is_closing():
            self._paused = False
            if self._rest:
                self._part_soon()
            else:
                self.transport.resume_reading()

    def shutdown(self) -> None:
        """The server stops: tell the client to come back (1012)."""
        self.flush()
        self._send = _drop
        super().shutdown()

    def pause_writing(self) -> None:
        """The client does not keep up: look at its buffer before each write."""
        super().pause_writing()
        if self._send is not _drop:
            self._send = self._send_checked

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._send is not _drop:
            self._send = self.transport.write

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._send = _drop
        self._rest = b""
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def _send_checked(self, data: bytes) -> None:
        waiting = self.transport.get_write_buffer_size() + len(data)
        if waiting > SOCKET_BUFFER_BYTES_MAX:
            logger.warning("closing a socket that does not read: %d bytes wait", waiting)
            self.close(TOO_SLOW)
        else:
            self.transport.write(data)

    def _abort(self) -> None:
        self.transport.abort()


def _drop(data: bytes) -> None:
    """Where frames for a closed connection go."""
