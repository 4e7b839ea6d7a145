"""Topics: whoever broadcasts reaches every subscriber on every node, at most once.

Theory of operation. A broadcast is made into one ready frame (`wire.phoenix`) where it starts. It goes to each
*interested* node as one message that holds this frame, and to each subscriber here by one call of `sink.write`, all
in the turn of the caller: that is what keeps the order of one publisher. Nodes tell each other which topics somebody
wants: all of them when a link comes up, then every change. Links deliver in order, so what a node knows of a peer's
interest is exact up to what is still on its way; `when_settled` waits for that.

When things fail: what was sent to a node that goes down, or that does not keep up, is lost for that node; no one is
told. In a netsplit each side goes on for itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import msgspec

from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.errors import BadMessage, NodeDown, RoostError
from roost.limits import CALL_TIMEOUT_S
from roost.live.turn import Turn
from roost.runtime.clock import Clock
from roost.wire import phoenix
from roost.wire.messages import Request

SERVICE: Final = "pubsub"
TOPICS_PER_MESSAGE: Final = 2_000
"""Topics in one message about interest; the whole of it may take several."""
RESYNC_S: Final = 0.25
"""The pause before a peer that could not be told is told everything again."""

logger = logging.getLogger("roost.pubsub")


class Sink(Protocol):
    """Where ready frames go: a socket, or whatever stands for one. It must not raise."""

    @property
    def write(self) -> Callable[[bytes], object]:
        """Takes one frame; never blocks. It stays the same function, because topics remember it: a thousand calls of
        remembered functions are a good deal faster than a thousand attributes looked up.
        """

    def flush(self) -> None:
        """The turn ends: send what was taken."""


class Publish(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """A broadcast on its way to another node."""

    topic: str
    frame: bytes


class Interest(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """What the sender's subscribers want to hear from now on. `anew`: forget what was said before."""

    anew: bool
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_cast: Final = msgspec.msgpack.Decoder(Publish).decode
_decode_request: Final = msgspec.msgpack.Decoder(Interest).decode
_DONE: Final = _encode(None)


class _Topic:
    """The subscribers of one topic on this node, and how many peers have not yet confirmed that they know of it."""

    __slots__ = ("_flushes", "sinks", "unconfirmed", "waiting", "writes")

    def __init__(self) -> None:
        self.sinks: dict[object, Sink] = {}
        self.writes: list[Callable[[bytes], object]] | None = None
        self._flushes: list[Callable[[], None]] = []
        self.unconfirmed = 0
        self.waiting: list[Callable[[], None]] | None = None

    def remember(self) -> list[Callable[[bytes], object]]:
        """The functions of all sinks."""
        sinks = self.sinks.values()
        self._flushes = [sink.flush for sink in sinks]
        self.writes = [sink.write for sink in sinks]
        return self.writes

    def flush(self) -> None:
        if self.writes is None:
            self.remember()
        for flush in self._flushes:
            flush()

    def confirm(self) -> None:
        self.unconfirmed -= 1
        if not self.unconfirmed and self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            for action in waiting:
                action()


def _confirm(told: list[_Topic]) -> None:
    for subscribers in told:
        subscribers.confirm()


