"""Vnodes on real nodes: they start when asked, crash alone, and never leave an asker without an answer."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from roost.cluster.coordinator import VnodeRing
from roost.cluster.node import Node
from roost.cluster.vnode import LATER, Later, Sender, Vnode, VnodeHost
from roost.core.ring import slot_of
from roost.errors import BadMessage, ConfigError, NoQuorum, ProcessDown, Refusal, RoostError
from tests.cluster.flock import Flock, flock


class Add(msgspec.Struct, frozen=True, tag=True):
    """Add to the sum."""

    number: int


class Wait(msgspec.Struct, frozen=True, tag=True):
    """Answer when somebody says Go."""


class Go(msgspec.Struct, frozen=True, tag=True):
    """Answer everybody who waits."""


class Sum(msgspec.Struct, frozen=True):
    """The sum so far, and where it is kept."""

    total: int
    node: str
    partition: int


class TooBig(Refusal):
    """A number that is refused."""

    code = "too_big"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Summing(Vnode[Add | Wait | Go, Sum]):
    """Adds up; refuses 100; crashes on 0."""

    def init(self) -> None:
        self.total = 0
        self.waiting: list[Sender] = []

    def handle_command(self, command: Add | Wait | Go, sender: Sender) -> Sum | Later:
        match command:
            case Add(number=100):
                raise TooBig(100)
            case Add(number=number):
                self.total += number // (1 if number else 0)
            case Wait():
                self.waiting.append(sender)
                return LATER
            case Go():
                for one in self.waiting:
                    one.reply(Sum(self.total, self.node, self.partition))
                    one.reply(Sum(-1, self.node, self.partition))
        return Sum(self.total, self.node, self.partition)


class Story:
    """The rings of a flock, by the letters of its nodes."""

    def __init__(self) -> None:
        self.rings: dict[str, VnodeRing[Add | Wait | Go, Sum]] = {}

    def setup(self, node: Node) -> None:
        self.rings[node.name[0]] = VnodeRing(node, Summing)

    def key_on(self, flock: Flock, letter: str) -> str:
        """A key whose first vnode is on a node."""
        ring = self.rings[letter]
        return next(
            key for key in map(str, range(1000)) if flock[letter].ring.owner(ring.partition(key)) == flock[letter].name
        )


async def test_a_command_is_handled_by_the_owner_wherever_it_is_given() -> None:
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        for target in "abc":
            key = story.key_on(nodes, target)
            partition = story.rings[target].partition(key)
            replies = [await story.rings[source].command(key, Add(1)) for source in "abc"]
            assert replies == [Sum(total, nodes[target].name, partition) for total in (1, 2, 3)]


async def test_vnodes_start_when_they_are_asked() -> None:
    story = Story()
    async with flock("a", setup=story.setup):
        ring = story.rings["a"]
        assert ring.host.running() == {}
        await ring.command("key", Add(1))
        assert list(ring.host.running()) == [slot_of(ring.partition("key"), 0)]


async def test_a_refusal_reaches_the_asker_and_the_vnode_lives_on() -> None:
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        key = story.key_on(nodes, "b")
        await story.rings["a"].command(key, Add(7))
        for source in "ab":
            with pytest.raises(TooBig) as caught:
                await story.rings[source].command(key, Add(100))
            assert caught.value.number == 100
        assert (await story.rings["a"].command(key, Add(1))).total == 8


async def test_a_crash_is_that_of_one_vnode(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    async with flock("a", setup=story.setup):
        ring = story.rings["a"]
        one, other = "k", next(key for key in map(str, range(99)) if ring.partition(key) != ring.partition("k"))
        await ring.command(one, Add(5))
        await ring.command(other, Add(5))
        waits = asyncio.create_task(ring.command(one, Wait()))
        await asyncio.sleep(0)
        with caplog.at_level(logging.CRITICAL), pytest.raises(NoQuorum):
            await ring.command(one, Add(0))
        with pytest.raises(NoQuorum):
            await waits
        assert (await ring.command(one, Add(1))).total == 1
        assert (await ring.command(other, Add(1))).total == 6


async def test_who_asked_a_vnode_that_crashes_is_told_why(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    async with flock("a", setup=story.setup) as nodes:
        host = story.rings["a"].host
        told: list[object] = []
        host.ask(3, Wait(), Sender("x", told.append))
        with caplog.at_level(logging.CRITICAL):
            host.ask(3, Add(0), Sender("x", told.append))
        assert [type(one) for one in told] == [ProcessDown, ProcessDown]
        assert "ZeroDivisionError" in str(told[0])
        assert host.running() == {}
        assert nodes["a"].name in str(told[1])


async def test_a_vnode_that_crashes_again_and_again_pauses(caplog: pytest.LogCaptureFixture) -> None:
    story = Story()
    async with flock("a", setup=story.setup):
        host = story.rings["a"].host
        told: list[object] = []
        with caplog.at_level(logging.CRITICAL):
            host.ask(3, Add(0), Sender("x", told.append))
            host.ask(3, Add(0), Sender("x", told.append))
        host.ask(3, Add(1), Sender("x", told.append))
        assert "again and again" in str(told[2])
        host.ask(4, Add(1), Sender("x", told.append))
        assert isinstance(told[3], Sum)


async def test_a_vnode_may_answer_later_and_only_once() -> None:
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        key = story.key_on(nodes, "b")
        waiting = [asyncio.create_task(story.rings[source].command(key, Wait())) for source in "ab"]
        vnode = story.rings["b"].host.vnode(slot_of(story.rings["b"].partition(key), 0))
        assert isinstance(vnode, Summing)
        await nodes.until(lambda: len(vnode.waiting) == 2)
        await story.rings["a"].command(key, Go())
        assert [reply.total for reply in await asyncio.gather(*waiting)] == [0, 0]


async def test_nobody_waits_for_the_vnodes_of_a_node_that_stops() -> None:
    story = Story()
    async with flock("a", setup=story.setup) as nodes:
        host = story.rings["a"].host
        told: list[object] = []
        host.ask(3, Wait(), Sender("x", told.append))
        await nodes.nodes.pop("a").stop()
        assert [type(one) for one in told] == [ProcessDown]
        host.ask(3, Add(1), Sender("x", told.append))
        assert [type(one) for one in told] == [ProcessDown, ProcessDown]


async def test_the_vnodes_begin_anew_when_their_process_does() -> None:
    story = Story()
    async with flock("a", setup=story.setup):
        ring = story.rings["a"]
        await ring.command("key", Add(5))
        told: list[object] = []
        ring.host.ask(3, Wait(), Sender("x", told.append))
        ring.host.close("killed")
        assert [type(one) for one in told] == [ProcessDown]
        ring.host.open()
        assert (await ring.command("key", Add(1))).total == 1


async def test_what_is_not_declared_is_refused_on_both_sides() -> None:
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        fabric, host = nodes["a"].fabric, story.rings["a"].host
        for body in (b"\xc0", b"\x92\x03\xc0", host.envelope(3, 0, b"\x81\xa4type\xa4Nope"), b"\x92\x7f" + b"\xc0"):
            with pytest.raises(BadMessage):
                await fabric.call("b@127.0.0.1", host.service, body, 5.0)
        outside = b"\x92\xcd\xff\x00" + host.encode_command(Add(1))
        with pytest.raises(BadMessage):
            await fabric.call("b@127.0.0.1", host.service, outside, 5.0)
        assert isinstance(host.decode_reply(msgspec.Raw(b"\x01")), BadMessage)
        with pytest.raises(BadMessage):
            host.encode_command(object())


async def test_messages_may_be_named_by_the_annotations_of_the_handler() -> None:
    class Plain(Vnode):  # type: ignore[type-arg]  # the messages are those of the handler
        def handle_command(self, command: Go, sender: Sender) -> Sum | Later:
            return Sum(1, self.node, self.partition)

    hosts: list[VnodeHost[Plain]] = []

    def setup(node: Node) -> None:
        hosts.append(VnodeHost(node, "plain", Plain, Plain))
        node.add_part(hosts[0].part())

    async with flock("a", setup=setup):
        told: list[object] = []
        hosts[0].ask(1, Go(), Sender("x", told.append))
        assert told == [Sum(1, "a@127.0.0.1", 0)]


async def test_a_class_without_messages_is_refused() -> None:
    class Silent(Vnode):  # type: ignore[type-arg]  # that is the mistake
        pass

    class Untagged(msgspec.Struct):
        pass

    class Alike(Vnode[Untagged | Sum, Sum]):
        pass

    problems: list[RoostError] = []

    def setup(node: Node) -> None:
        for kind in (Silent, Alike):
            with pytest.raises(ConfigError) as caught:
                VnodeHost(node, "x", kind, kind)
            problems.append(caught.value)

    async with flock("a", setup=setup):
        assert "Vnode[Ping, Pong]" in str(problems[0])
        assert "told apart" in str(problems[1])
