"""Task: a function that runs in a process of its own, and the handle with which its owner gets the outcome.

After Elixir's Task. A task belongs to whoever starts it, its *owner*: a process, or outside of processes the running
coroutine's asyncio task. It does not outlive its owner, and only the owner may await it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable
from typing import ClassVar, Generic, Literal, Never, ParamSpec, TypeVar, TypeVarTuple, overload
from typing import cast as typed

import msgspec

from roost.errors import CallTimeout, NotOwner
from roost.limits import CALL_TIMEOUT_S, SHUTDOWN_S
from roost.otp.child import Child, Restart
from roost.otp.process import Process
from roost.otp.scheduler import Scheduler
from roost.otp.tasks.household import Household
from roost.otp.tasks.process import Exited, Ok, TaskProcess, Work, follow, launch, link, unlink
from roost.otp.tasks.stream import TaskStream
from roost.otp.tasks.wait import settled, value_of
from roost.otp.ties import Down, Monitor
from roost.runtime.clock import Timer

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

OnTimeout = Literal["nothing", "ignore", "kill_task"]
"""What `yield_many` does with tasks that have not ended in time."""


class TaskEnded(msgspec.Struct, frozen=True):
    """A task has ended, told to its owner's mailbox after `task.notify()`."""

    __sendable__: ClassVar[bool] = True

    task: Task[object]
    outcome: Ok[object] | Exited


