"""Joining: from a client's `phx_join` to its answer, and what becomes of the channel that had the topic before.

One join follows another on the same topic only when the old channel has ended, so that two channels of one client
never act at once. Meanwhile the new one waits, without holding up anything else. What the old one has to say at its
end is kept until the new join is answered, because that is the order of Phoenix: the reply, then the old `phx_close`.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from roost.errors import BadMessage, ProcessDown, StartFailed, TooLarge
from roost.limits import SOCKET_PENDING_UNIT_BYTES
from roost.otp import Down
from roost.otp.crash import explain
from roost.web.answering import UNFIT, refused_with, reply_of
from roost.web.seat import REFUSED, REPLACED, Seat
from roost.wire import phoenix

if TYPE_CHECKING:
    from roost.web.connection import Connection

SUPERSEDED: Final = "replaced by a newer join"
CRASHED: Final = "join crashed"

logger = logging.getLogger("roost.socket")


class Joining:
    """What a seat carries until its client has the answer to its join.

    Attributes:
        ref: the client's reference of the join.
        held: frames that wait for the answer.
        held_bytes: what they are together.
        farewell: frames about channels that had the topic before; they follow the answer.
        postponed: what the client has said to a channel that has not even begun.
        owed: what that costs, by `cost_of`.
        predecessor: the seat that has to end before this one begins.
        params: what the client joins with.
        cost: what the join itself costs.
    """

    __slots__ = (
        "_welcome",
        "cost",
        "farewell",
        "held",
        "held_bytes",
        "owed",
        "params",
        "postponed",
        "predecessor",
        "ref",
        "seat",
    )

    seat: Seat

    def __init__(self, ref: phoenix.Ref, params: dict[str, object], cost: int) -> None:
        self.ref = ref
        self.params, self.cost = params, cost
        self.held: list[bytes] = []
        self.held_bytes = 0
        self.farewell: list[bytes] = []
        self.postponed: list[phoenix.Frame] = []
        self.owed = 0
        self.predecessor: Seat | None = None
        self._welcome: bytes | None = None

    @property
    def is_welcome(self) -> bool:
        """Whether the channel has let the client in; the client may not know yet."""
        return self._welcome is not None

    def postpone(self, frame: phoenix.Frame) -> None:
        """Keep what the client says until the channel has begun."""
        self.postponed.append(frame)
        self.owed += cost_of(frame)

    def admit(self, welcome: bytes) -> None:
        """The channel lets the client in: answer as soon as all nodes know that somebody listens here."""
        self._welcome = welcome
        self.seat.connection.live.pubsub.when_settled(self.seat.topic, self.open)

    def open(self) -> None:
        """Answer, when that has not happened, then say what has waited for it."""
        seat, welcome = self.seat, self._welcome
        if welcome is None or seat.joining is None:
            return
        seat.open()
        for frame in (welcome, *self.farewell, *self.held):
            seat.connection.write(frame)

    def refuse(self, answer: bytes) -> None:
        """The client stays outside."""
        for frame in (answer, *self.farewell):
            self.seat.connection.write(frame)
        self.farewell = []

    def refusal(self, reason: str) -> bytes:
        """The frame that answers with an error."""
        seat = self.seat
        return seat.connection.serializer.reply(
            seat.join_ref, self.ref, seat.topic, phoenix.ERROR_STATUS, {"reason": reason}
        )


def cost_of(frame: phoenix.Frame) -> int:
    """As how many messages one counts while it is not answered: long ones as several."""
    return 1 + len(frame.payload) // SOCKET_PENDING_UNIT_BYTES


def join(connection: Connection, frame: phoenix.Frame) -> None:
    """Act on a `phx_join`."""
    topic, socket = frame.topic, connection.socket
    kind = socket.channel_for(topic) if type(topic) is str else None
    if kind is None or type(topic) is not str:
        connection.refuse(None, frame, "unmatched topic")
        return
    old = connection.seats.get(topic)
    if old is None and len(connection.seats) >= socket.channels_max:
        connection.refuse(frame.join_ref, frame, "too many channels joined")
        return
    try:
        params = phoenix.payload_of(frame)
    except BadMessage as error:
        connection.refuse(frame.join_ref, frame, str(error))
        return
    if isinstance(params, bytes):
        connection.refuse(frame.join_ref, frame, "a join takes an object, not bytes")
        return
    joining = Joining(frame.ref, params, cost_of(frame))
    seat = joining.seat = Seat(connection, topic, frame.join_ref, kind, joining)
    connection.seats[topic] = seat
    if old is None:
        _begin(seat, joining)
    else:
        _replace(old, seat, joining)


def _replace(old: Seat, seat: Seat, joining: Joining) -> None:
    """`seat` takes the place of `old`."""
    waiting = old.joining
    if waiting is None or waiting.predecessor is None:
        old.successor, joining.predecessor = seat, old
        old.silence()
        old.leave(REPLACED, after_mail=False)
    else:
        # `old` waits itself, and will now never begin. It is answered at once: whoever joins without end, while the
        # channel takes its time to end, must not fill the memory.
        predecessor = forget(waiting)
        predecessor.successor, joining.predecessor = seat, predecessor
        seat.connection.write(waiting.refusal(SUPERSEDED))


def cancel(seat: Seat, joining: Joining) -> None:
    """The client leaves a topic for whose join it waits, while that waits itself: it never begins."""
    connection = seat.connection
    connection.seats[seat.topic] = forget(joining)  # one more join has to wait for it, too
    left = connection.serializer.reply(seat.join_ref, seat.leave_ref, seat.topic, phoenix.OK_STATUS, {})
    connection.write(left)
    connection.write(connection.serializer.close(seat.join_ref, seat.topic))


def forget(joining: Joining) -> Seat:
    """Let a join that waits for its predecessor never begin; returns that predecessor."""
    predecessor = joining.predecessor
    assert predecessor is not None
    predecessor.successor = joining.predecessor = None
    joining.seat.connection.settle(joining.owed)
    return predecessor


def _begin(seat: Seat, joining: Joining) -> None:
    connection = seat.connection
    try:
        seat.start(partial(_ended, seat))
    except (StartFailed, TooLarge):
        logger.exception("%s: the channel did not start", seat.topic)
        seat.vanish()
        del connection.seats[seat.topic]
        joining.refuse(joining.refusal(CRASHED))
        connection.settle(joining.owed)
        for frame in joining.postponed:
            connection.refuse(None, frame, "unmatched topic")
        return
    args = seat.topic, joining.params, connection.socket
    connection.ask(seat, seat.kind.__join__, args, joining.cost, partial(_joined, seat, joining))
    postponed, joining.postponed = joining.postponed, []
    connection.settle(joining.owed)
    for frame in postponed:
        connection.hand_over(seat, frame)


def _joined(seat: Seat, joining: Joining, value: object, error: Exception | None) -> None:
    connection = seat.connection
    connection.settle(joining.cost)
    if not connection.is_open:
        return
    if isinstance(error, ProcessDown):
        answer = joining.refusal(CRASHED if seat.successor is None else SUPERSEDED)
    else:
        try:
            status, answer = _answer(seat, joining, value, error)
        except UNFIT as unfit:
            logger.error("%s: a reply to a join that cannot be sent: %s", seat.topic, unfit)
            answer = joining.refusal(CRASHED)
        else:
            if status == phoenix.OK_STATUS:
                joining.admit(answer)
                return
    joining.refuse(answer)
    seat.leave(REFUSED, after_mail=False)
    if connection.seats.get(seat.topic) is seat and seat.successor is None:
        del connection.seats[seat.topic]


def _answer(seat: Seat, joining: Joining, value: object, error: Exception | None) -> tuple[str, bytes]:
    """The status and the frame that answers a join. Raises one of UNFIT when it cannot be sent."""
    if error is None:
        status, response = reply_of(value)
    else:
        reason = refused_with(error)
        if reason is None:
            raise TypeError(explain(error)) from error
        status, response = phoenix.ERROR_STATUS, {"reason": reason}
    return status, seat.connection.serializer.reply(seat.join_ref, joining.ref, seat.topic, status, response)


def _ended(seat: Seat, down: Down) -> None:
    connection, successor = seat.connection, seat.successor
    frames = seat.ended(down.reason)
    if successor is None:
        if connection.seats.get(seat.topic) is seat:
            del connection.seats[seat.topic]
        for frame in frames:
            connection.write(frame)
        connection.one_ended()
    elif connection.is_open:
        joining = successor.joining
        assert joining is not None
        joining.predecessor = None
        joining.farewell = frames
        _begin(successor, joining)
