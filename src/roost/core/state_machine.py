"""State machine: which event comes next, and what becomes of postponed events and timeouts.

The rules are those of OTP's gen_statem, found out by asking the original; tests hold this against its recorded traces.
One event at a time is handled. What its handler wants is a `Transition`, and after it comes, in this order:

1. the enter call, when the state has changed or is to be repeated;
2. the events that the handler has inserted;
3. after a change of state, the events that were postponed, oldest first;
4. what was left of the events of earlier transitions;
5. timeouts of zero seconds;
6. the mailbox.

Timeouts count from the end of the enter call. Setting one again replaces it; of several settings in one transition,
enter call included, the last one counts. A change of state ends the state timeout, any event ends the event timeout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

EventT = TypeVar("EventT")

Key = str | tuple[str]
"""What tells timeouts apart: STATE, EVENT, or the name that the application has given, alone in a tuple."""
STATE: Final = "state"
"""The key of the one timeout that a change of state ends."""
EVENT: Final = "event"
"""The key of the one timeout that any event ends."""

GONE_CHECK_S: Final = 1.0
"""How often a full queue of postponed events is searched for those that nobody waits for."""


class Unchanged:
    """What a transition says of the state, or of the time of a timeout, when it stays as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "unchanged"


UNCHANGED: Final = Unchanged()


class Setting(msgspec.Struct, Generic[EventT], frozen=True):
    """What is wanted of one timeout.

    Attributes:
        delay_s: seconds from the end of the transition. None ends the timeout. UNCHANGED gives a running one another
            event; one that does not run comes at once, as with 0.
        event: what comes when the time is up.
        absolute: `delay_s` is a moment of the clock instead. One in the past is still a timer: it comes after the mail
            that waits already, where a delay of 0 comes before it.
    """

    delay_s: float | Unchanged | None
    event: EventT
    absolute: bool = False


class Transition(Generic[EventT]):
    """What the handler of an event, or of an enter call, wants.

    Attributes:
        state: the next state, or UNCHANGED.
        repeat: run the enter call again although the state is the same.
        postpone: keep the event that was handled until the state changes.
        events: events to handle before all others.
        timeouts: what is wanted of timeouts; a later setting of one comes last.
    """

    __slots__ = ("events", "postpone", "repeat", "state", "timeouts")

    def __init__(self) -> None:
        self.state: object = UNCHANGED
        self.repeat = False
        self.postpone = False
        self.events: list[EventT] = []
        self.timeouts: dict[Key, Setting[EventT]] = {}

    def set_timeout(self, key: Key, setting: Setting[EventT]) -> None:
        """Want something of a timeout, instead of what was wanted of it before."""
        self.timeouts.pop(key, None)
        self.timeouts[key] = setting


class Handled(msgspec.Struct, Generic[EventT], frozen=True):
    """The handler of `event` has ended."""

    event: EventT
    transition: Transition[EventT]


class Entered(msgspec.Struct, Generic[EventT], frozen=True):
    """The enter call has ended. Its transition has timeouts, or repeats the state, and nothing else."""

    transition: Transition[EventT]


class Expired(msgspec.Struct, frozen=True):
    """A timer rings."""

    __sendable__ = True

    key: Key
    number: int


class Enter(msgspec.Struct, frozen=True):
    """Make the enter call of the current state, then step with Entered."""


class Handle(msgspec.Struct, Generic[EventT], frozen=True):
    """Handle this event in the current state, then step with Handled."""

    event: EventT


class SetTimer(msgspec.Struct, frozen=True):
    """Ring with `Expired(key, number)` in `delay_s` seconds; a timer of this key that runs is over."""

    key: Key
    number: int
    delay_s: float


class CancelTimer(msgspec.Struct, frozen=True):
    """The timer of this key is over."""

    key: Key


class Refuse(msgspec.Struct, Generic[EventT], frozen=True):
    """Too many events are postponed; this one is not kept."""

    event: EventT


Happening = Handled[EventT] | Entered[EventT] | Expired
Effect = Enter | Handle[EventT] | SetTimer | CancelTimer | Refuse[EventT]


