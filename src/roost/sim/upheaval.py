"""The story that proves membership: operators change a cluster while a nemesis breaks it, then the judges come.

Nodes of this story hold no data. What they have to give to others when partitions move is a *load* that takes its time,
and of which a node that crashes knows nothing any more. So the cluster changes more often, and further, than one with
data could. Three acts: faults and orders together; some machines stay off for good while the others agree; everything
is mended, the last staged changes are committed, and everybody has to know the same.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from roost.cluster.node import Node
from roost.cluster.status import TransferStatus
from roost.config import Config
from roost.core.layout import Transfer
from roost.errors import RoostError
from roost.runtime import Runtime
from roost.sim.assembly import Assembly, judged
from roost.sim.checkers import Broken
from roost.sim.chronicle import Chronicle
from roost.sim.marks import cluster_marks
from roost.sim.nemesis import KINDS, Nemesis, Plan
from roost.sim.operators import Operators
from roost.sim.running import run
from roost.sim.verdict import Verdict
from roost.sim.world import World, node_name

NAMES: Final = "abcdefg"


class Porter:
    """What one life of a node has to give: each transfer takes a drawn time from when it is first asked for."""

    outgoing_count = incoming_count = 0

    def __init__(self, node: Node, load_s: float, seed: str) -> None:
        self._node, self._clock = node, node.runtime.clock
        self._load_s, self._draw = load_s, random.Random(seed)
        self._due: dict[Transfer | None, float] = {}

    def status(self) -> tuple[TransferStatus, ...]:
        """Nothing to be shown."""
        return ()

    def look_soon(self) -> None:
        """Nothing waits."""

    def ungiven(self) -> set[int]:
        """The partitions of which some transfer's time is not over."""
        node = self._node
        layout, gone = node.placement.layout, node.placement.gone
        return {
            partition
            for partition in layout.moving()
            for one in layout.transfers(partition, node.depth, gone)
            if one.giver == node.name and not self._is_due(one)
        }

    def keeps_strays(self) -> bool:
        """Whether this node has not had the time to give away all that it kept."""
        return not self._is_due(None)

    def _is_due(self, what: Transfer | None) -> bool:
        if what not in self._due:
            self._due[what] = self._clock.now() + self._draw.expovariate(1.0 / self._load_s)
        return self._due[what] <= self._clock.now()


class BareNode:
    """A node without data."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def stop(self) -> None:
        """Stop it in an orderly way."""
        await self.node.stop()


@dataclass(frozen=True, slots=True)
class Upheaval:
    """How a story is told.

    Args:
        machines: how many there are, 3 to 7.
        born: how many of them are a cluster from the beginning.
        act_s: how long the first act lasts, in virtual seconds.
        pause_s: the mean time between two orders.
        kinds: the faults that may happen; the seed chooses among them.
        is_overruled: whether a majority is lost for good in the second act, and an operator says so.
        load_s: the mean time that a transfer takes.
    """

    machines: int = 5
    born: int = 3
    act_s: float = 12.0
    pause_s: float = 0.6
    kinds: tuple[str, ...] = KINDS
    is_overruled: bool = False
    load_s: float = 0.7

    @classmethod
    def draw(cls, seed: int) -> Upheaval:
        """The story of a seed."""
        draw = random.Random(f"{seed}/upheaval")
        machines = draw.choice((3, 4, 4, 5, 5, 6, 6, 7))
        return cls(machines, draw.randint(3, machines), pause_s=draw.uniform(0.3, 1.2), is_overruled=seed % 6 == 5)


def unsettle(seed: int, tale: Upheaval | None = None) -> Verdict:
    """Run the story of a seed to its end, whatever it proves.

    Raises:
        SimulationError: the world got stuck, or something failed unseen.
    """
    return run(seed, _Story(seed, tale or Upheaval.draw(seed)).told(), limit_s=3600.0)


class _Story:
    def __init__(self, seed: int, tale: Upheaval) -> None:
        self._seed, self._tale = seed, tale
        self._plan = Plan.draw(seed, tale.kinds)
        self._verdict = Verdict(seed, f"{tale.born} of {tale.machines}, {self._plan}")
        self._draw = random.Random(f"{seed}/story")
        self._chronicle: Chronicle | None = None
        self._lives = 0

    async def told(self) -> Verdict:
        names = NAMES[: self._tale.machines]
        async with World(*names, boot=self._boot, born=names[: self._tale.born], drift=0.001, ring_size=16) as world:
            self._chronicle = Chronicle(world.trace)
            nemesis = Nemesis(world, self._plan)
            operators = Operators(world, self._chronicle, nemesis, pause_s=self._tale.pause_s)
            try:
                await self._acts(world, nemesis, operators)
            except (AssertionError, RoostError) as error:
                self._verdict.broken.append(Broken("liveness", "the cluster", f"{type(error).__name__}: {error}"))
            verdict = self._verdict
            verdict.broken += judged(self._chronicle, world.loop.time())
            verdict.fired = nemesis.fired
            verdict.marks = cluster_marks(self._chronicle)
            verdict.orders = self._chronicle.told()
            verdict.digest, verdict.virtual_s, verdict.tail = world.trace.digest, world.loop.time(), world.trace.tail()
            for order in self._chronicle.orders:
                verdict.outcomes[order.outcome] = verdict.outcomes.get(order.outcome, 0) + 1
        return self._verdict

    async def _boot(self, config: Config, runtime: Runtime) -> BareNode:
        node = Node(config, runtime)
        self._lives += 1
        assert self._chronicle is not None
        node.traffic.join(Porter(node, self._tale.load_s, f"{self._seed}/porter/{self._lives}"))
        self._chronicle.watch(config.name.partition("@")[0], node)
        await node.start()
        return BareNode(node)

    async def _acts(self, world: World[BareNode], nemesis: Nemesis[BareNode], operators: Operators) -> None:
        await world.start()
        assembly = Assembly(world, operators, f"{self._seed}/assembly")
        await assembly.agreement("at the start")
        end_s = world.loop.time() + self._tale.act_s
        async with asyncio.TaskGroup() as group:
            group.create_task(nemesis.rage(self._tale.act_s))
            group.create_task(operators.work(end_s))
        await assembly.agreement("after the faults")
        nemesis.condemned.clear()
        await nemesis.mend()
        await assembly.let_back_in()
        if self._tale.is_overruled:
            await self._majority_lost(world, operators, assembly)
            await nemesis.mend()
        await assembly.conclude()
        await assembly.belonging()
        for name in world.names:
            await world.stop(name)

    async def _majority_lost(self, world: World[BareNode], operators: Operators, assembly: Assembly) -> None:
        """So many are off that the others can agree on nothing, until an operator says that they are dead."""
        await assembly.agreement("before the great loss")
        voters = [name for name in assembly.inside() if node_name(name) in assembly.known().voters]
        self._draw.shuffle(voters)
        lost, left = voters[: len(voters) // 2 + 1], voters[len(voters) // 2 + 1 :]
        if not left:
            return
        for name in lost:
            world.crash(name)
        await assembly.agreement("of the minority")
        asked, dead = self._draw.choice(left), [node_name(name) for name in lost]
        order = await operators.ask(asked, "overrule", dead[0], " ".join(dead[1:]), act=lambda one: one.down(*dead))
        assert order.outcome == "done", f"a lost majority was not overruled: {order}"
        await assembly.agreement("after overruling")
