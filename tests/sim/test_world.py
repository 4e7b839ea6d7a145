from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import subprocess
import sys

import pytest

from roost.config import Config
from roost.errors import NodeCrashed, NodeDown, NoQuorum
from roost.sim.checkers import Broken, invented, lost_writes, unanswered
from roost.sim.history import History
from roost.sim.nemesis import Nemesis, Plan
from roost.sim.running import run
from roost.sim.weather import Climate
from roost.sim.world import World, node_name
from tests.sim.toy import Hasty, Lonely, Toy

NAMES = ("a", "b", "c")
STORY_S = 4.0


async def _client(world: World[Toy], history: History, name: str, end_s: float) -> None:
    draw = random.Random(f"{world.seed}/{name}")
    number = 0
    while world.loop.time() < end_s:
        await asyncio.sleep(draw.expovariate(20.0))
        if not world.running:
            continue
        machine, key = draw.choice(world.running), draw.choice("xyz")
        number += 1
        value = f"{name}-{number}"
        operation = history.put(name, machine, key, value, ())
        try:
            await world.on(machine, lambda node, key=key, value=value: node.put(key, value))  # type: ignore[misc]  # lambda
        except NodeDown:
            history.end(operation, "fail")
        except (NodeCrashed, NoQuorum) as error:
            history.end(operation, "info", note=error.code)
        else:
            history.end(operation, "ok")


async def _story(kind: type[Toy], kinds: tuple[str, ...]) -> tuple[str, list[Broken], int]:
    async with World(*NAMES, boot=kind.boot) as world:
        await world.start()
        history = History(world.trace)
        nemesis = Nemesis(world, Plan.draw(world.seed, kinds))
        end_s = world.loop.time() + STORY_S
        async with asyncio.TaskGroup() as group:
            group.create_task(nemesis.rage(STORY_S))
            for name in ("c1", "c2"):
                group.create_task(_client(world, history, name, end_s))
        await asyncio.sleep(1.0)
        final = {key: await world.on("a", lambda node, key=key: node.get(key)) for key in "xyz"}  # type: ignore[misc]  # lambda
        broken = lost_writes(history.operations, final) + invented(history.operations, final)
        return world.trace.digest, broken + unanswered(history.operations), len(history.acknowledged())


def test_a_correct_store_keeps_every_acknowledged_write_under_every_fault() -> None:
    acknowledged = 0
    for seed in range(20):
        _, broken, count = run(
            seed, _story(Toy, ("crash", "split", "one_way", "power_cut", "slow_disk", "full_disk", "reset", "pause"))
        )
        assert broken == [], f"seed {seed}"
        acknowledged += count
    assert acknowledged > 500


def _seeds_until_caught(kind: type[Toy], kinds: tuple[str, ...], most: int) -> int:
    for seed in range(most):
        if run(seed, _story(kind, kinds))[1]:
            return seed
    raise AssertionError(f"{kind.__name__} was not caught by {most} seeds")


def test_a_power_cut_catches_a_store_that_acknowledges_before_its_disk() -> None:
    assert _seeds_until_caught(Hasty, ("power_cut",), 10) < 10


def test_a_store_that_counts_itself_as_a_quorum_is_caught() -> None:
    assert _seeds_until_caught(Lonely, ("crash", "full_disk", "split"), 40) < 40


def test_equal_seeds_have_equal_digests() -> None:
    digests = [run(seed, _story(Toy, ("crash", "split", "reset")))[0] for seed in range(6)]
    assert [run(seed, _story(Toy, ("crash", "split", "reset")))[0] for seed in range(6)] == digests
    assert len(set(digests)) == 6


PROGRAM = """
from roost.sim.running import run
from tests.sim.test_world import _story, Toy
print([run(seed, _story(Toy, ("crash", "split", "power_cut")))[0] for seed in (1, 2, 3)])
"""


def test_digests_do_not_depend_on_the_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        ).stdout
        for hash_seed in ("0", "1", "random")
    }
    assert len(outputs) == 1
    assert outputs.pop().count(b",") == 2


@pytest.mark.virtual_time
async def test_a_request_to_a_node_that_dies_ends_with_node_crashed() -> None:
    async with World(*NAMES, boot=Toy.boot) as world:
        await world.start("a", "b")
        world.split(["a"], ["b", "c"])
        asking = asyncio.get_running_loop().create_task(world.on("a", lambda node: node.put("x", "1")))
        await asyncio.sleep(0.1)
        world.crash("a")
        with pytest.raises(NodeCrashed):
            await asking
        with pytest.raises(NodeDown):
            await world.on("a", lambda node: node.put("x", "2"))
        assert world.running == ("b",)
        assert world.down == ("a", "c")
        await world.restart("a")
        assert world.node("a").config.name == node_name("a")


