"""Claim: which node takes which partitions when a cluster is born.

Dealing in turn gives every node the same share, and puts neighbouring partitions on different nodes. Only where the
ring closes may one node come too close to itself (Riak Core's tail violation, such as 16 partitions for 5 nodes). A
preference list skips a node that it names already, so its copies stay apart even then, but one node would carry more
of them; exchanging owners mends that and leaves the shares as they are.

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
    owners = [position % len(names) for position in range(size)]
    reach = min(TARGET_N, len(names))
    for position in range(size):
        if crowding(owners, position, reach):
            _mend(owners, position, reach)
    return Ring(names, tuple(owners))


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
