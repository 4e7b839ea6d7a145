"""The one who breaks things: a seeded schedule of faults, and the mending of them.

Swarm testing: every seed draws which kinds of faults it uses and how often, because a run with all of them at once
never gets far enough to meet the rare combination of two.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from roost.sim.weather import Climate
from roost.sim.world import Stoppable, World

NodeT = TypeVar("NodeT", bound=Stoppable)

KINDS: Final = (
    "crash",
    "split",
    "one_way",
    "power_cut",
    "slow_disk",
    "full_disk",
    "reset",
    "pause",
    "slow_node",
    "storm",
    "partial",
)
"""Every kind of fault."""
STORM: Final = Climate(delay_mean_s=0.02, split_chance=0.2, stall_chance=0.1, stall_s=0.6)
"""A network that loses packets. TCP sends them again, so it shows as everything behind them being late."""
MOMENTS: Final = ("put", "put ok", "disk", "data", "file", "learned", "gave", "transfer", "items")
"""Events after which a crash hurts most: a client begins to write, or is told; a commit is done; bytes arrive; a vote
is kept; a change of the cluster is learned; something is given away."""
MOMENT_S: Final = 0.5
"""How long a crash waits for its moment, in seconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one seed does to its world.

    Args:
        kinds: the kinds of faults that happen.
        pause_s: the mean time between two faults, in seconds.
        length_s: the mean time until a fault is mended, in seconds.
    """

    kinds: tuple[str, ...]
    pause_s: float
    length_s: float

    @classmethod
    def draw(cls, seed: int, kinds: tuple[str, ...] = KINDS) -> Plan:
        """The plan of a seed: some of `kinds`, never none."""
        draw = random.Random(f"{seed}/plan")
        chosen = tuple(kind for kind in kinds if draw.random() < 0.5) or (draw.choice(kinds),)
        return cls(chosen, draw.uniform(0.1, 1.0), draw.uniform(0.2, 3.0))

    def __str__(self) -> str:
        return f"{'+'.join(self.kinds)} every {self.pause_s:.2f} s for {self.length_s:.2f} s"


class Nemesis(Generic[NodeT]):
    """Breaks a world according to a plan, and mends it at the end.

    Args:
        world: to be broken.
        plan: of what happens.

    Attributes:
        fired: how often each kind of fault happened.
        condemned: machines that are off for good: nothing boots them until they are taken out of here.
    """

    def __init__(self, world: World[NodeT], plan: Plan) -> None:
        self.world, self.plan = world, plan
        self.fired: dict[str, int] = {}
        self.condemned: set[str] = set()
        self._fair = world.network.weather.climate
        self._draw = random.Random(f"{world.seed}/nemesis")
        self._faults: dict[str, Callable[[], Awaitable[None]]] = {
            "crash": self._crash,
            "split": self._split,
            "one_way": self._split_one_way,
            "power_cut": self._power_cut,
            "slow_disk": self._slow_disk,
            "full_disk": self._full_disk,
            "reset": self._reset,
            "pause": self._pause,
            "slow_node": self._slow_node,
            "storm": self._storm,
            "partial": self._partial,
        }

    async def rage(self, length_s: float) -> None:
        """Let faults happen, one at a time or overlapping, for `length_s` virtual seconds; then mend everything."""
        loop = self.world.loop
        end_s = loop.time() + length_s
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self._draw.expovariate(1.0 / self.plan.pause_s))
                if loop.time() >= end_s:
                    break
                kind = self._draw.choice(self.plan.kinds)
                self.fired[kind] = self.fired.get(kind, 0) + 1
                group.create_task(self._fault(kind))
        await self.mend()

    async def mend(self, *, but: tuple[str, ...] = ()) -> None:
        """Heal the network and the disks, resume what is paused, boot what is off; leave the machines in `but` off."""
        world = self.world
        world.heal()
        world.storm(self._fair)
        for name in world.names:
            health = world.platter(name).health
            health.full, health.slowness = False, 1.0
            world.resume(name)
            if not world.is_off(name):
                world.slow(name, 0.0)
        for name in world.names:
            if name not in but and name not in self.condemned and world.is_off(name):
                await world.restart(name)

    async def _fault(self, kind: str) -> None:
        await self._faults[kind]()

    def _victim(self) -> str | None:
        running = self.world.running
        return self._draw.choice(running) if running else None

    async def _lasts(self) -> None:
        await asyncio.sleep(self._draw.expovariate(1.0 / self.plan.length_s))

    async def _moment(self) -> None:
        """Wait for a moment worth breaking something, every other time; chance alone rarely meets one."""
        if self._draw.random() < 0.5:
            come: asyncio.Future[None] = self.world.loop.create_future()
            self.world.trace.once(self._draw.choice(MOMENTS), lambda: come.cancel())
            await asyncio.wait([come], timeout=MOMENT_S)

    async def _crash(self) -> None:
        await self._moment()
        name = self._victim()
        if name is not None:
            self.world.crash(name)
            await self._lasts()
            await self._boot(name)

    async def _power_cut(self) -> None:
        await self._moment()
        self.world.power_cut()
        await self._lasts()
        for name in self.world.names:
            await self._boot(name)

    async def _boot(self, name: str) -> None:
        """Boot a machine unless another fault's mending does so; while it boots it may crash again."""
        if self.world.is_off(name) and name not in self.condemned:
            await self.world.try_restart(name)

    async def _split(self) -> None:
        names = [*self.world.names]
        self._draw.shuffle(names)
        size = self._draw.randrange(1, len(names)) if len(names) > 1 else 1
        self.world.split(names[:size], names[size:])
        await self._lasts()
        self.world.heal()

    async def _split_one_way(self) -> None:
        names = [*self.world.names]
        self._draw.shuffle(names)
        self.world.split_one_way(names[:1], names[1:])
        await self._lasts()
        self.world.heal()

    async def _slow_disk(self) -> None:
        health = self.world.platter(self._draw.choice(self.world.names)).health
        health.slowness = self._draw.uniform(10.0, 500.0)
        await self._lasts()
        health.slowness = 1.0

    async def _full_disk(self) -> None:
        health = self.world.platter(self._draw.choice(self.world.names)).health
        health.full = True
        await self._lasts()
        health.full = False

    async def _reset(self) -> None:
        if len(self.world.names) > 1:
            one, other = self._draw.sample(self.world.names, 2)
            self.world.reset(one, other)

    async def _pause(self) -> None:
        name = self._victim()
        if name is not None:
            self.world.pause(name)
            await self._lasts()
            self.world.resume(name)

    async def _slow_node(self) -> None:
        name = self._victim()
        if name is not None:
            self.world.slow(name, self._draw.uniform(0.01, 0.3))
            await self._lasts()
            if not self.world.is_off(name):
                self.world.slow(name, 0.0)

    async def _storm(self) -> None:
        self.world.storm(STORM)
        await self._lasts()
        self.world.storm(self._fair)

    async def _partial(self) -> None:
        """Cut single pairs of machines, so that each side still reaches a third that reaches both."""
        count = len(self.world.names)
        for _ in range(self._draw.randrange(1, count) if count > 1 else 0):
            one, other = self._draw.sample(self.world.names, 2)
            self.world.split({one}, {other})
        await self._lasts()
        self.world.heal()
