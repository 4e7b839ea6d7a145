"""Topics: whoever broadcasts reaches every subscriber on every node, at most once.

Theory of operation. A broadcast is made into one ready frame (`wire.phoenix`) where it starts. It goes to each node
that wants the topic's bucket (`live.interest`) as one message that holds this frame, and to each subscriber here by one
call of `sink.write`, all in the turn of the caller: that is what keeps the order of one publisher. `when_settled` waits
until every connected node knows that a topic is wanted here.

When things fail: what was sent to a node that goes down, or that does not keep up, is lost for that node; no one is
told. In a netsplit each side goes on for itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from roost.cluster.fabric import Fabric
from roost.cluster.link import Link
from roost.core.interest import bucket_of
from roost.errors import NodeDown, RoostError, TooLarge
from roost.limits import MESSAGE_BYTES_MAX
from roost.live.broadcast import Broadcast
from roost.live.interest import Interest
from roost.live.subscribers import One, Sink, Subscribers
from roost.live.turn import Turn
from roost.runtime.clock import Clock
from roost.wire import phoenix
from roost.wire.messages import Request

if TYPE_CHECKING:
    from roost.cluster.node import Node
    from roost.live.mail import Mail

SERVICE: Final = "pubsub"
HEAD_BYTES_MAX: Final = 2_048
"""What a broadcast may hold between nodes beside its frame or message: its topic, and names."""

logger = logging.getLogger("roost.pubsub")


class Publish(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """An event on its way to another node."""

    topic: str
    frame: bytes


class Said(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """A message of a process on its way to the subscribers on another node.

    Attributes:
        topic: where it is said.
        kind: the name of its declared class.
        message: the encoded message.
        dispatcher: the name of the function that hands it out there; "" for the usual way.
    """

    topic: str
    kind: str
    message: msgspec.Raw
    dispatcher: str


encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Publish | Said).decode


class _Ear:
    """A listener in the place of a sink."""

    __slots__ = ("_hear", "_pubsub", "_topic")

    def __init__(self, pubsub: PubSub, topic: str, hear: Callable[[Broadcast], None]) -> None:
        self._pubsub, self._topic, self._hear = pubsub, topic, hear

    def write(self, frame: bytes) -> None:
        self._hear(self._pubsub.broadcast_of(self._topic, frame))

    def flush(self) -> None:
        """A listener collects nothing."""


class PubSub:
    """The topics of one node. It is a service of the fabric.

    Attributes:
        node: the name of the node.
        turn: where sinks are flushed; for what else writes to them.
        mail: the processes among the subscribers; None until the first process subscribes or speaks.
        lost: how many messages to other nodes they could not take, because they did not keep up.
        unwanted: how many messages of other nodes nobody here wanted: buckets are shared, and interest fades.
        bad: how many messages of other nodes were none.
    """

    def __init__(self, fabric: Fabric, clock: Clock) -> None:
        self.node = fabric.node
        self._fabric = fabric
        self.turn = Turn(clock)
        self.mail: Mail | None = None
        self.lost = 0
        self.unwanted = 0
        self.bad = 0
        self._current = Broadcast("", b"")
        self._topics: dict[str, Subscribers] = {}
        self._interest = Interest(fabric, SERVICE, clock, self.turn)
        fabric.serve(SERVICE, self)
        fabric.watch(self._interest.on_peer)

    @classmethod
    def of(cls, node: Node) -> PubSub:
        """The topics of a node, made when they are first asked for."""
        served = node.fabric.service(SERVICE)
        return served if isinstance(served, PubSub) else cls(node.fabric, node.runtime.clock)

    # Subscribing

    def subscribe(self, topic: str, key: object, sink: Sink) -> None:
        """Give `sink` every broadcast on `topic` from now on; the same `key` again replaces its sink."""
        subscribers = self._topics.get(topic)
        if subscribers is None:
            bucket = bucket_of(topic)
            self._topics[topic] = One(key, sink)
            self._interest.want(bucket)
        else:
            changed = subscribers.add(key, sink)
            if changed is not subscribers:
                self._topics[topic] = changed

    def listen(self, topic: str, key: object, hear: Callable[[Broadcast], None]) -> None:
        """Call `hear` with every broadcast on `topic` from now on; the same `key` again replaces it.

        For everybody who needs more than the ready frame of version 2. It is called in the turn of the publisher, or
        of the arrival here, and must not raise. Who collects frames marks himself at `turn`.
        """
        self.subscribe(topic, key, _Ear(self, topic, hear))

    def unsubscribe(self, topic: str, key: object) -> None:
        """Nothing is delivered to the sink or listener of `key` after this returns; harmless when it has none."""
        subscribers = self._topics.get(topic)
        if subscribers is None:
            return
        left = subscribers.remove(key)
        if left is None:
            del self._topics[topic]
            self._interest.unwant(bucket_of(topic))
        elif left is not subscribers:
            self._topics[topic] = left

    def when_settled(self, topic: str, action: Callable[[], None]) -> None:
        """Call `action` when every connected node knows that `topic` is wanted here; at once when all do.

        A broadcast that is caused by anything after that is not missed. It takes one round trip for the first
        subscriber of a topic, nothing for the others. A peer that goes down, or is silent for CALL_TIMEOUT_S, is not
        waited for.
        """
        if topic in self._topics:
            self._interest.when_settled(bucket_of(topic), action)
        else:
            action()

    def subscribers(self, topic: str) -> int:
        """How many subscribers `topic` has on this node."""
        return len(self._topics.get(topic, ()))

    def sizes(self) -> tuple[int, int]:
        """How many topics have subscribers on this node, and how many those are altogether. O(topics)."""
        return len(self._topics), sum(map(len, self._topics.values()))

    def sinks(self, topic: str, excluded: object) -> Sequence[Sink]:
        """The sinks of `topic` on this node, but that of the key `excluded`."""
        subscribers = self._topics.get(topic)
        return () if subscribers is None else subscribers.sinks(excluded)

    # Publishing

    def broadcast(self, topic: str, event: str, payload: object, *, excluded: object = None) -> None:
        """Send to the subscribers of `topic` on all nodes, but to the one whose key is `excluded`.

        Raises:
            TypeError: `payload` is neither an object nor bytes, or holds something that JSON cannot express.
            TooLarge: it is over MESSAGE_BYTES_MAX, or a name beside bytes is over TOPIC_BYTES_MAX.
        """
        frame = _frame(topic, event, payload)
        peers = self._interest.peers(bucket_of(topic))
        if peers:
            body = encode(Publish(topic, frame))
            for peer in peers:
                self._cast(peer, topic, body)
        self._dispatch(topic, frame, excluded)

    def local_broadcast(self, topic: str, event: str, payload: object, *, excluded: object = None) -> None:
        """Send to the subscribers of `topic` on this node only. Raises as `broadcast` does."""
        if topic in self._topics:
            self._dispatch(topic, _frame(topic, event, payload), excluded)

    def direct_broadcast(self, node: str, topic: str, event: str, payload: object) -> None:
        """Send to the subscribers of `topic` on one node. Nothing happens when it is not connected, or unknown.

        Raises as `broadcast` does.
        """
        frame = _frame(topic, event, payload)
        if node == self.node:
            self._dispatch(topic, frame, None)
        else:
            self._cast(node, topic, encode(Publish(topic, frame)))

    def broadcast_of(self, topic: str, frame: bytes) -> Broadcast:
        """The value of the broadcast that is being delivered: one for all its listeners."""
        current = self._current
        if current.frame is not frame:
            current = self._current = Broadcast(topic, frame)
        return current

    def say(self, said: Said, node: str | None = None) -> None:
        """Send a message of a process to one other node, or to all that want its topic.

        Raises:
            TooLarge: it is over MESSAGE_BYTES_MAX.
        """
        peers = self._interest.peers(bucket_of(said.topic)) if node is None else (node,)
        if peers:
            body = encode(said)
            for peer in peers:
                self._cast(peer, said.topic, body)

    def _cast(self, peer: str, topic: str, body: bytes) -> None:
        try:
            self._fabric.cast(peer, SERVICE, body)
        except NodeDown:
            return
        except RoostError as error:
            count = self.lost = self.lost + 1
            if count & (count - 1) == 0:  # the first, second, fourth, eighth ...: a peer that is behind loses thousands
                logger.warning("a broadcast on %s did not go to %s (%d so far): %s", topic, peer, count, error)

    def _dispatch(self, topic: str, frame: bytes, excluded: object) -> None:
        subscribers = self._topics.get(topic)
        if subscribers is not None:
            subscribers.write(frame, excluded)
            self.turn.mark(subscribers)

    # Between nodes

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """A broadcast from another node."""
        try:
            arrived = _decode(body)
        except (ValueError, RecursionError) as error:  # MsgspecError is a ValueError, as is text that is no UTF-8
            self._spoil(link.peer, str(error))
            return
        if arrived.topic not in self._topics:
            self.unwanted += 1
        elif isinstance(arrived, Publish):
            if phoenix.is_ready(arrived.frame):
                self._dispatch(arrived.topic, arrived.frame, None)
            else:
                self._spoil(link.peer, f"no frame on {arrived.topic}")
        elif self.mail is not None:
            self.mail.take(arrived)

    def _spoil(self, peer: str, why: str) -> None:
        count = self.bad = self.bad + 1
        if count & (count - 1) == 0:
            logger.warning("%s has sent what is no broadcast (%d so far): %s", peer, count, why)

    def on_request(self, link: Link, request: Request) -> None:
        """What another node wants to hear."""
        self._interest.on_request(link, request)


def _frame(topic: str, event: str, payload: object) -> bytes:
    frame = phoenix.V2.broadcast(topic, event, payload)
    if len(frame) > MESSAGE_BYTES_MAX - HEAD_BYTES_MAX:
        raise TooLarge("MESSAGE_BYTES_MAX", len(frame), MESSAGE_BYTES_MAX - HEAD_BYTES_MAX)
    return frame