@pytest.mark.virtual_time
async def test_what_reached_the_disk_survives_and_what_was_memory_does_not() -> None:
    async with World("a", boot=Lonely.boot) as world:
        await world.start()
        await world.on("a", lambda node: node.put("x", "1"))
        world.node("a").values["x"]["memory only"] = None
        world.power_cut()
        await world.restart("a")
        assert [*world.node("a").values["x"]] == ["1"]


@pytest.mark.virtual_time
async def test_stop_is_orderly_and_leaves_no_task() -> None:
    async with World(*NAMES, boot=Toy.boot) as world:
        await world.start()
        await world.on("a", lambda node: node.put("x", "1"))
        await asyncio.sleep(1.0)
        for name in NAMES:
            await world.stop(name)
        assert world.running == ()
        assert world.network.connections() == 0


@pytest.mark.virtual_time
async def test_eventually_waits_in_virtual_time_and_gives_up() -> None:
    async with World("a", boot=Toy.boot) as world:
        loop = world.loop
        await world.eventually(lambda: loop.time() > 100.0, within_s=200.0)
        with pytest.raises(AssertionError, match="pigs fly did not become true within 5 virtual seconds"):
            await world.eventually(lambda: False, within_s=5.0, what="pigs fly")


@pytest.mark.virtual_time
async def test_clocks_drift_and_jump_apart() -> None:
    async with World(*NAMES, boot=Toy.boot, drift=0.01) as world:
        await world.start()
        began = {name: world.clock(name).now() for name in NAMES}
        await asyncio.sleep(1000.0)
        passed = [world.clock(name).now() - began[name] for name in NAMES]
        assert len(set(passed)) == 3
        assert all(990.0 <= seconds <= 1010.0 for seconds in passed)
        before = world.clock("a").wall()
        world.clock("a").jump_wall(-3600.0)
        assert world.clock("a").wall() == before - 3600.0


def test_plans_differ_by_seed_and_cover_every_kind() -> None:
    plans = [Plan.draw(seed) for seed in range(30)]
    assert len({plan.kinds for plan in plans}) > 15
    assert {kind for plan in plans for kind in plan.kinds} >= {"crash", "split", "one_way", "power_cut", "pause"}
    assert Plan.draw(3) == plans[3]


@pytest.mark.virtual_time
async def test_a_world_can_end_with_a_node_that_was_paused_in_the_middle_of_something() -> None:
    async with World("a", boot=Lonely.boot) as world:
        await world.start()
        world.pause("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await world.on("a", lambda node: node.put("x", "1"))


def test_machines_that_are_not_born_into_the_cluster_know_of_nobody() -> None:
    async def story() -> None:
        def in_the_north(config: Config) -> Config:
            return dataclasses.replace(config, zone="north")

        async with World(*NAMES, boot=Toy.boot, born="ab", settings=in_the_north) as world:
            await world.start()
            told = {name: (len(world.node(name).config.seeds), world.node(name).config.zone) for name in NAMES}
            assert told == {"a": (2, "north"), "b": (2, "north"), "c": (0, "north")}

    run(0, story())


def test_a_slow_node_takes_its_time_and_is_quick_again() -> None:
    async def took_s(world: World[Toy]) -> float:
        began_s = world.loop.time()
        await world.on("a", lambda node: node.put("x", "1"))
        return world.loop.time() - began_s

    async def story() -> None:
        async with World(*NAMES, boot=Toy.boot) as world:
            await world.start()
            quick_s = await took_s(world)
            world.slow("a", 0.2)
            assert await took_s(world) > 0.1 > 10 * quick_s
            world.pause("a")
            await asyncio.sleep(1.0)
            assert world.is_paused("a"), "its slices do not wake it"
            world.resume("a")
            world.slow("a", 0.0)
            await asyncio.sleep(0.5)
            assert await took_s(world) < 0.1

    run(0, story())


def test_in_a_storm_everything_is_late_until_it_is_over() -> None:
    async def story() -> None:
        async with World(*NAMES, boot=Toy.boot) as world:
            await world.start()
            fair = world.network.weather.climate
            world.storm(Climate(delay_min_s=0.1))
            began_s = world.loop.time()
            await world.on("a", lambda node: node.put("x", "1"))
            assert world.loop.time() - began_s > 0.2
            world.storm(fair)
            began_s = world.loop.time()
            await world.on("a", lambda node: node.put("x", "2"))
            assert world.loop.time() - began_s < 0.1

    run(0, story())
