"""Clusters that change while they break: single scenes, told with the verbs of the world."""

from __future__ import annotations

import logging

import pytest

from roost.cluster.node import Node
from roost.config import Config
from roost.runtime import Runtime
from roost.sim.assembly import Assembly
from roost.sim.chronicle import Chronicle
from roost.sim.nemesis import Nemesis, Plan
from roost.sim.operators import Operators
from roost.sim.running import run
from roost.sim.upheaval import BareNode, Upheaval, unsettle
from roost.sim.world import World, node_name

NAMES = "abcd"


class Scene:
    """A world of bare nodes with operators."""

    def __init__(self, born: str) -> None:
        self.world = World(*NAMES, boot=self._boot, born=born, ring_size=16)
        self.chronicle = Chronicle(self.world.trace)
        nemesis = Nemesis(self.world, Plan((), 1.0, 1.0))
        self.operators = Operators(self.world, self.chronicle, nemesis, pause_s=1.0)
        self.assembly: Assembly | None = None

    async def _boot(self, config: Config, runtime: Runtime) -> BareNode:
        node = Node(config, runtime)
        self.chronicle.watch(config.name[0], node)
        await node.start()
        return BareNode(node)

    async def begin(self) -> Assembly:
        await self.world.start()
        self.assembly = Assembly(self.world, self.operators, "scene")
        await self.assembly.agreement("at the start")
        return self.assembly

    async def commit(self, machine: str) -> None:
        await self.operators.ask(machine, "plan", act=lambda one: one.plan())
        order = await self.operators.ask(machine, "commit", act=lambda one: one.commit())
        assert order.outcome == "done", order


def test_a_node_joins_and_another_leaves_and_all_know_it() -> None:
    async def story() -> None:
        scene = Scene("abc")
        async with scene.world as world:
            assembly = await scene.begin()
            assert (await scene.operators.join("d", "b")).outcome == "done"
            await scene.operators.ask("c", "leave", node_name("a"), act=lambda one: one.leave(node_name("a")))
            await scene.commit("b")
            await assembly.settlement("after a commit")
            await assembly.belonging()
            assert assembly.inside() == ["b", "c", "d"]
            assert assembly.known().claimant == node_name("b")
            assert world.node("a").node.membership.members == (node_name("a"),)

    run(1, story())


def test_a_node_that_leaves_with_a_full_disk_lives_on_and_goes_when_there_is_room() -> None:
    async def with_a_full_disk() -> None:
        scene = Scene("abcd")
        async with scene.world as world:
            assembly = await scene.begin()
            membership = world.node("d").node.membership
            membership.watch(lambda cluster: setattr(world.platter("d").health, "full", not cluster.has("d@sim")))
            await scene.operators.ask("a", "leave", node_name("d"), act=lambda one: one.leave(node_name("d")))
            await scene.commit("a")
            await world.eventually(lambda: world.platter("d").health.full, 10.0)
            before = len(scene.chronicle.sightings)
            await world.eventually(lambda: world.node("d").node.fabric.up() == (node_name("d"),), 10.0)
            await world.eventually(lambda: world.loop.time() > 20.0, 30.0)
            assert len(scene.chronicle.sightings) == before, "it can note nothing, and has not crashed"
            world.platter("d").health.full = False
            await assembly.belonging()

    logging.disable()
    try:
        run(2, with_a_full_disk())
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", [5, 11])
def test_a_majority_that_is_lost_for_good_is_overruled(seed: int) -> None:
    logging.disable()
    try:
        verdict = unsettle(seed, Upheaval(5, 5, kinds=("crash", "split"), is_overruled=True))
    finally:
        logging.disable(logging.NOTSET)
    assert verdict.broken == []
    assert verdict.marks["a majority was overruled"] == 1
