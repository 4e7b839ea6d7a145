from __future__ import annotations

import asyncio

import pytest

from roost.sim.nemesis import KINDS, Nemesis, Plan
from roost.sim.running import run
from roost.sim.world import World
from tests.sim.toy import Toy

NAMES = ("a", "b", "c")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_fires_and_is_mended(kind: str) -> None:
    async def story() -> None:
        async with World(*NAMES, boot=Toy.boot) as world:
            await world.start()
            nemesis = Nemesis(world, Plan((kind,), 0.3, 0.5))
            before = world.trace.digest
            await nemesis.rage(5.0)
            assert nemesis.fired[kind] >= 3
            assert world.trace.digest != before or kind in ("slow_disk", "full_disk")
            assert world.running == NAMES
            assert not any(world.platter(name).health.full for name in NAMES)
            assert all(world.platter(name).health.slowness == 1.0 for name in NAMES)
            for name in NAMES:
                await world.on(name, lambda node: node.put("x", "after"))

    for seed in range(3):
        run(seed, story())


def test_faults_have_effects() -> None:
    """During a fault of each kind something that works otherwise does not, or is slow."""

    async def effect(kind: str) -> bool:
        async with World("a", "b", boot=Toy.boot) as world:
            await world.start()
            await world.on("a", lambda node: node.put("x", "before"))
            nemesis = Nemesis(world, Plan((kind,), 1.0, 1e9))
            raging = asyncio.get_running_loop().create_task(nemesis.rage(1e9))
            await world.eventually(lambda: bool(nemesis.fired), within_s=60.0)
            began_s = world.loop.time()
            resets = world.network.connections()
            try:
                async with asyncio.timeout(5.0):
                    await world.on("a", lambda node: node.put("x", "during"))
                felt = world.loop.time() - began_s > 0.02 or world.network.connections() < resets
            except Exception:
                felt = True
            raging.cancel()
            await asyncio.wait([raging])
            return felt

    for kind in set(KINDS) - {"reset"}:
        assert any(run(seed, effect(kind)) for seed in range(8)), kind


def test_a_part_of_the_world_can_be_left_broken() -> None:
    async def story() -> None:
        async with World(*NAMES, boot=Toy.boot) as world:
            await world.start()
            world.power_cut()
            await Nemesis(world, Plan(("crash",), 1.0, 1.0)).mend(but=("b",))
            assert world.running == ("a", "c")

    run(0, story())
