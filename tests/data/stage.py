"""Flocks of nodes with a store, for the stories of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from roost.cluster.node import Node
from roost.data.bucket import Bucket
from roost.data.kv import Kv
from roost.data.kv_vnode import Merge
from tests.cluster.flock import Flock, flock


class Stage:
    """A bucket on every node of a flock, by the letters of the nodes."""

    def __init__(self, merge: Merge | None) -> None:
        self.kvs: dict[str, Kv] = {}
        self.buckets: dict[str, Bucket] = {}
        self.flock: Flock
        self._merge = merge

    def setup(self, node: Node) -> None:
        """Give a node its store."""
        letter = node.name[0]
        self.kvs[letter] = Kv(node)
        self.buckets[letter] = self.kvs[letter].bucket("b", merge=self._merge)

    def __getitem__(self, letter: str) -> Bucket:
        return self.buckets[letter]

    def primaries(self, key: str, n: int = 3) -> str:
        """The letters of the nodes that hold a key when all are up, first choice first."""
        bucket, node = next(iter(self.buckets.values())), next(iter(self.flock.nodes.values()))
        partition = bucket.where(key, 1)[0].partition
        return "".join(name[0] for name in node.placement.layout.order(partition)[:n])

    def key(self, *, of: str = "", beside: str = "", n: int = 3) -> str:
        """A key that is first on node `of`, and of which node `beside` holds no copy."""
        return next(
            key
            for key in map(str, range(10_000))
            if self.primaries(key, n).startswith(of) and not set(beside) & set(self.primaries(key, n))
        )

    def copies(self, key: str) -> str:
        """The letters of the running nodes that hold something under a key, in any slot."""
        full = b"\x01b" + key.encode()
        return "".join(
            letter
            for letter in self.flock.nodes
            if any(full in table for table in self.kvs[letter].storage.tables.values())
        )


@asynccontextmanager
async def stage(*letters: str, folder: Path | None = None, merge: Merge | None = None) -> AsyncIterator[Stage]:
    """Nodes with a store that see each other."""
    story = Stage(merge)
    async with flock(*letters, setup=story.setup, folder=folder) as story.flock:
        yield story
