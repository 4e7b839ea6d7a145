"""Sending clients away: in batches, all in time, and no longer than there is time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roost.limits import SOCKETS_DRAIN_S
from roost.runtime.clock import Timer
from roost.web import drain as drain_module
from roost.web.drain import drain


class QuickClock:
    """A clock that goes on by what is slept."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time

    def call_later(self, delay_s: float, action: Callable[[], object]) -> Timer:
        raise AssertionError("draining only sleeps")

    async def sleep(self, delay_s: float) -> None:
        self.time += delay_s


class Crowd:
    """Clients that are gone as soon as they are told, but for the stubborn ones."""

    def __init__(self, clock: QuickClock, count: int, stubborn: int = 0) -> None:
        self.clock = clock
        self.told: list[float] = []
        self.there = [Member(self, number < stubborn) for number in range(count)]

    def clients(self) -> list[Member]:
        return list(self.there)


class Member:
    def __init__(self, crowd: Crowd, stubborn: bool) -> None:
        self.crowd, self.stubborn = crowd, stubborn

    def drain(self) -> None:
        self.crowd.told.append(round(self.crowd.clock.time, 3))
        if not self.stubborn:
            self.crowd.there.remove(self)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_module, "SOCKETS_DRAIN_BATCH", 3)


async def test_clients_are_sent_away_in_batches_with_pauses() -> None:
    clock = QuickClock()
    crowd = Crowd(clock, 7)
    assert await drain(crowd.clients, clock) == 0
    assert [crowd.told.count(at) for at in sorted(set(crowd.told))] == [3, 3, 1]
    assert sorted(set(crowd.told)) == pytest.approx([0.0, 0.1, 0.2], abs=0.011)


async def test_many_clients_are_sent_away_in_larger_batches() -> None:
    clock = QuickClock()
    crowd = Crowd(clock, 1_000)
    assert await drain(crowd.clients, clock) == 0
    assert len(crowd.told) == 1_000
    assert max(crowd.told) <= SOCKETS_DRAIN_S / 2 + 0.1


async def test_who_does_not_go_is_told_once_and_not_waited_for_without_end() -> None:
    clock = QuickClock()
    crowd = Crowd(clock, 4, stubborn=2)
    assert await drain(crowd.clients, clock) == 2
    assert len(crowd.told) == 4
    assert clock.time == pytest.approx(SOCKETS_DRAIN_S, abs=0.02)


async def test_who_comes_in_meanwhile_is_sent_away_too() -> None:
    clock = QuickClock()
    crowd = Crowd(clock, 1)
    late = Member(crowd, False)
    first = crowd.there[0]

    def clients() -> list[Member]:
        if crowd.told and late not in crowd.there and len(crowd.told) == 1:
            crowd.there.append(late)
        return crowd.clients()

    assert await drain(clients, clock) == 0
    assert first not in crowd.there
    assert len(crowd.told) == 2
