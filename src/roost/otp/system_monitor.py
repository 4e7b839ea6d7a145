"""The system monitor: what keeps a node from being responsive, as events and as numbers.

Two things are watched. A handler that keeps the event loop to itself for too long, with its process, function, stack
and duration; and a mailbox that has grown long. After `erlang:system_monitor/2` with `long_schedule` and
`long_message_queue`, where the runtime sees both from within; here a thread looks at the loop from outside.

A node and an application run one; a program of its own starts it with `SystemMonitor.start_link()`.
"""

from __future__ import annotations

import asyncio
import linecache
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from roost.errors import Overloaded
from roost.limits import (
    LONG_SCHEDULE_MS,
    MAILBOX_MARK,
    MONITORED_FUNCTIONS_MAX,
    MONITORED_PER_SWEEP,
    STACK_FRAMES_MAX,
    SUBSCRIBERS_MAX,
    SWEEP_MAILBOXES_S,
)
from roost.otp.crash import report_bug
from roost.otp.declare import info
from roost.otp.gen_server import GenServer
from roost.otp.outcome import Ignore
from roost.otp.process import Process
from roost.otp.process_info import handler_of, place_of, plain_name
from roost.otp.scheduler import Scheduler
from roost.otp.ties import Down, Monitor

if TYPE_CHECKING:
    from roost.runtime.watchdog import Watch

LOOPS: Final = frozenset(("asyncio.events", "asyncio.base_events", "asyncio.runners", "uvloop"))
"""The modules that call what a loop runs."""
NEVER: Final = 1 << 62
"""A mark that no mailbox passes."""

_log = logging.getLogger("roost.otp")


class LongSchedule(msgspec.Struct, frozen=True):
    """The event loop did not turn for too long, because of one handler as far as can be seen.

    Attributes:
        node: where.
        process: which process, as text; what asyncio calls the task when it is none of Roost.
        pid: its number; None when it is no process.
        function: the handler, "Stock.reserve"; outside processes the function that the loop has called.
        place: the line where it was, "shop.py:31".
        stack: the calls from the handler to the innermost one, a line of text each.
        seconds: how long, exact to a third of `long_schedule_ms`.
        share: in how many of the looks that were taken it was this handler, from 0 to 1.
    """

    __sendable__: ClassVar[bool] = True

    node: str
    process: str
    pid: int | None
    function: str
    place: str
    stack: tuple[str, ...]
    seconds: float
    share: float


class LongMailbox(msgspec.Struct, frozen=True):
    """A mailbox has passed the mark, or twice its length of the last event; or it is short again.

    Attributes:
        node: where.
        process: whose mailbox, as text.
        pid: its number.
        messages: how many wait.
        mark: the limit that it has passed.
        over: whether fewer than half of `mark` wait again.
    """

    __sendable__: ClassVar[bool] = True

    node: str
    process: str
    pid: int
    messages: int
    mark: int
    over: bool


Event = LongSchedule | LongMailbox
Subscriber = Callable[[Event], object] | GenServer
"""A function that is called with each event, on the loop; or a process that gets it as a message."""


class MonitorMetrics(msgspec.Struct, frozen=True):
    """The numbers of one node. Counters since its start, if nothing else is said.

    Attributes:
        long_schedules: how often the loop was blocked for too long.
        blocked_s: the sum of these times in seconds.
        blocked_max_s: the longest.
        lag_s: how late the loop was a moment ago, in seconds; 0 when nothing watches it.
        long_mailboxes: how many mailboxes are over the mark now.
        mailbox_max: the most messages seen in one mailbox.
        events: how many events there were.
        events_lost: how many did not reach a subscriber, because its mailbox was full or it raised.
    """

    long_schedules: int
    blocked_s: float
    blocked_max_s: float
    lag_s: float
    long_mailboxes: int
    mailbox_max: int
    events: int
    events_lost: int


class _Sweep(msgspec.Struct, frozen=True):
    """Look at mailboxes that no turn looks at: those of processes that are busy or suspended."""


