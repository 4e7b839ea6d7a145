"""Operations over real nodes: they answer once, in time, and with what really happened."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from roost import limits
from roost.cluster.coordinator import VnodeRing
from roost.cluster.link import Link
from roost.cluster.node import Node
from roost.cluster.vnode import LATER, Later, Sender, Vnode
from roost.core.ring import Replica, slot_of
from roost.errors import DeadlineExceeded, InvalidQuorum, NoQuorum, Overloaded, ProcessDown
from roost.wire.messages import Request
from tests.cluster.flock import Flock, flock


class Ask(msgspec.Struct, frozen=True):
    """Say something, unless this node is told to be silent."""

    text: str


class Said(msgspec.Struct, frozen=True):
    """What was said, and where."""

    text: str
    node: str
    slot: int


class Saying(Vnode[Ask, Said]):
    """Says where it is. Asked for "b", the one on node b never answers."""

    def handle_command(self, command: Ask, sender: Sender) -> Said | Later:
        if self.node.startswith(command.text):
            return LATER
        return Said(command.text, self.node, self.slot)


class Story:
    """The rings of a flock, by the letters of its nodes."""

    def __init__(self, n: int = limits.REPLICAS) -> None:
        self.rings: dict[str, VnodeRing[Ask, Said]] = {}
        self._n = n

    def setup(self, node: Node) -> None:
        self.rings[node.name[0]] = VnodeRing(node, Saying, n=self._n)

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
            assert {(one.node, one.slot) for one in replies} == {(one.node, one.slot) for one in replicas}
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


async def test_commands_may_need_primaries_and_different_nodes() -> None:
    story = Story()
    async with flock("a", "b", "c", "d", setup=story.setup) as nodes:
        key = story.key(nodes, "b")
        await nodes.stop("b")
        ring = story.rings["a"]
        assert len(await ring.write(key, Ask("x"), w=1, pw=2, node_confirms=3)) == 3
        assert len(await ring.read(key, Ask("x"), r="all")) == 3
        for act, missing in (
            (ring.write(key, Ask("x"), w=1, pw=3), (2, 3, "pw")),
            (ring.read(key, Ask("x"), r=1, pr=3), (2, 3, "pr")),
            (ring.write(key, Ask("x"), w=3, sloppy=False), (2, 3, "w")),
        ):
            with pytest.raises(NoQuorum) as caught:
                await act
            assert (caught.value.got, caught.value.needed, caught.value.what) == missing


async def test_a_replica_is_told_what_is_left_of_the_time() -> None:
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        key = story.key(nodes, "b")
        told: dict[str, int] = {}

        def hang(letter: str) -> None:
            def on_request(link: Link, request: Request) -> None:
                told[letter] = request.timeout_ms

            story.rings[letter].host.on_request = on_request  # type: ignore[method-assign]  # it hangs

        for letter in "bc":
            hang(letter)
        asked = asyncio.create_task(story.rings["a"].write(key, Ask("x"), n=1, w=1, timeout_s=60.0))
        await nodes.until(lambda: len(told) == 1)
        clock = nodes["a"].runtime.clock
        later = clock.now() + 0.01
        await nodes.until(lambda: clock.now() > later)
        await nodes.stop("b")
        await nodes.until(lambda: len(told) == 2)
        assert told["b"] == 60_000
        assert 0 < told["c"] < 60_000
        asked.cancel()


async def test_more_copies_than_a_ring_declares_are_refused() -> None:
    story = Story(n=2)
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        with pytest.raises(InvalidQuorum, match="the ring 'Saying' keeps 2 copies"):
            await story.rings["a"].write("key", Ask("x"), n=3)
        assert len(await story.rings["a"].write("key", Ask("x"), w=2)) == 2
        for copies in (0, limits.REPLICAS_MAX + 1):
            with pytest.raises(InvalidQuorum):
                nodes["a"].needs_copies(copies)
        assert nodes["a"].depth == limits.REPLICAS
        nodes["a"].needs_copies(5)
        assert nodes["a"].depth == 5


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
        assert said.slot == slot_of(partition, 0)
        assert nodes["a"].placement.replicas(partition, 1) == (Replica(slot_of(partition, 0), said.node, False),)


async def test_a_node_that_dies_in_the_middle_is_replaced_by_a_spare() -> None:
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        key = story.key(nodes, "b")
        partition = story.rings["a"].partition(key)
        asked = asyncio.create_task(story.rings["a"].command(key, Ask("b")))
        host = story.rings["b"].host
        await nodes.until(lambda: slot_of(partition, 0) in host.running())
        host.vnode(slot_of(partition, 0))
        await nodes.stop("b")
        said = await asked
        assert said.node[0] in "ac"
        assert said.slot == slot_of(partition, 0)


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
