"""The ring: which node is responsible for which key.

Theory of operation (Dynamo, section 4.2 and 4.6; Riak Core). A key is hashed with SHA-1 onto a circle of 2**160 points,
which is cut into Q partitions of equal size, fixed at the cluster's birth. A key is owned by the partition *after* its
hash. Its replicas live in the first partitions clockwise from there that belong to different nodes: a partition whose
node already holds a copy is skipped, so N copies are on N nodes whenever there are that many, whatever Q and the
number of nodes are.

The canonical encoding of a key is Riak's own: the Erlang external term of the pair of two binaries. So keys lie where
Riak would put them: ("bucket", "key") hashes to 28d8ddc5d00e8d5eb7f88a36eb0190b7e9b229a6.

Invariant: every partition has exactly one owner, and a preference list never names a node twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from typing import NamedTuple

import msgspec

HASH_BITS = 160


def key_hash(bucket: bytes, key: bytes) -> int:
    """Where a key lies on the circle: a number in [0, 2**160)."""
    term = b"\x83h\x02m%b%bm%b%b" % (len(bucket).to_bytes(4, "big"), bucket, len(key).to_bytes(4, "big"), key)
    return int.from_bytes(hashlib.sha1(term, usedforsecurity=False).digest(), "big")


class Replica(NamedTuple):
    """One entry of a preference list: `node` serves `partition`, as its owner or, when the owner is down, for it."""

    partition: int
    node: str
    is_primary: bool


class Ring(msgspec.Struct, frozen=True):
    """Who owns each partition.

    Attributes:
        members: the nodes, sorted by name.
        owners: per partition, the position of its owner in `members`.

    Raises:
        ValueError: when the number of partitions is not a power of 2, or an owner is not a member.
    """

    members: tuple[str, ...]
    owners: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.owners or len(self.owners) & (len(self.owners) - 1):
            raise ValueError(f"{len(self.owners)} partitions are not a power of 2")
        if not all(0 <= owner < len(self.members) for owner in self.owners):
            raise ValueError("a partition whose owner is not a member")

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

    def preference_list(self, partition: int, n: int, up: Container[str]) -> tuple[Replica, ...]:
        """Who holds the `n` copies of what `partition` owns, as far as nodes are up.

        The primaries are the first `n` partitions clockwise that belong to different nodes. A primary whose node is
        not in `up` is stood in for by the next node clockwise that is up and holds no copy yet; that fallback serves
        the *primary's* partition. With too few nodes up the list is shorter than `n`.
        """
        walk = self._walk(partition)
        nodes = list(walk)
        spares = iter([node for node in nodes[n:] if node in up])
        replicas: list[Replica] = []
        for node in nodes[:n]:
            stand_in = node if node in up else next(spares, None)
            if stand_in is not None:
                replicas.append(Replica(walk[node], stand_in, stand_in == node))
        return tuple(replicas)

    def spares(self, partition: int, n: int, up: Container[str]) -> tuple[str, ...]:
        """The nodes that are up, hold no copy and stand in for none: who is next, clockwise, when another one fails."""
        taken = [replica.node for replica in self.preference_list(partition, n, up)]
        return tuple(node for node in list(self._walk(partition))[n:] if node in up and node not in taken)

    def digest(self) -> bytes:
        """What two nodes compare to know that they hold the same ring."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).digest()

    def _walk(self, partition: int) -> dict[str, int]:
        """Every node, in clockwise order, with the first of its partitions."""
        walk: dict[str, int] = {}
        for step in range(self.size):
            position = partition + step & self.size - 1
            walk.setdefault(self.owner(position), position)
            if len(walk) == len(self.members):
                break
        return walk