class SystemMonitor(GenServer):
    """The process that watches a node. One is enough: a second one ignores its start.

    Started with a node and an application; or by hand, `await SystemMonitor.start_link(long_schedule_ms=50)`.
    In a simulation nothing blocks the loop, and only mailboxes are watched.
    """

    def init(self, *, long_schedule_ms: float = LONG_SCHEDULE_MS, mailbox_mark: int = MAILBOX_MARK) -> None:
        """Begin.

        Args:
            long_schedule_ms: how many milliseconds a handler may keep the loop to itself.
            mailbox_mark: how many messages in a mailbox are many.

        Raises:
            Ignore: when there is one already.
        """
        records = _records(self.scheduler)
        if records.watched:
            raise Ignore
        records.begin(self._process, long_schedule_ms / 1_000, mailbox_mark)
        self._records = records
        self.send_every(SWEEP_MAILBOXES_S, _Sweep())

    @classmethod
    def subscribe(cls, subscriber: Subscriber) -> Callable[[], None]:
        """Hear of every event of this node from now on, whether the monitor runs already or not.

        Args:
            subscriber: a function, called on the loop with each event; or a process with an `@info` handler for
                `LongSchedule` and `LongMailbox`. A process that ends is forgotten. What a function raises is logged.

        Returns: what ends it.

        Raises:
            Overloaded: when there are too many.
        """
        return _records(Scheduler.current()).subscribe(subscriber)

    @classmethod
    def metrics(cls) -> MonitorMetrics:
        """The numbers of this node."""
        return _records(Scheduler.current()).metrics()

    @info
    def _sweep(self, message: _Sweep) -> None:
        self._records.sweep()


def _records(scheduler: Scheduler) -> _Records:
    if not isinstance(scheduler.monitor, _Records):
        scheduler.monitor = _Records(scheduler)
    return scheduler.monitor


@dataclass(frozen=True, slots=True)
class _Sight:
    """What one look at the loop's thread has shown. Looks that show the same handler are equal."""

    process: str
    pid: int | None
    function: str
    place: str = field(compare=False)
    stack: tuple[str, ...] = field(compare=False)