class Task(Generic[R]):
    """The handle of a task that somebody will await.

    ::

        task = Task.async_(fetch, url)
        ...
        page = await task                   # at most 5 s; task.with_timeout(30) waits longer

    When the function raises a Refusal, `await` raises it, and that is all. When it raises something else the task
    has crashed: an owner that is a process ends too, unless it traps exits or the task was started with
    `async_nolink`; a plain coroutine gets the error where it awaits.
    """

    __slots__ = ("__weakref__", "_ended", "_ignored", "_killer", "_linked", "_owner", "_process", "_timeout_s", "_work")

    __sendable__: ClassVar[bool] = True

    def __init__(
        self,
        work: Work[R],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        *,
        linked: bool,
        parent: Process | None = None,
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> None:
        """Start the task; `Task.async_` is the way to do it.

        Args:
            work: what to do.
            args: arguments of its function.
            kwargs: more of them.
            linked: whether its crash ends the owner, and the end of the owner ends it.
            parent: the supervisor that starts it; the owner, when None.
            timeout_s: how long `await` waits.
        """
        scheduler = Scheduler.current()
        owner = scheduler.running_process()
        if owner is not None and not owner.alive:
            raise owner.down()  # it was killed, and what is left of it starts nothing more
        self._work, self._linked, self._timeout_s = work, linked, timeout_s
        self._ignored = False
        self._killer: Timer | None = None
        self._ended: dict[Callable[[], None], None] = {}
        self._process = launch(scheduler, typed("Work[object]", work), args, kwargs, parent or owner)
        self._owner: Process | Household | None = owner
        monitor = Monitor(self._process, None, self._on_down)
        self._process.tied.monitors[monitor] = None
        if owner is None:
            self._owner = Household.of_current_task() if linked else None
            if self._owner is not None:
                self._owner.add(self)
        elif linked:
            work.linked = owner
            follow(owner, self._process)
            link(owner, self._process)

    # Starting

    @overload
    @staticmethod
    def async_(function: Callable[P, Coroutine[object, Never, R]], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]: ...
    @overload
    @staticmethod
    def async_(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]: ...
    @staticmethod
    def async_(function: Callable[..., Coroutine[object, Never, R] | R], /, *args: object, **kwargs: object) -> Task[R]:
        """Start `function(*args, **kwargs)` in a process of its own, linked to the owner, who is to await it.

        Args:
            function: a `def` or an `async def`. A `def` blocks the loop while it runs: `Task.cpu` is for long ones.
            args: its arguments; lists, dicts and sets are copied.
            kwargs: more of them.
        """
        return Task(Work(function, label_of(function), answers=True), args, kwargs, linked=True)

    @staticmethod
    def cpu(function: Callable[[*Ts], R], /, *args: *Ts, timeout_s: float | None = None) -> Task[R]:
        """Start a function in a worker process of the operating system; otherwise as `async_`.

        Ending the task, by a timeout, by `shutdown` or by the end of its owner, kills the worker that runs it; `await`
        itself waits for ever. In a script this must be below `if __name__ == "__main__"`: workers import it.

        Args:
            function: a `def` at the top of a module.
            args: its arguments; they, and the result, may be what crosses between processes, except handles.
            timeout_s: seconds until it is ended, waiting for a free worker included; None lets it run.

        Raises:
            NotSendable: when an argument cannot cross.
            TooLarge: when the arguments are over CPU_PAYLOAD_BYTES_MAX.
            ConfigError: when the function is not at the top of a module, or is async.

        When awaited, beside what the function raises:
            CpuFailed: it has raised something else than a declared error.
            WorkerLost: its worker process has ended.
            CallTimeout: it has not returned in time.
            Overloaded: too many wait for a worker.
        """
        cpu = Scheduler.current().runtime.cpu
        job = cpu.prepare(function, args)
        work: Work[R] = Work(cpu.perform, label_of(function), answers=True)
        return Task(work, (job, timeout_s), {}, linked=True, timeout_s=None)

    @staticmethod
    def start(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> TaskProcess:
        """Start `function(*args, **kwargs)` in a process of its own that nobody awaits and nobody is linked to.

        Returns: the handle of that process. When the function raises, the log tells.
        """
        return _fire(function, args, kwargs, None)

    @staticmethod
    def start_link(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> TaskProcess:
        """As `start`, linked to the process that starts it, when there is one."""
        return _fire(function, args, kwargs, Scheduler.current().running_process())

    @staticmethod
    def child(
        function: Callable[[*Ts], object],
        /,
        *args: *Ts,
        id: str | None = None,
        restart: Restart = "temporary",
        shutdown_s: float | None = SHUTDOWN_S,
    ) -> Child[TaskProcess]:
        """How a supervisor starts a task: `function(*args)`.

        Args:
            function: a `def` or an `async def`.
            args: its arguments, anew at every start.
            id: what the supervisor calls it; the name of the function when not given.
            restart: "temporary" (never), "transient" (only after a crash) or "permanent" (always).
            shutdown_s: seconds it may take to stop before it is killed; None waits for ever.
        """
        label = label_of(function)

        async def start() -> TaskProcess:
            return await TaskProcess.start_link(Work[object](function, label, answers=False), args, {})

        return Child(id or label, start, restart, shutdown_s)

    @overload
    @staticmethod
    def async_stream(
        function: Callable[[T], Coroutine[object, Never, R]],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout_s: float | None = CALL_TIMEOUT_S,
        on_timeout: Literal["exit", "kill_task"] = "exit",
    ) -> TaskStream[T, R]: ...
    @overload
    @staticmethod
    def async_stream(
        function: Callable[[T], R],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout_s: float | None = CALL_TIMEOUT_S,
        on_timeout: Literal["exit", "kill_task"] = "exit",
    ) -> TaskStream[T, R]: ...
    @staticmethod
    def async_stream(
        function: Callable[[T], Coroutine[object, Never, R] | R],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout_s: float | None = CALL_TIMEOUT_S,
        on_timeout: Literal["exit", "kill_task"] = "exit",
    ) -> TaskStream[T, R]:
        """The outcomes of `function(item)` for each item, several at a time: `async for outcome in ...`.

        Args:
            function: a `def` or an `async def`; one task, as by `async_`, for each item.
            items: what to do it for: any iterable or async iterable, even an endless one.
            max_concurrency: tasks at the same time; the number of cores when None.
            ordered: whether outcomes come in the order of the items, or as the tasks end.
            timeout_s: seconds for each; None lets it run.
            on_timeout: "exit" ends the stream with CallTimeout, "kill_task" yields Exited("timeout", item).

        Raises:
            ConfigError: when a setting makes no sense.
        """
        label = label_of(function)

        def start(item: T) -> Task[R]:
            return Task(Work(function, label, answers=True), (item,), {}, linked=True, timeout_s=None)

        return TaskStream(start, items, max_concurrency, ordered, timeout_s, on_timeout)

    # The outcome

    @property
    def process(self) -> TaskProcess:
        """The handle of the process that runs the function, to watch it, or to send it an exit signal."""
        return typed("TaskProcess", self._process.handle)

    def __repr__(self) -> str:
        state = "running" if self._outcome is None else "ended"
        return f"<Task {self._work.label} #{self._process.pid} {state}>"

    @property
    def _outcome(self) -> Ok[R] | Exited | None:
        if self._process.alive:
            return None
        return self._work.outcome or Exited(self._process.reason)

    def done(self) -> bool:
        """Whether it has ended."""
        return not self._process.alive

    def with_timeout(self, timeout_s: float | None) -> Task[R]:
        """The same task; `await` waits so many seconds for it, or for ever when None."""
        self._timeout_s = timeout_s
        return self

    def __await__(self) -> Generator[object, None, R]:
        """The value of the function. A task that has ended can be awaited again.

        Raises:
            Refusal: what the function has raised, when that is one; so is any other error of Roost.
            ProcessDown: it has raised something else, which is the `__cause__`, or the task was ended.
            CallTimeout: it has not returned in time; the task is ended.
            NotOwner: somebody else than the owner awaits it.
            CallCycle: the task waits for the owner.
        """
        return self._value().__await__()

    async def _value(self) -> R:
        self._check_owner()
        timeout_s = self._process.scheduler.patience_s(self._timeout_s)
        if self._process.alive:
            caller = self._process.waiting_caller()
            try:
                await settled((self,), timeout_s, caller=caller)
            except asyncio.CancelledError:
                if self._linked:
                    self.end()
                raise
        outcome = self._outcome
        if outcome is None:
            self.end()
            raise CallTimeout(str(self), timeout_s or 0.0)
        return value_of(self, outcome)

    async def yield_(self, timeout_s: float | None = CALL_TIMEOUT_S) -> Ok[R] | Exited | None:
        """Wait at most so many seconds; None when it still runs. It may be asked again and again.

        Raises:
            NotOwner: somebody else than the owner asks.
        """
        self._check_owner()
        if self._process.alive:
            await settled((self,), timeout_s)
        return self._outcome

    async def shutdown(self, timeout_s: float = SHUTDOWN_S) -> Ok[R] | Exited | None:
        """End the task, and wait until it has ended.

        Args:
            timeout_s: how long it may take before it is killed; 0 kills it at once.

        Returns: Ok when it has returned a value after all; Exited when it has ended by itself for another reason;
        else None.

        Raises:
            NotOwner: somebody else than the owner wants it.
        """
        self._check_owner()
        if not self._process.alive:
            return self._outcome
        self.release()
        if timeout_s > 0:
            self._process.exit("shutdown")
            try:
                await settled((self,), timeout_s)
            except asyncio.CancelledError:
                self._process.kill()
                raise
        self._process.kill()
        outcome = self.ended_with()
        return None if isinstance(outcome, Exited) and outcome.reason in ("shutdown", "killed") else outcome

    def ignore(self) -> Ok[R] | Exited | None:
        """Let it run on without an owner; its outcome is dropped.

        Returns: the outcome, when it has ended already.

        Raises:
            NotOwner: somebody else than the owner wants it.
        """
        self._check_owner()
        if self._outcome is None:
            self.release()
            self._ignored = True
        return self._outcome

    def notify(self) -> None:
        """Send a `TaskEnded` to the owner's `@info` handler when it ends, for an owner that goes on meanwhile.

        Raises:
            NotOwner: somebody else than the owner wants it, or the owner is no process.
        """
        self._check_owner()
        owner = self._owner
        if not isinstance(owner, Process):
            raise NotOwner(str(self), "a plain coroutine, which has no mailbox")
        task = typed("Task[object]", self)
        self.on_end(lambda: owner.inform(TaskEnded(task, task.ended_with()), bounded=False))

    @staticmethod
    async def await_many(tasks: Iterable[Task[R]], timeout_s: float | None = CALL_TIMEOUT_S) -> list[R]:
        """The values of all, in order. When one fails, or the time is up, the others are ended.

        Raises:
            RoostError: what `await` of the first one that has failed raises.
            CallTimeout: not all have returned in time.
            NotOwner: one has another owner.
        """
        waiting = list(tasks)
        for task in waiting:
            task._check_owner()
        try:
            if not any(task.failed() for task in waiting):
                await settled(waiting, timeout_s, until_failure=True)
            for task in waiting:
                if task.failed():
                    await task
            if not all(task.done() for task in waiting):
                running = sum(not task.done() for task in waiting)
                raise CallTimeout(f"{running} of {len(waiting)} tasks", timeout_s or 0.0)
            return [await task for task in waiting]
        except BaseException as error:
            for task in waiting:
                if task._linked or not isinstance(error, asyncio.CancelledError):
                    task.end()
            raise

    @staticmethod
    async def yield_many(
        tasks: Iterable[Task[R]],
        timeout_s: float | None = CALL_TIMEOUT_S,
        *,
        limit: int | None = None,
        on_timeout: OnTimeout = "nothing",
    ) -> list[tuple[Task[R], Ok[R] | Exited | None]]:
        """Each task with its outcome; None for those that still run when the time is up.

        Args:
            tasks: whose outcomes.
            timeout_s: seconds for all of them together; None waits for ever.
            limit: how many outcomes are enough.
            on_timeout: what happens to the others: "nothing", "ignore" or "kill_task".

        Raises:
            NotOwner: one has another owner.
        """
        waiting = list(tasks)
        for task in waiting:
            task._check_owner()
        left = (len(waiting) if limit is None else limit) - sum(task.done() for task in waiting)
        if left > 0:
            await settled(waiting, timeout_s, limit=left)
        outcomes = [(task, task._outcome) for task in waiting]
        for task, outcome in outcomes:
            if outcome is None and on_timeout == "ignore":
                task.ignore()
            elif outcome is None and on_timeout == "kill_task":
                task.end()
        return outcomes

    # For those that keep tasks

    def ended_with(self) -> Ok[R] | Exited:
        """The outcome; it must have ended."""
        outcome = self._outcome
        assert outcome is not None
        return outcome

    def failed(self) -> bool:
        """Whether it has ended without a value."""
        return isinstance(self._outcome, Exited)

    def on_end(self, action: Callable[[], None]) -> None:
        """Call `action` once when it has ended, at once when it has."""
        if self._process.alive:
            self._ended[action] = None
        else:
            action()

    def off_end(self, action: Callable[[], None]) -> None:
        """Do not call `action`; harmless when it was called."""
        self._ended.pop(action, None)

    def end(self) -> None:
        """Untie it from its owner and end it; when it does not end within SHUTDOWN_S it is killed."""
        if not self._process.alive:
            return
        self.release()
        self._process.exit("shutdown")
        if self._killer is None and not self.done():
            self._killer = self._process.scheduler.runtime.clock.call_later(SHUTDOWN_S, self._process.kill)

    def release(self) -> None:
        """Untie it from its owner: neither ends with the other any more."""
        owner, process = self._owner, self._process
        if isinstance(owner, Household):
            owner.remove(self)
        elif owner is not None and process.ties is not None:
            unlink(owner, process)
            for monitor in [monitor for monitor in process.ties.monitoring if monitor.target is owner]:
                monitor.cancel()

    def _on_down(self, down: Down) -> None:
        if self._killer is not None:
            self._killer.cancel()
        if isinstance(self._owner, Household):
            self._owner.remove(self)
        actions, self._ended = self._ended, {}
        for action in actions:
            action()

    def _check_owner(self) -> None:
        current = self._process.scheduler.running_process()
        owner = self._owner if isinstance(self._owner, Process) else None
        if self._ignored:
            raise NotOwner(str(self), "nobody: it was told to ignore its outcome")
        if current is not owner:
            raise NotOwner(str(self), "a plain coroutine" if owner is None else str(owner))


def label_of(function: Callable[..., object]) -> str:
    """What a function is called in errors."""
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else repr(function)


def _fire(
    function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object], parent: Process | None
) -> TaskProcess:
    work: Work[object] = Work(function, label_of(function), answers=False)
    process = launch(Scheduler.current(), work, args, kwargs, parent)
    if parent is not None:
        link(parent, process)
    return typed("TaskProcess", process.handle)
