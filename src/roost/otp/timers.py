"""Timers: messages that arrive later, once or again and again.

The semantics are those of `erlang:send_after/3` and `erlang:cancel_timer/1`: a timer belongs to the process that it
will send to, and ends with it; it counts monotonic time, so a wall clock that is set changes nothing. Intervals are
Roost's own: OTP's `timer:send_interval` lets ticks pile up in the mailbox of a slow process, these never do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from roost.errors import ConfigError, TooLarge
from roost.limits import PERIOD_S_MIN, PROCESS_TIMERS_MAX, TIMER_S_MAX
from roost.otp.declare import CONTROL, Spec
from roost.otp.isolation import isolate
from roost.otp.process import Process

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer
    from roost.runtime.clock import Timer


class ProcessTimer:
    """A message that a process will get at one moment; the timer ends with the process.

    Those that are not bounded have a bound of their own, as the timeouts of a state machine do.
    """

    __slots__ = ("_due_s", "_process", "_timer")

    def __init__(self, process: Process, delay_s: float, message: object, *, bounded: bool = True) -> None:
        check_seconds("delay_s", delay_s)
        self._process = process
        self._timer: Timer | None = None
        if process.alive:
            _tie(process, self, bounded)
            clock = process.scheduler.runtime.clock
            self._due_s = clock.now() + delay_s
            self._timer = clock.call_later(delay_s, lambda: self._fire(message))

    def left_s(self) -> float | None:
        """Seconds until the message is sent; None when it was sent, or never will be."""
        return None if self._timer is None else _until(self._process, self._due_s)

    def cancel(self) -> float | None:
        """Prevent the message.

        Returns: the seconds that were left. None when the message was sent already (then it may still wait in the
        mailbox), when the timer was cancelled before, or when the process has ended.
        """
        if self._timer is None:
            return None
        left_s = _until(self._process, self._due_s)
        self._timer.cancel()
        self._over()
        return left_s

    def _fire(self, message: object) -> None:
        self._over()
        self._process.inform(message, bounded=False)

    def _over(self) -> None:
        self._timer = None
        if self._process.ties is not None:
            self._process.ties.timers.pop(self, None)


class Interval:
    """A message that a process gets again and again; the interval ends with the process.

    Tick number k is due at start + first_s + (k - 1) * period_s, whatever happened to the ticks before it: a late
    one does not shift the next. At most one tick waits in the mailbox. It stands for all the ticks that were due
    until its handler begins, and the interval says how many of them were left out. As it is only one, it comes into
    a full mailbox too.
    """

    __slots__ = (
        "_armed",
        "_due",
        "_first_s",
        "_message",
        "_missed",
        "_process",
        "_tick",
        "_timer",
        "_waits",
        "period_s",
    )

    def __init__(self, process: Process, period_s: float, message: object, first_s: float | None) -> None:
        check_seconds("period_s", period_s, PERIOD_S_MIN)
        first_s = period_s if first_s is None else first_s
        check_seconds("first_s", first_s)
        self.period_s: Final = period_s
        self._process, self._message = process, message
        self._waits = False
        self._tick = self._missed = self._due = 0
        clock = process.scheduler.runtime.clock
        self._first_s = clock.now() + first_s
        self._armed = 1
        self._timer: Timer | None = None
        if process.alive:
            _tie(process, self, True)
            self._timer = clock.call_later(first_s, self._fire)

    @property
    def tick(self) -> int:
        """The number of the tick that is being handled, or was handled last: 1 for the first, 0 before it."""
        return self._tick

    @property
    def missed(self) -> int:
        """How many ticks this one stands for besides itself: those that were due since the one handled before it."""
        return self._missed

    def left_s(self) -> float | None:
        """Seconds until the next tick is due; None when the interval was cancelled or its process has ended."""
        return None if self._timer is None else _until(self._process, self._moment(self._armed))

    def cancel(self) -> float | None:
        """End the interval; a tick that waits in the mailbox is not handled any more.

        Returns: the seconds until the next tick; None when the interval was over.
        """
        if self._timer is None:
            return None
        left_s = _until(self._process, self._moment(self._armed))
        self._timer.cancel()
        self._timer = None
        if self._process.ties is not None:
            self._process.ties.timers.pop(self, None)
        return left_s

    def _moment(self, number: int) -> float:
        return self._first_s + (number - 1) * self.period_s

    def _fire(self) -> None:
        clock = self._process.scheduler.runtime.clock
        now = clock.now()
        # A loop that was blocked wakes this once for several ticks; one that is a hair early still means this tick.
        self._due = max(self._armed, int((now - self._first_s) / self.period_s) + 1)
        self._armed = self._due + 1
        self._timer = clock.call_later(max(0.0, self._moment(self._armed) - now), self._fire)
        if not self._waits:
            self._waits = True
            self._process._put(TICK, (self,))

    def _take(self) -> None:
        """The mailbox has come to the tick: make it the message that its handler gets."""
        self._waits = False
        if self._timer is None:
            return
        self._tick, self._missed = self._due, self._due - self._tick - 1
        self._process.inform(isolate(self._message, "a tick"), bounded=False, first=True)


def send_after(target: GenServer, delay_s: float, message: object) -> ProcessTimer:
    """Send `message` to a process of this node, `delay_s` seconds from now.

    To a process that has ended, or ends before, it is lost in silence. Inside a process, `self.send_after` does the
    same for the process itself. The mailbox takes the message even when it is full.

    Raises:
        NotSendable: when the message cannot cross.
        ConfigError: when the delay is negative, or longer than TIMER_S_MAX, or the process is on another node.
        TooLarge: when the process has PROCESS_TIMERS_MAX timers.
    """
    process: object = getattr(target, "_process", None)
    if process is None:
        raise ConfigError("target", f"{target!r} is not the handle of a process")
    if not isinstance(process, Process):
        raise ConfigError("target", f"{target!r} is on another node: ask a process there to set the timer")
    return ProcessTimer(process, delay_s, isolate(message, f"a timer's message to {target!r}"))


def check_seconds(setting: str, seconds: float, least_s: float = 0.0) -> None:
    """Check how long something shall take.

    Raises:
        ConfigError: when it is not a number, or not between `least_s` and TIMER_S_MAX.
    """
    if not isinstance(seconds, (int, float)):
        raise ConfigError(setting, f"{seconds!r} is not a number of seconds")
    if not least_s <= seconds <= TIMER_S_MAX:  # true of "not a number" too
        raise ConfigError(setting, f"{seconds!r} is not between {least_s:g} and {TIMER_S_MAX:g} seconds")


def check_moment(setting: str, moment_s: float, now: float) -> None:
    """Check a moment of the monotonic clock, which may be over.

    Raises:
        ConfigError: when it is not a number, or more than TIMER_S_MAX away, as the time of a calendar is.
    """
    if not isinstance(moment_s, (int, float)):
        raise ConfigError(setting, f"{moment_s!r} is not a number of seconds")
    if not moment_s - now <= TIMER_S_MAX:  # true of "not a number" too
        raise ConfigError(setting, f"{moment_s!r} is no moment of the clock, which says {now:g} now")


def _tie(process: Process, timer: Interval | ProcessTimer, bounded: bool) -> None:
    """Let a timer end with its process."""
    timers = process.tied.timers
    if bounded and len(timers) >= PROCESS_TIMERS_MAX:
        raise TooLarge("PROCESS_TIMERS_MAX", len(timers) + 1, PROCESS_TIMERS_MAX)
    timers[timer] = None


def _until(process: Process, moment_s: float) -> float:
    return max(0.0, moment_s - process.scheduler.runtime.clock.now())


def _take(process: Process, interval: Interval) -> None:
    interval._take()


TICK: Final = Spec(_take, CONTROL, "Interval", {})
"""A tick in a mailbox; it becomes the message of its interval when it is its turn."""
