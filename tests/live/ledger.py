"""A ledger of topics: who has subscribed, what had to come to him, and what came, on nodes that are cut off and die.

What is promised: who has subscribed, and has waited until it is settled, gets whatever a node publishes over a link
that was up at that moment and stays up. A link that breaks loses the end of what was sent over it, never something in
its middle. Nothing comes twice, out of its publisher's order, after the end of a subscription, or to another topic.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from functools import partial

import msgspec

from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.node import Node
from roost.live import topics
from roost.live.mail import Mail
from roost.live.pubsub import PubSub
from roost.otp import GenServer
from roost.wire import phoenix

TOPICS = tuple(f"room:{number}" for number in range(8))


@topics.message
class Note(msgspec.Struct, frozen=True):
    """What publishers say, as a message; as an event, the same three are the payload."""

    publisher: str
    n: int
    topic: str


class Subscription:
    """One subscription from its beginning to its end, and what came of it.

    Attributes:
        sure: by node, the link over which it is known to be wanted here, as that node counts its links.
        due: what had to come: publisher, link and number.
    """

    def __init__(self, party: Party, topic: str, *, is_process: bool) -> None:
        self.party, self.topic, self.is_process = party, topic, is_process
        self.sure: dict[str, int | None] = {}
        self.due: list[tuple[str, int, int]] = []
        self.got: dict[tuple[str, int], None] = {}
        self.last: dict[str, int] = {}
        self.is_open = True
        self.waiting_max = 0
        self.close: Callable[[], None] = lambda: None

    def settled(self) -> None:
        """All nodes know to which this one is connected. One that sees this one before it is seen may not."""
        for other in self.party.story.parties.values():
            is_seen = other.node.name in self.party.links
            self.sure[other.node.name] = other.links.get(self.party.node.name) if is_seen else None

    def take(self, publisher: str, n: int, topic: str) -> None:
        wrong = self.party.story.wrong
        if not self.is_open:
            self.waiting_max -= 1
            if self.waiting_max < 0:
                wrong.append(f"{publisher} {n} came after the end of a subscription to {self.topic}")
        if topic != self.topic:
            wrong.append(f"{publisher} {n} on {topic} came to a subscriber of {self.topic}")
        if n <= self.last.get(publisher, -1):
            wrong.append(f"{publisher} {n} came again, or late")
        self.last[publisher] = n
        self.got[publisher, n] = None

    @property
    def known(self) -> int:
        """How many other nodes know over a link that they have."""
        return sum(link is not None for link in self.sure.values())

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended, nor its node."""
        return self.is_open and self.party.story.parties[self.party.node.name] is self.party

    def missing(self) -> list[tuple[str, int, int]]:
        """What should have come and has not: what is followed by something that came over the same link, and what
        was sent over a link that is up still."""
        reached: dict[tuple[str, int], int] = {}
        for publisher, link, n in self.due:
            if (publisher, n) in self.got:
                reached[publisher, link] = max(n, reached.get((publisher, link), -1))
        lives = {party.key: party.links.get(self.party.node.name) for party in self.party.story.parties.values()}
        lives[self.party.key] = 0
        return [
            (publisher, link, n)
            for publisher, link, n in self.due
            if (publisher, n) not in self.got
            and (n < reached.get((publisher, link), -1) or (self.is_alive and lives.get(publisher) == link))
        ]


