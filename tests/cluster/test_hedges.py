"""One timer looks after the hedged reads, and only while there are any."""

from __future__ import annotations

from collections.abc import Callable

from roost import limits
from roost.cluster.hedges import LAG_S, Hedges


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self.alarms: list[tuple[float, Callable[[], object]]] = []

    def now(self) -> float:
        return self.time_s

    def wall(self) -> float:
        return self.time_s

    def call_later(self, delay_s: float, action: Callable[[], object]) -> Alarm:
        alarm = (self.time_s + delay_s, action)
        self.alarms.append(alarm)
        return Alarm(self, alarm)

    async def sleep(self, delay_s: float) -> None:
        self.time_s += delay_s

    def ring(self, late_s: float = 0.0) -> None:
        """Let the next alarm go off, `late_s` seconds too late."""
        self.alarms.sort(key=lambda alarm: alarm[0])
        self.time_s, action = self.alarms.pop(0)
        self.time_s += late_s
        action()


class Alarm:
    """What cancels one alarm."""

    def __init__(self, clock: HandClock, alarm: tuple[float, Callable[[], object]]) -> None:
        self._clock = clock
        self._alarm = alarm

    def cancel(self) -> None:
        if self._alarm in self._clock.alarms:
            self._clock.alarms.remove(self._alarm)


class Waiting:
    """An operation that wants to be looked at so often."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self.looked_at: list[float] = []

    def look(self, now: float) -> bool:
        self.looked_at.append(now)
        self.left -= 1
        return self.left > 0


def test_what_waits_is_looked_at_until_it_waits_no_more() -> None:
    clock = HandClock()
    hedges = Hedges(clock)
    one, other = Waiting(1), Waiting(3)
    hedges.watch(one)
    hedges.watch(other)
    assert len(clock.alarms) == 1
    while clock.alarms:
        clock.ring()
    assert len(one.looked_at) == 1
    assert other.looked_at == [(turn + 1) * limits.HEDGE_FIRST_S for turn in range(3)]


def test_what_is_answered_is_not_looked_at() -> None:
    clock = HandClock()
    hedges = Hedges(clock)
    one = Waiting(9)
    hedges.watch(one)
    hedges.leave(one)
    hedges.leave(one)
    clock.ring()
    assert one.looked_at == []
    assert clock.alarms == []


def test_a_node_that_was_late_itself_accuses_nobody() -> None:
    clock = HandClock()
    hedges = Hedges(clock)
    one = Waiting(1)
    hedges.watch(one)
    clock.ring(late_s=LAG_S)
    assert one.looked_at == []
    clock.ring()
    assert len(one.looked_at) == 1


def test_nothing_goes_on_after_the_end() -> None:
    clock = HandClock()
    hedges = Hedges(clock)
    hedges.watch(Waiting(9))
    hedges.close()
    hedges.close()
    assert clock.alarms == []
