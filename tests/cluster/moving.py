"""Flocks whose layout is changed by hand, as a cluster would change it, and counters that show what was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from roost import limits
from roost.cluster.coordinator import VnodeRing
from roost.cluster.keyed_vnode import KeyedVnode
from roost.cluster.node import Node
from roost.cluster.vnode import Sender
from roost.core.claim import claim
from roost.core.layout import Layout
from roost.core.ring import slot_of
from roost.data.bucket import Bucket
from roost.data.kv import Kv
from tests.cluster.flock import Flock, flock


class Add(msgspec.Struct, frozen=True, tag=True):
    """Add to the number under a key; the reply is the sum."""

    key: str
    number: int


class Sums(msgspec.Struct, frozen=True, tag=True):
    """Coverage: the sum of every key."""


class Sum(msgspec.Struct, frozen=True):
    """The sum of a key."""

    key: str
    total: int


class Counters(KeyedVnode[Add | Sums, Sum, int]):
    """Values that cannot be merged: an addition that is lost, or done twice, shows."""

    def handle_command(self, command: Add | Sums, sender: Sender) -> Sum:
        assert isinstance(command, Add)
        total = self.store[command.key] = self.store.get(command.key, 0) + command.number
        return Sum(command.key, total)

    def cover(self, command: Add | Sums) -> list[Sum]:
        return [Sum(key, total) for key, total in self.store.items()]


def name(letter: str) -> str:
    return f"{letter}@127.0.0.1"


class Moving:
    """A store and counters on a flock, and the layout that all its nodes have adopted."""

    def __init__(self, kept: int = 1) -> None:
        self.flock: Flock
        self.layout: Layout
        self.kvs: dict[str, Kv] = {}
        self.buckets: dict[str, Bucket] = {}
        self.rings: dict[str, VnodeRing[Add | Sums, Sum]] = {}
        self._kept = kept

    def setup(self, node: Node) -> None:
        """Give a node its store and its counters."""
        letter = node.name[0]
        self.kvs[letter] = Kv(node)
        self.buckets[letter] = self.kvs[letter].bucket("b")
        self.rings[letter] = VnodeRing(node, Counters, n=self._kept)
        if hasattr(self, "layout"):
            node.placement.adopt(self.layout)

    def adopt(self, layout: Layout, letters: str = "") -> None:
        """Let some nodes, or all, adopt a layout."""
        self.layout = layout
        for letter in letters or "".join(self.flock.nodes):
            self.flock[letter].placement.adopt(layout)

    def settle(self, letters: str) -> None:
        """Let these nodes hold everything, from the beginning."""
        size = next(iter(self.flock.nodes.values())).placement.size
        self.adopt(Layout.settled(claim(tuple(map(name, letters)), size)))

    def aim(self, letters: str) -> None:
        """Let these nodes hold everything in the end."""
        self.adopt(self.layout.aim(claim(tuple(map(name, letters)), self.layout.size), limits.REPLICAS))

    def given(self) -> list[int]:
        """The partitions of which everybody has given what there was to give."""
        given = {node.name: set(node.traffic.given_partitions()) for node in self.flock.nodes.values()}
        return [
            partition
            for partition in self.layout.moving()
            if all(partition in given.get(one.giver, ()) for one in self.layout.transfers(partition, limits.REPLICAS))
        ]

    async def arrive(self) -> None:
        """Let each partition arrive as soon as it is given, one node after the other, until all have."""
        while self.layout.moving():
            await self.flock.until(lambda: bool(self.given()))
            layout = self.layout.arrive(self.given())
            for letter in list(self.flock.nodes):
                self.adopt(layout, letter)
                await asyncio.sleep(0)

    def strays(self) -> int:
        """How many items are where they do not belong."""
        return sum(one.items_total for node in self.flock.nodes.values() for one in node.traffic.transfers())

    def total(self, key: str, index: int = 0) -> int:
        """The number under a key, at the holder of one of its copies."""
        ring = next(iter(self.rings.values()))
        slot = slot_of(ring.partition(key), index)
        holder = self.layout.holder(slot)
        assert holder is not None
        vnode = self.rings[holder[0]].host.vnode(slot)
        assert isinstance(vnode, Counters)
        return vnode.store.get(key, 0)


class Load:
    """Something that is done again and again, by several at a time, until it is told to stop."""

    def __init__(self, step: Callable[[int], Awaitable[None]], workers: int = 4) -> None:
        self._step = step
        self._is_over = False
        self.count = 0
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(workers)]

    async def _work(self, number: int) -> None:
        while not self._is_over:
            self.count += 1
            await self._step(self.count)
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Stop, and wait for what is under way; the first error is raised."""
        self._is_over = True
        await asyncio.gather(*self._tasks)


@asynccontextmanager
async def moving(*letters: str, folder: Path | None = None, kept: int = 1) -> AsyncIterator[Moving]:
    """Nodes with a store and counters that see each other."""
    story = Moving(kept)
    async with flock(*letters, setup=story.setup, folder=folder) as story.flock:
        yield story
