"""One question to every partition: each answers once, in bits, whoever dies meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from roost import limits
from roost.cluster.coordinator import VnodeRing
from roost.cluster.fabric import Fabric
from roost.cluster.link import OnReply
from roost.cluster.node import Node
from roost.cluster.vnode import LATER, Later, Sender, Vnode
from roost.errors import BadMessage, CallTimeout, CoverageFailed, Refusal
from tests.cluster.flock import flock
from tests.cluster.moving import Add, Sums, moving

COPIES = 50


class Show(msgspec.Struct, frozen=True):
    """Show everything, or do what `how` says."""

    how: str = ""


class Shown(msgspec.Struct, frozen=True):
    """One thing, and where it is."""

    partition: int
    number: int


class Forbidden(Refusal):
    """Something that is not shown."""

    code = "forbidden"


class Showing(Vnode[Show, Shown]):
    """Every copy shows the same."""

    def handle_command(self, command: Show, sender: Sender) -> Shown:
        return Shown(self.partition, 0)

    def cover(self, command: Show) -> Iterator[Shown | Later]:
        if command.how == "refuse":
            raise Forbidden
        for number in range(COPIES):
            yield LATER
            yield Shown(self.partition, 1 // (command.how != "crash") * number)


class Story:
    """The rings of a flock."""

    def __init__(self, n: int = 2) -> None:
        self.rings: dict[str, VnodeRing[Show, Shown]] = {}
        self._n = n

    def setup(self, node: Node) -> None:
        self.rings[node.name[0]] = VnodeRing(node, Showing, n=self._n)


def everything(size: int, without: tuple[int, ...] = ()) -> Counter[Shown]:
    return Counter(Shown(p, number) for p in range(size) if p not in without for number in range(COPIES))


async def test_every_partition_answers_exactly_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COVERAGE_BATCH", 7)
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        for letter in "abc":
            found = Counter([reply async for reply in story.rings[letter].coverage(Show())])
            assert found == everything(nodes["a"].placement.size)


async def test_a_node_that_dies_in_the_middle_is_replaced_and_says_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "COVERAGE_BATCH", 7)
    story = Story()
    async with flock("a", "b", "c", setup=story.setup) as nodes:
        found: Counter[Shown] = Counter()
        size = nodes["a"].placement.size
        async for reply in story.rings["a"].coverage(Show()):
            found[reply] += 1
            if found.total() == 30:
                await nodes.stop("b")
        assert found == everything(size)


@pytest.mark.parametrize("moved_after", [1, 30])
async def test_a_partition_that_moves_in_the_middle_answers_from_where_it_is(
    moved_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COVERAGE_BATCH", 7)
    async with moving("a", "b", "c", "d", kept=2) as story:
        story.settle("ab")
        keys = [f"k{number}" for number in range(200)]
        for key in keys:
            await story.rings["a"].write(key, Add(key, 1), n=2, w=2)

        async def move() -> None:
            story.aim("bc")
            await story.arrive()
            await story.flock.until(lambda: story.rings["a"].host.running() == {})

        found: Counter[str] = Counter()
        async for reply in story.rings["d"].coverage(Sums()):
            found[reply.key] += 1
            if found.total() == moved_after:
                await move()
        assert found == Counter(keys)


async def test_a_node_that_has_handed_a_partition_over_does_not_answer_for_it() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        await story.rings["b"].command("k", Add("k", 1))
        known = story.layout
        story.aim("b")
        await story.arrive()
        await story.flock.until(lambda: story.rings["a"].host.running() == {})
        story.flock["b"].placement.adopt(known)
        with pytest.raises(CoverageFailed) as caught:
            [reply async for reply in story.rings["b"].coverage(Sums())]
        assert "a@127.0.0.1 has handed it over" in str(caught.value)


async def test_what_nobody_can_answer_for_is_named_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(n=1)
    async with flock("a", "b", setup=story.setup) as nodes:
        found: Counter[Shown] = Counter()
        size, order = nodes["a"].placement.size, nodes["a"].placement.layout.order
        real = Fabric.request

        def request(self: Fabric, peer: str, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
            if service == "coverage:Showing":
                on_reply(CallTimeout(peer, timeout_s))
            else:
                real(self, peer, service, body, timeout_s, on_reply)

        async def collect() -> None:
            async for reply in story.rings["a"].coverage(Show()):
                found[reply] += 1

        monkeypatch.setattr(Fabric, "request", request)
        with pytest.raises(CoverageFailed) as caught:
            await collect()
        lost = tuple(p for p in range(size) if order(p)[0][0] == "b")
        assert caught.value.partitions == lost
        assert found == everything(size, lost)


async def test_the_next_batch_is_asked_for_when_the_last_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COVERAGE_BATCH", 5)
    pulls: list[str] = []
    real = Fabric.request

    def request(self: Fabric, peer: str, service: str, *rest: object) -> None:
        pulls.append(service)
        real(self, peer, service, *rest)  # type: ignore[arg-type]  # as it came

    story = Story(n=1)
    async with flock("a", "b", setup=story.setup):
        monkeypatch.setattr(Fabric, "request", request)
        stream = story.rings["a"].coverage(Show())
        taken = [await anext(stream) for _ in range(40)]
        assert len(taken) == 40
        assert pulls.count("coverage:Showing") <= 40 / 5 + 1
        await stream.aclose()
        host = story.rings["a"].host
        assert host.coverages._sources == {}


async def test_a_refusal_and_a_crash_reach_the_asker() -> None:
    story = Story()
    async with flock("a", "b", setup=story.setup) as nodes:
        with pytest.raises(Forbidden):
            [reply async for reply in story.rings["a"].coverage(Show("refuse"))]
        with pytest.raises(CoverageFailed) as caught:
            [reply async for reply in story.rings["a"].coverage(Show("crash"))]
        assert "ZeroDivisionError" in str(caught.value)
        assert len(caught.value.partitions) == nodes["a"].placement.size
        with pytest.raises(BadMessage):
            await nodes["a"].fabric.call("b@127.0.0.1", "coverage:Showing", b"\xc0", 5.0)


async def test_coverages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COVERAGE_BATCH", 1)
    monkeypatch.setattr(limits, "COVERAGES_MAX", 2)
    story = Story(n=1)
    async with flock("a", setup=story.setup):
        ring = story.rings["a"]
        streams = [ring.coverage(Show()) for _ in range(2)]
        for stream in streams:
            await anext(stream)
        with pytest.raises(CoverageFailed) as caught:
            await anext(ring.coverage(Show()))
        assert "is full" in str(caught.value)