class PubSub:
    """The topics of one node. It is a service of the fabric.

    Attributes:
        turn: where sinks are flushed; for what else writes to them.
    """

    def __init__(self, fabric: Fabric, clock: Clock) -> None:
        self._fabric = fabric
        self._clock = clock
        self.turn = Turn(clock)
        self._topics: dict[str, _Topic] = {}
        self._interested: dict[str, dict[str, None]] = {}
        self._behind: dict[str, None] = {}
        fabric.serve(SERVICE, self)
        fabric.watch(self._on_peer)

    # Subscribing

    def subscribe(self, topic: str, key: object, sink: Sink) -> None:
        """Give `sink` every broadcast on `topic` from now on; the same `key` again replaces its sink."""
        subscribers = self._topics.get(topic)
        if subscribers is None:
            subscribers = self._topics[topic] = _Topic()
            subscribers.sinks[key] = sink
            self._tell_everyone(subscribers, topic)
        else:
            subscribers.sinks[key] = sink
            subscribers.writes = None

    def unsubscribe(self, topic: str, key: object) -> None:
        """Nothing is delivered to the sink of `key` after this returns; harmless when it has none."""
        subscribers = self._topics.get(topic)
        if subscribers is None or subscribers.sinks.pop(key, None) is None:
            return
        subscribers.writes = None
        if subscribers.sinks:
            return
        del self._topics[topic]
        body = _encode(Interest(False, (), (topic,)))
        for peer in self._peers():
            self._tell(peer, body, None)

    def when_settled(self, topic: str, action: Callable[[], None]) -> None:
        """Call `action` when every connected node knows that `topic` is wanted here; at once when all do.

        A broadcast that is caused by anything after that is not missed. It takes one round trip for the first
        subscriber of a topic, nothing for the others. A peer that goes down, or is silent for CALL_TIMEOUT_S, is not
        waited for.
        """
        subscribers = self._topics.get(topic)
        if subscribers is None or not subscribers.unconfirmed:
            action()
        elif subscribers.waiting is None:
            subscribers.waiting = [action]
        else:
            subscribers.waiting.append(action)

    def subscribers(self, topic: str) -> int:
        """How many subscribers `topic` has on this node."""
        subscribers = self._topics.get(topic)
        return 0 if subscribers is None else len(subscribers.sinks)

    # Publishing

    def broadcast(self, topic: str, event: str, payload: object, *, excluded: object = None) -> None:
        """Send to the subscribers of `topic` on all nodes, but to the one whose key is `excluded`.

        Raises:
            TypeError: `payload` holds something that JSON cannot express.
        """
        frame = phoenix.broadcast(topic, event, payload)
        interested = self._interested.get(topic)
        if interested is not None:
            body = _encode(Publish(topic, frame))
            for peer in interested:
                try:
                    self._fabric.cast(peer, SERVICE, body)
                except RoostError as error:
                    logger.warning("a broadcast on %s did not go to %s: %s", topic, peer, error)
        self._dispatch(topic, frame, excluded)

    def local_broadcast(self, topic: str, event: str, payload: object) -> None:
        """Send to the subscribers of `topic` on this node only."""
        if topic in self._topics:
            self._dispatch(topic, phoenix.broadcast(topic, event, payload), None)

    def _dispatch(self, topic: str, frame: bytes, excluded: object) -> None:
        subscribers = self._topics.get(topic)
        if subscribers is None:
            return
        if excluded is None:
            for write in subscribers.writes or subscribers.remember():
                write(frame)
        else:
            for key, sink in list(subscribers.sinks.items()):
                if key is not excluded:
                    sink.write(frame)
        self.turn.mark(subscribers)

    # Between nodes

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """A broadcast from another node."""
        publish = _decode_cast(body)
        self._dispatch(publish.topic, publish.frame, None)

    def on_request(self, link: Link, request: Request) -> None:
        """What another node wants to hear."""
        try:
            interest = _decode_request(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"interest in topics: {error}") from error
        peer = link.peer
        if interest.anew:
            self._forget(peer)
        for topic in interest.wanted:
            self._interested.setdefault(topic, {})[peer] = None
        for topic in interest.unwanted:
            self._drop(topic, peer)
        link.reply(request.id, _DONE)

    def _on_peer(self, event: PeerUp | PeerDown) -> None:
        self._behind.pop(event.node, None)
        if isinstance(event, PeerDown):
            self._forget(event.node)
        else:
            self._tell_everything(event.node)

    def _forget(self, peer: str) -> None:
        for topic in [topic for topic, peers in self._interested.items() if peer in peers]:
            self._drop(topic, peer)

    def _drop(self, topic: str, peer: str) -> None:
        peers = self._interested.get(topic)
        if peers is not None:
            peers.pop(peer, None)
            if not peers:
                del self._interested[topic]

    def _peers(self) -> list[str]:
        return [node for node in self._fabric.up() if node != self._fabric.node]

    def _tell_everyone(self, subscribers: _Topic, topic: str) -> None:
        peers = self._peers()
        if peers:
            body = _encode(Interest(False, (topic,), ()))
            subscribers.unconfirmed = len(peers)
            for peer in peers:
                self._tell(peer, body, subscribers.confirm)

    def _tell_everything(self, peer: str) -> None:
        topics = tuple(self._topics)
        chunks = [topics[at : at + TOPICS_PER_MESSAGE] for at in range(0, len(topics), TOPICS_PER_MESSAGE)] or [()]
        for number, chunk in enumerate(chunks):
            told = [self._topics[topic] for topic in chunk]
            for subscribers in told:
                subscribers.unconfirmed += 1
            self._tell(peer, _encode(Interest(number == 0, chunk, ())), partial(_confirm, told))

    def _tell(self, peer: str, body: bytes, done: Callable[[], None] | None) -> None:
        def on_reply(outcome: msgspec.Raw | RoostError) -> None:
            if isinstance(outcome, RoostError) and not isinstance(outcome, NodeDown):
                self._resync_later(peer, outcome)
            if done is not None:
                done()

        self._fabric.request(peer, SERVICE, body, CALL_TIMEOUT_S, on_reply)

    def _resync_later(self, peer: str, error: RoostError) -> None:
        if peer not in self._behind:
            logger.warning("%s does not know which topics are wanted here: %s", peer, error)
            self._behind[peer] = None
            self._clock.call_later(RESYNC_S, lambda: self._resync(peer))

    def _resync(self, peer: str) -> None:
        if peer in self._behind:
            del self._behind[peer]
            if self._fabric.is_up(peer):
                self._tell_everything(peer)
