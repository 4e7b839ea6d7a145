"""The process world of one node: pids, names, the queue of processes with mail, and the budget of inline calls.

One loop may carry several worlds, as the simulator does with a whole cluster. A plain script needs to know nothing
of this: without a node, each event loop has a default scheduler.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar
from typing import cast as typed

from roost.errors import ConfigError, NameTaken, NoSuchProcess, Overloaded, StartFailed, StartIgnored, TooLarge
from roost.limits import NAME_BYTES_MAX, REDUCTIONS_PER_TURN
from roost.otp.crash import explain
from roost.otp.declare import ASKED, Spec
from roost.otp.ending import close, finish
from roost.otp.isolation import ATOMS, hand_over, isolate
from roost.otp.name import Name
from roost.otp.outcome import Ignore, Stop
from roost.otp.process import Process
from roost.otp.reply import Callback, Deadline, Deadlines, Patience, ReplyTo
from roost.otp.serving import drain, end_inline
from roost.runtime import Runtime

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer
    from roost.otp.mailbox import MailboxMonitor
    from roost.otp.remote import Transport
    from roost.otp.ties import Reason

T = TypeVar("T")
ServerT = TypeVar("ServerT", bound="GenServer")

TIMEOUTS_SHARED: Final = 64
"""Different timeouts whose calls share a timer. Who computes timeouts has more; then each call has its own timer."""

_current: ContextVar[Scheduler | None] = ContextVar("roost_scheduler", default=None)
_owner: ContextVar[Process | None] = ContextVar("roost_owner", default=None)
_handling: ContextVar[Process | None] = ContextVar("roost_handling", default=None)


class Scheduler:
    """The processes of one node.

    Args:
        runtime: the doors to the world that its processes use.
        name: the name of the node.
    """

    _by_loop: ClassVar[dict[asyncio.AbstractEventLoop, Scheduler]] = {}

    def __init__(self, runtime: Runtime, name: str = "local") -> None:
        self.runtime = runtime
        self.name = name
        self.incarnation = 0
        """Which boot of the node this is; the node sets it."""
        self.transport: Transport | None = None
        """The way to processes on other nodes; the node sets it."""
        self.processes: dict[int, Process] = {}
        self.names: dict[str, Process] = {}
        self.reductions = REDUCTIONS_PER_TURN
        """Inline calls left until the next turn; -1 while a sync handler runs."""
        self.running: Process | None = None
        """Whose sync handler runs, when `reductions` is -1."""
        self.monitor: MailboxMonitor | None = None
        """Who is told of mailboxes that have grown long."""
        self._beneath: list[Process | None] = []
        """Whose sync handlers go on when that of `running` has ended, as the end of one process may run another."""
        self._pids = 0
        self._queue: deque[Process] = deque()
        self._turn_due = False
        self._signals: deque[tuple[Process, Process, Reason]] = deque()
        self._signalling = False
        self._held: tuple[ReplyTo, object] | None = None
        self._deadlines: dict[float, Deadlines] = {}
        # A copy, not an empty one: what surrounds a node (whose life it is, in a simulation) goes on in its processes.
        self._context = copy_context()
        self._context.run(_current.set, self)

    @classmethod
    def current(cls) -> Scheduler:
        """The scheduler of the running process or node, else the default one of the running loop.

        Raises:
            RuntimeError: when no event loop runs.
        """
        scheduler = _current.get()
        if scheduler is not None:
            return scheduler
        loop = asyncio.get_running_loop()
        found = cls._by_loop.get(loop)
        if found is None:
            for closed in [other for other in cls._by_loop if other.is_closed()]:
                del cls._by_loop[closed]
            found = cls.adopt(loop, Runtime.real())
        return found

    @classmethod
    def adopt(cls, loop: asyncio.AbstractEventLoop, runtime: Runtime) -> Scheduler:
        """Make a default scheduler for a loop; the simulator does, for loops of virtual time."""
        scheduler = cls._by_loop[loop] = cls(runtime)
        return scheduler

    @contextmanager
    def entered(self) -> Iterator[Scheduler]:
        """Make this the current scheduler for what runs inside the block, and for the tasks it makes."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    def inside(self, act: Callable[[], T]) -> T:
        """Do something as code of this world, wherever it is that the loop calls from: a socket, for example."""
        return self._context.copy().run(act)

    # Life

    async def start(
        self,
        kind: type[ServerT],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        name: Name | None,
        *,
        link: bool,
        timeout_s: float | None = None,
    ) -> ServerT:
        """Start a process of class `kind` and wait until its `init` has returned.

        Raises:
            NameTaken: when a live process has this name.
            StartIgnored: when `init` raised Ignore.
            StartFailed: when `init` raised something else, which is its `__cause__`, or took longer than `timeout_s`.
        """
        if not kind.__init_async__:
            return self.start_now(kind, args, kwargs, name, link=link)
        process, parent = self._new(kind, name), self.running_process() if link else None
        try:
            self._tie_to_parent(process, parent)
            await self._init_async(process, *_handed_over(args, kwargs), timeout_s)
        except BaseException as error:
            raise self._not_started(process, parent, error) from _cause(error)
        self._started(process)
        return typed("ServerT", process.handle)

    def start_now(
        self,
        kind: type[ServerT],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        name: Name | None,
        *,
        link: bool,
    ) -> ServerT:
        """Start a process whose `init` is sync, without giving up the turn; otherwise as `start`."""
        process, parent = self._new(kind, name), self.running_process() if link else None
        try:
            self._tie_to_parent(process, parent)
            args, kwargs = _handed_over(args, kwargs)
            with self.running_handler(process):
                try:
                    process.server.init(*args, **kwargs)
                except asyncio.CancelledError as error:  # its own: the starter is not cancelled, this is one step
                    raise StartFailed(str(process), explain(error)) from error
        except BaseException as error:
            raise self._not_started(process, parent, error) from _cause(error)
        self._started(process)
        return typed("ServerT", process.handle)

    def running_process(self) -> Process | None:
        """The process of this world that runs right now, in whatever way; None when plain code does."""
        if self.reductions < 0:
            return self.running
        owner = _owner.get()
        return owner if owner is not None and owner.scheduler is self else None

    def _tie_to_parent(self, process: Process, parent: Process | None) -> None:
        if parent is None:
            return
        if not parent.alive:
            raise StartFailed(str(process), f"{parent}, which starts it, has ended")
        process.tied.parent = parent
        process.tied.links[parent] = parent.tied.links[process] = None

    def _started(self, process: Process) -> None:
        if process.mail:
            self.ready(process)
        else:
            process.rest()

    def _new(self, kind: type[GenServer], name: Name | None) -> Process:
        kind.info_for(type(None))  # a handler whose annotation means nothing shows here, not when its message comes
        self._pids = pid = self._pids + 1
        process = Process(self, pid, None if name is None else str(name), 2 * kind.mailbox_messages_max)
        process.server, process.handle = kind.__bind__(process)
        if name is not None:
            self._register(name, process)
        self.processes[pid] = process
        return process

    def _register(self, name: Name, process: Process) -> None:
        if not isinstance(name, str):
            if not hasattr(name, "register"):
                raise ConfigError("name", f"{name!r} is neither text nor a place in a registry")
            name.register(process.handle)
            return
        if len(name.encode()) > NAME_BYTES_MAX:
            raise TooLarge("NAME_BYTES_MAX", len(name.encode()), NAME_BYTES_MAX)
        if name in self.names:
            raise NameTaken(name)
        self.names[name] = process

    async def _init_async(
        self, process: Process, args: tuple[object, ...], kwargs: Mapping[str, object], timeout_s: float | None
    ) -> None:
        outcome = process.server.init(*args, **kwargs)
        assert isinstance(outcome, Coroutine)
        task = process.task = self.spawn(outcome, process, handling=True)
        starter = self.caller()
        if starter is not None:
            starter.wait_for(task, process)
        try:
            await asyncio.wait([task], timeout=timeout_s)
        except asyncio.CancelledError:
            await _cancelled(task)
            if process.alive and not task.cancelled() and task.exception() is None:
                process.task = None
                await _given_up(process)
            raise
        if process.ties is not None and process.ties.waits:
            process.ties.waits = {}  # whatever init has not awaited, nobody waits for now
        if not task.done():
            task.add_done_callback(_forget_error)
            task.cancel()
            raise StartFailed(str(process), f"its init took longer than {timeout_s:g} s")
        process.task = None
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or not process.alive:
            raise StartFailed(str(process), f"ended in init: {explain(process.reason)}") from error
        if error is not None:
            raise error

    def _not_started(self, process: Process, parent: Process | None, error: BaseException) -> BaseException:
        """Take back a process whose init has failed. Whoever starts it gets the exception, and so no signal as well."""
        _untie_from(parent, process)
        reason = _reason(process, error)
        process.leaving = (reason, False)
        finish(process, reason)
        if isinstance(error, Ignore):
            return StartIgnored(str(process))
        if isinstance(error, StartFailed) or not isinstance(error, Exception):
            return error
        return StartFailed(str(process), explain(error.reason if isinstance(error, Stop) else error))

    def forget(self, process: Process) -> None:
        """The process has ended: its pid and its name are free."""
        self.processes.pop(process.pid, None)
        if process.name is not None and self.names.get(process.name) is process:
            del self.names[process.name]

    def whereis(self, name: str) -> Process:
        """The live process of this node under `name`, in its own table of names.

        Raises:
            NoSuchProcess: when there is none.
        """
        process = self.names.get(name)
        if process is None:
            raise NoSuchProcess(name)
        return process

    def signal(self, process: Process, sender: Process, reason: Reason) -> None:
        """Tell a linked process that `sender` has ended.

        One after the other: the end of a long chain of links takes no deep stack.
        """
        self._signals.append((process, sender, reason))
        if self._signalling:
            return
        self._signalling = True
        try:
            while self._signals:
                process, sender, reason = self._signals.popleft()
                process.signal(sender, reason)
        finally:
            self._signalling = False

    # Turns

    def ready(self, process: Process) -> None:
        """The process has mail: handle it in the next turn."""
        self._queue.append(process)
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._turn, context=self._context.copy())

    def _turn(self) -> None:
        """Handle what waits, oldest process first, within the budget; then grant new inline calls."""
        queue, budget, monitor = self._queue, REDUCTIONS_PER_TURN, self.monitor
        self._turn_due = False
        self.reductions = -1
        try:
            for _ in range(len(queue)):
                process = queue.popleft()
                if process.mail and process.task is None:
                    self.running = process
                    if monitor is not None and len(process.mail) > 2 * monitor.mailbox_mark:
                        monitor.mailbox(process, len(process.mail) // 2)
                    budget = drain(process, budget)
                    if budget <= 0:
                        break
        finally:
            self.reductions = REDUCTIONS_PER_TURN
            self.running = None
            if queue and not self._turn_due:
                self._turn_due = True
                asyncio.get_running_loop().call_soon(self._turn, context=self._context.copy())
            self._release()

    def answer(self, reply: ReplyTo, value: object) -> None:
        """Hand over the reply of a queued call.

        The first of a turn is held back until its end. The caller that has used up the budget is the first in the
        queue; woken last, it lets the next one use the new budget, so that all callers take turns. Callers that are
        functions do not wait in that queue; they are answered in order.
        """
        if self._held is None and type(reply) is not Callback:
            self._held = (reply, value)
        elif not reply.done():  # the handler may have ended its own caller
            reply.set_result(value)

    @contextmanager
    def running_handler(self, process: Process) -> Iterator[None]:
        """Whatever the block sends is queued, and `process` is who sends it."""
        saved = self.reductions, self.running
        if self.reductions < 0:
            self._beneath.append(self.running)
        self.reductions, self.running = -1, process
        try:
            yield
        finally:
            self.reductions, self.running = saved
            if self.reductions < 0:
                self._beneath.pop()

    def spend(self) -> bool:
        """Take one from the budget of inline calls. Returns whether there was none left: then a turn is due."""
        if self.reductions > 0:
            self.reductions -= 1
            return False
        return self.reductions == 0

    def is_running(self, process: Process) -> bool:
        """Whether a sync handler of `process` is running right now."""
        return self.reductions < 0 and (self.running is process or process in self._beneath)

    def caller(self) -> Process | None:
        """The process whose async handler is running right now: one that can wait for a reply."""
        if self.reductions < 0:
            return None
        process = _handling.get()
        return process if process is not None and process.task is not None else None

    def patience(self, timeout_s: float | None) -> Patience | None:
        """What ends a call after so many seconds; None for calls that wait for ever."""
        if timeout_s is None:
            return None
        found = self._deadlines.get(timeout_s)
        if found is not None:
            return found
        if len(self._deadlines) >= TIMEOUTS_SHARED:
            for other in [other for other in self._deadlines.values() if other.idle]:
                del self._deadlines[other.timeout_s]
            if len(self._deadlines) >= TIMEOUTS_SHARED:
                return Deadline(self.runtime.clock.now() + timeout_s, timeout_s)
        return self.deadlines(timeout_s)

    def deadlines(self, timeout_s: float) -> Deadlines:
        """The list of calls with this timeout; made when there is none."""
        found = self._deadlines.get(timeout_s)
        if found is None:
            found = self._deadlines[timeout_s] = Deadlines(self.runtime.clock, timeout_s)
        return found

    def spawn(self, coroutine: Coroutine[object, object, T], process: Process, *, handling: bool) -> asyncio.Task[T]:
        """A task of `process`: one of its handlers, or an activity beside them."""
        context = self._context.copy()
        context.run(_owner.set, process)
        if handling:
            context.run(_handling.set, process)
        return asyncio.get_running_loop().create_task(coroutine, name=str(process), context=context)

    # From the network

    def deliver_call(
        self,
        process: Process,
        spec: Spec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        on_reply: Callable[[object, Exception | None], None],
        timeout_s: float | None = None,
    ) -> None:
        """Make a call for somebody outside, without a task.

        Args:
            process: whom, from `whereis`.
            spec: what, from the table `process.calls` by its name.
            args: what `spec.convert` made of the arguments; they belong to the callee from now on.
            kwargs: the same.
            on_reply: called exactly once with (reply, None) or (None, error), perhaps before this returns.
                The error is the refusal of the handler, ProcessDown, Overloaded, or a TypeError when the arguments
                do not fit.
            timeout_s: seconds that the one who asked will wait, which the calls of the handler inherit. It is he who
                ends the wait: here nothing does.
        """
        left = self.reductions
        reply = Callback(on_reply)
        if process.open and left > 0 and spec.kind == ASKED:
            self._call_inline(process, spec, args, kwargs, reply, timeout_s, left - 1)
            return
        if not process.alive:
            reply.set_exception(process.down())
            return
        try:
            process.post(spec, ((process.server, *args), kwargs, reply, self._deadline(timeout_s)))
        except Overloaded as full:
            reply.set_exception(full)

    def _call_inline(
        self,
        process: Process,
        spec: Spec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        reply: Callback,
        timeout_s: float | None,
        left: int,
    ) -> None:
        """Run a sync handler of an idle process now, and have `left` reductions after it."""
        process.open = False
        self.reductions, self.running = -1, process
        try:
            value = spec.function(process.server, *args, **kwargs)
            if type(value) not in ATOMS:
                value = isolate(value, f"reply of {spec!r}")
        except BaseException as raised:
            self.reductions = left
            end_inline(process, spec, args, kwargs, raised, reply, self._deadline(timeout_s))
            return
        self.reductions = left
        if process.mail:
            self.ready(process)
        else:
            process.open = True
        reply.set_result(value)

    def _deadline(self, timeout_s: float | None) -> Deadline | None:
        """The end of the patience of somebody outside."""
        return None if timeout_s is None else Deadline(self.runtime.clock.now() + timeout_s)

    def deliver_cast(self, process: Process, spec: Spec, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Put a cast from outside into the mailbox; lost when the process has ended.

        Raises:
            Overloaded: when the mailbox is full.
        """
        process.tell(spec, args, kwargs)

    def patience_s(self, timeout_s: float | None) -> float | None:
        """How long a call may wait: `timeout_s`, or what is left of the call that the running handler serves."""
        caller = self.caller()
        if caller is None or caller.deadline is None:
            return timeout_s
        left_s = max(caller.deadline - self.runtime.clock.now(), 0.0)
        return left_s if timeout_s is None else min(timeout_s, left_s)

    def _release(self) -> None:
        if self._held is not None:
            (reply, value), self._held = self._held, None
            if not reply.done():
                reply.set_result(value)


def _handed_over(
    args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[tuple[object, ...], dict[str, object]]:
    return tuple([hand_over(value) for value in args]), {key: hand_over(value) for key, value in kwargs.items()}


async def _cancelled(task: asyncio.Task[object]) -> None:
    """Cancel, and wait until it has ended: an `init` that is given up takes back what it has begun.

    Whoever is cancelled again while he waits hands that on.
    """
    while not task.done():
        task.cancel()
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue


async def _given_up(process: Process) -> None:
    """Its `init` has succeeded, and whoever started it does not want it any more: stop it, as one stops a process.

    Whoever is cancelled again while he waits kills it.
    """
    _untie_from(process.tied.parent, process)
    down = process.handle.down()
    close(process, "shutdown", True)
    while not down.done():
        try:
            await asyncio.wait([down])
        except asyncio.CancelledError:
            process.kill()


def _untie_from(parent: Process | None, process: Process) -> None:
    """A process that did not start sends its parent no signal: the parent gets an exception."""
    for one, other in ((process, parent), (parent, process)):
        if one is not None and other is not None and one.ties is not None:
            one.ties.links.pop(other, None)


def _forget_error(task: asyncio.Task[object]) -> None:
    """What an init that was given up raises at its end: the start has failed already."""
    if not task.cancelled():
        task.exception()


def _reason(process: Process, error: BaseException) -> Reason:
    """Why a process has ended in its init, for those it has linked itself to: as in OTP (gen:init_it)."""
    if isinstance(error, Ignore):
        return "normal"
    if isinstance(error, Stop):
        return error.reason
    is_cut = isinstance(error, StartFailed) and error.target == str(process)
    if is_cut or not isinstance(error, Exception):
        return error.__cause__ or "killed"
    return error


def _cause(error: BaseException) -> BaseException | None:
    """What has made `init` fail, for whoever gets the StartFailed."""
    if isinstance(error, Ignore):
        return None
    if isinstance(error, Stop):
        return error.reason if isinstance(error.reason, BaseException) else None
    if isinstance(error, StartFailed) or not isinstance(error, Exception):
        return error.__cause__
    return error
