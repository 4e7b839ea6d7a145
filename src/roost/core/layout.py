"""The layout: who holds which copy now, and who will.

A cluster that changes is on its way from one ring to another. Each partition goes the way by itself, and as a whole:
until everything that its next holders need is there, its present ones serve it, then the next ones do. So the layout is
some rings, of which the last is aimed at, and for each partition the ring that it has reached.

Invariants: a partition has the holders of exactly one ring at any time, each of them once; it moves on only to the ring
that is aimed at, and only when somebody says that its transfers are done.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

import msgspec

from roost.core.ring import INDEX_MASK, SLOT_BITS, Ring, slot_of
from roost.errors import InvariantViolated


class Transfer(NamedTuple):
    """`giver` gives everything in its slot `source` to `taker`, which keeps it in its slot `target`."""

    source: int
    giver: str
    target: int
    taker: str


class Layout(msgspec.Struct, frozen=True):
    """Who holds which copy.

    Attributes:
        rings: the rings that partitions are at; the last one is where all of them are going.
        at: per partition, the position in `rings` of the ring that it has reached.
    """

    rings: tuple[Ring, ...]
    at: tuple[int, ...]

    @classmethod
    def settled(cls, ring: Ring) -> Layout:
        """Nothing moves."""
        return cls((ring,), (0,) * ring.size)

    @property
    def size(self) -> int:
        """The number of partitions."""
        return len(self.at)

    @property
    def goal(self) -> Ring:
        """The ring that is aimed at."""
        return self.rings[-1]

    @property
    def is_settled(self) -> bool:
        """Whether every partition has reached the goal."""
        return len(self.rings) == 1

    def order(self, partition: int) -> tuple[str, ...]:
        """Who holds the copies of `partition` now, and who stands in for them, in this order."""
        return self.rings[self.at[partition]].order(partition)

    def owner(self, partition: int) -> str:
        """Who owns a partition now."""
        return self.rings[self.at[partition]].owner(partition)

    def holder(self, slot: int) -> str | None:
        """Who holds a slot now; None when there are not that many nodes."""
        return _at(self.order(slot >> SLOT_BITS), slot & INDEX_MASK)

    def next_holder(self, slot: int) -> str | None:
        """Who will hold a slot once its partition has reached the goal; None when there will not be that many."""
        return _at(self.goal.order(slot >> SLOT_BITS), slot & INDEX_MASK)

    def moving(self) -> tuple[int, ...]:
        """The partitions that have not reached the goal."""
        last = len(self.rings) - 1
        return tuple(partition for partition, at in enumerate(self.at) if at != last)

    def transfers(self, partition: int, depth: int, gone: Container[str] = ()) -> tuple[Transfer, ...]:
        """What must be given before `partition` may move on: for each copy that a node does not hold already.

        Args:
            depth: the largest number of copies that anything in this cluster has.
            gone: nodes that will give nothing any more; every other holder gives in the place of one of them.
        """
        if self.at[partition] == len(self.rings) - 1:
            return ()
        now, then = self.order(partition)[:depth], self.goal.order(partition)[:depth]
        found: list[Transfer] = []

        def give(holding: int, index: int) -> None:
            """Let the next holder of `index` have all that the present one of `holding` has, or had."""
            lost = now[holding] in gone
            for source in range(len(now)) if lost else (holding,):
                giver, taker = now[source], then[index]
                if giver not in gone and (source, giver) != (index, taker):
                    found.append(Transfer(slot_of(partition, source), giver, slot_of(partition, index), taker))

        for index, taker in enumerate(then):
            if index >= len(now):
                give(0, index)
            elif now[index] != taker:
                give(index, index)
        for holding in range(len(then), len(now)):
            for index in range(len(then)):
                give(holding, index)
        return tuple(dict.fromkeys(found))

    def arrive(self, partitions: Iterable[int]) -> Layout:
        """These partitions have reached the goal."""
        at = list(self.at)
        for partition in partitions:
            at[partition] = len(self.rings) - 1
        return _tidied(self.rings, at)

    def aim(self, ring: Ring, depth: int) -> Layout:
        """Be on the way to `ring` from now on; partitions for which it changes nothing are there at once.

        Raises:
            InvariantViolated: when the ring has another number of partitions.
        """
        if ring.size != self.size:
            raise InvariantViolated(f"a ring of {ring.size} partitions cannot follow one of {self.size}")
        at = [
            len(self.rings) if self.order(partition)[:depth] == ring.order(partition)[:depth] else reached
            for partition, reached in enumerate(self.at)
        ]
        return _tidied((*self.rings, ring), at)

    def nodes(self) -> tuple[str, ...]:
        """Every node that owns anything now, or will, sorted."""
        return tuple(sorted({ring.members[owner] for ring in self.rings for owner in ring.owners}))

    def counts(self) -> dict[str, int]:
        """How many partitions each node owns now."""
        counts = dict.fromkeys(self.nodes(), 0)
        for partition in range(self.size):
            counts[self.owner(partition)] += 1
        return counts


def _at(order: tuple[str, ...], index: int) -> str | None:
    return order[index] if index < len(order) else None


def _tidied(rings: tuple[Ring, ...], at: list[int]) -> Layout:
    """Without the rings that no partition is at; the goal stays in any case."""
    used = sorted({*at, len(rings) - 1})
    places = {ring: place for place, ring in enumerate(used)}
    return Layout(tuple(rings[ring] for ring in used), tuple(places[ring] for ring in at))
