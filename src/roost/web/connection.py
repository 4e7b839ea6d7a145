"""A connection: one client and the channels it has joined, by the rules of Phoenix sockets.

It takes messages and writes ready frames; who carries them is not its business. All of it runs on the loop without
ever waiting: a join that takes long, or a channel that is busy, holds up neither the heartbeat nor the other
channels. (Phoenix blocks the whole socket during a join; clients cannot tell, since per topic the order is the same.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from roost.errors import BadMessage, ProcessDown, TooLarge
from roost.limits import SOCKET_PENDING_MAX
from roost.live.mail import Mail
from roost.live.presence import Presence
from roost.live.pubsub import PubSub
from roost.live.reply import UNANSWERED
from roost.otp import Scheduler
from roost.otp.declare import Spec
from roost.runtime.clock import Clock
from roost.web.admission import Connects
from roost.web.answering import UNFIT, refused_with, reply_of
from roost.web.joining import cancel, cost_of, forget, join
from roost.web.outlet import Outlet
from roost.web.seat import CLOSED, DRAINED, LEFT, Seat
from roost.web.socket import Socket
from roost.web.unfit import Unfit
from roost.wire import phoenix

if TYPE_CHECKING:
    from roost.live.broadcast import Broadcast

GOING_AWAY: Final = 1001
"""The close code of a client whose socket was told to disconnect (as Phoenix closes)."""
BROKEN: Final = 1011
"""The close code after a frame that is none (as Phoenix closes)."""
RESTART: Final = 1012
"""The close code when the node stops, upon which clients connect again (RFC 6455 registry: Service Restart)."""
DISCONNECT: Final = "disconnect"
"""The event on a socket's own topic that closes it."""

logger = logging.getLogger("roost.socket")


@dataclass(frozen=True, slots=True)
class Live:
    """What connections need of their node."""

    scheduler: Scheduler
    clock: Clock
    pubsub: PubSub
    presence: Presence
    mail: Mail
    unfit: Unfit = field(default_factory=Unfit)
    connects: Connects = field(default_factory=Connects)


