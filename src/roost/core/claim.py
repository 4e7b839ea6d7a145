"""Claim: which node takes which partitions when a cluster is born.

Dealing in turn gives every node the same share, and puts neighbouring partitions on different nodes. Only where the
ring closes may one node come too close to itself (Riak Core's tail violation, such as 16 partitions for 5 nodes); as
there, some rounds are shortened so that the last one ends in its place, and what is left in small rings is mended by
exchanging owners. A preference list skips a node that it names already, so its copies stay apart in any case; this is
about every node carrying its share of them.

Invariant: the numbers of partitions of two nodes differ by at most one, and the result depends on nothing but the
names and the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from roost.core.ring import Ring

TARGET_N: Final = 4
"""Neighbouring partitions that should lie on different nodes: one more than the usual number of copies, so that the
failure of a node leaves them apart (Riak Core's target_n_val)."""


def claim(members: tuple[str, ...], size: int) -> Ring:
    """Deal `size` partitions to `members` in turn, and mend where the ring closes.

    Args:
        members: the nodes, in any order; at least one, none twice.
        size: the number of partitions, a power of 2.

    Raises:
        ValueError: when there is no member, one is named twice, or the size is not a power of 2.
    """
    if not members or len(set(members)) != len(members):
        raise ValueError("a ring needs members with different names")
    names = tuple(sorted(members))
    owners = _deal(len(names), size)
    reach = min(TARGET_N, len(names))
    for position in range(size):
        if crowding(owners, position, reach):
            _mend(owners, position, reach)
    return Ring(names, tuple(owners))


def _deal(count: int, size: int) -> list[int]:
    """Rounds of all nodes in turn; the last ones leave out a node each, so that together they fill the ring.

    The nodes that are left out ascend, so nobody's turn comes more than one place early, and a whole first round makes
    that hold where the ring closes, too.
    """
    rounds = -(-size // count)
    gaps = rounds * count - size
    if gaps > rounds:  # a small ring of many nodes
        return [position % count for position in range(size)]
    whole = rounds - gaps
    return [node for turn in range(rounds) for node in range(count) if node != turn - whole]


def crowding(owners: Sequence[int], position: int, reach: int) -> int:
    """How many other partitions, less than `reach` away in either direction, have the same owner."""
    near = {(position + step) % len(owners) for step in range(1 - reach, reach)} - {position}
    return sum(owners[other] == owners[position] for other in near)


def _mend(owners: list[int], position: int, reach: int) -> None:
    """Exchange the owner of `position` with others for as long as that makes both places less crowded."""
    for other in range(len(owners)):
        before = crowding(owners, position, reach) + crowding(owners, other, reach)
        owners[position], owners[other] = owners[other], owners[position]
        if crowding(owners, position, reach) + crowding(owners, other, reach) >= before:
            owners[position], owners[other] = owners[other], owners[position]
        elif not crowding(owners, position, reach):
            return
