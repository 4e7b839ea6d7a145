"""An event loop without a world: virtual time, seeded interleaving, no sockets, no threads.

Time starts at 0 and jumps exactly to the next timer whenever nothing is ready, so an hour of a quiet cluster takes a
second or two. Everything that asyncio leaves open is decided by the seed, and nothing else: tasks and futures hash
by serial number (asyncio keeps them in sets), executor jobs run inline, the collector of cycles runs at fixed turns.
Under odd seeds task steps that are ready together may run in another order; under even ones they run first come, first
served, as asyncio does today. Plain callbacks always keep their order: asyncio promises that.

Whatever reaches for a real socket, pipe, signal or subprocess fails: the base class has none.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import inspect
import random
from asyncio import base_events
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Executor
from contextvars import Context
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

from roost.errors import SimulationStuck
from roost.sim.life import LIFE, Life

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LIMIT_S: Final = 86_400.0
"""Virtual seconds after which a run that has not ended is taken for one that never will."""
EXECUTOR_S: Final = 0.0005
"""Virtual seconds that a job handed to an executor takes."""
SHUFFLE_WINDOW: Final = 8
"""How many task steps may overtake one another."""
TURNS_PER_COLLECTION: Final = 250_000
"""Turns of the loop between two collections of cycles."""
DRAIN_ROUNDS_MAX: Final = 100
"""How often a task is cancelled again at the end before it is reported for not ending."""
TURNS_TO_SETTLE: Final = 5
"""Turns after which what a cancelled task sets off has shown itself."""


class SimTask(asyncio.Task[T]):
    """A task that hashes by serial number, and knows the life it belongs to."""

    def __init__(
        self,
        coro: Coroutine[object, object, T] | Generator[object, object, T],
        *,
        loop: SimLoop,
        name: str | None = None,
        context: Context | None = None,
    ) -> None:
        self.serial = loop.serial()
        self.life: Life | None = LIFE.get() if context is None else context.get(LIFE)
        super().__init__(
            coro,  # type: ignore[arg-type]  # typeshed wants Any where the factory gives object
            loop=loop,
            name=name or f"task-{self.serial}",
            context=context,
        )

    def __hash__(self) -> int:
        return self.serial


class SimFuture(asyncio.Future[T]):
    """A future that hashes by serial number, and knows the life it belongs to."""

    def __init__(self, *, loop: SimLoop) -> None:
        self.serial = loop.serial()
        self.life = LIFE.get()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.serial


class _Ready(collections.deque[asyncio.Handle]):
    """The loop's queue. It lets task steps overtake each other by draw, and holds back what is stopped."""

    draw: random.Random | None = None
    stopped = 0
    nothing: asyncio.Handle

    def popleft(self) -> asyncio.Handle:
        handle = self._overtaken() if self.draw is not None and len(self) > 1 else super().popleft()
        if self.stopped:
            life: Life | None = handle._context.get(LIFE)  # type: ignore[attr-defined]  # private, stable since 3.7
            if life is not None and life.stopped:
                life.held.append(handle)
                return self.nothing
        return handle

    def _overtaken(self) -> asyncio.Handle:
        assert self.draw is not None
        chosen = self.draw.randrange(min(len(self), SHUFFLE_WINDOW))
        for position in range(chosen + 1):
            callback = self[position]._callback  # type: ignore[attr-defined]  # private, stable since 3.4
            if not isinstance(getattr(callback, "__self__", None), asyncio.Task):
                return super().popleft()
        handle = self[chosen]
        del self[chosen]
        return handle


