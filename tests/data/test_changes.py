"""The store while nodes join, leave, replace each other and are lost: nothing that was acknowledged is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from roost.cluster.node import Node
from roost.data.bucket import Bucket
from roost.data.kv import Kv
from roost.errors import Conflict, RoostError
from tests.cluster.flock import Flock
from tests.cluster.test_membership import commit, join, settled, strangers


class Shop:
    """A bucket on each node, and writers that never stop."""

    def __init__(self) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.kvs: dict[str, Kv] = {}
        self.acknowledged: dict[str, int] = {}
        self.refused = 0

    def setup(self, node: Node) -> None:
        """Give a node its bucket."""
        self.kvs[node.name[0]] = Kv(node)
        self.buckets[node.name[0]] = self.kvs[node.name[0]].bucket("carts")

    @asynccontextmanager
    async def busy(self, story: Flock, *letters: str) -> AsyncIterator[None]:
        """Writers on these nodes inside the block."""
        writers = [asyncio.ensure_future(self._write(story, letter)) for letter in letters]
        try:
            yield
        finally:
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)

    async def _write(self, story: Flock, letter: str) -> None:
        number = 0
        while True:
            number += 1
            key = f"{letter}{number % 400}"
            try:
                await self.buckets[letter].put(key, number)
            except RoostError:
                self.refused += 1
            else:
                self.acknowledged[key] = number
            await asyncio.sleep(0)

    async def wrote(self, story: Flock, count: int) -> None:
        """Wait until so many keys were acknowledged."""
        await story.until(lambda: len(self.acknowledged) >= count)

    async def check(self, *letters: str) -> None:
        """Every key has what was acknowledged last, or something newer, whoever is asked."""
        for letter in letters:
            for key, number in list(self.acknowledged.items()):
                values = await self._values(letter, key)
                assert any(isinstance(value, int) and value >= number for value in values), (letter, key, number)

    async def _values(self, letter: str, key: str) -> tuple[object, ...]:
        try:
            found = await self.buckets[letter].get(key)
        except Conflict as conflict:
            return conflict.values
        return () if found is None else (found.value,)

    def nothing_waits(self, *letters: str) -> bool:
        """Whether no node keeps what belongs to another."""
        return all(not self.kvs[letter].node.traffic.transfers() for letter in letters)


async def grown(story: Flock, shop: Shop, change: Callable[[], Awaitable[object]], *letters: str) -> None:
    """Make a change, commit it, and wait until it is done and nothing waits."""
    await change()
    await commit(story, letters[0])
    await settled(story, *letters)
    await story.until(lambda: shop.nothing_waits(*letters))


async def test_a_cluster_grows_from_one_to_four_and_shrinks_to_two_under_writes(tmp_path: Path) -> None:
    shop = Shop()
    async with strangers("a", "b", "c", "d", setup=shop.setup, folder=tmp_path) as story:
        async with shop.busy(story, "a"):
            await shop.wrote(story, 100)
            await grown(story, shop, lambda: join(story, "b", "a"), "a", "b")
            await shop.check("a", "b")
            async with shop.busy(story, "b"):
                await grown(story, shop, lambda: join(story, "c", "b"), "a", "b", "c")
                await grown(story, shop, lambda: join(story, "d", "a"), "a", "b", "c", "d")
                await shop.check("a", "b", "c", "d")
                leave = story["a"].membership.leave
                await grown(story, shop, lambda: leave("c@127.0.0.1"), "a", "b", "d")
                await grown(story, shop, lambda: leave("d@127.0.0.1"), "a", "b")
        await shop.check("a", "b")
        assert shop.refused == 0, "nothing failed, so nothing may be refused"


async def test_a_newcomer_takes_the_place_of_a_member_under_writes(tmp_path: Path) -> None:
    shop = Shop()
    async with strangers("a", "b", "c", "d", born="abc", setup=shop.setup, folder=tmp_path) as story:
        async with shop.busy(story, "a", "c"):
            await shop.wrote(story, 400)
            await join(story, "d", "a")
            replace = story["a"].membership.replace
            await grown(story, shop, lambda: replace("b@127.0.0.1", "d@127.0.0.1"), "a", "c", "d")
        await shop.check("a", "c", "d")
        assert shop.refused == 0


async def test_a_node_that_is_lost_is_removed_by_force_and_its_copies_are_made_anew(tmp_path: Path) -> None:
    shop = Shop()
    async with strangers("a", "b", "c", "d", born="abcd", setup=shop.setup, folder=tmp_path) as story:
        async with shop.busy(story, "b", "c"):
            await shop.wrote(story, 400)
            await story.stop("d")
            remove = story["a"].membership.force_remove
            await grown(story, shop, lambda: remove("d@127.0.0.1"), "a", "b", "c")
        await shop.check("a", "b", "c")
        for letter in "abc":
            tables = shop.kvs[letter].storage.counts()
            assert len(tables) <= story["a"].placement.size * 3


async def test_a_newcomer_brings_what_it_had_stored_before(tmp_path: Path) -> None:
    shop = Shop()
    async with strangers("a", "b", setup=shop.setup, folder=tmp_path) as story:
        for number in range(50):
            await shop.buckets["b"].put(f"old{number}", number)
            shop.acknowledged[f"old{number}"] = number
        await grown(story, shop, lambda: join(story, "b", "a"), "a", "b")
        await shop.check("a", "b")
