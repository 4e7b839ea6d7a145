"""A process: a mailbox plus a state, far lighter than a task.

A process is idle (`open`: alive, nothing running, nothing waiting), running a sync handler, running an async handler
in its one task, closing, or dead. `open` is the single check of the fast path. Whoever finds it False puts mail into
the mailbox, and exactly one of these looks at the mailbox next: the scheduler's turn, the end of the running handler,
or death, which answers everybody who waits.

Here is what a process is and how mail gets in; `roost.otp.serving` handles the mail, `roost.otp.ending` ends it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, TypeVar
from typing import cast as typed

from roost.errors import CallCycle, CallTimeout, ProcessDown, RoostError
from roost.otp import ending, serving
from roost.otp.crash import explain, report_crash, report_stray
from roost.otp.declare import TOLD, Spec, isolate_arguments
from roost.otp.mailbox import Kept, Mailbox, full
from roost.otp.modes import Modes, Tracer
from roost.otp.reply import Deadline, Deadlines, Failed, Patience, Reply, ReplyTo
from roost.otp.ties import Reason, Ties

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer
    from roost.otp.scheduler import Scheduler

T = TypeVar("T")


class Process:
    """One process of a scheduler. Applications hold handles; this is what a handle points to."""

    __slots__ = (
        "alive",
        "deadline",
        "entries_max",
        "handle",
        "leaving",
        "mail",
        "modes",
        "name",
        "open",
        "pid",
        "reason",
        "scheduler",
        "server",
        "serving",
        "task",
        "ties",
    )

    server: GenServer
    handle: GenServer

    def __init__(self, scheduler: Scheduler, pid: int, name: str | None, entries_max: int) -> None:
        self.scheduler, self.pid, self.name, self.entries_max = scheduler, pid, name, entries_max
        self.alive = True
        self.open = False
        self.mail: Mailbox | None = None
        self.ties: Ties | None = None
        self.modes: Modes | None = None
        self.task: asyncio.Task[None] | None = None
        self.serving: ReplyTo | None = None
        self.deadline: float | None = None
        self.leaving: tuple[Reason, bool] | None = None
        self.reason: Reason = "noproc"

    def __str__(self) -> str:
        kind = type(self.handle).__name__.removesuffix(" handle")
        return f"{kind} {self.name!r}" if self.name else f"{kind} #{self.pid}"

    @property
    def tied(self) -> Ties:
        """The ties, made when there are none yet."""
        if self.ties is None:
            self.ties = Ties()
        return self.ties

    @property
    def moded(self) -> Modes:
        """The modes, made when there are none yet."""
        if self.modes is None:
            self.modes = Modes()
        return self.modes

    @property
    def calls(self) -> Mapping[str, Spec]:
        """The declared calls by name: the closed table of what the network may ask of this process."""
        return self.handle.__calls__

    @property
    def casts(self) -> Mapping[str, Spec]:
        """The declared casts by name."""
        return self.handle.__casts__

    @property
    def suspended(self) -> bool:
        """Whether ordinary mail waits until `resume`."""
        return self.modes is not None and self.modes.suspended

    # Mail in

    def post(self, spec: Spec, content: tuple[object, ...]) -> None:
        """Put a message at the end of the mailbox. To the dead it is lost.

        Raises:
            Overloaded: when the mailbox is full, and its policy does not let another message go instead.
        """
        box = self.mail
        if box is None or len(box) < self.entries_max or full(self, box, spec, content):
            self._put(spec, content)

    def _put(self, spec: Spec, content: tuple[object, ...], *, first: bool = False) -> None:
        box = self.mail
        if box is None:
            box = self.mail = deque()
        if first:
            own = Kept(content)
            if box and box[0] is ending.LEAVE:  # nothing comes before the end
                box.insert(2, spec)
                box.insert(3, own)
            else:
                box.extendleft((own, spec))
        else:
            box.append(spec)
            box.append(content)
        if self.open:
            self.open = False
            self.scheduler.ready(self)
        elif self.modes is not None and self.modes.asleep:
            self._wake(self.modes)

    def _wake(self, modes: Modes) -> None:
        modes.asleep = False
        self.scheduler.ready(self)

    def rest(self) -> None:
        """Nothing runs and nothing waits."""
        self.mail = None
        if self.modes is None or not self.modes.closed:
            self.open = True
        else:
            self.modes.asleep = True
            if self.modes.overdue:
                serving.time_out(self, self.modes)

    def tell(self, spec: Spec, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Queue a cast or an info. To the dead it is lost.

        Raises:
            Overloaded: when the mailbox is full.
        """
        if not self.alive:
            return
        if spec.kind == TOLD and not kwargs:
            self.post(spec, (self.server, *args))
        else:
            self.post(spec.queued, ((self.server, *args), kwargs, None, None))

    def inform(self, message: object, *, bounded: bool = True, first: bool = False) -> None:
        """Queue a message for the `@info` handler of its type; log it when there is none.

        Not bounded are the few that must arrive: timers and the news of an end, one for each tie that was made.

        Raises:
            Overloaded: when the mailbox is full.
        """
        if not self.alive:
            return
        spec = type(self.server).info_for(type(message))
        if spec is None:
            report_stray(self, message)
            return
        content: tuple[object, ...] = (self.server, message)
        if spec.kind != TOLD:
            content = (content, {}, None, None)
        if bounded:
            self.post(spec, content)
        else:
            self._put(spec, Kept(content), first=first)

    def ask(
        self, spec: Spec, args: tuple[object, ...], kwargs: dict[str, object], timeout_s: float | None
    ) -> Awaitable[object]:
        """Queue a call; the awaitable gives its reply or its error."""
        try:
            if not self.alive:
                raise self.down()
            args, kwargs = isolate_arguments(spec, args, kwargs)
            caller = self.waiting_caller()
            future, patience = self._patience(caller, timeout_s)
            self.post(spec, ((self.server, *args), kwargs, future, patience))
        except RoostError as error:
            return Failed(error, self.scheduler.spend())
        self._await(future, patience, caller)
        return future

    def owe(self, timeout_s: float | None) -> asyncio.Future[object]:
        """A future for the caller of an inline call whose reply comes later."""
        caller = self.scheduler.caller()
        try:
            future, patience = self._patience(caller, timeout_s)
        except CallTimeout as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
            return future
        self._await(future, patience, caller)
        if patience is not None:
            patience.keep(future, self)
        return future

    def _patience(
        self, caller: Process | None, timeout_s: float | None
    ) -> tuple[asyncio.Future[object], Patience | None]:
        """What a caller awaits, and what ends his patience: his timeout, or the deadline of the call that he serves.

        Raises:
            CallTimeout: when nothing is left of that deadline.
        """
        scheduler = self.scheduler
        patience: Patience | None
        if caller is None or caller.deadline is None:
            patience = scheduler.patience(timeout_s)
        else:
            now = scheduler.runtime.clock.now()
            if timeout_s is not None and now + timeout_s <= caller.deadline:
                patience = scheduler.patience(timeout_s)
            elif now >= caller.deadline:
                raise CallTimeout(str(self), 0.0)
            else:
                patience = Deadline(caller.deadline)
        return asyncio.get_running_loop().create_future(), patience

    def _await(self, future: asyncio.Future[object], patience: Patience | None, caller: Process | None) -> None:
        if type(patience) is Deadlines:
            patience.add(future, self)
        elif type(patience) is Deadline:
            patience.watch(future, self)
        if caller is not None:
            caller.wait_for(future, self)

    def waiting_caller(self) -> Process | None:
        """The process whose handler is about to wait for this one; None when a plain task is.

        Raises:
            CallCycle: when this one waits, perhaps through others, for that handler.
        """
        caller = self.scheduler.caller()
        if caller is not None:
            path = self.path_to(caller)
            if path is not None:
                raise CallCycle((str(caller), *path))
        elif self.scheduler.is_running(self):
            raise CallCycle((str(self), str(self)))
        return caller

    def wait_for(self, future: asyncio.Future[T], target: Process) -> None:
        """Note that this process cannot go on before `target` has answered."""
        waits = self.tied.waits
        waits[future] = target
        future.add_done_callback(lambda done: waits.pop(done, None))

    def path_to(self, caller: Process) -> list[str] | None:
        """The processes from here to `caller` when each waits for the next; None when `caller` is not waited for."""
        trail: dict[Process, Process | None] = {self: None}
        front = [self]
        while front:
            process = front.pop()
            if process is caller:
                path: list[str] = []
                step: Process | None = process
                while step is not None:
                    path.append(str(step))
                    step = trail[step]
                return path[::-1]
            if process.ties is not None and process.task is not None:
                for future, target in process.ties.waits.items():
                    if not future.done() and target not in trail:
                        trail[target] = process
                        front.append(target)
        return None

    def post_control(self, spec: Spec, *args: object, first: bool = False) -> None:
        """Put an order to the process itself into its mailbox, which never refuses one.

        A suspended process obeys at once: only its ordinary mail waits.
        """
        if not self.alive:
            return
        if self.suspended and self.task is None and self.leaving is None:
            spec.function(self, *args)
        else:
            self._put(spec, args, first=first)

    # Looking after it

    def order(self, action: Callable[[Process], T]) -> Awaitable[T]:
        """Run `action` between two messages: now, when the process is idle or suspended, else in its mailbox's order.

        The awaitable gives what it returns, raises what it raises, and raises ProcessDown when the process has ended.
        """
        if not self.alive:
            return typed("Awaitable[T]", Failed(self.down()))
        asleep = self.modes is not None and (self.modes.asleep or self.modes.suspended)
        if (self.open or asleep) and self.task is None:
            try:
                return typed("Awaitable[T]", Reply(action(self)))
            except Exception as error:
                return typed("Awaitable[T]", Failed(error))
        try:
            caller = self.waiting_caller()
        except CallCycle as cycle:
            return typed("Awaitable[T]", Failed(cycle))
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(ending.ORDER, (action, future))
        if caller is not None:
            caller.wait_for(future, self)
        return future

    async def suspend(self) -> None:
        """Let ordinary mail wait from now on, once what runs has ended. Harmless when it waits already.

        Raises:
            ProcessDown: when the process ends first.
            CallCycle: when it would wait for the caller.
        """
        await self.order(hold)

    def resume(self) -> None:
        """Handle ordinary mail again. Harmless when the process is not suspended, or has ended."""
        modes = self.modes
        if modes is None or not modes.suspended:
            return
        modes.suspended = False
        if self.leaving is not None:
            return
        if self.mail:
            self._wake(modes)
        else:
            self.rest()

    def trace(self, tracer: Tracer | None) -> None:
        """Tell `tracer` of every message, reply and end from now on; None ends that.

        A traced process takes all its mail through the mailbox, so it is slower.
        """
        modes = self.moded
        modes.tracer = tracer
        if self.open and modes.closed:
            self.open, modes.asleep = False, True
        elif modes.asleep and not modes.closed:
            modes.asleep, self.open = False, True
        elif self.scheduler.is_running(self):
            self.post_control(serving.NOTHING)  # what ends an inline call does not look at the modes

    def run_activity(self, coroutine: Coroutine[object, object, object], name: str) -> asyncio.Task[object]:
        """Run `coroutine` beside the mailbox until it, or the process, ends; its exception crashes the process.

        Raises:
            ProcessDown: when the process was killed, and its handler has not noticed yet.
        """
        if not self.alive:
            coroutine.close()
            raise self.down()
        task = self.scheduler.spawn(coroutine, self, handling=False)
        self.tied.activities[task] = name
        task.add_done_callback(self._activity_done)
        return task

    def _activity_done(self, task: asyncio.Task[object]) -> None:
        name = self.ties.activities.pop(task, "activity") if self.ties is not None else "activity"
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        report_crash(self, error, name)
        if self.alive:
            self.leave(error, True)

    def failed_inline(
        self,
        spec: Spec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        error: BaseException,
        left: int,
        timeout_s: float | None,
    ) -> Awaitable[object]:
        """An inline call has raised: what its caller gets instead of a reply."""
        return serving.failed_inline(self, spec, args, kwargs, error, left, timeout_s)

    # Its end

    def down(self) -> ProcessDown:
        """What a caller of this process gets when it has ended."""
        error = ProcessDown(str(self), explain(self.reason))
        if isinstance(self.reason, BaseException):
            error.__cause__ = self.reason
        return error

    def signal(self, sender: Process, reason: Reason) -> None:
        """A linked process has ended with `reason`."""
        ending.signal(self, sender, reason)

    def exit(self, reason: Reason) -> None:
        """Somebody wants this process to end: an exit signal that did not come over a link."""
        ending.exit(self, reason)

    def leave(self, reason: Reason, terminating: bool) -> None:
        """End as soon as what runs has been stopped; with `terminate`, or without."""
        ending.leave(self, reason, terminating)

    def kill(self) -> None:
        """End now, without `terminate`. An async handler is cancelled and not waited for."""
        ending.kill(self)


def hold(process: Process) -> None:
    """Suspend a process that is between two messages."""
    process.moded.suspended = True
    process.moded.asleep = process.open = False
