"""A tree of Roost's own supervisors that grows by plan in virtual time, and the book of what happens to it.

Beside the events it watches what no plan speaks of: tasks that are left, cancellations that somebody swallows,
errors that nobody takes, timers and processes that stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Final, NamedTuple, TypeVar

from roost.errors import (
    ChildExists,
    ChildNotStarted,
    ChildNotStopped,
    NoSuchChild,
    StartIgnored,
    TooManyChildren,
)
from roost.otp import (
    Child,
    Down,
    Exit,
    GenServer,
    Ignore,
    Monitor,
    Reason,
    Scheduler,
    Stop,
    Supervisor,
    call,
    cast,
    info,
)
from roost.otp.dynamic_supervisor import DynamicSupervisor
from roost.otp.keeper import Keeper
from roost.runtime import Runtime
from roost.runtime.net import TcpNet
from roost.sim.clock import SimClock
from roost.sim.entropy import SimEntropy
from roost.sim.loop import SimLoop, SimTask, cancel, turns
from tests.otp.supervision_script import Branch, Event, Plan, Worker

T = TypeVar("T")

LATE_S: Final = 0.01
"""How long a late init or terminate takes."""
SHUTDOWN_S: Final = 0.05
"""How long a child with a timed shutdown may take to stop."""
HANG_S: Final = 0.3
"""How long a terminate that hangs takes."""

PATIENCE_S: Final[dict[str, float | None]] = {"timed": SHUTDOWN_S, "endless": None, "brutal": 0.0}
"""What Roost calls the ways to stop a child."""

Life = tuple[str, int]
"""One life of one id."""


class Planned(Exception):
    """The crash that a plan asks for."""


class Leaf(GenServer):
    """A worker that does what its plan says."""

    def init(self, grove: Grove, plan: Worker, parent: Life) -> Awaitable[None] | None:
        self.grove, self.plan = grove, plan
        self.life = grove.born(plan.id, parent)
        self.trap_exits(plan.traps)
        does = self.does()
        grove.note("start", plan.id, self.life, does)
        if does == "raise":
            raise Planned
        if does == "stop":
            raise Stop("no")
        if does == "ignore":
            raise Ignore
        grove.watch(self.handle, plan.id, self.life)
        return None

    def does(self) -> str:
        """What the plan says of this start."""
        return self.plan.starts[self.life - 1] if self.life <= len(self.plan.starts) else "ok"

    def terminate(self, reason: Reason) -> Coroutine[object, object, None] | None:
        self.grove.note("terminate", self.plan.id, self.life, word(reason))
        match self.plan.ending:
            case "raise":
                raise Planned
            case "late":
                return self._linger(LATE_S)
            case "hang":
                return self._linger(HANG_S)
            case _:
                return None

    async def _linger(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @cast
    def crash(self) -> None:
        raise Planned

    @cast
    async def crash_later(self) -> None:
        await asyncio.sleep(LATE_S)
        raise Planned

    @cast
    def quit(self, reason: str) -> None:
        self.exit(reason)

    @call
    async def wait(self, seconds: float) -> float:
        """Be busy for a while."""
        await asyncio.sleep(seconds)
        return seconds

    @call
    async def resist(self, seconds: float) -> float:
        """Be busy for a while, whoever wants to end it."""
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            while task.uncancel():
                pass
            await asyncio.sleep(seconds)
        return seconds

    @info
    def heard(self, exit: Exit) -> None:
        """Nothing: it was for trying only."""


class LateLeaf(Leaf):
    """A worker some of whose starts take a while."""

    async def init(self, grove: Grove, plan: Worker, parent: Life) -> None:
        Leaf.init(self, grove, plan, parent)
        if self.does() == "late":
            await asyncio.sleep(LATE_S)


class Holder(GenServer):
    """The parent of a whole tree."""

    def init(self, grove: Grove, root: Branch) -> None:
        self.grove, self.root = grove, root
        self.trap_exits()

    @call
    async def hold(self) -> Keeper:
        """Start the tree."""
        return await self.grove.start_branch(self.root)

    @cast
    def leave(self, reason: str) -> None:
        self.exit(reason)

    @info
    def heard(self, exit: Exit) -> None:
        """The tree has ended."""


class TurnLoop(SimLoop):
    """A simulated loop in which something may be done between two turns, without a callback that disturbs them."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, limit_s=1e9)
        self._acts: dict[int, list[Callable[[], object]]] = {}

    def after_turns(self, count: int, act: Callable[[], object]) -> None:
        """Do something when so many turns have passed; waiting for a timer is one turn."""
        self._acts.setdefault(self.turns + count, []).append(act)

    def jump(self, timeout_s: float | None) -> None:
        super().jump(timeout_s)
        for act in self._acts.pop(self.turns, ()):
            act()


class Kinds(NamedTuple):
    """The classes of the supervisors of a grove."""

    fixed: type[Supervisor] = Supervisor
    dynamic: type[DynamicSupervisor] = DynamicSupervisor


SOUND: Final = Kinds()


