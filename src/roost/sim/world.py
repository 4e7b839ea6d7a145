"""A whole cluster in one thread: simulated machines, and verbs for what happens to them.

async def story() -> None:
    async with World("a", "b", "c", boot=boot_node) as world:
        await world.start()
        await world.on("a", lambda node: bucket(node).put("k", 1))
        world.split({"a"}, {"b", "c"})
        world.crash("b")
        world.heal()
        await world.restart("b")
        await world.eventually(lambda: len(world.node("a").fabric.up()) == 3, within_s=10.0)

roost.sim.run(seed, story())
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from types import TracebackType
from typing import Final, Generic, Protocol, TypeVar

from roost.config import Address, Config, Seed
from roost.errors import NodeCrashed, NodeDown, RoostError, SimulationUnclean
from roost.runtime import Runtime
from roost.sim.clock import SimClock
from roost.sim.cpu import SimCpu
from roost.sim.disk import Platter
from roost.sim.entropy import SimEntropy
from roost.sim.life import Life
from roost.sim.loop import DRAIN_ROUNDS_MAX, TURNS_TO_SETTLE, cancel, running_loop, turns
from roost.sim.net import SimNetwork
from roost.sim.trace import Trace
from roost.sim.weather import Climate

LINK_PORT: Final = 7000
COOKIE: Final = b"the cookie of a simulated cluster"
SLICE_S: Final = 0.002
"""How long a slow node runs before it stands still again."""
EVERY_S: Final = 0.05
"""How often `eventually` looks."""


class Stoppable(Protocol):
    """What a boot gives back: a running node."""

    async def stop(self) -> None:
        """Stop in an orderly way."""


NodeT = TypeVar("NodeT", bound=Stoppable)
T = TypeVar("T")
Boot = Callable[[Config, Runtime], Awaitable[NodeT]]
"""Starts one node from its settings and its five seams; called again for each of its lives."""


class _Machine(Generic[NodeT]):
    """One host: its disk, its clock's rate, and the life that runs on it now, if any."""

    def __init__(self, config: Config, platter: Platter) -> None:
        self.config, self.platter = config, platter
        self.lives = 0
        self.is_paused = False
        self.slowness_s = 0.0
        self.life: Life | None = None
        self.node: NodeT | None = None
        self.clock: SimClock | None = None
        self.requests: dict[Callable[[], None], None] = {}


