from __future__ import annotations

import asyncio
import errno

import pytest

from roost.runtime.disk import Disk, Store
from roost.sim.disk import Platter, SimDisk
from roost.sim.life import Life
from roost.sim.loop import running_loop, turns
from roost.sim.running import run
from roost.sim.trace import Trace


def _machine() -> tuple[Platter, Life, SimDisk]:
    platter = Platter(running_loop(), "a", Trace(running_loop().time))
    life = Life("a")
    return platter, life, platter.disk(life)


def _die(platter: Platter, life: Life) -> None:
    platter.cut()
    running_loop().kill(life)


@pytest.mark.virtual_time
async def test_a_commit_takes_time_and_is_there_for_the_next_life() -> None:
    platter, life, disk = _machine()
    seam: Disk = disk
    store: Store = await seam.open_store("kv")
    await store.commit([(b"k2", b"2"), (b"k1", b"1"), (b"other", b"x")])
    await store.commit([(b"k2", None)])
    assert running_loop().time() >= 2 * platter.health.commit_min_s
    seam.write("ring", b"state")
    _die(platter, life)
    disk = platter.disk(Life("a", 2))
    assert disk.read("ring") == b"state"
    assert disk.read("other") is None
    assert [*(await disk.open_store("kv")).scan(b"k")] == [(b"k1", b"1")]


def test_a_crash_keeps_some_prefix_of_what_was_not_acknowledged_and_never_half_a_batch() -> None:
    async def story() -> int:
        platter, life, disk = _machine()
        store = await disk.open_store("kv")
        loop = running_loop()
        for number in range(4):
            batch = [(b"%d/%d" % (number, part), b"") for part in range(3)]
            loop.create_task(store.commit([*batch]), context=life.context)
        await turns(3)
        _die(platter, life)
        kept = [key for key, _ in (await platter.disk(Life("a", 2)).open_store("kv")).scan(b"")]
        loop.bury(life)
        assert kept == [b"%d/%d" % (number, part) for number in range(len(kept) // 3) for part in range(3)]
        return len(kept) // 3

    assert {run(seed, story()) for seed in range(0, 60, 2)} == {0, 1, 2, 3, 4}


def test_a_power_cut_mostly_loses_all_that_was_not_acknowledged() -> None:
    async def story() -> int:
        platter, life, disk = _machine()
        store = await disk.open_store("kv")
        writing = running_loop().create_task(store.commit([(b"k", b"")]), context=life.context)
        await turns(3)
        platter.cut(dark=True)
        writing.cancel()
        await asyncio.wait([writing])
        return platter.commits

    assert 0 < sum(run(seed, story()) for seed in range(60)) < 20


def test_an_acknowledged_commit_survives_every_crash() -> None:
    async def story() -> None:
        platter, life, disk = _machine()
        store = await disk.open_store("kv")
        acknowledged: list[int] = []

        async def writer() -> None:
            for number in range(1000):
                await store.commit([(b"%03d" % number, b"")])
                acknowledged.append(number)

        running_loop().create_task(writer(), context=life.context)
        await asyncio.sleep(0.02)
        _die(platter, life)
        kept = [int(key) for key, _ in (await platter.disk(Life("a", 2)).open_store("kv")).scan(b"")]
        running_loop().bury(life)
        assert len(acknowledged) > 3
        assert kept[: len(acknowledged)] == acknowledged
        assert len(kept) - len(acknowledged) in (0, 1)

    for seed in range(20):
        run(seed, story())


@pytest.mark.virtual_time
async def test_a_dead_life_reaches_nothing() -> None:
    platter, life, disk = _machine()
    store = await disk.open_store("kv")
    platter.cut()
    disk.write("ring", b"ghost")
    late = running_loop().create_task(store.commit([(b"k", b"ghost")]))
    await asyncio.sleep(10.0)
    assert not late.done()
    assert platter.files == {}
    assert platter.stores == {}
    late.cancel()
    await asyncio.wait([late])
    assert life.number == 1


@pytest.mark.virtual_time
async def test_a_full_or_failing_disk_says_so_and_recovers() -> None:
    platter, _, disk = _machine()
    store = await disk.open_store("kv")
    for field, number in (("full", errno.ENOSPC), ("failing", errno.EIO)):
        setattr(platter.health, field, True)
        with pytest.raises(OSError, match="kv") as caught:
            await store.commit([(b"k", b"v")])
        assert caught.value.errno == number
        with pytest.raises(OSError, match="ring"):
            disk.write("ring", b"")
        setattr(platter.health, field, False)
    assert [*store.scan(b"")] == []
    await store.commit([(b"k", b"v")])
    assert [*store.scan(b"")] == [(b"k", b"v")]


@pytest.mark.virtual_time
async def test_a_slow_disk_takes_longer() -> None:
    platter, _, disk = _machine()
    store = await disk.open_store("kv")
    platter.health.slowness = 1000.0
    await store.commit([(b"k", b"v")])
    assert running_loop().time() > 0.3


@pytest.mark.virtual_time
async def test_one_store_is_open_once() -> None:
    _, _, disk = _machine()
    store = await disk.open_store("kv")
    with pytest.raises(OSError, match="locked"):
        await disk.open_store("kv")
    await store.close()
    with pytest.raises(OSError, match="closed"):
        await store.commit([])
    await disk.open_store("kv")


@pytest.mark.virtual_time
async def test_close_waits_for_the_commit_that_runs() -> None:
    platter, _, disk = _machine()
    store = await disk.open_store("kv")
    running = running_loop().create_task(store.commit([(b"k", b"v")]))
    await turns(2)
    await store.close()
    assert platter.commits == 1
    await running