class Grove:
    """One world with one tree, and the book of what happens there.

    Args:
        seed: decides the interleaving.
        unit_s: virtual seconds of one unit in which windows are planned.
        kinds: the classes of the supervisors.
    """

    def __init__(self, seed: int, unit_s: float, kinds: Kinds = SOUND) -> None:
        self.events: list[Event] = []
        self.times: list[float] = []
        """When each of the events happened."""
        self.lives: dict[str, int] = {}
        self.parents: dict[Life, Life] = {}
        self.plans: dict[str, Plan] = {}
        self.now: dict[str, GenServer] = {}
        self.killed_at_start = False
        """Whether a supervisor was killed before it had started: it had no time for its children."""
        self.problems: list[str] = []
        self.loop = TurnLoop(seed)
        self.loop.problems = self.problems
        self.scheduler = Scheduler(Runtime(SimClock(self.loop), SimEntropy(seed, "entropy"), TcpNet()))
        self._tasks: list[SimTask[object]] = []
        self.kinds = kinds
        self._unit_s = unit_s

    # The book

    def note(self, verb: str, id: str, life: int, how: str) -> None:
        """Something has happened."""
        self.events.append((verb, id, life, how))
        self.times.append(self.loop.time())

    def born(self, id: str, parent: Life) -> int:
        """A start has begun. Returns which one of this id."""
        life = self.lives[id] = self.lives.get(id, 0) + 1
        self.parents[id, life] = parent
        return life

    def watch(self, handle: GenServer, id: str, life: int) -> None:
        """Note the end of a process."""

        def ended(down: Down) -> None:
            self.note("end", id, life, word(down.reason))
            if self.now.get(id) == handle:
                del self.now[id]

        process = handle._process
        if process.alive:
            self.now[id] = handle
            process.tied.monitors[Monitor(process, None, ended)] = None
        else:
            self.note("end", id, life, word(process.reason))

    # The tree

    def child(self, plan: Plan, parent: Life) -> Child:
        """How a supervisor starts what is planned."""
        self.plans[plan.id] = plan

        async def start() -> GenServer:
            if isinstance(plan, Branch):
                return await self.start_branch(plan, parent)
            kind = LateLeaf if "late" in plan.starts else Leaf
            return await kind.start_link(self, plan, parent, name=plan.id if plan.named else None)

        return Child(plan.id, start, plan.restart, PATIENCE_S[plan.shutdown], plan.significant)

    async def start_branch(self, plan: Branch, parent: Life = ("", 0)) -> Keeper:
        """Start a supervisor."""
        self.plans[plan.id] = plan
        life = self.born(plan.id, parent)
        self.note("start", plan.id, life, "")
        try:
            supervisor = await self._start_branch(plan, (plan.id, life))
        except BaseException:
            self.note("failed", plan.id, life, "killed" if self.killed_at_start else "")
            raise
        self.watch(supervisor, plan.id, life)
        return supervisor

    async def _start_branch(self, plan: Branch, me: Life) -> Keeper:
        within_s = plan.within * self._unit_s
        if plan.strategy == "dynamic":
            return await self.kinds.dynamic.start_link(
                max_children=plan.max_children, max_restarts=plan.max_restarts, within_s=within_s
            )
        return await self.kinds.fixed.start_link(
            [self.child(child, me) for child in plan.children],
            strategy=plan.strategy,
            max_restarts=plan.max_restarts,
            within_s=within_s,
            auto_shutdown=plan.auto_shutdown,
        )

    # The world

    async def rest(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    def run(self, story: Coroutine[object, object, T]) -> T:
        """Run a story to its end, then look at what it has left behind."""
        loop = self.loop
        loop.set_task_factory(self._make_task)  # type: ignore[arg-type]  # typeshed asks for Any in the coroutine
        try:
            with self.scheduler.entered():
                return loop.run_until_complete(story)
        finally:
            self._inspect()
            loop.close()

    def _make_task(
        self,
        loop: SimLoop,
        coroutine: Coroutine[object, object, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> SimTask[T]:
        task = SimTask(coroutine, loop=loop, name=name, context=context)
        self._tasks.append(task)  # type: ignore[arg-type]  # a list of tasks of anything
        return task

    def _inspect(self) -> None:
        left = [task for task in self._tasks if not task.done()]
        self.problems += [f"left running: {task.get_name()} {task.get_coro()!r}" for task in left]
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.cancelling() and task.exception() is None:
                self.problems.append(f"a cancellation was swallowed: {task.get_name()} {task.get_coro()!r}")
        self.problems += [f"a process stays: {process}" for process in self.scheduler.processes.values()]
        self.problems += [f"a name stays: {name}" for name in self.scheduler.names]
        self.problems += [f"a timer stays: {timer!r}" for timer in self.loop._scheduled if not timer.cancelled()]
        if left:
            cancel(left)
            self.loop.run_until_complete(turns(20))
        self._tasks.clear()


def word(reason: Reason) -> str:
    """A reason as scripts spell it."""
    if isinstance(reason, Planned):
        return "crash"
    return reason if isinstance(reason, str) else repr(reason)


async def ask(supervisor: Keeper, act: str, id: str, child: Child, named: GenServer | None) -> str:
    """Ask a supervisor to do something with a child.

    Args:
        supervisor: whom.
        act: what.
        id: of the child that is meant.
        child: the plan of the one to start.
        named: the process of that id, by which a dynamic supervisor knows its children.

    Returns: the answer as scripts spell it.
    """
    try:
        match act, supervisor:
            case "start", Supervisor() | DynamicSupervisor():
                await supervisor.start_child(child)
            case "terminate", Supervisor():
                await supervisor.terminate_child(id)
            case "terminate", DynamicSupervisor():
                if named is None:
                    return "not_found"
                await supervisor.terminate_child(named)
            case "restart", Supervisor():
                await supervisor.restart_child(id)
            case "delete", Supervisor():
                await supervisor.delete_child(id)
    except ChildExists as error:
        return "already_started" if error.state == "running" else "already_present"
    except ChildNotStopped as error:
        return "running" if error.state == "running" else "restarting"
    except ChildNotStarted:
        return "failed"
    except StartIgnored:
        return "ignored"
    except NoSuchChild:
        return "not_found"
    except TooManyChildren:
        return "max_children"
    return "ok"
