"""The fast path between a socket and its transport: a protocol class for uvicorn that offers ready-frame writes.

uvicorn's own sans-I/O protocol does the handshake, the parsing, pings and closing. This subclass adds two shortcuts
under the ASGI scope extension "roost.frames": a frame that is already framed is written straight to the transport,
and a message goes straight to a callback instead of through a queue to a waiting task.

Frames are collected while a turn of the loop lasts, and leave in one system call at its end.

A client that does not read: its transport takes SOCKET_WRITE_BYTES, its part of the kernel SOCKET_UNSENT_BYTES, and
what is more waits in a `core.backlog`, where the policy of its Socket class decides. A client over its budget is closed
with 1013, and cut off if it does not take even that. Nobody else notices; a client that reads is asked nothing.

A client that sends without end: the transport hands over megabytes within one turn. They are acted on in parts of
SOCKET_TURN_BYTES, one in each turn, and nothing more is read meanwhile, so that the node's heartbeats and its other
clients have their turns too. A message in too many fragments is closed with 1009, too many pings with 1008.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from roost.core.backlog import Backlog, CloseSlow, SlowReaders
from roost.limits import (
    SOCKET_CONTROLS_PER_S_MAX,
    SOCKET_FRAGMENTS_MAX,
    SOCKET_TURN_BYTES,
    SOCKET_UNSENT_BYTES,
    SOCKET_WRITE_BYTES,
)
from roost.web.outlet import CLOSING_S, TOO_SLOW
from roost.wire import phoenix

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

EXTENSION: Final = "roost.frames"
TOO_LARGE: Final = 1009
"""The close code of a message in too many fragments, as of one that is too large (RFC 6455 section 7.4.1)."""
TOO_MANY: Final = 1008
"""The close code of too many pings: Policy Violation."""

logger = logging.getLogger("roost.socket")


class FrameProtocol(WebSocketsSansIOProtocol):
    """One WebSocket. It is the Outlet of its connection."""

    write: Callable[[bytes], object]
    _out: list[bytes]
    _put: Callable[[bytes], object]
    """Where what was collected goes: the transport's own `write`, or `_put_carefully`. Nobody else pays for those who
    are behind, not even with a question."""
    _on_message: Callable[[bytes, bool], None] | None = None
    _on_ping: Callable[[], None] | None = None
    _readers: SlowReaders | None = None
    _backlog: Backlog | None = None
    _pong = b""
    _is_behind = False
    """Whether the transport holds more than its share."""
    _is_closing = False
    """Whether nothing more is taken to be sent."""
    _close_code: int | None = None
    """What to close with when everything that waits is sent."""
    _cut: asyncio.TimerHandle | None = None
    _paused = False
    _rest = b""
    _part_due = False
    _controls = 0
    _controls_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open for writing, with little room in the transport and in the kernel."""
        super().connection_made(transport)
        self._out = []
        self.write = self._out.append
        self._put = self.transport.write
        self.transport.set_write_buffer_limits(high=SOCKET_WRITE_BYTES)
        plain = self.transport.get_extra_info("socket")
        lowat = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS
        if plain is not None and lowat is not None and plain.family in (socket.AF_INET, socket.AF_INET6):
            plain.setsockopt(socket.IPPROTO_TCP, lowat, SOCKET_UNSENT_BYTES)

    async def run_asgi(self) -> None:
        """Run the application with the extension in its scope."""
        extensions: dict[str, object] = {**(self.scope.get("extensions") or {}), EXTENSION: self}
        self.scope["extensions"] = extensions  # type: ignore[typeddict-item]  # extensions are open by design
        await super().run_asgi()

    async def send(self, message: ASGISendEvent) -> None:
        """Send what the application says. A refusal answers the handshake, too; the base class takes it for a bug."""
        if message["type"] == "websocket.close" and self.close_sent:
            return  # the client has broken the rules meanwhile, and was closed for it
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True

    def listen(
        self,
        on_message: Callable[[bytes, bool], None],
        on_ping: Callable[[], None] | None = None,
        readers: SlowReaders | None = None,
    ) -> None:
        """Hand over what arrives from now on, in the turn in which it arrives.

        Args:
            on_message: called with each message, and whether it is binary. Text is not yet known to be UTF-8.
            on_ping: called with each ping or pong of the client that is a sign of life: while it is in the middle of
                a message, it is none, or a message that never ends could be held for ever.
            readers: the policy for a client that does not read, and where it is counted; `CloseSlow()` when not given.
        """
        self._on_message, self._on_ping = on_message, on_ping
        self._readers = readers or SlowReaders(CloseSlow(), phoenix.look)
        # Only the handshake needed these; a connected client need not carry them for the rest of its life.
        del self.request, self.response

    # What the client says

    def data_received(self, data: bytes) -> None:
        """Act on what has arrived, unless it is too much for one turn."""
        if not self.handshake_initiated:
            self._shake_hands(data)
            return
        if not self.handshake_complete:
            self.transport.abort()  # it has to wait until it is let in (RFC 6455 section 4.1)
            return
        if len(data) <= SOCKET_TURN_BYTES and not self._rest:
            super().data_received(data)
            return
        self._rest += data
        if not self.transport.is_closing():
            self.transport.pause_reading()
        self._part_soon()

    def _shake_hands(self, request: bytes) -> None:
        super().data_received(request)
        if not self.handshake_initiated:
            # The library takes fewer and shorter headers than `HttpProtocol`, and leaves its refusal to be sent.
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

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
        """Answer; of the pings of a client that does not read, the newest ones (RFC 6455 section 5.5.3)."""
        data = b"".join(self.conn.data_to_send())
        if data and self._is_behind:
            self._pong = data
        elif data and not self._is_closing:
            self.transport.write(data)
        self._count_control()

    def handle_pong(self, event: Frame) -> None:
        """A pong that nobody has asked for is a sign of life, too."""
        super().handle_pong(event)
        self._count_control()

    def _count_control(self) -> None:
        now = self.loop.time()
        if now - self._controls_since_s >= 1.0:
            self._controls_since_s, self._controls = now, 0
        self._controls += 1
        if self._controls > SOCKET_CONTROLS_PER_S_MAX:
            self._refuse(TOO_MANY, "too many pings")
        elif self._on_ping is not None and not self.frames:
            self._on_ping()

    def handle_cont(self, event: Frame) -> None:
        """One more fragment of a message."""
        if len(self.frames) >= SOCKET_FRAGMENTS_MAX:
            self.frames = []
            self._refuse(TOO_LARGE, "too many fragments")
        else:
            super().handle_cont(event)

    def _refuse(self, code: int, reason: str) -> None:
        """Close a client that breaks the rules."""
        if self._on_message is not None:
            if not self._is_closing:
                logger.info("closing a socket: %s", reason)
            self.close(code)
        elif not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Close a client that has sent what is no frame, and read on for a while.

        A connection that is closed while something unread has arrived is reset, and the client would not see the code.
        """
        if self.close_sent:
            return
        assert self.conn.close_sent is not None
        self._end()
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.close_timer = self.loop.call_later(CLOSING_S, self.transport.close)

    def send_receive_event_to_app(self) -> None:
        """A whole message has arrived."""
        on_message = self._on_message
        if on_message is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if not self._is_closing:
            on_message(data, self.curr_msg_data_type == "bytes")

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

    # What it is sent

    def flush(self) -> None:
        """The turn ends: send what was collected."""
        out = self._out
        if out:
            if len(out) == 1:
                self._put(out[0])
            else:
                data = b"".join(out)
                if len(data) <= SOCKET_WRITE_BYTES:
                    self._put(data)
                else:
                    self._put_carefully(data)
            out.clear()

    def _put_carefully(self, data: bytes) -> None:
        """Send what was collected, frame by frame, as much of it as the transport takes; the rest waits."""
        frames = self._out[:]
        self._out.clear()
        if self._is_closing:
            return
        at = 0
        while at < len(frames) and not self._is_behind:
            first, size_bytes = at, 0
            while at < len(frames) and (at == first or size_bytes + len(frames[at]) <= SOCKET_WRITE_BYTES):
                size_bytes += len(frames[at])
                at += 1
            self.transport.write(b"".join(frames[first:at]))
        for frame in frames[at:]:
            if not self._keep(frame):
                break

    def _keep(self, frame: bytes) -> bool:
        """Let a frame wait. False: that is too much, the socket closes."""
        if self._backlog is None:
            assert self._readers is not None, "only a connection that listens is written to"
            self._backlog = Backlog(self._readers)
        if self._backlog.add(frame):
            return True
        logger.warning("closing a socket that does not read")
        self.close(TOO_SLOW)
        return False

    def pause_writing(self) -> None:
        """The client does not keep up: what is written waits."""
        super().pause_writing()
        self._is_behind = True
        self._put = self._put_carefully

    def resume_writing(self) -> None:
        """The client has caught up with what the transport held: give it what waits."""
        super().resume_writing()
        self._is_behind = False
        if self._pong and not self.close_sent:
            self.transport.write(self._pong)
        self._pong = b""
        self._send_backlog()

    def _send_backlog(self) -> None:
        backlog = self._backlog
        while backlog and not self._is_behind:
            self.transport.write(b"".join(backlog.take(SOCKET_WRITE_BYTES)))
        if self._is_behind:
            return
        self._backlog = None
        if not self._is_closing:
            self._put = self.transport.write
        if self._close_code is not None:
            self._hang_up(self._close_code)

    # The end

    def close(self, code: int) -> None:
        """Close with a code, after what was written; the application's task does it in its next turn.

        A client that does not answer within CLOSING_S is cut off.
        """
        self.flush()
        if self._is_closing:
            return
        self._is_closing = True
        self._put = self._put_carefully
        self._cut = self.loop.call_later(CLOSING_S, self._abort)
        if self._backlog:
            self._close_code = code
        else:
            self._hang_up(code)

    def _hang_up(self, code: int) -> None:
        self._close_code = None
        self.queue.put_nowait({"type": "roost.close", "code": code})  # type: ignore[typeddict-item]  # our own message

    def shutdown(self) -> None:
        """The server stops: tell the client to come back (1012)."""
        self.flush()
        if self._backlog:
            self.transport.write(b"".join(self._backlog.take(self._backlog.size_bytes)))
        self._end()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end()
        self._rest = b""
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def _end(self) -> None:
        """Send nothing any more."""
        self._is_closing = True
        self._put = _drop  # no method of this object: a circle would keep it until the garbage collector comes by
        self._close_code = None
        if self._backlog is not None:
            self._backlog.clear()
            self._backlog = None

    def _abort(self) -> None:
        self.transport.abort()


def _drop(data: bytes) -> None:
    """Where frames for a connection that has ended go."""