class World(Generic[NodeT]):
    """Named machines on a simulated network. Made inside `roost.sim.run`, used as an `async with` block.

    Every name is the host of its machine ("a"); its node is called "a@sim".

    Args:
        names: of all machines.
        boot: starts a node.
        born: the machines that are members of one cluster from the beginning; each other one is a cluster of its own
            until it joins. None is all of them.
        settings: what to change of a machine's settings before its first start.
        climate: how the network behaves when nothing is broken.
        drift: how far the rates of the clocks lie apart: 0.001 draws each from 0.999 to 1.001.
        ring_size: partitions of the ring.
    """

    def __init__(
        self,
        *names: str,
        boot: Boot[NodeT],
        born: Collection[str] | None = None,
        settings: Callable[[Config], Config] | None = None,
        climate: Climate | None = None,
        drift: float = 0.0,
        ring_size: int = 8,
    ) -> None:
        self.loop = running_loop()
        self.seed = self.loop.seed
        self.trace = Trace(self.loop.time)
        self.network = SimNetwork(self.loop, self.trace, climate)
        self._boot = boot
        self._drift = drift
        self._draw = random.Random(f"{self.seed}/world")
        self._dead: list[Life] = []
        born = [name for name in names if born is None or name in born]
        seeds = tuple(Seed(node_name(name), address_of(name)) for name in born)
        self._machines: dict[str, _Machine[NodeT]] = {}
        for name in names:
            config = Config(
                name=node_name(name),
                cluster="sim",
                listen=address_of(name),
                seeds=seeds if name in born else (),
                cookie=COOKIE,
                ring_size=ring_size,
                data="disk",
            )
            platter = Platter(self.loop, name, self.trace)
            self._machines[name] = _Machine(config if settings is None else settings(config), platter)

    async def __aenter__(self) -> World[NodeT]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    # Looking

    @property
    def names(self) -> tuple[str, ...]:
        """Every machine."""
        return tuple(self._machines)

    @property
    def running(self) -> tuple[str, ...]:
        """The machines whose node is up, paused ones included."""
        return tuple(name for name, machine in self._machines.items() if machine.node is not None)

    @property
    def down(self) -> tuple[str, ...]:
        """The machines without a running node."""
        return tuple(name for name, machine in self._machines.items() if machine.node is None)

    def node(self, name: str) -> NodeT:
        """The node that runs on a machine. Look at it; to make it act use `on`, or the act belongs to nobody.

        Raises:
            NodeDown: when none runs there.
        """
        node = self._machines[name].node
        if node is None:
            raise NodeDown(node_name(name), "not running")
        return node

    def platter(self, name: str) -> Platter:
        """The disk of a machine."""
        return self._machines[name].platter

    def clock(self, name: str) -> SimClock:
        """The clock of a running node.

        Raises:
            NodeDown: when none runs there.
        """
        clock = self._machines[name].clock
        if clock is None:
            raise NodeDown(node_name(name), "not running")
        return clock

    # Starting, stopping, dying

    async def start(self, *names: str) -> None:
        """Boot the nodes of these machines, or of all; one after the other, in this order."""
        for name in names or self.names:
            await self.restart(name)

    async def restart(self, name: str) -> None:
        """Boot the node of a machine that is down, with the disk as its last life left it."""
        machine = self._machines[name]
        assert machine.life is None, f"{name} is running"
        machine.lives += 1
        life = machine.life = Life(name, machine.lives)
        self.trace.add("boot", name, life.number)
        self.network.light(name)
        machine.clock = SimClock(
            self.loop, 1.0 + self._draw.uniform(-self._drift, self._drift), self._draw.uniform(0.0, 1e5)
        )
        entropy = SimEntropy(self.seed, f"entropy/{name}/{life.number}")
        net, disk = self.network.net(life), machine.platter.disk(life)
        runtime = Runtime(machine.clock, entropy, net, disk, SimCpu(machine.clock))
        machine.node = await self._inside(machine, life, lambda: self._boot(machine.config, runtime))

    def is_off(self, name: str) -> bool:
        """Whether no life runs on a machine, not even one that boots."""
        return self._machines[name].life is None

    async def try_restart(self, name: str) -> bool:
        """Boot a machine that is off, and say whether its node runs: it may crash, or fail, while it boots."""
        try:
            await self.restart(name)
        except (RoostError, OSError):
            if self._machines[name].life is not None and self._machines[name].node is None:
                self.crash(name, dark=False)
            return False
        return True

    async def stop(self, name: str) -> None:
        """Stop a node in an orderly way; the machine can be restarted.

        Raises:
            SimulationUnclean: tasks of the node outlived it.
        """
        machine = self._machines[name]
        node, life = self.node(name), machine.life
        assert life is not None
        await self._inside(machine, life, node.stop)
        await turns(TURNS_TO_SETTLE)
        left = tuple(f"outlived {name}: {task.get_coro()!r}" for task in self.loop.tasks_of(life))
        self.crash(name, dark=False)
        if left:
            raise SimulationUnclean(left)

    def crash(self, name: str, *, dark: bool | None = None) -> None:
        """Kill a node as SIGKILL does: not one more step of it runs, and its seams are cut first.

        Args:
            name: of the machine.
            dark: whether the machine dies with it, so that its peers hear nothing, rather than a reset from its
                kernel; None draws.
        """
        machine = self._machines[name]
        life = machine.life
        assert life is not None, f"{name} is not running"
        if dark is None:
            dark = self._draw.random() < 0.5
        self.trace.add("crash", name, dark)
        machine.platter.cut(dark)
        self.network.cut(life, dark)
        self.loop.kill(life)
        self._dead.append(life)
        machine.life = machine.node = machine.clock = None
        machine.is_paused, machine.slowness_s = False, 0.0
        requests, machine.requests = machine.requests, {}
        for crashed in requests:
            crashed()

    def power_cut(self) -> None:
        """Every machine loses its power at the same instant."""
        for name in [name for name, machine in self._machines.items() if machine.life is not None]:
            self.crash(name, dark=True)

    def pause(self, name: str) -> None:
        """Stop a node as SIGSTOP does: it holds its connections, and says nothing."""
        machine = self._machines[name]
        assert machine.life is not None, f"{name} is not running"
        self.trace.add("pause", name)
        machine.is_paused = True
        self.loop.pause(machine.life)

    def is_paused(self, name: str) -> bool:
        """Whether the node of a machine is paused."""
        return self._machines[name].is_paused

    def resume(self, name: str) -> None:
        """Let a paused node go on; harmless when it is not paused."""
        machine = self._machines[name]
        if machine.life is not None:
            self.trace.add("resume", name)
            machine.is_paused = False
            self.loop.resume(machine.life)

    def slow(self, name: str, pause_s: float) -> None:
        """Let a node run for SLICE_S only, then stand still for `pause_s`, again and again, as one whose share of the
        processor is used up. 0 lets it run at full speed again."""
        machine = self._machines[name]
        assert machine.life is not None, f"{name} is not running"
        self.trace.add("slow", name, pause_s)
        was_slow, machine.slowness_s = machine.slowness_s > 0, pause_s
        if pause_s > 0 and not was_slow:
            self._stand_still(machine, machine.life)

    def _stand_still(self, machine: _Machine[NodeT], life: Life) -> None:
        if machine.life is life and machine.slowness_s > 0:
            self.loop.pause(life)
            self.loop.call_later(machine.slowness_s, partial(self._run_a_slice, machine, life))

    def _run_a_slice(self, machine: _Machine[NodeT], life: Life) -> None:
        if machine.life is life:
            if not machine.is_paused:
                self.loop.resume(life)
            self.loop.call_later(SLICE_S, partial(self._stand_still, machine, life))

    # The network

    def split(self, *groups: Iterable[str]) -> None:
        """Let nothing pass between different groups. A machine in no group keeps all its connections."""
        sides = [sorted(group) for group in groups]
        self.trace.add("split", repr(sides))
        for side in sides:
            for other in sides:
                if other is not side:
                    self.network.block(side, other)

    def split_one_way(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Let nothing pass from `sources` to `targets`; the way back stays open."""
        sources, targets = sorted(sources), sorted(targets)
        self.trace.add("split one way", repr(sources), repr(targets))
        self.network.block(sources, targets)

    def heal(self) -> None:
        """Let everything pass again."""
        self.trace.add("heal")
        self.network.heal()

    def storm(self, climate: Climate) -> None:
        """Let the network behave otherwise: slower, or with more lost packets, which show as stalls."""
        self.trace.add("climate", climate.delay_mean_s, climate.stall_chance)
        self.network.weather.climate = climate

    def reset(self, one: str, other: str) -> None:
        """Break every connection between two machines mid-stream."""
        self.trace.add("reset", one, other)
        self.network.reset(one, other)

    # Acting and waiting

    async def on(self, name: str, act: Callable[[NodeT], Awaitable[T]]) -> T:
        """Let a node do something, as part of its life, and wait for the outcome.

        Raises:
            NodeDown: it does not run, and nothing was done.
            NodeCrashed: it died meanwhile; whether it was done is unknown.
        """
        node = self.node(name)
        machine = self._machines[name]
        assert machine.life is not None
        return await self._inside(machine, machine.life, lambda: act(node))

    async def eventually(self, condition: Callable[[], bool], within_s: float, what: str = "the condition") -> None:
        """Wait until `condition()` is true, looking every EVERY_S virtual seconds.

        Raises:
            AssertionError: it is still false `within_s` seconds later.
        """
        deadline_s = self.loop.time() + within_s
        while not condition():
            if self.loop.time() >= deadline_s:
                raise AssertionError(f"{what} did not become true within {within_s:g} virtual seconds")
            await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        """End the world: every node dies, and what it leaves is cleared away with its seams cut.

        Raises:
            SimulationUnclean: tasks of a node resist being cancelled.
        """
        for name, machine in self._machines.items():
            if machine.life is not None:
                self.crash(name, dark=True)
        for life in self._dead:
            self.loop.bury(life)
        for _ in range(DRAIN_ROUNDS_MAX):
            left = self._left()
            cancel(left)
            await turns(TURNS_TO_SETTLE)
            if not left and not self._left():
                return
        raise SimulationUnclean(tuple(f"would not end: {task!r}" for task in self._left()))

    def _left(self) -> list[asyncio.Task[object]]:
        return [task for life in self._dead for task in self.loop.tasks_of(life)]

    async def _inside(self, machine: _Machine[NodeT], life: Life, act: Callable[[], Awaitable[T]]) -> T:
        """Run `act` as part of a life, whose death ends the wait with NodeCrashed."""
        outcome: asyncio.Future[T] = self.loop.create_future()

        async def request() -> None:
            try:
                result = await act()
            except asyncio.CancelledError:
                outcome.cancel()
                raise
            except Exception as error:
                if not outcome.done():
                    outcome.set_exception(error)
            else:
                if not outcome.done():
                    outcome.set_result(result)

        task = self.loop.create_task(request(), context=life.context.copy())
        ended = partial(_crashed, outcome, node_name(life.name))
        machine.requests[ended] = None
        try:
            return await outcome
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            machine.requests.pop(ended, None)


def _crashed(outcome: asyncio.Future[T], node: str) -> None:
    if not outcome.done():
        outcome.set_exception(NodeCrashed(node))


def address_of(machine: str) -> Address:
    """Where the node on a machine listens."""
    return Address(machine, LINK_PORT)


def node_name(machine: str) -> str:
    """The name of the node on a machine."""
    return f"{machine}@sim"
