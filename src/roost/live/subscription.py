"""A subscription of a process: what takes the place of a socket's outlet among the subscribers of a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from roost.errors import BadMessage, Overloaded
from roost.wire import phoenix

if TYPE_CHECKING:
    from roost.live.mail import Mail
    from roost.otp import Process


class Event(msgspec.Struct, frozen=True):
    """An event that a channel, or an application, has broadcast on a topic, as a message for a process.

    Attributes:
        topic: where.
        event: its name.
        payload: a dict of the process's own, or bytes.
    """

    topic: str
    event: str
    payload: phoenix.Payload


class Subscription:
    """One process's ear on one topic.

    Attributes:
        metadata: what the process has said of itself, for dispatchers.
        process: who hears.
        is_over: whether it has unsubscribed, or ended: then it is given nothing any more.
    """

    __slots__ = ("_mail", "_topic", "is_over", "metadata", "process")

    def __init__(self, mail: Mail, topic: str, process: Process, metadata: object) -> None:
        self._mail, self._topic, self.process, self.metadata = mail, topic, process, metadata
        self.is_over = False

    def write(self, frame: bytes) -> None:
        """An event. It passes by a process that has no handler for events."""
        if self.is_over or type(self.process.server).info_for(Event) is None:
            return
        broadcast = self._mail.pubsub.broadcast_of(self._topic, frame)
        try:
            event = Event(self._topic, broadcast.event, broadcast.own_payload())
        except BadMessage as error:
            self._mail.miss("bad", f"an event on {self._topic}: {error}")
            return
        self.tell(event)

    def tell(self, message: object) -> None:
        """Put a message into the mailbox; lost when that is full."""
        if self.is_over:
            return
        try:
            self.process.inform(message)
        except Overloaded as error:
            self._mail.miss("refused", f"a message on {self._topic}: {error}")

    def flush(self) -> None:
        """Nothing is collected here."""