class _Jump:
    """Stands where a selector would: instead of waiting for sockets it moves the time on."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def select(self, timeout_s: float | None) -> Sequence[object]:
        self._loop.jump(timeout_s)
        return ()


class SimLoop(base_events.BaseEventLoop):
    """The loop of one simulated world.

    Args:
        seed: decides everything that is left open.
        shuffle: whether ready task steps may overtake each other; None lets the seed decide.
        limit_s: virtual seconds after which the run counts as stuck.
    """

    # Of the base class, and untyped there; stable from 3.4 to 3.14.
    _ready: _Ready
    _scheduled: list[asyncio.TimerHandle]
    _selector: _Jump
    _clock_resolution: float

    def __init__(self, seed: int, *, shuffle: bool | None = None, limit_s: float = LIMIT_S) -> None:
        self.seed = seed
        self.problems: list[str] = []
        self.turns = 0
        self._now = 0.0
        self._serial = 0
        self._limit_s = limit_s
        super().__init__()
        self._clock_resolution = 1e-9
        self._selector = _Jump(self)
        self._ready = _Ready()
        self._ready.nothing = asyncio.Handle(_nothing, (), self)
        self._ready.nothing.cancel()
        if shuffle if shuffle is not None else seed % 2 == 1:
            self._ready.draw = random.Random(f"{seed}/interleaving")
        self.set_task_factory(_make_task)  # type: ignore[arg-type]  # typeshed asks for Any in the coroutine
        self.set_exception_handler(_note_problem)

    def serial(self) -> int:
        """The next serial number of this world."""
        self._serial += 1
        return self._serial

    def time(self) -> float:
        """Virtual seconds since the world began."""
        return self._now

    def jump(self, timeout_s: float | None) -> None:
        """Move time to the next timer, when nothing is ready before it.

        Raises:
            SimulationStuck: nothing is ready and no timer is set, or the virtual time limit is over.
        """
        self.turns += 1
        if self.turns % TURNS_PER_COLLECTION == 0:
            gc.collect()
        if timeout_s is None:
            raise SimulationStuck(self._now, "nothing is ready and no timer is set: every task waits for another")
        if timeout_s > 0:
            self._now = max(self._now, self._scheduled[0].when())
            if self._now > self._limit_s:
                raise SimulationStuck(self._now, f"it ran longer than {self._limit_s:g} virtual seconds")

    def create_future(self) -> asyncio.Future[T]:
        """A future that hashes by serial number."""
        return SimFuture(loop=self)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run `func` inline, a little later: there are no threads here."""
        future: asyncio.Future[T] = self.create_future()

        def job() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(EXECUTOR_S, job)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncio's name
        """Nothing to do: no executor was started."""

    def pause(self, life: Life) -> None:
        """Let nothing of `life` run until `resume`; what becomes ready waits, as under SIGSTOP."""
        if not life.stopped:
            life.stopped = True
            self._ready.stopped += 1

    def resume(self, life: Life) -> None:
        """Let `life` run again, beginning with what became ready meanwhile."""
        if life.stopped:
            life.stopped = False
            self._ready.stopped -= 1
            self._ready.extend(life.held)
            life.held.clear()

    def kill(self, life: Life) -> None:
        """Let nothing of `life` run ever again: no `finally`, no callback, no timer."""
        self.pause(life)
        life.dead = True
        for timer in [*self._scheduled]:
            if timer._context.get(LIFE) is life:  # type: ignore[attr-defined]  # private, stable since 3.7
                timer.cancel()

    def tasks_of(self, life: Life) -> list[asyncio.Task[object]]:
        """The unfinished tasks of `life`, oldest first."""
        return [task for task in tasks(self) if isinstance(task, SimTask) and task.life is life]

    def bury(self, life: Life) -> None:
        """At the end of the world, let a dead life run again so that its tasks can be cancelled; its seams stay cut."""
        if life.dead:
            self.resume(life)

    def _process_events(self, event_list: Sequence[object]) -> None:
        """No sockets, no events."""

    def _write_to_self(self) -> None:
        """No other thread to be woken by."""


async def turns(count: int) -> None:
    """Let everything that is ready run, `count` times over; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)


def cancel(tasks: Iterable[asyncio.Task[object]]) -> None:
    """Cancel those that have begun: one that has not would drop its arguments unseen, coroutines among them."""
    for task in tasks:
        coroutine = task.get_coro()
        if not inspect.iscoroutine(coroutine) or inspect.getcoroutinestate(coroutine) != inspect.CORO_CREATED:
            task.cancel()


def tasks(loop: SimLoop) -> list[asyncio.Task[object]]:
    """The unfinished tasks, oldest first."""
    return sorted(asyncio.all_tasks(loop), key=hash)


def running_loop() -> SimLoop:
    """The simulated loop that runs the caller.

    Raises:
        RuntimeError: when no loop runs, or one of the real world.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimLoop):
        raise RuntimeError("this needs a simulated world: run it with roost.sim.run(seed, main())")
    return loop


def _nothing() -> None:
    """What a held-back callback is replaced by."""


def _make_task(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[object, object, T] | Generator[object, object, T],
    *,
    name: str | None = None,
    context: Context | None = None,
    **_future: object,
) -> SimTask[T]:
    assert isinstance(loop, SimLoop)
    return SimTask(coro, loop=loop, name=name, context=context)


def _note_problem(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Remember what nobody caught, unless it comes from a dead life: a killed process reports nothing."""
    assert isinstance(loop, SimLoop)
    for name in ("task", "future", "handle"):
        origin = context.get(name)
        life = getattr(origin, "life", None)
        if isinstance(origin, asyncio.Handle):
            life = origin._context.get(LIFE)  # type: ignore[attr-defined]  # private, stable since 3.7
        if isinstance(life, Life) and life.dead:
            return
    error = context.get("exception")
    loop.problems.append(f"{context.get('message')}: {error!r}" if error is not None else str(context.get("message")))
