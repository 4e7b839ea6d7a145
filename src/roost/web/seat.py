"""A seat: one topic that one connection has joined, from the request to join to the last frame about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from roost.limits import SHUTDOWN_S, SOCKET_HELD_FRAMES_MAX
from roost.live.channel import Channel, Payload
from roost.otp import Down, Monitor, Process
from roost.otp.crash import is_clean
from roost.otp.ending import STOP
from roost.wire import phoenix

if TYPE_CHECKING:
    from collections.abc import Callable

    from roost.runtime.clock import Timer
    from roost.web.connection import Connection

LEFT: Final = "shutdown:left"
REPLACED: Final = "shutdown:duplicate_join"
REFUSED: Final = "shutdown:refused"
OVERRUN: Final = "overrun"


class Seat:
    """One channel of one connection. It is the channel's way to its client, its topic and its presences.

    The life of a seat: *waiting* for its predecessor on the same topic to end, *joining* (frames for the client are
    held back, because the reply to the join comes first), *joined*, *leaving*, ended. `process` is None while it waits.
    """

    __slots__ = (
        "_connection",
        "_deadline",
        "_held",
        "_presences",
        "_welcome",
        "begin",
        "farewell",
        "is_joined",
        "join_ref",
        "leave_ref",
        "leaving",
        "predecessor",
        "process",
        "ref",
        "successor",
        "topic",
    )

    def __init__(self, connection: Connection, topic: str, join_ref: phoenix.Ref, ref: phoenix.Ref) -> None:
        self._connection = connection
        self.topic = topic
        self.join_ref = join_ref
        self.ref = ref
        self.process: Process | None = None
        self.predecessor: Seat | None = None
        self.successor: Seat | None = None
        self.begin: Callable[[], None] | None = None
        self.farewell: list[bytes] = []
        self.is_joined = False
        self.leaving = False
        self.leave_ref: phoenix.Ref = None
        self._held: list[bytes] | None = []
        self._welcome: bytes | None = None
        self._presences: list[int] | None = None
        self._deadline: Timer | None = None

    # Life

    def start(self, kind: type[Channel], on_down: Callable[[Down], None]) -> Process:
        """Start the channel's process and let it hear the topic."""
        connection = self._connection
        process = connection.live.scheduler.start_now(kind, (self.topic, self), {}, None, link=False)._process
        self.process = process
        process.tied.monitors[Monitor(process, None, on_down)] = None
        connection.live.pubsub.subscribe(self.topic, self, self)
        return process

    def refusal(self, reason: str) -> bytes:
        """The frame that answers the join with an error."""
        return phoenix.reply(self.join_ref, self.ref, self.topic, phoenix.ERROR_STATUS, {"reason": reason})

    def admit(self, welcome: bytes) -> None:
        """The channel lets the client in: answer as soon as all nodes know that somebody listens here."""
        self._welcome = welcome
        self._connection.live.pubsub.when_settled(self.topic, self._open)

    def _open(self) -> None:
        welcome, held = self._welcome, self._held
        if welcome is None or held is None:
            return
        self._welcome = self._held = None
        self.is_joined = True
        connection = self._connection
        for frame in (welcome, *self.farewell, *held):
            connection.write(frame)
        self.farewell = []
        process = self.process
        if process is not None and process.alive and not self.leaving and self.successor is None and connection.is_open:
            connection.live.pubsub.subscribe(self.topic, self, connection.outlet)

    def leave(self, reason: str, *, after_mail: bool) -> None:
        """End the channel; what its mailbox holds is handled first if `after_mail`. It is killed after SHUTDOWN_S."""
        process = self.process
        if process is None or not process.alive:
            return
        if self._deadline is None:
            self._deadline = self._connection.live.clock.call_later(SHUTDOWN_S, process.kill)
        if after_mail:
            process.post_control(STOP, reason)
        else:
            process.leave(reason, self.is_joined or self._welcome is not None)

    def ended(self, reason: object) -> list[bytes]:
        """The process has ended: clean up after it. Returns the frames that tell the client."""
        live = self._connection.live
        self.silence()
        if self._deadline is not None:
            self._deadline.cancel()
        for id in self._presences or ():
            live.presence.untrack(id)
        self._presences = None
        self._open()
        left = phoenix.reply(self.join_ref, self.leave_ref, self.topic, phoenix.OK_STATUS, {})
        if not self.is_joined:
            # The join was refused, crashed or replaced after the client had already asked to leave.
            return [left] if self.leaving else []
        if self.leaving:
            return [left, phoenix.close(self.join_ref, self.topic)]
        if is_clean(reason):
            return [phoenix.close(self.join_ref, self.topic)]
        return [phoenix.error(self.join_ref, self.topic, "channel_crash")]

    def silence(self) -> None:
        """Nothing that is broadcast reaches the client through this seat any more."""
        self._connection.live.pubsub.unsubscribe(self.topic, self)

    # What the topic gives while the client is joining

    def write(self, frame: bytes) -> None:
        """Send a frame to the client, after the reply to its join."""
        held = self._held
        if held is None:
            self._connection.write(frame)
        elif len(held) < SOCKET_HELD_FRAMES_MAX:
            held.append(frame)
        elif self.process is not None:
            self.process.exit(OVERRUN)

    def flush(self) -> None:
        """What is held back is not sent at the end of a turn, but when the client has joined."""

    # What the channel does

    def push(self, event: str, payload: object) -> None:
        """Send an event to the client; lost when it has left."""
        if self.process is not None:
            self.write(phoenix.push(self.join_ref, self.topic, event, payload))

    def broadcast(self, event: str, payload: object, *, with_me: bool) -> None:
        """Send an event to every client on the topic."""
        self._connection.live.pubsub.broadcast(self.topic, event, payload, excluded=None if with_me else self)

    def track(self, key: str, meta: Payload) -> int:
        """Add a presence that lasts as long as this seat; the first one is answered with the whole list."""
        presence = self._connection.live.presence
        id = presence.track(self.topic, key, meta)
        if self._presences is None:
            self._presences = []
            presence.welcome(self.topic, self._push_if_alive)
        self._presences.append(id)
        return id

    def update(self, id: int, meta: Payload) -> None:
        """Replace the meta of a presence."""
        self._connection.live.presence.update(id, meta)

    def untrack(self, id: int) -> None:
        """Remove a presence."""
        self._connection.live.presence.untrack(id)
        if self._presences is not None and id in self._presences:
            self._presences.remove(id)

    def present(self) -> dict[str, list[Payload]]:
        """Who is on the topic."""
        return self._connection.live.presence.list(self.topic)

    def _push_if_alive(self, event: str, payload: object) -> None:
        if self.process is not None and self.process.alive and self._connection.is_open:
            self.push(event, payload)
