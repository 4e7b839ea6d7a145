"""Operations over real nodes: they answer once, in time, and with what really happened."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from roost import limits
from roost.cluster.coordinator import VnodeRing
from roost.cluster.node import Node
from roost.cluster.vnode import LATER, Later, Sender, Vnode
from roost.core.ring import Replica
from roost.errors import DeadlineExceeded, InvalidQuorum, NoQuorum, Overloaded, ProcessDown
from tests.cluster.flock import Flock, flock


class Ask(msgspec.Struct, frozen=True):
    """Say something, unless this node is told to be silent."""

    text: str


class Said(msgspec.Struct, frozen=True):
    """What was said, and where."""

    text: str
    node: str
    partition: int


class Saying(Vnode[Ask, Said]):
    """Says where it is. Asked for "b", the one on node b never answers."""

    def handle_command(self, command: Ask, sender: Sender) -> Said | Later:
        if self.node.startswith(command.text):
            return LATER
        return Said(command.text, self.node, self.partition)


class Story:
    """The rings of a flock, by the letters of its nodes."""

    def __init__(self) -> None:
        self.rings: dict[str, VnodeRing[Ask, Said]] = {}

    def setup(self, node: Node) -> None:
        self.rings[node.name[0]] = VnodeRing(node, Saying)

    def key(self, flock: Flock, first: str) -> str:
        """A key whose first vnode is on node `first`."""
        ring, some = next(iter(self.rings.values())), next(iter(flock.nodes.values()))
        return next(key for key in map(str, range(999)) if some.ring.owner(ring.partition(key))[0] == first)


async def test_writes_and_reads_ask_the_preference_list() -> None:
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        for source in "abc":
            key = story.key(nodes, "b")
            replicas = nodes[source].placement.replicas(story.rings[source].partition(key), 3)
            replies = await story.rings[source].write(key, Ask("x"), n=3, w=3)
            assert {(one.node, one.partition) for one in replies} == {(one.node, one.partition) for one in replicas}
            assert len(await story.rings[source].read(key, Ask("x"), n=3, r=2)) == 2
            assert len(await story.rings[source].read(key, Ask("x"))) == 2
            assert len(await story.rings[source].write(key, Ask("x"), n=1)) == 1


async def test_an_operation_does_not_wait_for_more_than_it_needs() -> None:
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        replies = await story.rings["a"].write(story.key(nodes, "b"), Ask("b"), n=3, w=2)
        assert {one.node[0] for one in replies} == {"a", "c"}


async def test_a_silent_replica_costs_no_more_than_the_deadline() -> None:
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        with pytest.raises(DeadlineExceeded) as caught:
            await story.rings["a"].write(story.key(nodes, "b"), Ask("b"), n=3, w=3, timeout_s=0.1)
        assert (caught.value.got, caught.value.needed, caught.value.timeout_s) == (2, 3, 0.1)
        assert len(nodes["a"].operations) == 0


async def test_a_deadline_is_a_deadline_even_when_the_link_notices_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SWEEP_S", 0.4)
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        with pytest.raises(DeadlineExceeded):
            await story.rings["a"].write(story.key(nodes, "b"), Ask("b"), n=2, w=2, timeout_s=0.1)


async def test_numbers_that_never_work_are_refused() -> None:
    story = Story()
    async with flock("a", "b", setup=story.setup):
        ring = story.rings["a"]
        for n, needed in ((3, 1), (0, 0), (2, 3), (2, 0)):
            with pytest.raises(InvalidQuorum):
                await ring.write("key", Ask("x"), n=n, w=needed)
            with pytest.raises(InvalidQuorum):
                await ring.read("key", Ask("x"), n=n, r=needed)


async def test_too_few_nodes_are_refused_at_once() -> None:
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        await nodes.stop("b")
        await nodes.stop("c")
        with pytest.raises(NoQuorum) as caught:
            await story.rings["a"].write("key", Ask("x"), n=3, w=2)
        assert (caught.value.got, caught.value.needed) == (1, 2)
        assert len(await story.rings["a"].write("key", Ask("x"), n=3, w=1)) == 1
        assert len(nodes["a"].operations) == 0


async def test_a_fallback_answers_for_a_node_that_is_down() -> None:
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        key = story.key(nodes, "b")
        partition = story.rings["a"].partition(key)
        await nodes.stop("b")
        said = await story.rings["a"].command(key, Ask("x"))
        assert said.node[0] in "ac"
        assert said.partition == partition
        assert nodes["a"].placement.replicas(partition, 1) == (Replica(partition, said.node, False),)


async def test_a_node_that_dies_in_the_middle_is_replaced_by_a_spare() -> None:
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        key = story.key(nodes, "b")
        partition = story.rings["a"].partition(key)
        asked = asyncio.create_task(story.rings["a"].command(key, Ask("b")))
        host = story.rings["b"].host
        await nodes.until(lambda: partition in host.running())
        host.vnode(partition)
        await nodes.stop("b")
        said = await asked
        assert said.node[0] in "ac"
        assert said.partition == partition


async def test_an_operation_fails_when_its_last_hope_dies() -> None:
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        key = story.key(nodes, "b")
        asked = asyncio.create_task(story.rings["a"].write(key, Ask("b"), n=2, w=2))
        host = story.rings["b"].host
        await nodes.until(lambda: bool(host.running()))
        await nodes.stop("b")
        with pytest.raises(NoQuorum) as caught:
            await asked
        assert (caught.value.got, caught.value.needed) == (1, 2)


async def test_nobody_waits_for_a_node_that_stops() -> None:
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        asked = asyncio.create_task(story.rings["a"].write("key", Ask("b"), n=2, w=2))
        await nodes.until(lambda: len(nodes["a"].operations) == 1)
        node = nodes.nodes.pop("a")
        await node.stop()
        with pytest.raises(ProcessDown):
            await asked
        with pytest.raises(ProcessDown):
            await story.rings["a"].write("key", Ask("x"))


async def test_operations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OPERATIONS_MAX", 3)
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        waiting = [
            asyncio.create_task(story.rings["a"].write("key", Ask("b"), n=2, w=2, timeout_s=0.2)) for _ in range(3)
        ]
        await nodes.until(lambda: len(nodes["a"].operations) == 3)
        with pytest.raises(Overloaded):
            await story.rings["a"].command("key", Ask("x"))
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in outcomes] == [DeadlineExceeded] * 3
        assert (await story.rings["a"].command("key", Ask("x"))).text == "x"


async def test_a_caller_who_gives_up_leaves_nothing_behind() -> None:
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        asked = asyncio.create_task(story.rings["a"].write("key", Ask("b"), n=2, w=2, timeout_s=0.1))
        await nodes.until(lambda: len(nodes["a"].operations) == 1)
        asked.cancel()
        await nodes.until(lambda: len(nodes["a"].operations) == 0)
        assert asked.cancelled()
