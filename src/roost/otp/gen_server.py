"""GenServer: a class whose instances are processes.

The instance that holds the state belongs to the process alone. Everybody else has a *handle*: an object of a
generated subclass, so that types and `isinstance` hold, on which only declared messages can be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from roost.errors import CallTimeout, NodeDown, NoSuchProcess
from roost.limits import CALL_TIMEOUT_S, MAILBOX_MESSAGES_MAX, SHUTDOWN_S
from roost.otp.child import Child, Restart
from roost.otp.compiling import compile_class, info_table
from roost.otp.declare import Spec
from roost.otp.ending import STOP
from roost.otp.handle import build
from roost.otp.isolation import isolate
from roost.otp.mailbox import Overflow
from roost.otp.name import Name
from roost.otp.process import Process
from roost.otp.remote import remote_handle, target_of
from roost.otp.reply import Caller
from roost.otp.request import Request
from roost.otp.scheduler import Scheduler
from roost.otp.serving import ARM, CONTINUE
from roost.otp.state import read_state
from roost.otp.ties import Down, Monitor, Reason
from roost.otp.timers import Interval, ProcessTimer, check_seconds

R = TypeVar("R")


class GenServer:
    """The base of every process class.

    ::

        class Counter(GenServer):
            def init(self, start: int = 0) -> None:
                self.n = start

            @call
            def increment(self, by: int = 1) -> int:
                self.n += by
                return self.n

        counter = await Counter.start_link(5, name="hits")
        await counter.increment(2)
    """

    __slots__ = ("_process", "_timeout_s")

    __calls__: ClassVar[Mapping[str, Spec]] = {}
    """The declared calls by name: the closed table of what the network may ask."""
    __casts__: ClassVar[Mapping[str, Spec]] = {}
    """The declared casts by name."""
    __infos__: ClassVar[dict[type, Spec | None] | None] = None
    __init_async__: ClassVar[bool] = False
    __handle__: ClassVar[type[GenServer]]

    _process: Process
    _timeout_s: float | None

    mailbox_messages_max: ClassVar[int] = MAILBOX_MESSAGES_MAX
    """How many messages may wait."""
    overflow: ClassVar[Overflow] = "refuse"
    """What happens to one more: "refuse" (its sender gets Overloaded), "drop_oldest" or "drop_newest".

    What is dropped is counted and told in the log. A call is never dropped in silence: its caller gets Overloaded.
    """

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "__handle_of__" not in vars(cls):
            compile_class(cls)

    # What a class may define

    # Any: each class has its own arguments, and only `*args: Any` lets an override take others.
    def init(self, *args: Any, **kwargs: Any) -> Awaitable[None] | None:
        """Set up the state. Runs before anything else; `start` waits for it. May be `async def`."""
        if args or kwargs:
            raise TypeError(f"{type(self).__name__} has no `init` that could take arguments")
        return None

    def terminate(self, reason: Reason) -> Awaitable[None] | None:
        """Clean up. May be `async def`.

        Runs on `stop`, on `self.exit`, after a crash of a handler, and when the parent ends while this process
        traps exits. It does not run when an exit signal or a kill ends the process: what must be cleaned up then
        belongs into a process that is linked or monitors.
        """

    def code_change(self, old_vsn: int | str | None) -> None:
        """Make a state of the old code one of the new code, in an upgrade: see `roost.otp.upgrading.upgrade`.

        It runs on a copy of the state, between two messages; what it raises takes the whole upgrade back. When a class
        does not define it, its processes keep the attributes that they have.

        Args:
            old_vsn: the `vsn` of the class before the upgrade.
        """

    vsn: ClassVar[int | str | None] = None
    """The version of the code of a class, for `code_change`."""
    redacted: ClassVar[frozenset[str]] = frozenset()
    """Names of attributes, fields, keys and arguments whose values no report shows: they read "***" there."""

    def show_state(self) -> object:
        """What reports show of the state, when that is more, or less, than its attributes."""
        return read_state(self)

    # Starting and finding

    @classmethod
    async def start_link(
        cls, *args: object, name: Name | None = None, start_timeout_s: float | None = None, **kwargs: object
    ) -> Self:
        """Start a process, linked to the process that starts it when there is one.

        Args:
            args: the arguments of `init`; lists, dicts and sets are copied.
            name: a name, unique on this node, to register it under; or a place in a registry, `registry.via(key)`.
            start_timeout_s: seconds that an async `init` may take; None waits for ever.
            kwargs: more arguments of `init`.

        Returns: a handle, when `init` has returned.

        Raises:
            StartFailed: when `init` raised, which is its `__cause__`, or took too long.
            StartIgnored: when `init` raised Ignore.
            NameTaken: when a live process has the name.
        """
        return await Scheduler.current().start(cls, args, kwargs, name, link=True, timeout_s=start_timeout_s)

    @classmethod
    async def start(
        cls, *args: object, name: Name | None = None, start_timeout_s: float | None = None, **kwargs: object
    ) -> Self:
        """Start a process that is linked to nobody; otherwise as `start_link`."""
        return await Scheduler.current().start(cls, args, kwargs, name, link=False, timeout_s=start_timeout_s)

    @classmethod
    def child(
        cls,
        *args: object,
        name: Name | None = None,
        id: str | None = None,
        restart: Restart = "permanent",
        shutdown_s: float | None = SHUTDOWN_S,
        significant: bool = False,
        start_timeout_s: float | None = None,
        **kwargs: object,
    ) -> Child[Self]:
        """How a supervisor starts a process of this class.

        Args:
            args: the arguments of `init`.
            name: a name to register it under.
            id: what the supervisor calls it: the name, or the name of the class, when not given.
            restart: "permanent" (always), "transient" (only after a crash) or "temporary" (never).
            shutdown_s: seconds it may take to stop before it is killed; 0 kills it at once, None waits for ever.
            significant: whether its end by itself may end its supervisor, as `auto_shutdown` of that says.
            start_timeout_s: seconds that an async `init` may take; None waits for ever.
            kwargs: more arguments of `init`.
        """

        async def start(*extra: object) -> Self:
            return await cls.start_link(*extra, *args, name=name, start_timeout_s=start_timeout_s, **kwargs)

        return Child(id or str(name or cls.__name__), start, restart, shutdown_s, significant)

    @classmethod
    def whereis(cls, name: Name, node: str | None = None) -> Self:
        """A handle of the process under `name`, here or, for a plain word, on another node.

        Raises:
            NoSuchProcess: when no live process of this class has the name on this node. On another node that
                shows in the first call.
            NodeDown: when `node` is another node, and this one is not part of a cluster.
        """
        scheduler = Scheduler.current()
        if not isinstance(name, str):
            found = name.whereis()
            if not isinstance(found, cls):
                raise NoSuchProcess(str(name), cls.__name__)
            return found
        if node is None or node == scheduler.name:
            handle = scheduler.whereis(name).handle
            if not isinstance(handle, cls):
                raise NoSuchProcess(name, cls.__name__)
            return handle
        if scheduler.transport is None:
            raise NodeDown(node, "this node is not part of a cluster")
        return remote_handle(cls, name, node, scheduler.transport)

    # On a handle

    if TYPE_CHECKING:

        def call(self, message: Request[R]) -> Awaitable[R]:
            """Ask with a declared message; for classes that define `handle_call`. Otherwise as every `@call`."""

        def cast(self, message: object) -> None:
            """Tell with a declared message; for classes that define `handle_cast`. Otherwise as every `@cast`."""

    @property
    def pid(self) -> int:
        """The number of the process, unique on its node for as long as that runs."""
        return self._process.pid

    def with_timeout(self, timeout_s: float | None) -> Self:
        """The same process, asked with another timeout in seconds; None waits for ever.

        Raises:
            ConfigError: when the timeout is negative, or longer than TIMER_S_MAX.
        """
        if timeout_s is not None:
            check_seconds("timeout_s", timeout_s)
        return build(type(self), self._process, timeout_s)

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.alive

    def exit(self, reason: Reason) -> None:
        """End a process.

        On a handle: send it an exit signal. It dies with `reason`, without `terminate`; it ignores "normal"; it gets
        an `Exit` instead when it traps exits; and "kill" ends it in any case.
        On `self`: end when the handler that runs has returned; `terminate` runs.
        """
        # Handles override this: what they send is `Process.exit`.
        self._process.post_control(STOP, reason, first=True)

    async def stop(self, reason: Reason = "normal", timeout_s: float | None = None) -> None:
        """End a process after the mail that waits, with `terminate`, and wait until it has ended.

        Harmless when it has ended.

        Raises:
            CallTimeout: after `timeout_s` seconds; the process goes on ending.
            CallCycle: when it waits for the process that wants to stop it.
        """
        process = self._process
        caller = process.waiting_caller()
        down = self.down()
        if caller is not None:
            caller.wait_for(down, process)
        process.post_control(STOP, reason)
        try:
            async with asyncio.timeout(timeout_s):
                await down
        except TimeoutError:
            raise CallTimeout(str(process), timeout_s or 0.0) from None

    def down(self) -> asyncio.Future[Down]:
        """What becomes a `Down` when the process ends, at once when it has: `reason = (await handle.down()).reason`."""
        process = self._process
        future: asyncio.Future[Down] = asyncio.get_running_loop().create_future()
        if not process.alive:
            future.set_result(Down(process.handle, "noproc"))
            return future
        monitor = Monitor(process, None, lambda down: None if future.done() else future.set_result(down))
        process.tied.monitors[monitor] = None
        future.add_done_callback(lambda _: monitor.cancel())
        return future

    # Inside, on self

    @property
    def handle(self) -> Self:
        """Inside: the handle of this process, to give to others."""
        return self._process.handle  # type: ignore[return-value]  # the handle of Self

    @property
    def scheduler(self) -> Scheduler:
        """Inside: the process world of this node, with its clock and the other doors."""
        return self._process.scheduler

    def send_after(self, delay_s: float, message: object) -> ProcessTimer:
        """Inside: send `message` to this process `delay_s` seconds from now; the timer dies with the process.

        Raises:
            NotSendable: when the message cannot cross.
            ConfigError: when the delay is negative, or longer than TIMER_S_MAX.
        """
        return ProcessTimer(self._process, delay_s, isolate(message, "a timer's message"))

    def send_every(self, period_s: float, message: object, *, first_s: float | None = None) -> Interval:
        """Inside: send `message` to this process every `period_s` seconds; the interval dies with the process.

        Args:
            period_s: seconds from tick to tick. The ticks do not drift: a late one does not shift the next.
            message: what arrives. One tick at most waits in the mailbox; `interval.missed` counts the left-out ones.
            first_s: seconds until the first tick; one period when not given.

        Raises:
            NotSendable: when the message cannot cross.
            ConfigError: when the period is shorter than PERIOD_S_MIN, or a time is longer than TIMER_S_MAX.
        """
        return Interval(self._process, period_s, isolate(message, "a tick"), first_s)

    def continue_with(self, message: object) -> None:
        """Inside: handle `message`, with the `@info` handler of its type, before anything else in the mailbox.

        In `init` it moves work out of the way of whoever waits for the start; nothing can come in between.
        """
        message = isolate(message, "what a process continues with")
        self._process.post_control(CONTINUE, message, first=True)

    def receive_timeout(self, timeout_s: float) -> None:
        """Inside: get a `Timeout` when no message has come `timeout_s` seconds after this handler.

        Any message ends it, even one that waits already; a handler that wants to go on says so again.

        Raises:
            ConfigError: when the time is negative, or longer than TIMER_S_MAX.
        """
        check_seconds("timeout_s", timeout_s)
        mail = self._process.mail
        if mail and mail[0] is ARM:
            mail[1] = (timeout_s,)  # the last word counts
        else:
            self._process.post_control(ARM, timeout_s, first=True)

    def caller(self) -> Caller[R]:
        """Inside a call: who waits for the reply, to answer him later; then `raise NoReply`.

        ::

            @call
            def pop(self) -> str:
                if self.items:
                    return self.items.pop()
                self.waiting.append(self.caller())
                raise NoReply
        """
        caller: Caller[R] = Caller(self._process)
        self._process.moded.deferring = caller
        return caller

    def time_left_s(self) -> float | None:
        """Inside an async call: seconds until its caller gives up; None when he never does, or nobody waits.

        Calls that the handler makes inherit it: none of them waits longer than that.
        """
        process = self._process
        if process.deadline is None:
            return None
        return max(process.deadline - process.scheduler.runtime.clock.now(), 0.0)

    def trap_exits(self, trapping: bool = True) -> None:
        """Inside: get an `Exit` when a linked process ends, instead of ending too."""
        self._process.tied.trapping = trapping

    def link(self, other: GenServer) -> None:
        """Inside: tie the ends of two processes together. One that has ended counts as ending with "noproc".

        `other` may be on another node; when that is lost, the link ends with the reason NodeDown, on both sides.

        Raises:
            Overloaded: when there are REMOTE_TIES_MAX ties with that node.
        """
        far = target_of(other)
        if far is not None:
            far.transport.link(far, other, self._process)
            return
        mine, theirs = self._process, other._process
        if mine is theirs or not mine.alive:
            return
        if not theirs.alive:
            mine.tied.links[theirs] = None
            mine.signal(theirs, "noproc")
            if mine.ties is not None:
                mine.ties.links.pop(theirs, None)
            return
        mine.tied.links[theirs] = theirs.tied.links[mine] = None

    def unlink(self, other: GenServer) -> None:
        """Inside: untie what `link` or `start_link` tied."""
        far = target_of(other)
        if far is not None:
            far.transport.unlink(far, self._process)
            return
        for one, another in ((self._process, other._process), (other._process, self._process)):
            if one.ties is not None:
                one.ties.links.pop(another, None)

    def monitor(self, other: GenServer) -> Monitor:
        """Inside: get a `Down` when `other` ends, at once when it has.

        `other` may be on another node; when that is lost, the reason is a NodeDown.

        Raises:
            Overloaded: when there are REMOTE_TIES_MAX ties with that node.
        """
        far = target_of(other)
        if far is not None:
            watcher = self._process
            return far.transport.watch(far, other, watcher, lambda down: watcher.inform(down, bounded=False))
        mine, theirs = self._process, other._process
        monitor = Monitor(theirs, mine, lambda down: mine.inform(down, bounded=False))
        if not theirs.alive:
            mine.inform(Down(other, "noproc"), bounded=False)
            return monitor
        if not mine.alive:
            return monitor
        theirs.tied.monitors[monitor] = mine.tied.monitoring[monitor] = None
        return monitor

    def activity(self, coroutine: Coroutine[object, object, object], name: str = "activity") -> asyncio.Task[object]:
        """Inside: run `coroutine` beside the mailbox, as a part of this process.

        It is cancelled, and waited for, when the process ends; when it raises, the process crashes.

        Raises:
            ProcessDown: when the process was killed, and its handler has not noticed yet.
        """
        return self._process.run_activity(coroutine, name)

    @classmethod
    def info_for(cls, kind: type) -> Spec | None:
        """The handler of messages of one class, or of the nearest of its bases; None when there is none."""
        table = cls.__infos__
        if table is None:
            table = cls.__infos__ = info_table(cls)
        if kind not in table:
            table[kind] = next((spec for base in kind.__mro__[1:] if (spec := table.get(base)) is not None), None)
        return table[kind]

    @classmethod
    def __bind__(cls, process: Process) -> tuple[GenServer, GenServer]:
        """The two objects of a new process: the one with the state, and its handle."""
        server = cls.__new__(cls)
        server._process = process
        server._timeout_s = CALL_TIMEOUT_S
        return server, build(cls.__handle__, process, CALL_TIMEOUT_S)


def send(target: GenServer, message: object) -> None:
    """Send `message` to the `@info` handler of its type. To a process that has ended it is lost in silence.

    Raises:
        NotSendable: when the message cannot cross.
        Overloaded: when the mailbox is full.
    """
    target._process.inform(isolate(message, f"a message to {target!r}"))