class Socket:
    """A client on a topic."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    def write(self, frame: bytes) -> None:
        _, event, payload = phoenix.broadcast_in(frame)
        assert event == "said"
        self.subscription.take(**msgspec.json.decode(payload))

    def flush(self) -> None:
        """Nothing is collected."""


class Listener(GenServer):
    """A process on a topic, which hears events and messages."""

    def init(self, subscription: Subscription) -> None:
        self.subscription = subscription
        topics.subscribe(subscription.topic)

    def handle_info(self, message: object) -> None:
        if isinstance(message, topics.Event):
            assert isinstance(message.payload, dict)
            self.subscription.take(**message.payload)  # type: ignore[arg-type]  # of our own making
        else:
            assert isinstance(message, Note)
            self.subscription.take(message.publisher, message.n, message.topic)


class Story:
    """What all nodes have in common."""

    def __init__(self) -> None:
        self.parties: dict[str, Party] = {}
        self.subscriptions: list[Subscription] = []
        self.wrong: list[str] = []
        self.counter = itertools.count(1)


class Party:
    """A node with its topics."""

    def __init__(self, story: Story, node: Node) -> None:
        self.story = story
        self.node = node
        self.pubsub = PubSub.of(self.node)
        self.mail = Mail.of(self.node)
        self.key = f"{self.node.name}/{self.node.fabric.incarnation}"
        self.links: dict[str, int] = {}
        self.open: list[Subscription] = []
        self.said = 0
        self.node.fabric.watch(self.on_peer)
        story.parties[self.node.name] = self

    async def stop(self) -> None:
        await self.node.stop()

    def on_peer(self, event: PeerUp | PeerDown) -> None:
        if isinstance(event, PeerDown):
            self.links.pop(event.node, None)
            return
        self.links[event.node] = next(self.story.counter)
        for subscription in self.open:
            self.pubsub.when_settled(subscription.topic, subscription.settled)

    async def act(self, draw: random.Random) -> None:
        choice, topic = draw.random(), draw.choice(TOPICS)
        with self.node.entered():
            if choice < 0.55:
                self.say(topic, as_event=draw.random() < 0.6)
            elif choice < 0.6:
                self.say(topic, to=draw.choice([*self.links, "nobody", self.node.name]), as_event=draw.random() < 0.5)
            elif choice < 0.75 or not self.open:
                await self.subscribe(topic, as_process=draw.random() < 0.5)
            else:
                self.leave(draw.choice(self.open), is_killed=draw.random() < 0.3)
                if draw.random() < 0.3:
                    await self.subscribe(topic, as_process=False)

    async def subscribe(self, topic: str, *, as_process: bool) -> None:
        subscription = Subscription(self, topic, is_process=as_process)
        self.story.subscriptions.append(subscription)
        self.open.append(subscription)
        if as_process:
            listener = await Listener.start(subscription)
            subscription.close = partial(self._release, listener, subscription)
        else:
            self.pubsub.subscribe(topic, subscription, Socket(subscription))
            subscription.close = partial(self.pubsub.unsubscribe, topic, subscription)
        self.pubsub.when_settled(topic, subscription.settled)

    def _release(self, listener: Listener, subscription: Subscription) -> None:
        topics.unsubscribe(subscription.topic, process=listener)
        subscription.waiting_max = len(listener._process.mail or ()) // 2  # pairs, see the mailbox

    def leave(self, subscription: Subscription, *, is_killed: bool) -> None:
        self.open.remove(subscription)
        close = subscription.close
        if is_killed and isinstance(close, partial) and isinstance(close.args[0], Listener):
            close.args[0].exit("kill")
        else:
            close()
        subscription.is_open = False

    def say(self, topic: str, *, as_event: bool, to: str | None = None) -> None:
        self.said = n = self.said + 1
        note = Note(self.key, n, topic)
        for subscription in self.story.subscriptions:
            self._owe(subscription, note, to, as_event=as_event)
        if as_event and to is None:
            self.pubsub.broadcast(topic, "said", msgspec.structs.asdict(note))
        elif as_event and to is not None:
            self.pubsub.direct_broadcast(to, topic, "said", msgspec.structs.asdict(note))
        elif to is None:
            topics.broadcast(topic, note)
        else:
            topics.direct_broadcast(to, topic, note)

    def _owe(self, subscription: Subscription, note: Note, to: str | None, *, as_event: bool) -> None:
        there = subscription.party.node.name
        hears = as_event or subscription.is_process
        if not hears or subscription.topic != note.topic or not subscription.is_open or to not in (None, there):
            return
        if subscription.party is self:
            subscription.due.append((self.key, 0, note.n))
        elif there in self.links and subscription.sure.get(self.node.name) == self.links[there]:
            subscription.due.append((self.key, self.links[there], note.n))


async def last_ears(party: Party) -> None:
    """Let everybody subscribe to everything, on top of what there is."""
    with party.node.entered():
        for topic in TOPICS:
            await party.subscribe(topic, as_process=topic < TOPICS[4])


async def last_words(party: Party) -> None:
    """Say something on every topic."""
    with party.node.entered():
        for topic in TOPICS:
            party.say(topic, as_event=True)
            party.say(topic, as_event=False)


def check(story: Story) -> int:
    """Raise AssertionError when a promise was broken; returns how much had to come."""
    due = 0
    for subscription in story.subscriptions:
        due += len(subscription.due)
        missing = subscription.missing()
        assert not missing, f"{subscription.topic} at {subscription.party.key}: {missing}"
        if subscription.is_alive:
            assert subscription.known == len(story.parties) - 1, "who is here in the end is not settled"
    assert not story.wrong, story.wrong[:5]
    return due
