"""A connection: one client and the channels it has joined, by the rules of Phoenix sockets.

It takes text frames and writes ready frames; who carries them is not its business. All of it runs on the loop without
ever waiting: a join that takes long, or a channel that is busy, holds up neither the heartbeat nor the other
channels. (Phoenix blocks the whole socket during a join; clients cannot tell, since per topic the order is the same.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from roost.errors import BadMessage, ProcessDown, RoostError, TooLarge
from roost.limits import CHANNELS_PER_SOCKET_MAX, SOCKET_PENDING_MAX
from roost.live.channel import Channel
from roost.live.presence import Presence
from roost.live.pubsub import PubSub
from roost.otp import Down, Scheduler
from roost.otp.crash import explain
from roost.otp.declare import ASKED, Spec
from roost.runtime.clock import Clock
from roost.web.outlet import Outlet
from roost.web.seat import LEFT, REFUSED, REPLACED, Seat
from roost.web.socket import Socket
from roost.wire import phoenix

BROKEN: Final = 1011
"""The close code after a frame that is none (as Phoenix closes)."""
CLOSED: Final = "shutdown:closed"
SUPERSEDED: Final = "replaced by a newer join"

logger = logging.getLogger("roost.socket")


@dataclass(frozen=True, slots=True)
class Live:
    """What connections need of their node."""

    scheduler: Scheduler
    clock: Clock
    pubsub: PubSub
    presence: Presence


class Connection:
    """One client."""

    __slots__ = ("_is_paused", "_on_resumed", "_pending", "_seats", "heard_at", "is_open", "live", "outlet", "socket")

    def __init__(self, live: Live, socket: Socket, outlet: Outlet) -> None:
        self.live = live
        self.socket = socket
        self.outlet = outlet
        self.is_open = True
        self.heard_at = live.clock.now()
        self._seats: dict[str, Seat] = {}
        self._pending = 0
        self._is_paused = False
        self._on_resumed: Callable[[], None] | None = None

    def write(self, frame: bytes) -> None:
        """Send one ready frame; lost when the connection is closed."""
        if self.is_open:
            self.outlet.write(frame)
            self.live.pubsub.turn.mark(self.outlet)

    def close(self, code: int) -> None:
        """Close with a WebSocket close code and end the channels."""
        if self.is_open:
            self.outlet.close(code)
            self.lost()

    def lost(self) -> None:
        """The connection is gone: end its channels, each with `terminate`."""
        self.is_open = False
        seats, self._seats = self._seats, {}
        for seat in seats.values():
            seat.silence()
            (seat.predecessor or seat).leave(CLOSED, after_mail=False)
        self._resume()

    # What the client says

    def take(self, text: str | bytes) -> None:
        """Act on one text frame of the client."""
        if not self.is_open:
            return
        self.heard_at = self.live.clock.now()
        try:
            frame = phoenix.decode(text)
        except (BadMessage, TooLarge) as error:
            logger.info("closing a socket: %s", error)
            self.close(BROKEN)
            return
        topic = frame.topic
        if topic == phoenix.SOCKET_TOPIC and frame.event == phoenix.HEARTBEAT:
            self.write(phoenix.reply(None, frame.ref, topic, phoenix.OK_STATUS, {}))
        elif frame.event == phoenix.JOIN:
            self._join(frame)
        else:
            seat = self._seats.get(topic) if type(topic) is str else None
            if seat is None:
                self._take_unjoined(frame)
            elif frame.join_ref is None or frame.join_ref == seat.join_ref:
                self._take_joined(seat, frame)
            # else: said to a channel that this client has already replaced; nobody waits for an answer

    def _take_unjoined(self, frame: phoenix.Frame) -> None:
        if frame.event == phoenix.LEAVE and type(frame.topic) is str:
            self.write(phoenix.reply(frame.join_ref, frame.ref, frame.topic, phoenix.OK_STATUS, {}))
        else:
            self._refuse(None, frame, "unmatched topic")

    def _take_joined(self, seat: Seat, frame: phoenix.Frame) -> None:
        if seat.leaving:
            return
        if frame.event == phoenix.LEAVE:
            seat.leaving, seat.leave_ref = True, frame.ref
            seat.silence()
            if seat.process is None:
                self._cancel(seat)
            else:
                seat.leave(LEFT, after_mail=True)
            return
        if seat.process is None:
            self._refuse(seat.join_ref, frame, "unmatched topic")
            return
        try:
            payload = phoenix.payload_of(frame)
        except BadMessage as error:
            self._refuse(seat.join_ref, frame, str(error))
            return
        channel = type(seat.process.server)
        spec = channel.__events__.get(frame.event)  # type: ignore[attr-defined]  # a seat's process is a Channel
        self._ask(seat, spec or _UNKNOWN, (payload,), partial(self._answered, seat, frame.ref))

    def _ask(
        self, seat: Seat, spec: Spec, args: tuple[object, ...], on_reply: Callable[[object, Exception | None], None]
    ) -> None:
        assert seat.process is not None
        self._pending += 1
        if self._pending >= SOCKET_PENDING_MAX and not self._is_paused:
            self._is_paused = True
            self.outlet.pause()
        self.live.scheduler.deliver_call(seat.process, spec, args, {}, on_reply)

    def _answered(self, seat: Seat, ref: phoenix.Ref, value: object, error: Exception | None) -> None:
        self._settle()
        if error is None:
            try:
                frame = phoenix.reply(seat.join_ref, ref, seat.topic, phoenix.OK_STATUS, {} if value is None else value)
            except (TypeError, ValueError, RecursionError) as unfit:
                self._unfit(seat, unfit)
                return
            seat.write(frame)
        elif not isinstance(error, ProcessDown):
            reason = {"reason": _reason(error)}
            seat.write(phoenix.reply(seat.join_ref, ref, seat.topic, phoenix.ERROR_STATUS, reason))
        # else: the channel has crashed; phx_error follows

    def _unfit(self, seat: Seat, error: Exception) -> None:
        logger.error("%s: a reply that is not JSON: %s", seat.topic, error)
        if seat.process is not None:
            seat.process.leave(error, True)

    def _settle(self) -> None:
        self._pending -= 1
        if self._is_paused and self._pending <= SOCKET_PENDING_MAX // 2:
            self._resume()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.outlet.resume()
            if self._on_resumed is not None:
                on_resumed, self._on_resumed = self._on_resumed, None
                on_resumed()

    def when_ready(self, action: Callable[[], None]) -> bool:
        """True when more may be read. Otherwise `action` is called once when it may."""
        if self._is_paused:
            self._on_resumed = action
        return not self._is_paused

    # Joining

    def _join(self, frame: phoenix.Frame) -> None:
        topic = frame.topic
        kind = self.socket.channel_for(topic) if type(topic) is str else None
        if kind is None or type(topic) is not str:
            self._refuse(None, frame, "unmatched topic")
            return
        old = self._seats.get(topic)
        if old is None and len(self._seats) >= CHANNELS_PER_SOCKET_MAX:
            self._refuse(frame.join_ref, frame, "too many channels joined")
            return
        try:
            params = phoenix.payload_of(frame)
        except BadMessage as error:
            self._refuse(frame.join_ref, frame, str(error))
            return
        seat = Seat(self, topic, frame.join_ref, frame.ref)
        self._seats[topic] = seat
        begin = partial(self._begin, seat, kind, params)
        if old is None:
            begin()
            return
        seat.begin = begin
        if old.process is None:
            self._replace_waiting(old, seat)
        else:
            old.successor, seat.predecessor = seat, old
            old.silence()
            old.leave(REPLACED, after_mail=False)

    def _replace_waiting(self, old: Seat, seat: Seat) -> None:
        """`old` waits for its own predecessor and will now never start."""
        first = old.predecessor
        assert first is not None
        first.successor, seat.predecessor = seat, first
        seat.farewell = [*old.farewell, old.refusal(SUPERSEDED)]

    def _cancel(self, seat: Seat) -> None:
        """The client leaves a topic for whose join it has not even got an answer."""
        assert seat.predecessor is not None
        seat.predecessor.successor = None
        del self._seats[seat.topic]
        for frame in seat.farewell:
            self.write(frame)
        self.write(phoenix.reply(seat.join_ref, seat.leave_ref, seat.topic, phoenix.OK_STATUS, {}))
        self.write(phoenix.close(seat.join_ref, seat.topic))

    def _begin(self, seat: Seat, kind: type[Channel], params: dict[str, object]) -> None:
        seat.start(kind, partial(self._ended, seat))
        self._ask(seat, kind.__join__, (seat.topic, params, self.socket), partial(self._joined, seat))

    def _joined(self, seat: Seat, value: object, error: Exception | None) -> None:
        self._settle()
        if not self.is_open:
            return
        response: object = {} if value is None else value
        if error is None:
            try:
                seat.admit(phoenix.reply(seat.join_ref, seat.ref, seat.topic, phoenix.OK_STATUS, response))
                return
            except (TypeError, ValueError, RecursionError) as unfit:
                logger.error("%s: a reply that is not JSON: %s", seat.topic, unfit)
                reason = "join crashed"
        elif isinstance(error, ProcessDown):
            reason = "join crashed" if seat.successor is None else SUPERSEDED
        else:
            reason = _reason(error)
        self.write(seat.refusal(reason))
        for frame in seat.farewell:
            self.write(frame)
        seat.farewell = []
        seat.leave(REFUSED, after_mail=False)
        if self._seats.get(seat.topic) is seat and seat.successor is None:
            del self._seats[seat.topic]

    def _ended(self, seat: Seat, down: Down) -> None:
        frames = seat.ended(down.reason)
        successor = seat.successor
        if successor is None:
            if self._seats.get(seat.topic) is seat:
                del self._seats[seat.topic]
            for frame in frames:
                self.write(frame)
        elif self.is_open:
            successor.predecessor = None
            successor.farewell[:0] = frames
            begin, successor.begin = successor.begin, None
            if begin is not None:
                begin()

    def _refuse(self, join_ref: phoenix.Ref, frame: phoenix.Frame, reason: str) -> None:
        self.write(phoenix.reply(join_ref, frame.ref, frame.topic, phoenix.ERROR_STATUS, {"reason": reason}))


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, RoostError) else explain(error)


def _no_handler(channel: object, payload: dict[str, object]) -> None:
    raise LookupError("the client sent an event that this channel does not declare")


_UNKNOWN: Final = Spec(_no_handler, ASKED, "Channel", {})
"""An event without a handler is a crash of the channel, as a missing function clause is in Phoenix."""
