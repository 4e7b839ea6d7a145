"""A slot moves to another node while everybody works on it: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from roost import limits
from roost.cluster.address import FALLBACK
from roost.cluster.fabric import Fabric
from roost.cluster.outgoing import Outgoing
from roost.cluster.ring import Placement
from roost.config import Config
from roost.core.claim import claim
from roost.core.handoff import Giving
from roost.core.layout import Layout
from roost.core.ring import partition_and_index, slot_of
from roost.errors import NoQuorum, ProcessDown, RoostError
from roost.runtime import Runtime
from tests.cluster.moving import Add, Counters, Load, moving, name

KEYS = [f"k{number}" for number in range(40)]


@pytest.fixture(autouse=True)
def nobody_is_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine makes nodes think that others are down; what stand-ins count then is another story."""
    monkeypatch.setattr(limits, "HEARTBEATS_MISSED_MAX", 10_000)


async def counted() -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Count while everything moves twice: what was acknowledged, what is there, and once more when all is tidied."""
    async with moving("a", "b", "c") as story:
        story.settle("ab")
        acknowledged: Counter[str] = Counter()

        async def add(count: int) -> None:
            key = KEYS[count % len(KEYS)]
            await story.rings["abc"[count % 3]].command(key, Add(key, 1))
            acknowledged[key] += 1

        load = Load(add)
        await story.flock.until(lambda: load.count > 200)
        story.aim("bc")
        await story.arrive()
        before = load.count
        await story.flock.until(lambda: load.count > before + 200)
        story.aim("abc")
        await story.arrive()
        await load.stop()
        totals = {key: story.total(key) for key in KEYS}
        await story.flock.until(lambda: story.strays() == 0)
        return acknowledged, totals, {key: story.total(key) for key in KEYS}


async def test_what_cannot_be_merged_is_right_after_a_move_under_load() -> None:
    acknowledged, totals, tidied = await counted()
    assert totals == acknowledged
    assert tidied == acknowledged


def _not_forwarded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outgoing, "forward", lambda self, command, mode: None)


def _not_relayed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Giving, "is_relaying", property(lambda self: False))


@pytest.mark.parametrize("plant", [_not_forwarded, _not_relayed])
async def test_a_command_that_is_not_handed_on_shows(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    acknowledged, totals, _ = await counted()
    assert totals != acknowledged


@pytest.mark.parametrize(("before", "after", "copies"), [("abc", "ab", 2), ("ab", "abc", 2), ("abcd", "bcd", 3)])
async def test_every_copy_counts_every_command_once_while_copies_come_and_go(
    before: str, after: str, copies: int
) -> None:
    async with moving(*sorted({*before, *after}), kept=3) as story:
        story.settle(before)
        acknowledged: Counter[str] = Counter()
        attempted: Counter[str] = Counter()

        async def add(count: int) -> None:
            key = KEYS[count % len(KEYS)]
            ring = story.rings[before[0]]
            width = min(3, story.flock[before[0]].placement.breadth(ring.partition(key)))
            attempted[key] += 1
            with suppress(NoQuorum):  # of a copy that is not kept any more, when it was asked a moment too late
                await ring.write(key, Add(key, 1), n=width, w=width)
                acknowledged[key] += 1

        load = Load(add)
        await story.flock.until(lambda: load.count > 200)
        story.aim(after)
        await story.arrive()
        await load.stop()
        for index in range(copies):
            assert all(acknowledged[key] <= story.total(key, index) <= attempted[key] for key in KEYS), index
        assert attempted.total() - acknowledged.total() <= len(KEYS)


async def test_nothing_that_was_acknowledged_is_lost_while_everything_moves() -> None:
    async with moving("a", "b", "c", "d", "e") as story:
        story.settle("abc")
        written: dict[str, int] = {}
        deleted: set[str] = set()

        async def write(count: int) -> None:
            key, bucket = f"w{count}", story.buckets["abcde"[count % 5]]
            await bucket.put(key, count)
            written[key] = count
            if count % 5 == 0:
                await bucket.delete(key)
                deleted.add(key)

        load = Load(write)
        await story.flock.until(lambda: load.count > 300)
        story.aim("cde")
        await story.arrive()
        await load.stop()
        await story.flock.until(lambda: story.strays() == 0)
        for letter in "ace":
            for key, value in written.items():
                found = await story.buckets[letter].get(key)
                assert (found and found.value) == (None if key in deleted else value)
        for letter in "ab":
            assert story.kvs[letter].storage.counts() == {}
            assert story.kvs[letter].host.running() == {}


async def test_a_partition_is_given_only_when_its_taker_has_everything() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        for key in KEYS:
            await story.rings["b"].command(key, Add(key, 3))
        told: list[int] = []
        story.flock["a"].traffic.when_given(told.append)
        story.aim("b")
        await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
        assert set(told) == set(story.layout.moving()) == set(story.flock["a"].traffic.given_partitions())
        ring = story.rings["b"]
        for key in KEYS:
            slot = ring.partition(key) << 3
            assert story.rings["b"].host.vnode(slot).item(key.encode()) == b"\x03"
            assert (await ring.command(key, Add(key, 1))).total == 4
            assert story.rings["a"].host.vnode(slot).item(key.encode()) == b"\x04"
            assert story.rings["b"].host.vnode(slot).item(key.encode()) == b"\x04"


async def test_a_taker_that_dies_takes_the_gift_back_and_gets_it_again() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        for key in KEYS:
            await story.rings["a"].command(key, Add(key, 1))
        story.aim("b")
        await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
        await story.flock.stop("b")
        assert story.flock["a"].traffic.given_partitions() == ()
        for key in KEYS:
            assert (await story.rings["a"].command(key, Add(key, 1))).total == 2
        await story.flock.start("b")
        await story.flock.meet()
        await story.arrive()
        assert {story.total(key) for key in KEYS} == {2}


@pytest.mark.parametrize("how", ["crash", "restart"])
async def test_a_taker_whose_vnode_begins_anew_takes_the_gift_back_and_gets_it_again(how: str) -> None:
    async with moving("a", "b", "c") as story:
        story.settle("a")
        for key in KEYS:
            await story.rings["a"].command(key, Add(key, 1))
        story.aim("b")
        await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
        host = story.rings["b"].host
        if how == "crash":
            for slot in list(host.running()):
                host.crashed(slot, ZeroDivisionError("on what a stand-in was asked"))
        else:
            host.close("killed")
            host.open()
        for key in KEYS:
            assert (await story.rings["c"].command(key, Add(key, 1))).total == 2
        await story.arrive()
        assert {story.total(key) for key in KEYS} == {2}


async def test_what_the_new_holder_deletes_does_not_come_back_from_the_old_one() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        for key in KEYS:
            await story.rings["a"].command(key, Add(key, 1))
        story.aim("b")
        await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
        story.flock["a"].traffic.exclude("Counters")
        await story.arrive()
        for vnode in story.rings["b"].host.running().values():
            assert isinstance(vnode, Counters)
            vnode.store.clear()
        story.flock["a"].traffic.exclude()
        await story.flock.until(lambda: story.strays() == 0)
        assert {story.total(key) for key in KEYS} == {0}


async def test_what_the_holder_deletes_does_not_come_back_from_who_was_to_have_it() -> None:
    async with moving("a", "b", "c") as story:
        story.settle("a")
        for key in KEYS:
            await story.rings["a"].command(key, Add(key, 1))
        story.aim("b")
        await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
        for letter in "bc":
            story.flock[letter].traffic.exclude("Counters")
        story.aim("c")
        for vnode in story.rings["a"].host.running().values():
            assert isinstance(vnode, Counters)
            vnode.store.clear()
        story.flock["b"].traffic.exclude()
        await story.flock.until(lambda: story.flock["b"].traffic.transfers() == ())
        assert {story.total(key) for key in KEYS} == {0}


async def test_a_giver_that_dies_with_its_disk_gives_the_rest_when_it_is_back(tmp_path: Path) -> None:
    async with moving("a", "b", "c", "d", folder=tmp_path) as story:
        story.settle("abc")
        keys = [f"w{number}" for number in range(600)]
        await asyncio.gather(*(story.buckets["a"].put(key, key) for key in keys))
        story.aim("bcd")
        await story.flock.until(lambda: bool(story.given()))
        await story.flock.stop("a")
        await story.flock.start("a")
        await story.flock.meet()
        await story.arrive()
        await story.flock.until(lambda: story.strays() == 0)
        for key in keys:
            found = await story.buckets["d"].get(key)
            assert found is not None
            assert found.value == key


async def test_commands_that_fail_are_answered_while_the_taker_comes_and_goes() -> None:
    async with moving("a", "b", "c") as story:
        story.settle("ab")
        acknowledged: Counter[str] = Counter()
        unknown: Counter[str] = Counter()

        async def add(count: int) -> None:
            key = KEYS[count % len(KEYS)]
            try:
                await story.rings["ab"[count % 2]].command(key, Add(key, 1))
            except RoostError:
                unknown[key] += 1
            else:
                acknowledged[key] += 1

        load = Load(add)
        await story.flock.until(lambda: load.count > 100)
        story.aim("bc")
        for _ in range(3):
            before = load.count
            await story.flock.until(lambda: load.count > before + 50)  # noqa: B023  # it is awaited here
            await story.flock.stop("c")
            await story.flock.start("c")
            await story.flock.meet()
        await story.arrive()
        await load.stop()
        for key in KEYS:
            assert acknowledged[key] <= story.total(key) <= acknowledged[key] + unknown[key]


async def test_nobody_takes_a_second_copy_while_he_keeps_one_for_another_node() -> None:
    async with moving("a", "b", "c", "d") as story:
        story.settle("abcd")
        await story.flock.stop("c")
        for key in KEYS:
            await story.buckets["a"].put(key, "x", w=3)

        def reasons() -> list[str]:
            return [one.reason for node in story.flock.nodes.values() for one in node.traffic.transfers()]

        story.aim("bcd")
        await story.flock.until(lambda: any("keeps another copy" in reason for reason in reasons()))
        await story.flock.start("c")
        story.adopt(story.layout)
        await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
        assert not any("keeps another copy" in reason for reason in reasons())


def test_who_is_about_to_hold_a_copy_is_the_last_to_stand_in() -> None:
    layout = Layout.settled(claim(("a", "b", "c", "d", "e"), 64))
    fabric = Fabric(Config(), Runtime.real(), b"id")
    fabric._up = ("a", "b", "c", "d", "e")
    placement = Placement(layout.aim(claim(("b", "c", "d", "e"), 64), limits.REPLICAS), fabric)
    for partition in placement.layout.moving():
        now, then = layout.order(partition)[:3], placement.layout.goal.order(partition)[:3]
        spares = placement.spares(partition, 3)
        assert not set(spares) & {*now}
        assert [node in then for node in spares] == sorted(node in then for node in spares)
    assert any(placement.layout.order(one)[3:] != placement.spares(one, 3) for one in placement.layout.moving())


async def test_a_copy_that_is_not_kept_any_more_goes_to_all_who_hold_the_partition() -> None:
    async with moving("a", "b", "c") as story:
        story.settle("abc")
        size = story.layout.size
        lonely: list[tuple[int, bytes]] = []
        for key in KEYS:
            await story.buckets["a"].put(key, "x", w=3)
        for slot, table in story.kvs["c"].storage.tables.items():
            partition, index = partition_and_index(slot)
            if index == 2:
                for other, letter in enumerate(name[0] for name in story.layout.order(partition)[:2]):
                    for full in table:
                        story.kvs[letter].storage.delete(slot_of(partition, other), full)
                lonely += [(partition, full) for full in table]
        assert lonely
        story.adopt(Layout.settled(claim(tuple(map(name, "ab")), size)))
        await story.flock.until(lambda: story.kvs["c"].storage.counts() == {})
        for partition, full in lonely:
            for index, node in enumerate(story.layout.order(partition)):
                assert story.kvs[node[0]].storage.get(slot_of(partition, index), full) is not None


async def test_a_node_that_owns_nothing_stands_in_for_nobody() -> None:
    async with moving("a", "b", "c") as story:
        story.settle("ab")
        ring = story.rings["a"]
        command = ring.host.encode_command(Add("k", 1))
        outcomes: dict[str, object] = {}
        for letter in "bc":
            body = ring.host.envelope(slot_of(ring.partition("k"), 0), FALLBACK, command)
            try:
                outcomes[letter] = await story.flock["a"].fabric.call(name(letter), ring.host.service, body)
            except ProcessDown as error:
                outcomes[letter] = error
        assert isinstance(outcomes["c"], ProcessDown)
        assert not isinstance(outcomes["b"], ProcessDown)
