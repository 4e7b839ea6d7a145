"""The story that proves handoff to the last command: counters that move from node to node while clients count on them.

The counters are in memory and cannot be merged, so every command must have its effect exactly once, which a store with
causal histories would not show. Therefore nobody dies in this story, and a world in which a node is taken for dead
proves nothing; but nodes join, leave and replace each other, some are slow, and the network loses packets. In the end
every counter is what its clients were told, and at most so much more as they were not told of.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from roost.cluster.coordinator import VnodeRing
from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.keyed_vnode import KeyedVnode
from roost.cluster.node import Node
from roost.cluster.vnode import Sender
from roost.config import Config
from roost.errors import RoostError
from roost.runtime import Runtime
from roost.sim.assembly import Assembly, judged, small_batches
from roost.sim.checkers import Broken, Count, miscounted
from roost.sim.chronicle import Chronicle, Verb
from roost.sim.marks import cluster_marks
from roost.sim.nemesis import Nemesis, Plan
from roost.sim.operators import Operators
from roost.sim.overheard import overheard
from roost.sim.running import run
from roost.sim.verdict import Verdict
from roost.sim.world import World

NAMES: Final = "abcdef"
KEYS: Final = tuple(f"k{number}" for number in range(12))
CLIENTS: Final = 4
PAUSE_S: Final = 0.02
VERBS: Final[dict[Verb, float]] = {"join": 4.0, "leave": 3.0, "replace": 3.0, "plan": 0.5, "commit": 5.0}
KINDS: Final = ("slow_node", "storm")


class Add(msgspec.Struct, frozen=True):
    """Add to the number under a key; the reply is the sum."""

    key: str
    number: int


class Tally(KeyedVnode[Add, int, int]):
    """One copy of a partition of the counters."""

    def handle_command(self, command: Add, sender: Sender) -> int:
        """Add."""
        sum = self.store[command.key] = self.store.get(command.key, 0) + command.number
        return sum


class TallyNode:
    """A node with counters on it."""

    def __init__(self, node: Node, ring: VnodeRing[Add, int]) -> None:
        self.node, self.ring = node, ring

    async def stop(self) -> None:
        """Stop it in an orderly way."""
        await self.node.stop()


@dataclass(frozen=True, slots=True)
class Errand:
    """How a story is told.

    Args:
        machines: how many there are, 4 or more.
        born: how many of them are a cluster from the beginning, 3 or more.
        act_s: how long the cluster changes, in virtual seconds.
        order_s: the mean time between two orders of operators.
    """

    machines: int = 5
    born: int = 3
    act_s: float = 6.0
    order_s: float = 0.4


def count(seed: int, errand: Errand | None = None) -> Verdict:
    """Run the story of a seed to its end, whatever it proves.

    Raises:
        SimulationError: the world got stuck, or something failed unseen.
    """
    draw = random.Random(f"{seed}/errand")
    machines = draw.randint(4, len(NAMES))
    errand = errand or Errand(machines, draw.randint(3, machines))
    return run(seed, _Story(seed, errand).told(), limit_s=3600.0)


class _Story:
    def __init__(self, seed: int, errand: Errand) -> None:
        self._seed, self._errand = seed, errand
        self._plan = Plan.draw(seed, KINDS)
        self._verdict = Verdict(seed, f"counters, {errand.born} of {errand.machines}, {self._plan}")
        self._draw = random.Random(f"{seed}/story")
        self._counts = {key: Count() for key in KEYS}
        self._taken_for_dead = 0
        self._chronicle: Chronicle | None = None

    async def told(self) -> Verdict:
        names, verdict = NAMES[: self._errand.machines], self._verdict
        async with World(*names, boot=self._boot, born=names[: self._errand.born], drift=0.001) as world:
            self._chronicle = chronicle = Chronicle(world.trace)
            try:
                with small_batches(self._draw.choice((1, 2, 100))), overheard(world.trace) as verdict.marks:
                    await self._acts(world, chronicle)
            except (AssertionError, RoostError) as error:
                verdict.broken.append(Broken("liveness", "the cluster", f"{type(error).__name__}: {error}"))
            verdict.broken += judged(chronicle, world.loop.time())
            verdict.acknowledged = sum(one.acknowledged for one in self._counts.values())
            verdict.outcomes = {
                "ok": verdict.acknowledged,
                "info": sum(one.attempted for one in self._counts.values()) - verdict.acknowledged,
            }
            verdict.marks |= cluster_marks(chronicle)
            verdict.orders = chronicle.told()
            verdict.digest, verdict.virtual_s, verdict.tail = world.trace.digest, world.loop.time(), world.trace.tail()
        return verdict

    async def _boot(self, config: Config, runtime: Runtime) -> TallyNode:
        node = Node(config, runtime)
        ring = VnodeRing(node, Tally, n=1)
        assert self._chronicle is not None
        self._chronicle.watch(config.name.partition("@")[0], node)
        await node.start()

        def seen(event: PeerUp | PeerDown) -> None:
            if isinstance(event, PeerDown) and node.membership.cluster.has(event.node):
                self._taken_for_dead += 1

        node.fabric.watch(seen)
        return TallyNode(node, ring)

    async def _acts(self, world: World[TallyNode], chronicle: Chronicle) -> None:
        await world.start()
        nemesis = Nemesis(world, self._plan)
        self._verdict.fired = nemesis.fired
        operators = Operators(world, chronicle, nemesis, pause_s=self._errand.order_s, losses=0, verbs=VERBS)
        assembly = Assembly(world, operators, f"{self._seed}/assembly")
        await assembly.agreement("at the start")
        self._taken_for_dead = 0
        end_s = world.loop.time() + self._errand.act_s
        async with asyncio.TaskGroup() as group:
            group.create_task(nemesis.rage(self._errand.act_s))
            group.create_task(operators.work(end_s))
            for number in range(CLIENTS):
                group.create_task(self._work(world, assembly, random.Random(f"{self._seed}/{number}"), end_s + 1.0))
        await assembly.conclude()
        if not self._taken_for_dead:
            asked = assembly.inside()[0]
            for key in KEYS:
                self._counts[key].final = await world.on(asked, partial(_add, key, 0))
            self._verdict.broken += miscounted(self._counts)
        for name in world.names:
            await world.stop(name)

    async def _work(self, world: World[TallyNode], assembly: Assembly, draw: random.Random, end_s: float) -> None:
        while world.loop.time() < end_s:
            await asyncio.sleep(draw.expovariate(1.0 / PAUSE_S))
            asked = [name for name in assembly.inside() if _sees_all(world.node(name).node)]
            if not asked:
                continue
            key = draw.choice(KEYS)
            count = self._counts[key]
            count.attempted += 1
            try:
                await world.on(draw.choice(asked), partial(_add, key, 1))
            except RoostError:
                continue
            count.acknowledged += 1


def _add(key: str, number: int, one: TallyNode) -> Awaitable[int]:
    return one.ring.command(key, Add(key, number))


def _sees_all(node: Node) -> bool:
    """Whether no other node stands in for one that this node does not reach, having just joined or seen it join."""
    return {*node.membership.cluster.names} <= {*node.fabric.up()}
