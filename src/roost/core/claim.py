"""Claim: which node takes which partitions when a cluster is born.

Invariant: the numbers of partitions of two nodes differ by at most one, and the result depends on nothing but the
names and the size. Spacing needs no care here: preference lists skip a node that they name already.
"""

from __future__ import annotations

from roost.core.ring import Ring


def claim(members: tuple[str, ...], size: int) -> Ring:
    """Deal `size` partitions to `members` in turn.

    Args:
        members: the nodes, in any order; at least one, none twice.
        size: the number of partitions, a power of 2.

    Raises:
        ValueError: when there is no member, one is named twice, or the size is not a power of 2.
    """
    if not members or len(set(members)) != len(members):
        raise ValueError("a ring needs members with different names")
    if size < 1 or size & (size - 1):
        raise ValueError(f"{size} partitions are not a power of 2")
    names = tuple(sorted(members))
    return Ring(names, tuple(position % len(names) for position in range(size)))
