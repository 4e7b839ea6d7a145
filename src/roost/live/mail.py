"""The processes among the subscribers of topics: what they are sent, and how it crosses between nodes.

A message travels as the name of its declared class (`live.message`) and its fields. On the way in the class is looked
up in the closed table, and the fields are checked against their types. It goes the way of events (`live.pubsub`), so
the order of one publisher holds across both.

When things fail: a process that ends leaves its topics at once. A message to a full mailbox is lost, counted and
logged; so is one of a class, or for a dispatcher, that this node does not know.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from roost.cluster.node import Node
from roost.cluster.process_service import UNSENDABLE, encode
from roost.errors import BadMessage, NoSuchDispatcher, NotLocal, NotSendable, TooLarge
from roost.limits import MESSAGE_BYTES_MAX, SUBSCRIPTIONS_MAX, TOPIC_BYTES_MAX
from roost.live.dispatcher import Dispatchers, Subscriber
from roost.live.message import Messages
from roost.live.pubsub import HEAD_BYTES_MAX, PubSub, Said
from roost.live.subscription import Subscription
from roost.otp import Down, GenServer, Monitor, Process, Scheduler
from roost.otp.isolation import isolate
from roost.otp.remote import target_of

logger = logging.getLogger("roost.pubsub")

MISSES: Final = ("refused", "bad", "unknown", "failed")
"""What is counted: a mailbox was full, a message did not fit its class, a name was unknown, a dispatcher raised."""


class _Ears:
    """The subscriptions of one process, and the watch over its end."""

    __slots__ = ("monitor", "topics")

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.topics: dict[str, Subscription] = {}


class Mail:
    """The subscribed processes of one node.

    Args:
        pubsub: the topics of the node.
        scheduler: its processes.
        make_handle: makes a handle of what crossed in its place.

    Attributes:
        pubsub: as given.
        missed: how often messages did not arrive, by MISSES.
    """

    def __init__(self, pubsub: PubSub, scheduler: Scheduler, make_handle: Callable[[type, object], object]) -> None:
        self.pubsub = pubsub
        self.missed = dict.fromkeys(MISSES, 0)
        self._scheduler, self._make_handle = scheduler, make_handle
        self._ears: dict[Process, _Ears] = {}
        self._subscriptions = 0
        self._decoders: dict[type, Callable[[msgspec.Raw], object]] = {}

    @classmethod
    def of(cls, node: Node) -> Mail:
        """That of a node, made when it is first asked for."""
        pubsub = PubSub.of(node)
        if pubsub.mail is None:
            pubsub.mail = cls(pubsub, node.scheduler, node.processes.make_handle)
        return pubsub.mail

    # Subscribing

    def local(self, handle: GenServer) -> Process:
        """The process of a handle. Raises NotLocal when it is of another node."""
        if target_of(handle) is not None or handle._process.scheduler is not self._scheduler:
            raise NotLocal(repr(handle))
        return handle._process

    def subscribe(self, topic: str, process: Process, metadata: object) -> None:
        """Let a process hear a topic until it ends. Once more: its metadata is another.

        Raises:
            TooLarge: the topic is over TOPIC_BYTES_MAX, or the processes here have SUBSCRIPTIONS_MAX.
            NotSendable: the metadata could be changed by others.
            ProcessDown: the process has ended.
        """
        check_topic(topic)
        if not process.alive:
            raise process.down()
        metadata = isolate(metadata, "the metadata of a subscription")
        ears = self._ears.get(process)
        known = None if ears is None else ears.topics.get(topic)
        if known is not None:
            known.metadata = metadata
            return
        if self._subscriptions >= SUBSCRIPTIONS_MAX:
            raise TooLarge("SUBSCRIPTIONS_MAX", self._subscriptions + 1, SUBSCRIPTIONS_MAX)
        if ears is None:
            ears = self._ears[process] = _Ears(Monitor(process, None, self._on_end))
            process.tied.monitors[ears.monitor] = None
        subscription = ears.topics[topic] = Subscription(self, topic, process, metadata)
        self._subscriptions += 1
        self.pubsub.subscribe(topic, process, subscription)

    def unsubscribe(self, topic: str, process: Process) -> bool:
        """Put nothing more of the topic into the mailbox of the process. Returns whether it had subscribed."""
        ears = self._ears.get(process)
        subscription = None if ears is None else ears.topics.pop(topic, None)
        if ears is None or subscription is None:
            return False
        self._end(topic, subscription)
        if not ears.topics:
            del self._ears[process]
            ears.monitor.cancel()
        return True

    def _on_end(self, down: Down) -> None:
        ears = self._ears.pop(down.process._process)
        for topic, subscription in ears.topics.items():
            self._end(topic, subscription)

    def _end(self, topic: str, subscription: Subscription) -> None:
        subscription.is_over = True
        self._subscriptions -= 1
        self.pubsub.unsubscribe(topic, subscription.process)

    # Publishing

    def broadcast(self, topic: str, message: object, excluded: Process | None, dispatcher: str) -> None:
        """Send a message to the subscribed processes of all nodes, but to `excluded`.

        Raises:
            NotDeclared, NotSendable, TooLarge, NoSuchDispatcher: when the message, or the dispatcher, is no use.
        """
        message = isolate(message, "a message on a topic")
        self.pubsub.say(_said(topic, message, dispatcher))
        self._deliver(topic, message, excluded, dispatcher)

    def local_broadcast(self, topic: str, message: object, excluded: Process | None, dispatcher: str) -> None:
        """Send any message that may cross to the subscribed processes of this node.

        Raises:
            NotSendable, TooLarge, NoSuchDispatcher: when the message, or the dispatcher, is no use.
        """
        check_topic(topic)
        if dispatcher:
            Dispatchers.find(dispatcher)
        self._deliver(topic, isolate(message, "a message on a topic"), excluded, dispatcher)

    def direct_broadcast(self, node: str, topic: str, message: object, dispatcher: str) -> None:
        """Send a message to the subscribed processes of one node. Raises as `broadcast` does."""
        message = isolate(message, "a message on a topic")
        said = _said(topic, message, dispatcher)
        if node == self.pubsub.node:
            self._deliver(topic, message, None, dispatcher)
        else:
            self.pubsub.say(said, node)

    # Delivering

    def take(self, said: Said) -> None:
        """A message from another node."""
        kind = Messages.find(said.kind)
        if kind is None:
            self.miss("unknown", f"a message on {said.topic}: no @pubsub.message is called {said.kind!r} here")
            return
        try:
            decode = self._decoders.get(kind)
            if decode is None:
                decode = self._decoders[kind] = msgspec.msgpack.Decoder(kind, dec_hook=self._make_handle).decode
            message = decode(said.message)
        except Exception as error:  # whatever the class makes of fields that fit, too
            self.miss("bad", f"a {said.kind} on {said.topic}: {error}")
            return
        self._scheduler.inside(lambda: self._deliver(said.topic, message, None, said.dispatcher))

    def _deliver(self, topic: str, message: object, excluded: Process | None, dispatcher: str) -> None:
        ears = [sink for sink in self.pubsub.sinks(topic, excluded) if type(sink) is Subscription]
        if not ears:
            return
        if dispatcher:
            self._dispatch(ears, topic, message, dispatcher)
            return
        where = "a message on a topic"
        own = isolate(message, where)
        if own is message:  # nothing in it can change, so all may have it
            for ear in ears:
                ear.tell(message)
        else:
            for ear in ears:
                ear.tell(isolate(message, where))

    def _dispatch(self, ears: list[Subscription], topic: str, message: object, dispatcher: str) -> None:
        try:
            function = Dispatchers.find(dispatcher)
        except NoSuchDispatcher as error:
            self.miss("unknown", f"a message on {topic}: {error}")
            return
        try:
            function([Subscriber(ear.process.handle, ear.metadata) for ear in ears], message)
        except Exception:
            self.missed["failed"] += 1
            logger.exception("the dispatcher %r failed on a message on %s", dispatcher, topic)

    def miss(self, why: str, told: str) -> None:
        """A message does not arrive: count it, and log the first, second, fourth, eighth ... of its kind."""
        count = self.missed[why] = self.missed[why] + 1
        if count & (count - 1) == 0:
            logger.warning("%s was not delivered (%s, %d so far)", told, why, count)


def check_topic(topic: str) -> None:
    """Refuse what cannot be a topic.

    Raises:
        BadMessage: it is no text.
        TooLarge: it is over TOPIC_BYTES_MAX.
    """
    try:
        size = len(topic.encode())
    except (AttributeError, UnicodeEncodeError):
        raise BadMessage(f"a topic is text, not {topic!r}") from None
    if size > TOPIC_BYTES_MAX:
        raise TooLarge("TOPIC_BYTES_MAX", size, TOPIC_BYTES_MAX)


def _said(topic: str, message: object, dispatcher: str) -> Said:
    check_topic(topic)
    if dispatcher:
        Dispatchers.find(dispatcher)
    kind = Messages.name_of(message)
    try:
        body = encode(message)
    except UNSENDABLE as error:
        raise NotSendable(str(error), f"a {kind} on a topic") from None
    if len(body) > MESSAGE_BYTES_MAX - HEAD_BYTES_MAX:
        raise TooLarge("MESSAGE_BYTES_MAX", len(body), MESSAGE_BYTES_MAX - HEAD_BYTES_MAX)
    return Said(topic, kind, msgspec.Raw(body), dispatcher)
