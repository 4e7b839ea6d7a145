"""Topics for processes, over real nodes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import msgspec
import pytest

from roost.cluster.node import Node
from roost.errors import (
    BadMessage,
    ConfigError,
    NoSuchDispatcher,
    NotDeclared,
    NotLocal,
    NotSendable,
    Overloaded,
    ProcessDown,
    TooLarge,
)
from roost.limits import MESSAGE_BYTES_MAX, NAME_BYTES_MAX
from roost.live import mail, topics
from roost.live import topics as pubsub
from roost.live.dispatcher import Dispatchers
from roost.live.mail import Mail
from roost.live.message import Messages
from roost.live.pubsub import PubSub
from roost.otp import GenServer, call, info, send
from tests.cluster.flock import Flock, flock

B = "b@127.0.0.1"


@pubsub.message
class Sold(msgspec.Struct, frozen=True):
    sku: str
    left: int


@pubsub.message(name="basket")
@dataclass(frozen=True)
class Basket:
    items: list[str]


@pubsub.message
class Moved(NamedTuple):
    x: int
    y: int


@pubsub.message
class Greeting(msgspec.Struct, frozen=True):
    who: Ear


@pubsub.message
class Picky(msgspec.Struct, frozen=True):
    """Refuses to be what it was told to refuse."""

    what: str
    refused: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.what == self.refused:
            raise LookupError(self.what)


class Undeclared(msgspec.Struct, frozen=True):
    n: int


class Ear(GenServer):
    """Writes down what it hears."""

    def init(self, *topics: str, metadata: object = None) -> None:
        self.heard: list[object] = []
        for topic in topics:
            pubsub.subscribe(topic, metadata=metadata)

    def handle_info(self, message: object) -> None:
        self.heard.append(message)

    @call
    def said(self) -> int:
        return len(self.heard)

    @call
    def stop_hearing(self, topic: str) -> bool:
        return pubsub.unsubscribe(topic)

    @call
    def hear(self, topic: str, metadata: str) -> None:
        pubsub.subscribe(topic, metadata=metadata)

    @call
    async def hear_settled(self, topic: str) -> None:
        await pubsub.subscribe(topic)

    @call
    def tell_others(self, topic: str, text: str) -> None:
        pubsub.broadcast_from(topic, text)
        pubsub.local_broadcast_from(topic, text + "!")


class Small(Ear):
    """An ear with a small mailbox."""

    mailbox_messages_max = 5


class Deaf(GenServer):
    """Has no handler for events, only for what is sold."""

    def init(self) -> None:
        self.sold: list[Sold] = []
        pubsub.subscribe("t")

    @info
    def on_sold(self, message: Sold) -> None:
        self.sold.append(message)


def nothing(node: Node) -> None:
    """Every node has topics from its beginning, as in an application."""
    PubSub.of(node)


def heard(ear: Ear) -> list[object]:
    """What a process has in its state; its node is in this program."""
    server = ear._process.server
    assert isinstance(server, Ear)
    return server.heard


async def ears(story: Flock, *topics: str) -> dict[str, Ear]:
    """A process on each node that has subscribed, and all nodes know."""
    found = {}
    for letter, node in story.nodes.items():
        with node.entered():
            found[letter] = await Ear.start()
            for topic in topics:
                await found[letter].hear_settled(topic)
    return found


async def test_a_message_reaches_every_subscribed_process_on_every_node_once() -> None:
    async with flock("a", "b", "c", setup=nothing) as story:
        each = await ears(story, "t")
        await ears(story, "other")
        messages = [Sold("1337", 4), Basket(["bread"]), Moved(1, 2), "text", b"bytes", 7, 1.5, True]
        with story["a"].entered():
            for message in messages:
                pubsub.broadcast("t", message)
            assert pubsub.node_name() == story["a"].name
            assert pubsub.subscribers("t") == 1
        await story.until(lambda: all(len(heard(ear)) == len(messages) for ear in each.values()))
        for ear in each.values():
            assert heard(ear) == messages
            assert [type(message) for message in heard(ear)] == [type(message) for message in messages]
        baskets = [ear[1] for ear in map(heard, each.values()) if isinstance(ear[1], Basket)]
        assert len({id(basket.items) for basket in baskets}) == 3


async def test_messages_and_events_of_one_publisher_keep_their_order() -> None:
    async with flock("a", "b", setup=nothing) as story:
        each = await ears(story, "t")
        with story["a"].entered():
            for number in range(50):
                pubsub.broadcast("t", number)
                pubsub.broadcast_event("t", "said", {"n": number})
                pubsub.broadcast_event("t", "raw", bytes((number,)))
        await story.until(lambda: all(len(heard(ear)) == 150 for ear in each.values()))
        expected: list[object] = []
        for number in range(50):
            expected += [
                number,
                pubsub.Event("t", "said", {"n": number}),
                pubsub.Event("t", "raw", bytes((number,))),
            ]
        assert all(heard(ear) == expected for ear in each.values())


async def test_each_process_has_its_own_copy_of_what_can_change() -> None:
    async with flock("a", setup=nothing) as story, asyncio.timeout(5):
        with story["a"].entered():
            one, two = await Ear.start("t"), await Ear.start("t")
            pubsub.broadcast("t", Basket(["bread"]))
            pubsub.broadcast_event("t", "e", {"list": []})
            await one.said()
            await two.said()
        [mine, event], [theirs, their_event] = heard(one), heard(two)
        assert isinstance(mine, Basket)
        mine.items.append("mine")
        assert theirs == Basket(["bread"])
        assert event is not their_event
        assert event == their_event


async def test_who_speaks_can_be_left_out_and_local_messages_stay_here() -> None:
    async with flock("a", "b", setup=nothing) as story:
        each = await ears(story, "t")
        with story["a"].entered():
            other = await Ear.start("t")
            await each["a"].tell_others("t", "hello")
            pubsub.local_broadcast("t", Undeclared(1))
            pubsub.direct_broadcast(B, "t", "to b")
            pubsub.direct_broadcast(story["a"].name, "t", "to a")
            pubsub.direct_broadcast("nobody@127.0.0.1", "t", "to nobody")
            pubsub.broadcast_from("t", "by name", process=each["a"])
        await story.until(lambda: len(heard(each["b"])) == 3)
        assert heard(each["b"]) == ["hello", "to b", "by name"]
        await other.said()
        assert heard(other) == ["hello", "hello!", Undeclared(1), "to a", "by name"]
        assert heard(each["a"]) == [Undeclared(1), "to a"]


async def test_nothing_comes_after_unsubscribing_and_who_subscribes_twice_hears_once() -> None:
    async with flock("a", "b", setup=nothing) as story:
        each = await ears(story, "t", "t", "u")
        with story["a"].entered():
            pubsub.broadcast("t", 1)
            assert pubsub.unsubscribe("t", process=each["a"])
            assert not pubsub.unsubscribe("t", process=each["a"])
            pubsub.broadcast("t", 2)
            pubsub.broadcast("u", 3)
        await story.until(lambda: len(heard(each["b"])) == 3)
        with story["b"].entered():
            assert await each["b"].stop_hearing("t")
            pubsub.broadcast("t", 4)
            pubsub.broadcast("u", 5)
        await story.until(lambda: len(heard(each["a"])) == 3)
        assert heard(each["a"]) == [1, 3, 5]  # 1 was in the mailbox already
        assert heard(each["b"]) == [1, 2, 3, 5]


async def test_a_process_that_ends_leaves_at_once_and_nothing_of_it_is_left() -> None:
    async with flock("a", setup=nothing) as story:
        with story["a"].entered():
            ear = await Ear.start("t", "u")
            other = await Ear.start("u")
            of_node = Mail.of(story["a"])
            assert (pubsub.subscribers("t"), pubsub.subscribers("u")) == (1, 2)
            ear.exit("kill")
            assert (pubsub.subscribers("t"), pubsub.subscribers("u")) == (0, 1)
            with pytest.raises(ProcessDown):
                pubsub.subscribe("t", process=ear)
            assert pubsub.unsubscribe("u", process=other)
            assert not of_node._ears
            assert of_node._subscriptions == 0
            assert other._process.ties is None or not other._process.ties.monitors


async def test_handles_cross_and_are_handles_of_the_same_process() -> None:
    async with flock("a", "b", setup=nothing) as story:
        each = await ears(story, "t")
        with story["a"].entered():
            pubsub.broadcast("t", Greeting(each["b"]))
        await story.until(lambda: len(heard(each["b"])) == 1)
        assert heard(each["b"]) == [Greeting(each["b"])]
        [greeting] = heard(each["a"])
        assert isinstance(greeting, Greeting)
        with story["a"].entered():
            assert await greeting.who.said() == 1


def first_only(subscribers: Sequence[pubsub.Subscriber], message: object) -> None:
    send(min(subscribers, key=lambda one: str(one.metadata)).process, (message, len(subscribers)))


def broken(subscribers: Sequence[pubsub.Subscriber], message: object) -> None:
    raise ValueError("no")


pubsub.dispatcher("first only", first_only)
pubsub.dispatcher("broken", broken)


async def test_a_dispatcher_decides_on_each_node_who_gets_a_message() -> None:
    async with flock("a", "b", setup=nothing) as story:
        each = await ears(story, "t")
        with story["b"].entered():
            await each["b"].hear("t", "2")
            first = await Ear.start("t", metadata="1")
        with story["a"].entered():
            pubsub.broadcast("t", "hello", dispatcher="first only")
        await story.until(lambda: bool(heard(first)))
        assert (heard(first), heard(each["b"]), heard(each["a"])) == ([("hello", 2)], [], [("hello", 1)])


async def test_a_dispatcher_that_is_unknown_or_fails_reaches_nobody_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with flock("a", "b", setup=nothing) as story:
        each = await ears(story, "t")
        with story["a"].entered():
            for speak in (pubsub.broadcast, pubsub.local_broadcast):
                with pytest.raises(NoSuchDispatcher):
                    speak("t", "hello", dispatcher="nobody")
            pubsub.broadcast("t", "hello", dispatcher="broken")
            pubsub.broadcast("t", "hello", dispatcher="first only")
            monkeypatch.delitem(Dispatchers._by_name, "first only")
            pubsub.broadcast("t", "after")
        await story.until(lambda: len(heard(each["b"])) == 1)
        assert heard(each["b"]) == ["after"]
        assert Mail.of(story["b"]).missed == {"refused": 0, "bad": 0, "unknown": 1, "failed": 1}
        assert Mail.of(story["a"]).missed["failed"] == 1
        assert "no dispatcher is called 'first only'" in caplog.text


async def test_a_message_that_fits_nothing_is_counted_and_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with flock("a", "b", setup=nothing) as story:
        each = await ears(story, "t")
        with story["a"].entered():
            monkeypatch.setitem(Messages._names, Undeclared, "basket")
            pubsub.broadcast("t", Undeclared(1))
            monkeypatch.setitem(Messages._names, Undeclared, "nobody knows this")
            pubsub.broadcast("t", Undeclared(2))
            pubsub.broadcast("t", "after")
        await story.until(lambda: bool(heard(each["b"])))
        assert heard(each["b"]) == ["after"]
        assert Mail.of(story["b"]).missed == {"refused": 0, "bad": 1, "unknown": 1, "failed": 0}


async def test_a_message_that_its_own_class_refuses_is_counted_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async with flock("a", "b", setup=nothing) as story:
        each = await ears(story, "t")
        with story["a"].entered():
            message = Picky("this")
            monkeypatch.setattr(Picky, "refused", "this")
            pubsub.broadcast("t", message)
            pubsub.broadcast("t", "after")
        await story.until(lambda: bool(heard(each["b"])))
        assert heard(each["b"]) == ["after"]
        assert Mail.of(story["b"]).missed["bad"] == 1


async def test_a_full_mailbox_loses_messages_and_nobody_else_does() -> None:
    async with flock("a", setup=nothing) as story:
        with story["a"].entered():
            small, other = await Small.start("t"), await Ear.start("t")
            for number in range(Small.mailbox_messages_max):
                send(small, number)
            pubsub.broadcast("t", "one more")
            with pytest.raises(Overloaded):
                send(small, "one more")
            await other.said()
        assert heard(other) == ["one more"]
        assert Mail.of(story["a"]).missed["refused"] == 1


async def test_events_pass_by_a_process_that_does_not_handle_them(caplog: pytest.LogCaptureFixture) -> None:
    async with flock("a", setup=nothing) as story:
        with story["a"].entered():
            deaf = await Deaf.start()
            pubsub.broadcast_event("t", "e", {})
            pubsub.broadcast("t", Sold("1", 1))
            server = deaf._process.server
            await deaf.stop()
        assert isinstance(server, Deaf)
        assert server.sold == [Sold("1", 1)]
        assert "handler" not in caplog.text


async def test_what_cannot_be_said_is_refused_before_anybody_hears_it() -> None:
    async with flock("a", "b", setup=nothing) as story:
        each = await ears(story, "t")
        with story["a"].entered():
            for message, error in (
                (Undeclared(1), NotDeclared),
                ([1], NotDeclared),
                (Basket([object()]), NotSendable),  # type: ignore[list-item]  # on purpose
                ("\ud800", NotSendable),
                (2**70, NotSendable),
                ("x" * MESSAGE_BYTES_MAX, TooLarge),
            ):
                with pytest.raises(error):
                    pubsub.broadcast("t", message)
                with pytest.raises(error):
                    pubsub.direct_broadcast(B, "t", message)
            with pytest.raises(NotSendable):
                pubsub.local_broadcast("t", object())
            for topic, unfit in (("x" * 256, TooLarge), ("\ud800", BadMessage), (7, BadMessage)):
                for act in (pubsub.broadcast, pubsub.local_broadcast):
                    with pytest.raises(unfit):
                        act(topic, "text")  # type: ignore[arg-type]  # on purpose
                with pytest.raises(unfit):
                    pubsub.subscribe(topic, process=each["a"])  # type: ignore[arg-type]  # on purpose
            with pytest.raises(NotSendable):
                pubsub.subscribe("t", metadata=object(), process=each["a"])
            with pytest.raises(NotLocal):
                pubsub.subscribe("t", process=each["b"])
            with pytest.raises(ConfigError, match="process="):
                pubsub.subscribe("t")
            pubsub.broadcast("t", "after")
        await story.until(lambda: bool(heard(each["b"])))
        assert heard(each["b"]) == ["after"]


async def test_the_subscriptions_of_processes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "SUBSCRIPTIONS_MAX", 2)
    async with flock("a", setup=nothing) as story:
        with story["a"].entered():
            ear = await Ear.start("t", "u")
            pubsub.subscribe("t", process=ear)
            with pytest.raises(TooLarge):
                pubsub.subscribe("v", process=ear)
            assert pubsub.unsubscribe("t", process=ear)
            pubsub.subscribe("v", process=ear)


async def test_a_node_without_topics_gets_them_when_somebody_speaks_of_them() -> None:
    async with flock("a", "b", setup=lambda node: None) as story:
        with story["a"].entered():
            ear = await Ear.start()
            await ear.hear_settled("t")
        with story["b"].entered():
            await Ear.start("u")
            speaker = await Ear.start()
            await speaker.hear_settled("u")
            for _ in range(1000):
                pubsub.broadcast("t", "hello")
                await asyncio.sleep(0)
                if heard(ear):
                    break
        assert heard(ear)[0] == "hello"


def test_only_what_cannot_change_is_a_message_and_names_are_taken_once() -> None:
    class Loose(msgspec.Struct):
        n: int

    with pytest.raises(ConfigError, match="can be changed"):
        topics.message(Loose)
    with pytest.raises(ConfigError, match="two messages"):
        topics.message(name="basket")(Undeclared)
    with pytest.raises(TooLarge):
        topics.message(name="x" * (NAME_BYTES_MAX + 1))(Undeclared)
    with pytest.raises(NotDeclared):
        Messages.name_of(Undeclared(1))
    topics.message(name="basket")(Basket)


def test_a_dispatcher_that_would_have_to_be_awaited_is_refused() -> None:
    async def later(subscribers: object, message: object) -> None:
        """Nobody would wait for this."""

    with pytest.raises(ConfigError, match="async"):
        pubsub.dispatcher("later", later)


def test_dispatchers_have_names_of_their_own() -> None:
    with pytest.raises(ConfigError, match="two functions"):
        topics.dispatcher("broken", first_only)
    with pytest.raises(ConfigError, match="needs a name"):
        topics.dispatcher("", first_only)
    with pytest.raises(TooLarge):
        topics.dispatcher("x" * (NAME_BYTES_MAX + 1), first_only)
    topics.dispatcher("broken", broken)
