"""A seat: one topic that one connection has joined, from the request to join to the last frame about it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from roost.errors import BadMessage, Overloaded, TooLarge
from roost.limits import SHUTDOWN_S, SOCKET_HELD_BYTES_MAX, SOCKET_HELD_FRAMES_MAX
from roost.live.channel import Channel, Payload
from roost.live.event import hears_messages
from roost.otp import Down, Monitor, Process
from roost.otp.crash import is_clean
from roost.otp.ending import STOP
from roost.wire import phoenix

if TYPE_CHECKING:
    from collections.abc import Callable

    from roost.live.broadcast import Broadcast
    from roost.otp.declare import Spec
    from roost.runtime.clock import Timer
    from roost.web.connection import Connection
    from roost.web.joining import Joining

LEFT: Final = "shutdown:left"
REPLACED: Final = "shutdown:duplicate_join"
REFUSED: Final = "shutdown:refused"
DRAINED: Final = "shutdown:drain"
CLOSED: Final = "shutdown:closed"
OVERRUN: Final = "overrun"

logger = logging.getLogger("roost.socket")


class Seat:
    """One channel of one connection. It is the channel's way to its client, its topic and its presences.

    The life of a seat: *waiting* for its predecessor on the same topic to end, *joining* (frames for the client are
    held back, because the reply to the join comes first), *joined*, *leaving*, ended. `process` is None while it waits,
    `joining` is not None until the client has the reply.

    Most seats hear their topic without being asked: what is broadcast goes straight to the outlet of the connection.
    A seat *listens* when that will not do, because the client speaks version 1 or the channel intercepts events.
    """

    __slots__ = (
        "_deadline",
        "_last_words",
        "_presences",
        "connection",
        "join_ref",
        "joining",
        "kind",
        "leave_ref",
        "leaving",
        "process",
        "successor",
        "topic",
    )

    def __init__(
        self, connection: Connection, topic: str, join_ref: phoenix.Ref, kind: type[Channel], joining: Joining
    ) -> None:
        self.connection = connection
        self.topic = topic
        self.join_ref = join_ref
        self.joining: Joining | None = joining
        self.process: Process | None = None
        self.successor: Seat | None = None
        self.leaving = False
        self.leave_ref: phoenix.Ref = None
        self.kind = kind
        self._presences: list[int] | None = None
        self._last_words: list[bytes] | None = None
        self._deadline: Timer | None = None

    # Life

    def start(self, on_down: Callable[[Down], None]) -> Process:
        """Start the channel's process and let it hear the topic.

        Raises:
            StartFailed: its `init` has raised.
            TooLarge: the processes of this node have SUBSCRIPTIONS_MAX subscriptions.
        """
        connection = self.connection
        live = connection.live
        args = self.topic, self, connection.socket.assigns
        process = live.scheduler.start_now(self.kind, args, {}, None, link=False)._process
        if hears_messages(self.kind):
            try:
                live.mail.subscribe(self.topic, process, None)
            except TooLarge:
                process.kill()
                raise
        self.process = process
        process.tied.monitors[Monitor(process, None, on_down)] = None
        if self._listens:
            live.pubsub.listen(self.topic, self, self.hear)
        else:
            live.pubsub.subscribe(self.topic, self, self)
        return process

    @property
    def _listens(self) -> bool:
        return bool(self.kind.__intercepts__) or self.connection.serializer is not phoenix.V2

    def open(self) -> None:
        """The client has the reply to its join: from now on it hears the topic itself."""
        self.joining = None
        process, connection = self.process, self.connection
        if self._listens or process is None or not process.alive:
            return
        if connection.is_open and not self.leaving and self.successor is None:
            connection.live.pubsub.subscribe(self.topic, self, connection.outlet)

    def leave(self, reason: str, *, after_mail: bool) -> None:
        """End the channel; what its mailbox holds is handled first if `after_mail`. It is killed after SHUTDOWN_S."""
        process = self.process
        if process is None or not process.alive:
            return
        self.hurry()
        if after_mail:
            process.post_control(STOP, reason)
        else:
            process.leave(reason, not self.is_refused)

    def hurry(self) -> None:
        """The channel ends: it is killed if that takes longer than SHUTDOWN_S."""
        if self._deadline is None and self.process is not None:
            self._deadline = self.connection.live.clock.call_later(SHUTDOWN_S, self.process.kill)

    @property
    def is_refused(self) -> bool:
        """Whether the channel has not let its client in, or not yet."""
        return self.joining is not None and not self.joining.is_welcome

    def crash(self, error: Exception) -> None:
        """The channel has answered what cannot be sent."""
        logger.error("%s: a reply that cannot be sent: %s", self.topic, error)
        if self.process is not None:
            self.process.leave(error, True)

    def ended(self, reason: object) -> list[bytes]:
        """The process has ended: clean up after it. Returns the frames that tell the client."""
        serializer = self.connection.serializer
        self.silence()
        if self._deadline is not None:
            self._deadline.cancel()
        self.vanish()
        if self.joining is not None:
            self.joining.open()
        last_words, self._last_words = self._last_words or [], None
        left = serializer.reply(self.join_ref, self.leave_ref, self.topic, phoenix.OK_STATUS, {})
        if self.joining is not None:
            # The join was refused, crashed or replaced, perhaps after the client had already asked to leave.
            return [left] if self.leaving else []
        if self.leaving:
            return [left, serializer.close(self.join_ref, self.topic), *last_words]
        if reason == DRAINED:
            return last_words  # after a phx_close the client would not join again
        if is_clean(reason):
            return [serializer.close(self.join_ref, self.topic), *last_words]
        return [serializer.error(self.join_ref, self.topic, "channel_crash")]

    def silence(self) -> None:
        """Nothing that is broadcast reaches the client through this seat any more."""
        connection, pubsub = self.connection, self.connection.live.pubsub
        pubsub.unsubscribe(self.topic, self)
        if connection.is_open:
            pubsub.turn.mark(connection.outlet)  # it may have collected frames in this turn, and the topic forgets it

    # What the topic gives

    def write(self, frame: bytes) -> None:
        """Send a frame to the client, after the reply to its join."""
        joining = self.joining
        if joining is None:
            self.connection.write(frame)
            return
        if len(joining.held) < SOCKET_HELD_FRAMES_MAX and joining.held_bytes < SOCKET_HELD_BYTES_MAX:
            joining.held.append(frame)
            joining.held_bytes += len(frame)
        else:
            self._overrun()

    def _overrun(self) -> None:
        """More waits for the channel, or for its client, than may: it ends, without `terminate`."""
        process = self.process
        if process is not None and process.alive:
            self.hurry()
            process.leave(OVERRUN, False)

    def flush(self) -> None:
        """What is held back is not sent at the end of a turn, but when the client has joined."""

    def hear(self, broadcast: Broadcast) -> None:
        """Take a broadcast that does not go straight to the outlet."""
        try:
            intercept = self.kind.__intercepts__.get(broadcast.event)
            if intercept is not None:
                self._intercept(intercept, broadcast.own_payload())
                return
            frame = broadcast.frame_for(self.connection.serializer)
        except TypeError:
            self.connection.live.unfit.note(self.topic)
        except (BadMessage, RecursionError) as error:
            logger.warning("%s: another node has sent what is no broadcast: %s", self.topic, error)
        else:
            self.write(frame)

    def _intercept(self, spec: Spec, payload: phoenix.Payload) -> None:
        """Give a broadcast to the channel instead of the client. A channel that does not keep up crashes."""
        process = self.process
        if process is None or not process.alive:
            return
        try:
            process.tell(spec, (payload,), {})
        except Overloaded:
            self._overrun()

    # What the channel does

    def push(self, event: str, payload: object) -> None:
        """Send an event to the client; lost when it has left."""
        process = self.process
        if process is None:
            return
        frame = self.connection.serializer.push(self.join_ref, self.topic, event, payload)
        if process.leaving is None or not is_clean(process.leaving[0]):
            self.write(frame)
            return
        # Said by `terminate`: the client gets it after the reply of the handler that has ended the channel.
        if self._last_words is None:
            self._last_words = []
        if len(self._last_words) < SOCKET_HELD_FRAMES_MAX:
            self._last_words.append(frame)

    def reply(self, ref: phoenix.Ref, status: str, payload: object) -> None:
        """Answer one message of the client; lost when it has left."""
        frame = self.connection.serializer.reply(self.join_ref, ref, self.topic, status, payload)
        if self.process is not None and self.process.alive:
            self.write(frame)

    def broadcast(self, event: str, payload: object, *, with_me: bool) -> None:
        """Send an event to every client on the topic."""
        self.connection.live.pubsub.broadcast(self.topic, event, payload, excluded=None if with_me else self)

    def track(self, key: str, meta: Payload) -> int:
        """Add a presence that lasts as long as this seat; the first one is answered with the whole list."""
        if self.process is not None and not self.process.alive:
            raise self.process.down()
        presence = self.connection.live.presence
        id = presence.track(self.topic, key, meta)
        if self._presences is None:
            self._presences = []
            presence.welcome(self.topic, self._welcome)
        self._presences.append(id)
        return id

    def update(self, id: int, meta: Payload) -> None:
        """Replace the meta of a presence."""
        self.connection.live.presence.update(id, meta)

    def untrack(self, id: int) -> None:
        """Remove a presence."""
        self.connection.live.presence.untrack(id)
        if self._presences is not None and id in self._presences:
            self._presences.remove(id)

    def vanish(self) -> None:
        """Remove all presences."""
        tracked, self._presences = self._presences, None
        for id in tracked or ():
            self.connection.live.presence.untrack(id)

    def present(self) -> dict[str, list[Payload]]:
        """Who is on the topic."""
        return self.connection.live.presence.list(self.topic)

    def count_present(self) -> int:
        """How many are on the topic."""
        return self.connection.live.presence.count(self.topic)

    def _welcome(self, event: str, payload: object) -> None:
        """Push the list of presences, unless the channel ends: behind its last frame it would mislead the next one."""
        process = self.process
        if process is not None and process.alive and process.leaving is None and self.connection.is_open:
            self.push(event, payload)
