"""Seats: who sits where on a ring, and how much that crowds it.

Partitions that lie close together on the ring should be on different nodes, and in different zones. A preference list
that has to skip nodes gives their copies to others, which then carry more than their share; and it shifts, so that more
copies move than must, whenever one of the skipped goes. So two seats of one node, or of one zone, less than TARGET_N
apart crowd each other, the nearer the more.

Invariant: `near[position][node]` is how much its neighbours would crowd `node` at `position`, whoever sits there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

TARGET_N: Final = 4
"""Neighbouring partitions that should lie on different nodes: one more than the usual number of copies, so that the
failure of a node leaves them apart (Riak Core's target_n_val)."""
NODE_PUSH: Final = (0, 7, 12, 4)
"""By distance: how much a node crowds itself, beyond what its zone does. Less than three apart, copies of one key meet;
three apart, they do when one more node fails."""
ZONE_PUSH: Final = (0, 11, 5, 1)
"""By distance: how much the nodes of a zone crowd each other. Next to each other they meet in two preference lists of
three, two apart in one; so twice two apart is better than once next to each other."""


def crowding(owners: Sequence[int], position: int, reach: int) -> int:
    """How many other partitions, less than `reach` away in either direction, have the same owner."""
    near = {(position + step) % len(owners) for step in range(1 - reach, reach)} - {position}
    return sum(owners[other] == owners[position] for other in near)


class Seating:
    """Who sits where.

    Attributes:
        owners: the node at each position, as a number; -1 where nobody sits.
        near: per position, how crowded it is for each node.
    """

    def __init__(self, owners: Sequence[int], zones: Sequence[int]) -> None:
        """Seat everybody.

        Args:
            owners: who sits at each position; -1 where nobody does.
            zones: the zone of each node, as a number.
        """
        self.owners = [-1] * len(owners)
        self.near = [[0] * len(zones) for _ in owners]
        self._pushes = _pushes(zones)
        for position, owner in enumerate(owners):
            self.put(position, owner)

    def put(self, position: int, node: int) -> None:
        """Seat `node` in place of whoever sits there; -1 leaves the seat empty."""
        before, size = self.owners[position], len(self.owners)
        self.owners[position] = node
        for step in range(1, min(TARGET_N, size // 2 + 1)):
            for other in {(position - step) % size, (position + step) % size}:
                row = self.near[other]
                if before >= 0:
                    for neighbour, push in self._pushes[step][before].items():
                        row[neighbour] -= push
                if node >= 0:
                    for neighbour, push in self._pushes[step][node].items():
                        row[neighbour] += push

    def tension(self) -> int:
        """How crowded the whole ring is: the sum over all seats, so that every pair counts twice."""
        return sum(self.near[position][owner] for position, owner in enumerate(self.owners) if owner >= 0)

    def gain(self, one: int, first: int, other: int, second: int) -> int:
        """By how much the tension of pairs falls when `first` sits at `one`, and `second` at `other`."""
        was_first, was_second = self.owners[one], self.owners[other]
        at_one, at_other = self.near[one], self.near[other]
        gain = at_one[was_first] - at_one[first] + at_other[was_second] - at_other[second]
        step = abs(one - other)
        step = min(step, len(self.owners) - step)
        if step < TARGET_N:  # they are neighbours, so each has been counted as it sits now
            push = self._pushes[step]
            gain += push[first].get(was_second, 0) + push[was_first].get(second, 0)
            gain -= push[was_first].get(was_second, 0) + push[first].get(second, 0)
        return gain


def _pushes(zones: Sequence[int]) -> tuple[tuple[dict[int, int], ...], ...]:
    """By distance and node: which nodes it crowds, and how much.

    Zones crowd themselves at no more distance than there are zones: with two of them, every other seat is all right.
    """
    apart = len(set(zones))
    return tuple(
        tuple(
            {
                other: ZONE_PUSH[step] * (step < apart) + NODE_PUSH[step] * (other == node)
                for other, place in enumerate(zones)
                if other == node or (place == zone and step < apart)
            }
            for node, zone in enumerate(zones)
        )
        for step in range(TARGET_N)
    )