class Connection:
    """One client.

    Args:
        live: the node.
        socket: what its application says of the client; it is connected.
        serializer: the version of the protocol that the client speaks.
        outlet: where frames go.
        id: what `Socket.id` has given: the topic on which "disconnect" closes it.

    Attributes:
        seats: what it has joined, or is joining, by topic.
        heard_at: when the client has last said something, in monotonic seconds.
        is_open: whether frames still reach the client.
    """

    __slots__ = (
        "_id",
        "_is_draining",
        "_is_paused",
        "_on_resumed",
        "_pending",
        "heard_at",
        "is_open",
        "live",
        "outlet",
        "seats",
        "serializer",
        "socket",
    )

    def __init__(
        self, live: Live, socket: Socket, serializer: phoenix.Serializer, outlet: Outlet, id: str | None = None
    ) -> None:
        self.live = live
        self.socket = socket
        self.serializer = serializer
        self.outlet = outlet
        self.is_open = True
        self.heard_at = live.clock.now()
        self.seats: dict[str, Seat] = {}
        self._pending = 0
        self._is_paused = self._is_draining = False
        self._on_resumed: Callable[[], None] | None = None
        self._id = id
        if self._id is not None:
            live.pubsub.listen(self._id, self, self._told)

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
        if self._id is not None:
            self.live.pubsub.unsubscribe(self._id, self)
        seats, self.seats = self.seats, {}
        for seat in seats.values():
            seat.silence()
            seat.leave(CLOSED, after_mail=False)  # one that waits for its predecessor will never begin
        self._resume()

    def drain(self) -> None:
        """The node stops: end each channel, then close with 1012.

        A channel first handles what its client has already said, and what `terminate` pushes reaches the client. Who
        takes longer than SHUTDOWN_S is killed. No `phx_close` is sent, so that the client joins again elsewhere; what
        it says from now on is not acted on.
        """
        if not self.is_open or self._is_draining:
            return
        self._is_draining = True
        for topic, seat in list(self.seats.items()):
            waiting = seat.joining
            if waiting is not None and waiting.predecessor is not None:
                seat = self.seats[topic] = forget(waiting)
            seat.leave(DRAINED, after_mail=True)
        self.one_ended()

    def one_ended(self) -> None:
        """A channel has ended. After the last one, a connection that drains closes."""
        if self._is_draining and not self.seats:
            self.close(RESTART)

    def _told(self, broadcast: Broadcast) -> None:
        """Something was broadcast on the socket's own topic."""
        try:
            event = broadcast.event
        except BadMessage as error:
            logger.warning("%s: another node has sent what is no broadcast: %s", self._id, error)
            return
        if event == DISCONNECT:
            self.close(GOING_AWAY)

    # What the client says

    def take(self, data: str | bytes, *, binary: bool) -> None:
        """Act on one message of the client: the content of a text frame, or of a binary one."""
        if not self.is_open:
            return
        self.heard_at = self.live.clock.now()
        try:
            frame = self.serializer.decode(data, binary=binary)
        except (BadMessage, TooLarge) as error:
            logger.info("closing a socket: %s", error)
            self.close(BROKEN)
            return
        topic = frame.topic
        if topic == phoenix.SOCKET_TOPIC and frame.event == phoenix.HEARTBEAT:
            self.write(self.serializer.reply(None, frame.ref, topic, phoenix.OK_STATUS, {}))
        elif self._is_draining:
            return
        elif frame.event == phoenix.JOIN:
            join(self, frame)
        else:
            seat = self.seats.get(topic) if type(topic) is str else None
            if seat is None:
                self._take_unjoined(frame)
            elif frame.join_ref is None or frame.join_ref == seat.join_ref:
                self._take_joined(seat, frame)
            # else: said to a channel that this client has already replaced; nobody waits for an answer

    def _take_unjoined(self, frame: phoenix.Frame) -> None:
        if frame.event == phoenix.LEAVE and type(frame.topic) is str:
            self.write(self.serializer.reply(frame.join_ref, frame.ref, frame.topic, phoenix.OK_STATUS, {}))
        else:
            self.refuse(None, frame, "unmatched topic")

    def _take_joined(self, seat: Seat, frame: phoenix.Frame) -> None:
        if seat.leaving:
            return
        if frame.event == phoenix.LEAVE:
            seat.leaving, seat.leave_ref = True, frame.ref
            seat.silence()
            if seat.process is None:
                assert seat.joining is not None
                cancel(seat, seat.joining)
            else:
                seat.leave(LEFT, after_mail=True)
        elif seat.process is None:
            assert seat.joining is not None
            seat.joining.postpone(frame)
            self.owe(cost_of(frame))
        else:
            self.hand_over(seat, frame)

    def hand_over(self, seat: Seat, frame: phoenix.Frame) -> None:
        """Let the channel of a seat handle an event."""
        try:
            payload = phoenix.payload_of(frame)
        except BadMessage as error:
            self.refuse(seat.join_ref, frame, str(error))
            return
        kind, ref, cost = seat.kind, frame.ref, cost_of(frame)
        on_reply = partial(self._answered, seat, ref, cost)
        spec = kind.__events__.get(frame.event)
        if spec is not None:
            self.ask(seat, spec, (payload, ref), cost, on_reply)
        else:
            self.ask(seat, kind.__fallback__, (frame.event, payload, ref), cost, on_reply)

    def refuse(self, join_ref: phoenix.Ref, frame: phoenix.Frame, reason: str) -> None:
        """Answer a message with an error."""
        answer = {"reason": reason}
        self.write(self.serializer.reply(join_ref, frame.ref, frame.topic, phoenix.ERROR_STATUS, answer))

    # What the channels owe

    def ask(
        self,
        seat: Seat,
        spec: Spec,
        args: tuple[object, ...],
        cost: int,
        on_reply: Callable[[object, Exception | None], None],
    ) -> None:
        """Ask the channel of a seat; `on_reply` has to `settle` the cost."""
        assert seat.process is not None
        self.owe(cost)
        self.live.scheduler.deliver_call(seat.process, spec, args, {}, on_reply)

    def _answered(self, seat: Seat, ref: phoenix.Ref, cost: int, value: object, error: Exception | None) -> None:
        self.settle(cost)
        if error is None:
            if value is UNANSWERED:
                return
            status, response = reply_of(value)
            try:
                frame = self.serializer.reply(seat.join_ref, ref, seat.topic, status, response)
            except UNFIT as unfit:
                seat.crash(unfit)
                return
            seat.write(frame)
        elif (reason := refused_with(error)) is not None:
            answer = {"reason": reason}
            seat.write(self.serializer.reply(seat.join_ref, ref, seat.topic, phoenix.ERROR_STATUS, answer))
        elif not isinstance(error, ProcessDown):
            seat.crash(error)
        elif seat.is_refused and seat.successor is None and not seat.leaving:
            unmatched = {"reason": "unmatched topic"}
            self.write(self.serializer.reply(None, ref, seat.topic, phoenix.ERROR_STATUS, unmatched))
        # else: the channel has crashed, or is being replaced; phx_error or phx_close follows

    def owe(self, cost: int) -> None:
        """A message of the client that costs so much waits; when too much does, nothing more is read."""
        self._pending += cost
        if self._pending >= SOCKET_PENDING_MAX and not self._is_paused:
            self._is_paused = True
            self.outlet.pause()

    def settle(self, cost: int) -> None:
        """Messages that cost so much are answered, or need no answer any more."""
        self._pending -= cost
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
