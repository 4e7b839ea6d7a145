"""From one ring to another, with nothing lost on the way."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.claim import claim, reclaim
from roost.core.layout import Layout, Transfer
from roost.core.ring import Ring, partition_and_index, slot_of
from roost.errors import InvariantViolated

DEPTH: Final = 3
ZONES: Final = {"a": "x", "b": "x", "c": "y", "d": "y", "e": "z", "f": "z", "g": ""}
NODES: Final = tuple(ZONES)


def ring_of(*owners: str) -> Ring:
    members = tuple(sorted(set(owners)))
    return Ring(members, tuple(map(members.index, owners)))


@st.composite
def any_rings(draw: st.DrawFn, among: frozenset[str], size: int) -> Ring:
    """A ring of some of these nodes: any owners, so that everything shifts that can."""
    members = tuple(sorted(draw(st.sets(st.sampled_from(sorted(among)), min_size=1))))
    owners = draw(st.lists(st.integers(0, len(members) - 1), min_size=size, max_size=size))
    zones = tuple(ZONES[member] for member in members) if draw(st.booleans()) else ()
    return Ring(members, tuple(owners), zones)


class Nodes:
    """What nodes have in their slots, and what has been promised about it.

    A write is on some holders at once. From then on, whenever its partition arrives, as many of the new holders have
    it, or all when they are fewer; unless all holders that had it have gone before.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.gone: set[str] = set()
        self.kept: dict[tuple[str, int], set[int]] = defaultdict(set)
        self.promised: dict[int, tuple[int, int]] = {}

    def order(self, partition: int) -> tuple[str, ...]:
        return self.layout.order(partition)[:DEPTH]

    def holders_with(self, write: int) -> set[str]:
        """The holders that are alive and have a write in the slot that they hold."""
        partition = self.promised[write][0]
        holders = enumerate(self.order(partition))
        return {node for at, node in holders if write in self.kept[node, slot_of(partition, at)]} - self.gone

    def write(self, partition: int, indexes: set[int]) -> None:
        order = self.order(partition)
        reached = [at for at in sorted(indexes) if at < len(order) and order[at] not in self.gone]
        if reached:
            write = len(self.promised)
            self.promised[write] = partition, len(reached)
            for at in reached:
                self.kept[order[at], slot_of(partition, at)].add(write)

    def lose(self, node: str) -> None:
        self.gone.add(node)
        for place in self.kept:
            if place[0] == node:
                self.kept[place] = set()

    def aim(self, ring: Ring) -> None:
        self.layout = self.layout.aim(ring, DEPTH)

    def execute(self, transfers: tuple[Transfer, ...]) -> None:
        given = [(one, set(self.kept[one.giver, one.source])) for one in transfers]
        for one, items in given:
            assert one.giver not in self.gone
            assert self.order(partition_and_index(one.source)[0])[partition_and_index(one.source)[1]] == one.giver
            assert self.layout.next_holder(one.target) == one.taker
            self.kept[one.taker, one.target] |= items

    def arrive(self, partition: int) -> None:
        """Everything is given, then the partition moves on."""
        alive = {
            write for write, (where, _) in self.promised.items() if where == partition and self.holders_with(write)
        }
        self.execute(self.layout.transfers(partition, DEPTH, self.gone))
        self.layout = self.layout.arrive([partition])
        assert self.order(partition) == self.layout.goal.order(partition)[:DEPTH]
        for write in alive:
            copies = min(self.promised[write][1], len(self.order(partition)))
            assert len(self.holders_with(write)) >= copies

    def sweep(self) -> None:
        """Who neither holds nor will hold a slot gives what is in it to the holder, and forgets it only then.

        A slot that nobody holds any more, as there are fewer nodes, is given to all that hold others of its partition.
        """
        for (node, slot), items in list(self.kept.items()):
            if node in (self.layout.holder(slot), self.layout.next_holder(slot)) or not items:
                continue
            partition, index = partition_and_index(slot)
            holders = list(enumerate(self.order(partition)))
            takers = holders[index : index + 1] or holders
            if not any(taker in self.gone for _, taker in takers):
                for at, taker in takers:
                    self.kept[taker, slot_of(partition, at)] |= items
                self.kept[node, slot] = set()

    def check(self) -> None:
        layout = self.layout
        assert len(layout.rings) <= len(set(layout.at)) + 1
        assert set(range(len(layout.rings))) - {len(layout.rings) - 1} <= set(layout.at)
        assert layout.is_settled == (not layout.moving())
        assert sum(layout.counts().values()) == layout.size
        for partition, reached in enumerate(layout.at):
            order = layout.order(partition)
            assert len(order) == len(set(order)) >= 1
            assert order == layout.rings[reached].order(partition)
            assert layout.owner(partition) == order[0] == layout.holder(slot_of(partition, 0))
            assert layout.holder(slot_of(partition, len(order))) is None
            assert set(order) <= set(layout.nodes())
            if not layout.transfers(partition, DEPTH):
                assert partition not in layout.moving()


