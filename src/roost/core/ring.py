"""The ring: which nodes hold the copies of a key.

Theory of operation (Dynamo, section 4.2 and 4.6; Riak Core). A key is hashed with SHA-1 onto a circle of 2**160 points,
which is cut into Q partitions of equal size, fixed at the cluster's birth. A key belongs to the partition *after* its
hash. Walking clockwise from that partition, every node is met once; the first N that are met hold the copies of the
key, and the node that is met k-th holds the copy with the index k. Where nodes lie in zones, one of a zone that holds a
copy already waits until every zone has one, so N copies lie in N zones whenever there are that many.

A copy is named by its partition and its index, packed in one number, its *slot*. The slot stays when its holder
changes, so what moves when the ring changes is whole slots.

The canonical encoding of a key is Riak's own: the Erlang external term of the pair of two binaries. So keys lie where
Riak would put them: ("bucket", "key") hashes to 28d8ddc5d00e8d5eb7f88a36eb0190b7e9b229a6.

Invariant: every partition has exactly one owner, and a preference list never names a node twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from roost.limits import REPLICAS_MAX

HASH_BITS: Final = 160
SLOT_BITS: Final = (REPLICAS_MAX - 1).bit_length()
"""Bits of a slot that hold the index."""
INDEX_MASK: Final = (1 << SLOT_BITS) - 1


def key_hash(bucket: bytes, key: bytes) -> int:
    """Where a key lies on the circle: a number in [0, 2**160)."""
    term = b"\x83h\x02m%b%bm%b%b" % (len(bucket).to_bytes(4, "big"), bucket, len(key).to_bytes(4, "big"), key)
    return int.from_bytes(hashlib.sha1(term, usedforsecurity=False).digest(), "big")


def slot_of(partition: int, index: int) -> int:
    """The slot of the copy `index` of `partition`."""
    return partition << SLOT_BITS | index


def partition_and_index(slot: int) -> tuple[int, int]:
    """Which copy of which partition a slot is."""
    return slot >> SLOT_BITS, slot & INDEX_MASK


class Replica(NamedTuple):
    """One entry of a preference list: `node` serves the copy `slot`, as its holder or, when that is down, for it."""

    slot: int
    node: str
    is_primary: bool

    @property
    def partition(self) -> int:
        """The partition of the slot."""
        return self.slot >> SLOT_BITS


class Ring(msgspec.Struct, frozen=True):
    """Who owns each partition, and therefore who holds which copy.

    Attributes:
        members: the nodes, sorted by name.
        owners: per partition, the position of its owner in `members`.
        zones: per member, the zone that it lies in, "" for a zone of its own; empty when there are none.

    Raises:
        ValueError: when the number of partitions is not a power of 2, an owner is not a member, or the zones are not
            one for each member.
    """

    members: tuple[str, ...]
    owners: tuple[int, ...]
    zones: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.owners or len(self.owners) & (len(self.owners) - 1):
            raise ValueError(f"{len(self.owners)} partitions are not a power of 2")
        if not all(0 <= owner < len(self.members) for owner in self.owners):
            raise ValueError("a partition whose owner is not a member")
        if self.zones and len(self.zones) != len(self.members):
            raise ValueError(f"{len(self.zones)} zones for {len(self.members)} members")

    @property
    def size(self) -> int:
        """The number of partitions."""
        return len(self.owners)

    def owner(self, partition: int) -> str:
        """The node that owns a partition."""
        return self.members[self.owners[partition]]

    def partition_of(self, point: int) -> int:
        """The partition that owns a point of the circle: the one after the point."""
        return (point * self.size >> HASH_BITS) + 1 & self.size - 1

    def owned(self, node: str) -> tuple[int, ...]:
        """The partitions of a node, in order."""
        return tuple(partition for partition in range(self.size) if self.owner(partition) == node)

    def counts(self) -> dict[str, int]:
        """How many partitions each member owns."""
        counts = dict.fromkeys(self.members, 0)
        for owner in self.owners:
            counts[self.members[owner]] += 1
        return counts

    def order(self, partition: int) -> tuple[str, ...]:
        """Every node that owns anything, in the order in which they hold the copies of `partition`."""
        return _orders(self)[partition]

    def digest(self) -> bytes:
        """What two nodes compare to know that they hold the same ring."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).digest()


def preference_list(order: Sequence[str], partition: int, n: int, up: Container[str]) -> tuple[Replica, ...]:
    """Who serves the `n` copies of what `partition` owns, as far as nodes are up.

    A holder that is not in `up` is stood in for by the next node of `order` that is up and holds no copy; that fallback
    serves the *holder's* slot. With too few nodes up the list is shorter than `n`.

    Args:
        order: who holds the copies, and who stands in for them, in this order.
    """
    spares = iter([node for node in order[n:] if node in up])
    replicas: list[Replica] = []
    for index, node in enumerate(order[:n]):
        stand_in = node if node in up else next(spares, None)
        if stand_in is not None:
            replicas.append(Replica(slot_of(partition, index), stand_in, stand_in == node))
    return tuple(replicas)


def spares(order: Sequence[str], n: int, up: Container[str]) -> tuple[str, ...]:
    """The nodes that are up, hold no copy and stand in for none: who is next when another one fails."""
    down = sum(node not in up for node in order[:n])
    return tuple(node for node in order[n:] if node in up)[down:]


@lru_cache(maxsize=16)
def _orders(ring: Ring) -> tuple[tuple[str, ...], ...]:
    """The order of every partition, from one walk round the circle against its direction."""
    walk: list[int] = []
    for partition in range(2 * ring.size - 1, ring.size - 1, -1):  # the first turn fills the walk
        _meet(walk, ring.owners[partition - ring.size])
    orders: list[tuple[str, ...]] = []
    for partition in range(ring.size - 1, -1, -1):
        _meet(walk, ring.owners[partition])
        orders.append(_spread(ring, walk))
    return tuple(reversed(orders))


def _meet(walk: list[int], owner: int) -> None:
    if owner in walk:
        walk.remove(owner)
    walk.insert(0, owner)


def _spread(ring: Ring, walk: Sequence[int]) -> tuple[str, ...]:
    """The nodes of a walk, every zone once before any zone comes again."""
    if not ring.zones:
        return tuple(ring.members[member] for member in walk)
    seen: dict[str, int] = {}
    ranked: list[tuple[int, int]] = []
    for place, member in enumerate(walk):
        zone = ring.zones[member]
        rank = seen.get(zone, 0) if zone else 0
        seen[zone] = rank + 1
        ranked.append((rank, place))
    return tuple(ring.members[walk[place]] for _, place in sorted(ranked))
