"""A process: a mailbox plus a state, far lighter than a task.

A process is idle (`open`: alive, nothing running, nothing waiting), running a sync handler, running an async handler
in its one task, closing, or dead. `open` is the single check of the fast path. Whoever finds it False puts mail into
the mailbox, and exactly one of these looks at the mailbox next: the scheduler's turn, the end of the running handler,
or death, which answers everybody who waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar

from roost.errors import CallCycle, NotSendable, Overloaded, ProcessDown, Refusal, RoostError
from roost.limits import MAILBOX_MESSAGES_MAX
from roost.otp.crash import explain, report_crash, report_lost, report_stray, show_message
from roost.otp.declare import ASKED, ASYNC, CONTROL, TOLD, Spec, isolate_arguments
from roost.otp.isolation import ATOMS, isolate
from roost.otp.reply import Deadlines, Failed, ReplyTo
from roost.otp.ties import Down, Exit, Reason, Ties

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer
    from roost.otp.scheduler import Scheduler

Mailbox = deque[Any]
"""Pairs of entries, a Spec and what belongs to it: see `roost.otp.declare`."""

SERVED_PER_TURN: Final = 100
"""Async handlers of one process that may follow each other without a turn of the loop between them."""

T = TypeVar("T")

ENTRIES_MAX: Final = 2 * MAILBOX_MESSAGES_MAX

CLOSED: Final[Mailbox] = deque(maxlen=0)
"""The mailbox of the dead: whatever is put into it is lost."""


class Process:
    """One process of a scheduler. Applications hold handles; this is what a handle points to."""

    __slots__ = (
        "alive",
        "handle",
        "leaving",
        "mail",
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

    def __init__(self, scheduler: Scheduler, pid: int, name: str | None) -> None:
        self.scheduler, self.pid, self.name = scheduler, pid, name
        self.alive = True
        self.open = False
        self.mail: Mailbox | None = None
        self.ties: Ties | None = None
        self.task: asyncio.Task[None] | None = None
        self.serving: ReplyTo | None = None
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
    def calls(self) -> Mapping[str, Spec]:
        """The declared calls by name: the closed table of what the network may ask of this process."""
        return self.handle.__calls__

    @property
    def casts(self) -> Mapping[str, Spec]:
        """The declared casts by name."""
        return self.handle.__casts__

    # Mail in

    def post(self, spec: Spec, content: tuple[object, ...]) -> None:
        """Put a message at the end of the mailbox. To the dead it is lost.

        Raises:
            Overloaded: when the mailbox is full.
        """
        box = self.mail
        if box is not None and len(box) >= ENTRIES_MAX:
            raise Overloaded(f"the mailbox of {self}", 0.1)
        self._put(spec, content)

    def _put(self, spec: Spec, content: tuple[object, ...], *, first: bool = False) -> None:
        box = self.mail
        if box is None:
            box = self.mail = deque()
        if first:
            box.extendleft((content, spec))
        else:
            box.append(spec)
            box.append(content)
        if self.open:
            self.open = False
            self.scheduler.ready(self)

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
            self.post(spec if spec.kind == ASYNC else spec.asked, ((self.server, *args), kwargs, None, None))

    def inform(self, message: object, *, bounded: bool = True) -> None:
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
        put = self.post if bounded else self._put
        if spec.kind == TOLD:
            put(spec, (self.server, message))
        else:
            put(spec, ((self.server, message), {}, None, None))

    def ask(
        self, spec: Spec, args: tuple[object, ...], kwargs: dict[str, object], timeout_s: float | None
    ) -> Awaitable[object]:
        """Queue a call; the awaitable gives its reply or its error."""
        try:
            if not self.alive:
                raise self.down()
            args, kwargs = isolate_arguments(spec, args, kwargs)
            caller = self.waiting_caller()
            future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            deadlines = self.scheduler.deadlines(timeout_s)
            self.post(spec, ((self.server, *args), kwargs, future, deadlines))
        except RoostError as error:
            return Failed(error)
        if deadlines is not None:
            deadlines.add(future, self)
        if caller is not None:
            caller.wait_for(future, self)
        return future

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

    # Mail out

    def drain(self, budget: int) -> int:
        """Handle mail until there is none, or `budget` messages were handled, or an async handler has begun.

        The scheduler calls it in its turn. Returns what is left of the budget.
        """
        mail = self.mail
        assert mail is not None
        take = mail.popleft
        while mail:
            if budget <= 0:
                self.scheduler.ready(self)
                return 0
            budget -= 1
            spec, content = take(), take()
            if spec.kind == TOLD:
                try:
                    spec.function(*content)
                except BaseException as error:
                    if self._failed(spec, content, {}, None, error):
                        return budget
            elif spec.kind == ASKED:
                if self._answer(spec, *content):
                    return budget
            elif self._begin(spec, content):
                return budget
        self.mail = None
        self.open = True
        return budget

    def _answer(
        self,
        spec: Spec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        reply: ReplyTo | None,
        deadlines: Deadlines | None,
    ) -> bool:
        """Handle a queued call. Returns True when that was the end of the process."""
        if reply is not None:
            if deadlines is not None:
                deadlines.forget(reply)
            if reply.done():
                return False
        try:
            value = spec.function(*args, **kwargs)
            if reply is not None and type(value) not in ATOMS:
                value = isolate(value, f"reply of {spec!r}")
        except BaseException as error:
            return self._failed(spec, args, kwargs, reply, error)
        if reply is not None:
            self.scheduler.answer(reply, value)
        return False

    def _begin(self, spec: Spec, content: tuple[object, ...]) -> bool:
        """Obey an order, or begin an async handler. Returns True when the drain is over."""
        if spec.kind == CONTROL:
            spec.function(self, *content)
            return not self.alive or self.task is not None
        assert self.mail is not None
        self.mail.extendleft((content, spec))
        self.task = self.scheduler.spawn(self._serve(), self, handling=True)
        return True

    async def _serve(self) -> None:
        """Run async handlers one after the other, for as long as the next mail is for one."""
        mail = self.mail
        assert mail is not None
        served = 0
        while mail and mail[0].kind == ASYNC:
            spec, content = mail.popleft(), mail.popleft()
            await self._handle(spec, *content)
            if self.leaving is not None or not self.alive:
                return
            served += 1
            if served % SERVED_PER_TURN == 0:
                await asyncio.sleep(0)  # handlers that never wait must not keep the loop to themselves
        self.task = None
        if mail:
            self.scheduler.ready(self)
        else:
            self.mail = None
            self.open = True

    async def _handle(
        self,
        spec: Spec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        reply: ReplyTo | None,
        deadlines: Deadlines | None,
    ) -> None:
        """Run one async handler to its end."""
        if reply is not None and reply.done():
            return
        self.serving = reply
        try:
            outcome = spec.function(*args, **kwargs)
            assert isinstance(outcome, Coroutine)
            value = await outcome
            if reply is not None and type(value) not in ATOMS:
                value = isolate(value, f"reply of {spec!r}")
        except asyncio.CancelledError as error:
            # An exit signal cancels through `leave`, which goes on when this task has ended. Otherwise somebody
            # else has cancelled the task, as the end of asyncio.run does, or the handler what it was waiting for.
            if self.leaving is None and self.alive:
                task = asyncio.current_task()
                if task is not None and task.cancelling() > 0:
                    self.close("killed", False)
                else:
                    self.crash(error, show_message(self, spec, args[1:], kwargs))
            raise
        except BaseException as error:
            if self.leaving is not None or not self.alive:
                report_crash(self, error, f"the end of {spec.name}")
                return
            self.serving = None
            self._failed(spec, args, kwargs, reply, error)
            return
        finally:
            if reply is not None and deadlines is not None:
                deadlines.forget(reply)
            if self.ties is not None and self.ties.waits:
                self.ties.waits = {}  # whatever the handler has not awaited, nobody waits for now
        self.serving = None
        if reply is not None and not reply.done():
            reply.set_result(value)

    def failed_inline(
        self, spec: Spec, args: tuple[object, ...], kwargs: dict[str, object], error: BaseException, left: int
    ) -> Failed:
        """An inline call has raised: the process lives on after a refusal, else it has crashed."""
        scheduler = self.scheduler
        try:
            if spares(error):
                if not self.mail:
                    self.open = True
                else:
                    scheduler.ready(self)
                return Failed(error)
            down = self.crash(error, show_message(self, spec, args, kwargs))
            if isinstance(error, Exception):
                return Failed(down)
            raise error
        finally:
            scheduler.reductions = left

    def _failed(
        self,
        spec: Spec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        reply: ReplyTo | None,
        error: BaseException,
    ) -> bool:
        """A handler of queued mail has raised. Returns True when that was the end of the process."""
        if spares(error):
            if reply is None:
                report_lost(self, f"{show_message(self, spec, args[1:], kwargs)} was refused: {explain(error)}")
            elif not reply.done():
                reply.set_exception(error)
            return False
        self.serving = reply
        self.crash(error, show_message(self, spec, args[1:], kwargs))
        if not isinstance(error, Exception):
            raise error
        return True

    def run_activity(self, coroutine: Coroutine[object, object, object], name: str) -> asyncio.Task[object]:
        """Run `coroutine` beside the mailbox until it, or the process, ends; its exception crashes the process."""
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

    # The end

    def down(self) -> ProcessDown:
        """What a caller of this process gets when it has ended."""
        error = ProcessDown(str(self), explain(self.reason))
        if isinstance(self.reason, BaseException):
            error.__cause__ = self.reason
        return error

    def crash(self, error: BaseException, during: str) -> ProcessDown:
        """A handler has raised what is not a refusal: tell the log, then end. Returns what the caller gets."""
        report_crash(self, error, during)
        self.reason = error
        down = self.down()
        self.close(error, True)
        return down

    def signal(self, sender: Process, reason: Reason) -> None:
        """A linked process has ended with `reason`."""
        ties = self.ties
        if not self.alive:
            return
        if ties is None or not ties.trapping:
            if reason != "normal":
                self.leave(reason, False)
        elif sender is ties.parent:
            self.post_control(STOP, reason)
        else:
            self.inform(Exit(sender.handle, reason), bounded=False)

    def exit(self, reason: Reason) -> None:
        """Somebody wants this process to end: an exit signal that did not come over a link."""
        if not self.alive:
            return
        if reason == "kill":
            self.kill()
        elif self.ties is not None and self.ties.trapping:
            self.inform(Exit(self.handle, reason), bounded=False)
        elif reason != "normal":
            self.leave(reason, False)

    def kill(self) -> None:
        """End now, without `terminate`. An async handler is cancelled and not waited for."""
        if self.alive and self.scheduler.is_running(self):
            self.post_control(LEAVE, "killed", False, first=True)
        elif self.alive:
            task = self.task
            self.finish("killed")
            if task is not None:
                task.cancel()

    def leave(self, reason: Reason, terminating: bool) -> None:
        """End as soon as what runs has been stopped."""
        if self.leaving is not None:
            return
        if self.scheduler.is_running(self):
            self.post_control(LEAVE, reason, terminating, first=True)
        elif self.task is not None:
            self.leaving = (reason, terminating)
            self.reason = reason
            self.task.add_done_callback(self._stopped)
            self.task.cancel()
        else:
            self.close(reason, terminating)

    def _stopped(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()
        self.task = None
        if self.alive and self.leaving is not None:
            self.close(*self.leaving)

    def post_control(self, spec: Spec, *args: object, first: bool = False) -> None:
        """Put an order to the process itself into its mailbox, which never refuses one."""
        if self.alive:
            self._put(spec, args, first=first)

    def close(self, reason: Reason, terminating: bool) -> None:
        """End: stop the activities, run `terminate` when it is due, then tell everybody."""
        self.open = False
        self.leaving = (reason, terminating)
        self.reason = reason
        activities = self.ties is not None and bool(self.ties.activities)
        if not activities and not terminating:
            self.finish(reason)
            return
        outcome: object = None
        if not activities:
            with self.scheduler.running_handler(self):
                outcome = self._terminate(reason)
        if activities or isinstance(outcome, Coroutine):
            self.task = self.scheduler.spawn(self._closing(reason, terminating, outcome), self, handling=True)
        else:
            self.finish(reason)

    def _terminate(self, reason: Reason) -> object:
        try:
            return self.server.terminate(reason)
        except Exception as error:
            report_crash(self, error, "terminate")
            return None

    async def _closing(self, reason: Reason, terminating: bool, outcome: object) -> None:
        try:
            if self.ties is not None and self.ties.activities:
                activities = list(self.ties.activities)
                for activity in activities:
                    activity.cancel()
                await asyncio.wait(activities)
            if terminating and outcome is None:
                outcome = self._terminate(reason)
            if isinstance(outcome, Coroutine):
                try:
                    await outcome
                except Exception as error:
                    report_crash(self, error, "terminate")
        finally:
            self.task = None
            self.finish(reason)

    def finish(self, reason: Reason) -> None:
        """The last step of every end: nothing of the process is left, and whoever should know is told."""
        if not self.alive:
            return
        self.alive = self.open = False
        self.reason = reason
        self.scheduler.forget(self)
        mail, self.mail = self.mail, CLOSED
        entries: Iterator[Any] = iter(mail or ())
        waiting = [self.serving]
        for spec, content in zip(entries, entries, strict=True):
            if spec.kind in (ASKED, ASYNC):
                waiting.append(content[2])
        self.serving = None
        del self.server
        for reply in waiting:
            if reply is not None and not reply.done():
                reply.set_exception(self.down())
        if self.ties is not None:
            self._untie(self.ties, reason)
            self.ties = None

    def _untie(self, ties: Ties, reason: Reason) -> None:
        for timer in list(ties.timers):
            timer.cancel()
        for activity in ties.activities:
            activity.cancel()
        for monitor in list(ties.monitoring):
            monitor.cancel()
        for linked in ties.links:
            if linked.ties is not None:
                linked.ties.links.pop(self, None)
                self.scheduler.signal(linked, self, reason)
        down = Down(self.handle, reason)
        for monitor in ties.monitors:
            if monitor.watcher is not None and monitor.watcher.ties is not None:
                monitor.watcher.ties.monitoring.pop(monitor, None)
            monitor.deliver(down)


def spares(error: BaseException) -> TypeGuard[Exception]:
    """Whether the process lives on: the caller was refused, or his arguments do not fit the handler's signature."""
    if isinstance(error, (Refusal, NotSendable)):
        return True
    if not isinstance(error, TypeError) or error.__traceback__ is None:
        return False
    # A TypeError without a frame of the handler was raised by the act of calling it.
    return error.__traceback__.tb_next is None


def _control(function: Callable[..., object]) -> Spec:
    return Spec(function, CONTROL, "Process", {})


def _stop(process: Process, reason: Reason) -> None:
    process.close(reason, True)


def _leave(process: Process, reason: Reason, terminating: bool) -> None:
    process.close(reason, terminating)


STOP: Final = _control(_stop)
"""End in the order of the mailbox, with `terminate`."""
LEAVE: Final = _control(_leave)
"""End before anything else in the mailbox."""