@settings(max_examples=150)
@given(st.data())
def test_no_chain_of_changes_loses_a_copy(data: st.DataObject) -> None:
    size = 2 ** data.draw(st.integers(1, 3))
    partitions = st.integers(0, size - 1)
    nodes = Nodes(Layout.settled(data.draw(any_rings(frozenset(NODES), size))))
    for _ in range(data.draw(st.integers(1, 14))):
        match data.draw(st.sampled_from(["write", "aim", "arrive", "some", "sweep", "lose"])):
            case "write":
                for partition in range(size):
                    nodes.write(partition, data.draw(st.sets(st.integers(0, DEPTH - 1), min_size=1)))
            case "aim":
                nodes.aim(data.draw(any_rings(frozenset(NODES) - nodes.gone, size)))
            case "arrive":
                for partition in data.draw(st.sets(partitions, min_size=1)):
                    nodes.arrive(partition)
            case "some":
                transfers = nodes.layout.transfers(data.draw(partitions), DEPTH, nodes.gone)
                nodes.execute(transfers[: data.draw(st.integers(0, len(transfers)))])
            case "sweep":
                nodes.sweep()
            case "lose" if len(nodes.gone) < len(NODES) - 1:
                nodes.lose(data.draw(st.sampled_from(sorted(set(NODES) - nodes.gone))))
                nodes.aim(data.draw(any_rings(frozenset(NODES) - nodes.gone, size)))
            case _:
                pass
        nodes.check()
    for partition in nodes.layout.moving():
        nodes.arrive(partition)
    nodes.sweep()
    nodes.check()
    assert nodes.layout.is_settled


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.sampled_from(NODES), min_size=1), min_size=2, max_size=6), st.booleans())
def test_a_cluster_that_grows_and_shrinks_keeps_every_write(steps: list[set[str]], zoned: bool) -> None:
    def zones(members: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(ZONES[member] for member in members) if zoned else ()

    first, *others = [tuple(sorted(step)) for step in steps]
    nodes = Nodes(Layout.settled(claim(first, 16, zones(first))))
    for number, members in enumerate(others):
        for partition in range(16):
            nodes.write(partition, {number % 3, (number + partition) % 3})
        nodes.aim(reclaim(nodes.layout.goal, members, zones(members)))
        nodes.check()
        for partition in nodes.layout.moving()[number::2]:
            nodes.arrive(partition)
        nodes.check()
    for partition in nodes.layout.moving():
        nodes.arrive(partition)
    assert nodes.layout == Layout.settled(nodes.layout.goal)
    assert all(nodes.holders_with(write) for write in nodes.promised)


def test_a_settled_layout_gives_nothing() -> None:
    ring = claim(("a", "b", "c", "d"), 16)
    layout = Layout.settled(ring)
    assert layout.is_settled
    assert layout.goal == ring
    assert not layout.moving()
    assert not any(layout.transfers(partition, DEPTH) for partition in range(16))
    assert layout.aim(ring, DEPTH) == layout


def test_a_copy_that_changes_hands_is_given_by_its_holder() -> None:
    layout = Layout.settled(ring_of("a", "b", "c", "d")).aim(ring_of("a", "e", "c", "d"), DEPTH)
    assert layout.moving() == (0, 1, 3)
    assert layout.transfers(0, DEPTH) == (Transfer(slot_of(0, 1), "b", slot_of(0, 1), "e"),)
    assert layout.transfers(1, DEPTH) == (Transfer(slot_of(1, 0), "b", slot_of(1, 0), "e"),)
    assert layout.transfers(2, DEPTH) == ()
    assert layout.holder(slot_of(0, 1)) == "b"
    assert layout.next_holder(slot_of(0, 1)) == "e"
    assert layout.nodes() == ("a", "b", "c", "d", "e")


def test_nothing_moves_where_only_nodes_without_a_copy_change() -> None:
    layout = Layout.settled(ring_of("a", "b", "c", "d")).aim(ring_of("a", "e", "c", "d"), 1)
    assert layout.moving() == (1,)


def test_a_copy_that_did_not_exist_comes_from_the_first_one() -> None:
    grown = Layout.settled(ring_of("a", "b", "a", "b")).aim(ring_of("a", "b", "c", "b"), DEPTH)
    assert grown.transfers(0, DEPTH) == (Transfer(slot_of(0, 0), "a", slot_of(0, 2), "c"),)


def test_a_copy_that_will_not_exist_is_given_to_all_others() -> None:
    layout = Layout.settled(ring_of("a", "b", "c", "b")).aim(ring_of("a", "b", "a", "b"), DEPTH)
    assert layout.transfers(0, DEPTH) == (
        Transfer(slot_of(0, 2), "c", slot_of(0, 0), "a"),
        Transfer(slot_of(0, 2), "c", slot_of(0, 1), "b"),
    )


def test_every_holder_gives_in_the_place_of_one_that_is_gone() -> None:
    layout = Layout.settled(ring_of("a", "b", "c", "d")).aim(ring_of("e", "b", "c", "d"), DEPTH)
    assert layout.transfers(0, DEPTH, {"a"}) == (
        Transfer(slot_of(0, 1), "b", slot_of(0, 0), "e"),
        Transfer(slot_of(0, 2), "c", slot_of(0, 0), "e"),
    )


def test_the_rest_tell_each_other_what_they_have_when_the_holder_of_a_dropped_copy_is_gone() -> None:
    layout = Layout.settled(ring_of("a", "b", "c", "b")).aim(ring_of("a", "b", "a", "b"), DEPTH)
    assert layout.transfers(0, DEPTH, {"c"}) == (
        Transfer(slot_of(0, 1), "b", slot_of(0, 0), "a"),
        Transfer(slot_of(0, 0), "a", slot_of(0, 1), "b"),
    )


def test_partitions_go_the_way_by_themselves() -> None:
    first, second, third = ring_of("a", "b"), ring_of("c", "b"), ring_of("c", "d")
    layout = Layout.settled(first).aim(second, 1)
    assert layout.at == (0, 1)
    layout = layout.aim(third, 1)
    assert layout.rings == (first, second, third)
    assert [layout.owner(0), layout.owner(1)] == ["a", "b"]
    layout = layout.arrive([1])
    assert layout.rings == (first, third)
    assert layout.counts() == {"a": 1, "b": 0, "c": 0, "d": 1}
    assert layout.arrive([0]) == Layout.settled(third)


def test_turning_back_is_a_change_like_any_other() -> None:
    first, second = ring_of("a", "b"), ring_of("c", "b")
    assert Layout.settled(first).aim(second, 1).aim(first, 1) == Layout.settled(first)


def test_a_ring_of_another_size_is_refused() -> None:
    with pytest.raises(InvariantViolated, match="4 partitions cannot follow one of 2"):
        Layout.settled(ring_of("a", "b")).aim(ring_of("a", "b", "a", "b"), DEPTH)