class StateMachine(Generic[EventT]):
    """The queues and the timeouts of one machine.

    `step` says what to do, in order; of the effects of one step at most one, the last, is Enter or Handle. Without one
    the machine is at rest, and the next event is whatever comes from outside. The first step is `begin`.

    Args:
        state: the first state.
        postponed_max: how many events may be postponed.
        is_gone: whether nobody waits for a postponed event any more. Such events are forgotten, instead of refusing
            others, when there is no room left.

    Attributes:
        state: the current state. States are compared with `==`.
        previous: the one before it; itself in the first state, and when an event has repeated it.
    """

    __slots__ = (
        "_collected",
        "_gone_checked",
        "_is_gone",
        "_numbers",
        "_postponed",
        "_postponed_max",
        "_queue",
        "_timers",
        "_zeros",
        "previous",
        "state",
    )

    def __init__(self, state: object, postponed_max: int, is_gone: Callable[[EventT], bool]) -> None:
        self.state = self.previous = state
        self._postponed_max, self._is_gone = postponed_max, is_gone
        self._postponed: list[EventT] = []
        self._queue: deque[EventT] = deque()
        self._collected: dict[Key, Setting[EventT]] = {}
        self._timers: dict[Key, tuple[int, EventT]] = {}
        self._zeros: dict[Key, EventT] = {}
        self._numbers = 0
        self._gone_checked = float("-inf")

    @property
    def quiet(self) -> bool:
        """Whether an event whose handler wants nothing changes nothing, so that its step may be left out."""
        return not self._queue and not self._zeros and EVENT not in self._timers

    @property
    def postponed(self) -> int:
        """How many events are postponed."""
        return len(self._postponed)

    @property
    def inserted(self) -> int:
        """How many events wait that come before the mailbox, timeouts aside."""
        return len(self._queue)

    @property
    def timeouts(self) -> tuple[Key, ...]:
        """The keys of the timeouts that run, or are about to come."""
        return (*self._timers, *self._zeros)

    def has_timeout(self, key: Key) -> bool:
        """Whether this timeout runs, or is about to come."""
        return key in self._timers or key in self._zeros

    def begin(self, transition: Transition[EventT]) -> list[Effect[EventT]]:
        """The machine starts. Its transition may choose a first state, insert events and set timeouts."""
        if transition.state is not UNCHANGED:
            self.state = self.previous = transition.state
        self._queue.extend(transition.events)
        self._collect(transition)
        return [Enter()]

    def step(self, happening: Happening[EventT], now: float) -> list[Effect[EventT]]:
        """What to do now that this has happened; `now` is a moment of the clock that absolute timeouts are set by."""
        effects: list[Effect[EventT]] = []
        match happening:
            case Handled(event, transition):
                self._end(EVENT, effects)
                if self._handled(event, transition, effects, now):
                    effects.append(Enter())
                    return effects
            case Entered(transition):
                self._collect(transition)
                if transition.repeat:
                    return [Enter()]
            case Expired(key, number):
                running = self._timers.get(key)
                if running is not None and running[0] == number:
                    del self._timers[key]
                    effects.append(Handle(running[1]))
                return effects
        self._set_timeouts(effects, now)
        self._next(effects)
        return effects

    def _handled(
        self, event: EventT, transition: Transition[EventT], effects: list[Effect[EventT]], now: float
    ) -> bool:
        """Move the events to where they belong. Returns whether there is an enter call."""
        changes = transition.state is not UNCHANGED and transition.state != self.state
        if transition.postpone:
            self._postpone(event, effects, now, bounded=not changes)
        if changes:
            self.previous, self.state = self.state, transition.state
            self._queue.extendleft(reversed(self._postponed))
            self._postponed.clear()
            self._end(STATE, effects)
        elif transition.repeat:
            self.previous = self.state
        self._queue.extendleft(reversed(transition.events))
        self._collect(transition)
        return changes or transition.repeat

    def _postpone(self, event: EventT, effects: list[Effect[EventT]], now: float, *, bounded: bool) -> None:
        full = bounded and len(self._postponed) >= self._postponed_max
        if full and now - self._gone_checked >= GONE_CHECK_S:
            self._gone_checked = now
            self._postponed = [one for one in self._postponed if not self._is_gone(one)]
            full = len(self._postponed) >= self._postponed_max
        if not full:
            self._postponed.append(event)
        else:
            effects.append(Refuse(event))

    def _collect(self, transition: Transition[EventT]) -> None:
        for key, setting in transition.timeouts.items():
            self._collected.pop(key, None)
            self._collected[key] = setting

    def _set_timeouts(self, effects: list[Effect[EventT]], now: float) -> None:
        if not self._collected:
            return
        for key, setting in self._collected.items():
            delay_s = setting.delay_s
            if isinstance(delay_s, Unchanged):
                if key in self._timers:
                    self._timers[key] = (self._timers[key][0], setting.event)
                else:
                    self._zeros[key] = setting.event
                continue
            self._end(key, effects)
            if delay_s is None:
                continue
            if delay_s == 0 and not setting.absolute:
                self._zeros[key] = setting.event
                continue
            self._numbers += 1
            self._timers[key] = (self._numbers, setting.event)
            effects.append(SetTimer(key, self._numbers, max(0.0, delay_s - now) if setting.absolute else delay_s))
        self._collected.clear()

    def _end(self, key: Key, effects: list[Effect[EventT]]) -> None:
        self._zeros.pop(key, None)
        if self._timers.pop(key, None) is not None:
            effects.append(CancelTimer(key))

    def _next(self, effects: list[Effect[EventT]]) -> None:
        if self._queue:
            effects.append(Handle(self._queue.popleft()))
        elif self._zeros:
            effects.append(Handle(self._zeros.pop(next(iter(self._zeros)))))