class _Records:
    """What is known of one scheduler. It outlives a crash of the monitor, and with it the subscribers and numbers."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.mailbox_mark = NEVER
        self.watched = False
        self._scheduler = scheduler
        self._loop = asyncio.get_running_loop()
        self._watch: Watch | None = None
        self._subscribers: dict[int, Subscriber] = {}
        self._numbers = 0
        self._long: dict[Process, int] = {}
        self._unseen: list[Process] = []
        self._functions: dict[str, int] = {}
        self._long_schedules = self._mailbox_max = self._events = self._lost = 0
        self._blocked_s = self._blocked_max_s = 0.0

    def begin(self, monitor: Process, late_s: float, mailbox_mark: int) -> None:
        """Watch until the process `monitor` ends, however it does."""
        self.mailbox_mark = mailbox_mark
        self.watched = True
        watchdog = self._scheduler.runtime.watchdog
        if watchdog is not None:
            self._watch = watchdog.watch(late_s, self._look, self._tell)
        monitor.tied.monitors[Monitor(monitor, None, self._end)] = None

    def _end(self, down: Down) -> None:
        self.mailbox_mark = NEVER
        self.watched = False
        self._long.clear()
        self._unseen.clear()
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()

    # Subscribers

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Add one; returns what takes it away."""
        if len(self._subscribers) >= SUBSCRIBERS_MAX:
            raise Overloaded("the list of subscribers of the system monitor", SWEEP_MAILBOXES_S)
        self._numbers = number = self._numbers + 1
        self._subscribers[number] = subscriber

        def forget() -> None:
            self._subscribers.pop(number, None)

        return forget

    def _emit(self, event: Event) -> None:
        self._events += 1
        for number, subscriber in list(self._subscribers.items()):
            try:
                if not isinstance(subscriber, GenServer):
                    subscriber(event)
                elif subscriber.is_alive():
                    subscriber._process.inform(event)
                else:
                    del self._subscribers[number]
            except Overloaded:
                self._lost += 1
            except Exception as error:
                self._lost += 1
                report_bug("a subscriber of the system monitor", error)

    def metrics(self) -> MonitorMetrics:
        """The numbers."""
        return MonitorMetrics(
            self._long_schedules,
            self._blocked_s,
            self._blocked_max_s,
            self._watch.lag_s() if self._watch is not None else 0.0,
            len(self._long),
            self._mailbox_max,
            self._events,
            self._lost,
        )

    # Mailboxes

    def mailbox(self, process: Process, messages: int, /) -> None:
        """A mailbox is over the mark. Called from within the scheduler's turn, so what it says comes later."""
        self._mailbox_max = max(self._mailbox_max, messages)
        if messages >= 2 * self._long.get(process, 0):
            self._long[process] = messages
            self._say(process, messages, False)

    def sweep(self) -> None:
        """Look at some of the processes that no turn looks at, and at those whose mailboxes were long."""
        for process in list(self._long):
            messages = len(process.mail or ()) // 2
            if 2 * messages < self.mailbox_mark:
                del self._long[process]
                self._say(process, messages, True)
        if not self._unseen:
            self._unseen = list(self._scheduler.processes.values())
        for process in self._unseen[-MONITORED_PER_SWEEP:]:
            if process.mail and len(process.mail) > 2 * self.mailbox_mark:
                self.mailbox(process, len(process.mail) // 2)
        del self._unseen[-MONITORED_PER_SWEEP:]

    def _say(self, process: Process, messages: int, over: bool) -> None:
        event = LongMailbox(self._scheduler.name, str(process), process.pid, messages, self.mailbox_mark, over)
        self._loop.call_soon(self._emit, event)
        if not over:
            _log.warning("%s has %d messages in its mailbox", process, messages, extra={"report": event})

    # The loop

    def _look(self, frame: FrameType) -> object:
        """What the loop's thread does. Runs in the watchdog's thread, beside whatever is looked at."""
        try:
            return self._sight(frame)
        except Exception as error:  # what is looked at may be anything, and may change; the thread must go on
            return _Sight(f"unknown ({error})", None, plain_name(frame.f_code.co_qualname), place_of(frame), ())

    def _sight(self, frame: FrameType) -> _Sight:
        process, task = self._who(frame)
        handler = None if process is None else handler_of(frame, getattr(process, "server", None))
        shown = handler or _outermost(frame)
        return _Sight(
            task if process is None else str(process),
            None if process is None else process.pid,
            plain_name(shown.f_code.co_qualname),
            place_of(shown),
            _stack(frame, shown),
        )

    def _who(self, frame: FrameType) -> tuple[Process | None, str]:
        """The process whose code runs, else the name of the task."""
        if self._scheduler.reductions < 0 and self._scheduler.running is not None:
            return self._scheduler.running, ""
        outer: FrameType | None = frame
        while outer is not None:
            code = outer.f_code
            server: object = outer.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
            process: object = server._process if isinstance(server, GenServer) else None
            if isinstance(process, Process) and getattr(process, "server", None) is server:
                return process, ""
            outer = outer.f_back
        task = asyncio.current_task(self._loop)
        return None, "a callback" if task is None else task.get_name()

    def _tell(self, seconds: float, seen: Mapping[object, int], over: bool) -> None:
        """The loop did not turn; `over` says whether it does again, and this is called on it."""
        sight, times = max(seen.items(), key=lambda item: item[1])
        assert isinstance(sight, _Sight)
        event = LongSchedule(
            self._scheduler.name,
            sight.process,
            sight.pid,
            sight.function,
            sight.place,
            sight.stack,
            seconds,
            times / sum(seen.values()),
        )
        if not over:
            _write(event, "has been blocking the loop for")
            return
        self._long_schedules += 1
        self._blocked_s += seconds
        self._blocked_max_s = max(self._blocked_max_s, seconds)
        if self._is_news(event.function):
            _write(event, "blocked the loop for")
        self._emit(event)

    def _is_news(self, function: str) -> bool:
        """Whether the log should hear of it: the first, second, fourth, eighth ... time for each function."""
        if function not in self._functions and len(self._functions) >= MONITORED_FUNCTIONS_MAX:
            self._functions.clear()
        times = self._functions[function] = self._functions.get(function, 0) + 1
        return times & (times - 1) == 0


def _write(event: LongSchedule, does: str) -> None:
    _log.warning(
        "%s %s %.3f s in %s (%s)\n  %s",
        event.process,
        does,
        event.seconds,
        event.function,
        event.place,
        "\n  ".join(event.stack),
        extra={"report": event},
    )


def _outermost(frame: FrameType) -> FrameType:
    """What the loop has called."""
    found, outer = frame, frame.f_back
    while outer is not None and outer.f_globals.get("__name__") not in LOOPS:
        found, outer = outer, outer.f_back
    return found


def _stack(frame: FrameType, outermost: FrameType) -> tuple[str, ...]:
    """The calls from `outermost` to `frame`, the last ones when they are many."""
    lines: list[str] = []
    inner: FrameType | None = frame
    while inner is not None and len(lines) < STACK_FRAMES_MAX:
        code, line = inner.f_code, inner.f_lineno
        text = linecache.getline(code.co_filename, line, inner.f_globals).strip()
        lines.append(f"{code.co_filename}:{line} in {plain_name(code.co_qualname)}: {text}")
        if inner is outermost:
            break
        inner = inner.f_back
    return tuple(lines[::-1])
