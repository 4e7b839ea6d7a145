"""Claim: which node takes which partitions.

At the birth of a cluster the partitions are dealt in turn, which gives every node the same share, and puts neighbouring
partitions on different nodes. Only where the ring closes may one node come too close to itself (Riak Core's tail
violation, such as 16 partitions for 5 nodes); as there, some rounds are shortened so that the last one ends in its
place, and what is left in small rings is mended by exchanging owners.

Later, when nodes come and go, no partition moves that need not: those of the nodes that leave, and as many more as the
others have over their share. Which ones, and who takes which, is what the claim is free to choose, and it chooses so
that neighbours stay apart. A newcomer that sits at least TARGET_N away from itself parts no neighbours that were apart,
so a ring in good order stays so however often it grows.

Invariant: the numbers of partitions of two nodes differ by at most one, and the result depends on nothing but the ring
before, the names, the zones and the seed; not on the order in which the members are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from roost.core.layout import Layout
from roost.core.reseating import Reseating
from roost.core.ring import Ring
from roost.core.seating import NODE_PUSH, TARGET_N, crowding
from roost.limits import REPLICAS

TRIES: Final = 4
"""How many ways are compared: they begin at different places of the ring."""
GRAINS: Final = (1, NODE_PUSH[3])
"""How closely the ways look at how crowded a place is: in turn."""


def claim(members: tuple[str, ...], size: int, zones: tuple[str, ...] = ()) -> Ring:
    """Deal `size` partitions to `members` in turn, and mend where the ring closes.

    Args:
        members: the nodes, in any order; at least one, none twice.
        size: the number of partitions, a power of 2.
        zones: the zone of each member, in the same order, "" for a zone of its own; empty when there are none.

    Raises:
        ValueError: when there is no member, one is named twice, there is not one zone for each, or the size is not a
            power of 2.
    """
    names, places = _sorted(members, zones)
    if places:
        return _claim_in_zones(names, size, places)
    owners = _deal(len(names), size)
    reach = min(TARGET_N, len(names))
    for position in range(size):
        if crowding(owners, position, reach):
            _mend(owners, position, reach)
    return Ring(names, tuple(owners))


def reclaim(ring: Ring, members: tuple[str, ...], zones: tuple[str, ...] = (), *, seed: int = 0) -> Ring:
    """The ring for other members, several of which may have come and gone, with the least movement that balance allows.

    A node that joins takes its share from those that have too many, and nothing moves between the others. A node that
    leaves gives what it had. Among the rings for which that holds, a bounded search looks for one in which neighbouring
    partitions are on different nodes, and in different zones. It takes some milliseconds for 64 partitions, and less
    than a second for 512.

    Args:
        ring: the ring that the cluster has.
        members: all nodes that will have a share, in any order; at least one, none twice.
        zones: the zone of each member, in the same order, "" for a zone of its own; empty when there are none.
        seed: another one may give another ring that is as good.

    Raises:
        ValueError: when there is no member, one is named twice, or there is not one zone for each.
    """
    names, places = _sorted(members, zones)
    numbers = {name: number for number, name in enumerate(names)}
    before = [numbers.get(ring.members[owner], -1) for owner in ring.owners]
    tries: list[tuple[int, int, int, Ring]] = []
    for turn, reseating in enumerate(_tries(before, _numbered(places, len(names)), seed)):
        after = Ring(names, tuple(reseating.seating.owners), places)
        if not any(after == other for *_, other in tries):
            tries.append((reseating.seating.tension(), _transfers(ring, after), turn, after))
    return min(tries)[3]


def replace(ring: Ring, old: str, new: str, zone: str | None = None) -> Ring:
    """The ring in which `new` has exactly what `old` had, and nothing else moves.

    Args:
        zone: where `new` lies, "" for a zone of its own; where `old` does when it is None.

    Raises:
        ValueError: when `old` is not a member, or `new` is one.
    """
    if old not in ring.members or new in ring.members:
        raise ValueError(f"{new} cannot replace {old} in a ring of {', '.join(ring.members)}")
    place = ring.members.index(old)
    members = (*ring.members[:place], new, *ring.members[place + 1 :])
    zones = list(ring.zones or ("",) * len(members))
    if zone is not None:
        zones[place] = zone
    names, places = _sorted(members, tuple(zones))
    numbers = {name: number for number, name in enumerate(names)}
    return Ring(names, tuple(numbers[members[owner]] for owner in ring.owners), places)


def moved(before: Ring, after: Ring) -> dict[tuple[str, str], int]:
    """How many partitions get another owner: by the one that they had and the one that they get, sorted.

    Raises:
        ValueError: when the rings have different numbers of partitions.
    """
    if before.size != after.size:
        raise ValueError(f"rings of {before.size} and {after.size} partitions have nothing in common")
    pairs = Counter((before.owner(partition), after.owner(partition)) for partition in range(before.size))
    return {pair: count for pair, count in sorted(pairs.items()) if pair[0] != pair[1]}


def shortcomings(ring: Ring, n: int = REPLICAS) -> tuple[str, ...]:
    """What a ring misses of what it should have, in words for an operator; nothing for a good one.

    Args:
        n: how many copies there should be.
    """
    return tuple(_shortcomings(ring, n))


def _shortcomings(ring: Ring, n: int) -> Iterator[str]:
    counts = ring.counts()
    holders = [node for node, count in counts.items() if count]
    if len(holders) < n:
        yield f"{_nodes(len(holders))} at most {len(holders)} of {n} copies"
    if len(holders) < len(counts):
        yield f"{_nodes(len(counts) - len(holders))} no partition: there are only {ring.size} for {len(counts)} nodes"
    most, least = max(counts.values()), min(counts.values())
    if most - least > 1:
        worst = max(counts, key=lambda node: counts[node])
        share = ring.size / len(counts)
        yield f"{worst} owns {most} of {ring.size} partitions, which is more than its share of {share:.4g}"
    orders = [ring.order(partition)[:n] for partition in range(ring.size)]
    if ring.zones:
        yield from _shortcomings_of_zones(ring, n, orders)
    copies = Counter(node for order in orders for node in order)
    spread = max(copies.values()) - min(copies.values())
    if spread > n:  # more than a partition more or less explains
        percent = 100 * spread * len(copies) / copies.total()
        yield (
            f"neighbouring partitions are on one node{' or in one zone' * bool(ring.zones)} in {_meetings(ring, n)} "
            f"places, so that shares of copies differ by {percent:.0f} %"
        )


def _shortcomings_of_zones(ring: Ring, n: int, orders: Sequence[tuple[str, ...]]) -> Iterator[str]:
    zones = dict(zip(ring.members, _numbered(ring.zones, len(ring.members)), strict=True))
    count = len(set(zones.values()))
    if count < n:
        yield f"{count} zone{'s have' if count > 1 else ' has'} to hold {n} copies: some copies of a key share a zone"
    fewer = sum(len({zones[node] for node in order}) < min(n, count) for order in orders)
    if fewer:
        yield f"the copies of {fewer} partitions lie in fewer zones than there are"


def _meetings(ring: Ring, n: int) -> int:
    """How often one node or zone has two partitions so close together that a preference list skips one."""
    zones = _numbered(ring.zones, len(ring.members))
    reach = min(n, len(set(zones)))
    places = [zones[owner] for owner in ring.owners]
    return sum(places[at] == places[at - step] for at in range(ring.size) for step in range(1, reach))


def _nodes(count: int) -> str:
    return f"{count} node{'s hold' if count > 1 else ' holds'}"


def _claim_in_zones(names: tuple[str, ...], size: int, places: tuple[str, ...]) -> Ring:
    """All seats are free, and whoever crowds them least takes them; zones take turns as often as they have nodes."""
    if size < 1:
        raise ValueError(f"{size} partitions are not a power of 2")
    tries = list(_tries([-1] * size, _numbered(places, len(names)), 0))
    best = min(tries, key=lambda one: one.seating.tension())
    return Ring(names, tuple(best.seating.owners), places)


def _tries(before: Sequence[int], zones: Sequence[int], seed: int) -> Iterator[Reseating]:
    for turn in range(TRIES):
        reseating = Reseating(before, zones)
        start = (seed + turn * len(before) // TRIES) % len(before)
        reseating.settle(start, GRAINS[turn % len(GRAINS)])
        yield reseating


def _transfers(before: Ring, after: Ring) -> int:
    """How many copies have to be given from one slot to another."""
    layout = Layout.settled(before).aim(after, REPLICAS)
    return sum(len(layout.transfers(partition, REPLICAS)) for partition in layout.moving())


def _sorted(members: tuple[str, ...], zones: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The members by name, and the zones in the same order; none when each has one of its own."""
    if not members or len(set(members)) != len(members):
        raise ValueError("a ring needs members with different names")
    if zones and len(zones) != len(members):
        raise ValueError(f"{len(zones)} zones for {len(members)} members")
    names = tuple(sorted(members))
    if not any(zones):
        return names, ()
    places = dict(zip(members, zones, strict=True))
    return names, tuple(places[name] for name in names)


def _numbered(zones: Sequence[str], count: int) -> tuple[int, ...]:
    """The zone of each of `count` members as a number."""
    numbers: dict[str | int, int] = {}
    return tuple(numbers.setdefault(zone or place, len(numbers)) for place, zone in enumerate(zones or [""] * count))


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


def _mend(owners: list[int], position: int, reach: int) -> None:
    """Exchange the owner of `position` with others for as long as that makes both places less crowded."""
    for other in range(len(owners)):
        before = crowding(owners, position, reach) + crowding(owners, other, reach)
        owners[position], owners[other] = owners[other], owners[position]
        if crowding(owners, position, reach) + crowding(owners, other, reach) >= before:
            owners[position], owners[other] = owners[other], owners[position]
        elif not crowding(owners, position, reach):
            return
