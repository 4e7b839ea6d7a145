"""TaskSupervisor: whose tasks come and go, and end with it at the latest."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from typing import Never, ParamSpec, TypeVar, TypeVarTuple, overload
from typing import cast as typed

from roost.errors import InvariantViolated, TooManyChildren
from roost.limits import CALL_TIMEOUT_S, SHUTDOWN_S
from roost.otp.child import Child, Restart
from roost.otp.declare import call
from roost.otp.dynamic_supervisor import DynamicSupervisor
from roost.otp.face import face
from roost.otp.keeper import Kept
from roost.otp.process import Process
from roost.otp.tasks.process import TaskProcess, Work, launch
from roost.otp.tasks.stream import OnTimeout, TaskStream
from roost.otp.tasks.task import Task, label_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TaskSupervisor(DynamicSupervisor):
    """Starts tasks on demand, and ends those that still run when it stops.

    ::

        tasks = await TaskSupervisor.start_link(name="tasks")
        task = tasks.async_nolink(fetch, url)           # its crash is an outcome, and ends nobody
        tasks.start_child(write_audit, entry)           # fire and forget

    After Elixir's Task.Supervisor. Starting is no message: it takes effect at once, in a `def` handler too. The
    arguments of `init` are those of `DynamicSupervisor`.
    """

    # On a handle

    @overload
    def async_(
        self, function: Callable[P, Coroutine[object, Never, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[R]: ...
    @overload
    def async_(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]: ...
    @face
    def async_(
        self, function: Callable[..., Coroutine[object, Never, R] | R], /, *args: object, **kwargs: object
    ) -> Task[R]:
        """As `Task.async_`, under this supervisor: it ends with its owner, and with the supervisor.

        Raises:
            TooManyChildren: when there are `max_children`.
            ProcessDown: when the supervisor has ended.
        """
        return _inside(self).begin(function, args, kwargs, linked=True)

    @overload
    def async_nolink(
        self, function: Callable[P, Coroutine[object, Never, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Task[R]: ...
    @overload
    def async_nolink(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]: ...
    @face
    def async_nolink(
        self, function: Callable[..., Coroutine[object, Never, R] | R], /, *args: object, **kwargs: object
    ) -> Task[R]:
        """As `async_`, not linked: when it crashes its owner lives on, when its owner ends it runs on.

        Raises:
            TooManyChildren: when there are `max_children`.
            ProcessDown: when the supervisor has ended.
        """
        return _inside(self).begin(function, args, kwargs, linked=False)

    @face
    def start_child(  # type: ignore[override]  # a task is a function, and needs no other plan
        self,
        function: Callable[[*Ts], object],
        /,
        *args: *Ts,
        restart: Restart = "temporary",
        shutdown_s: float | None = SHUTDOWN_S,
    ) -> TaskProcess:
        """Start `function(*args)`, which nobody awaits.

        Args:
            function: a `def` or an `async def`.
            args: its arguments; lists, dicts and sets are copied.
            restart: "temporary" (never), "transient" (only after a crash) or "permanent" (always).
            shutdown_s: seconds it may take to stop before it is killed; None waits for ever.

        Returns: the handle of its process.

        Raises:
            TooManyChildren: when there are `max_children`.
            ProcessDown: when the supervisor has ended.
        """
        supervisor = _inside(self)
        supervisor.check_room()
        work: Work[object] = Work(function, label_of(function), answers=False)
        process = launch(supervisor.scheduler, work, args, {}, self._process)
        return supervisor.adopt(process, Task.child(function, *args, restart=restart, shutdown_s=shutdown_s))

    @overload
    def async_stream(
        self,
        function: Callable[[T], Coroutine[object, Never, R]],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout_s: float | None = CALL_TIMEOUT_S,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[T, R]: ...
    @overload
    def async_stream(
        self,
        function: Callable[[T], R],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout_s: float | None = CALL_TIMEOUT_S,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[T, R]: ...
    @face
    def async_stream(
        self,
        function: Callable[[T], Coroutine[object, Never, R] | R],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout_s: float | None = CALL_TIMEOUT_S,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[T, R]:
        """As `Task.async_stream`, under this supervisor. Raises what `async_` raises, when an item is taken."""
        return _stream(self, function, items, True, (max_concurrency, ordered, timeout_s, on_timeout))

    @overload
    def async_stream_nolink(
        self,
        function: Callable[[T], Coroutine[object, Never, R]],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout_s: float | None = CALL_TIMEOUT_S,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[T, R]: ...
    @overload
    def async_stream_nolink(
        self,
        function: Callable[[T], R],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout_s: float | None = CALL_TIMEOUT_S,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[T, R]: ...
    @face
    def async_stream_nolink(
        self,
        function: Callable[[T], Coroutine[object, Never, R] | R],
        items: Iterable[T] | AsyncIterable[T],
        /,
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout_s: float | None = CALL_TIMEOUT_S,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[T, R]:
        """As `async_stream`; a task that crashes is an Exited in the stream, whoever reads it."""
        return _stream(self, function, items, False, (max_concurrency, ordered, timeout_s, on_timeout))

    @call
    def children(self) -> tuple[TaskProcess, ...]:
        """The processes of the tasks that run, in the order of their starts."""
        return tuple([typed("TaskProcess", process.handle) for process in self._kept if process.alive])

    # Inside

    def begin(
        self,
        function: Callable[..., Coroutine[object, Never, R] | R],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        *,
        linked: bool,
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> Task[R]:
        """Start a task that somebody awaits."""
        self.check_room()
        work: Work[R] = Work(function, label_of(function), answers=True)
        task = Task(work, args, kwargs, linked=linked, parent=self._process, timeout_s=timeout_s)
        self.adopt(task.process._process, Child(work.label, _never, "temporary"))
        return task

    def check_room(self) -> None:
        """See whether there may be one more. Raises TooManyChildren."""
        lines = self._plan.lines
        if self._max_children is None or len(lines) < self._max_children:
            return
        # The news of an end may still be in the mailbox.
        if sum(kept.process is None or kept.process.alive for kept in lines.values()) >= self._max_children:
            raise TooManyChildren(self._max_children)

    def adopt(self, process: Process, plan: Child[TaskProcess]) -> TaskProcess:
        """Keep a task that has just been started."""
        self._number += 1
        kept = Kept(plan, str(self._number), self._plan.intensity.within_s)
        self._plan.add(kept)
        kept.process = process
        self._kept[process] = kept
        self._plan.started(kept, self.scheduler.runtime.clock.now())
        self.link(process.handle)
        return typed("TaskProcess", process.handle)


def _inside(supervisor: TaskSupervisor) -> TaskSupervisor:
    """The supervisor itself, behind its handle. Raises ProcessDown when it ends or has ended."""
    process = supervisor._process
    if not process.alive or process.leaving is not None:
        raise process.down()
    return typed("TaskSupervisor", process.server)


async def _never() -> TaskProcess:
    """What would start a task again that is never started again."""
    raise InvariantViolated("a temporary task is not started again")


def _stream(
    supervisor: TaskSupervisor,
    function: Callable[[T], Coroutine[object, Never, R] | R],
    items: Iterable[T] | AsyncIterable[T],
    linked: bool,
    settings: tuple[int | None, bool, float | None, OnTimeout],
) -> TaskStream[T, R]:
    def start(item: T) -> Task[R]:
        return _inside(supervisor).begin(function, (item,), {}, linked=linked, timeout_s=None)

    return TaskStream(start, items, *settings)
