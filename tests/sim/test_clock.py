from __future__ import annotations

import asyncio

import pytest

from roost.runtime.clock import Clock
from roost.sim.clock import EPOCH_S, SimClock
from roost.sim.loop import running_loop


@pytest.mark.virtual_time
async def test_a_clock_shows_virtual_time_from_where_it_began() -> None:
    await asyncio.sleep(5.0)
    clock: Clock = SimClock(running_loop(), start_s=100.0)
    assert clock.now() == 100.0
    await clock.sleep(2.5)
    assert clock.now() == 102.5
    assert clock.wall() == EPOCH_S + 7.5


@pytest.mark.virtual_time
async def test_a_fast_clock_shows_more_and_its_timers_ring_early() -> None:
    loop, rang = running_loop(), asyncio.Event()
    clock = SimClock(loop, rate=1.25)
    clock.call_later(10.0, rang.set)
    await rang.wait()
    assert loop.time() == 8.0
    assert clock.now() == 10.0


@pytest.mark.virtual_time
async def test_a_cancelled_timer_does_not_ring() -> None:
    rang: list[int] = []
    clock = SimClock(running_loop())
    clock.call_later(1.0, lambda: rang.append(1)).cancel()
    clock.call_later(2.0, lambda: rang.append(2))
    await clock.sleep(3.0)
    assert rang == [2]


@pytest.mark.virtual_time
async def test_the_wall_clock_jumps_and_the_monotonic_one_does_not() -> None:
    clock = SimClock(running_loop())
    clock.jump_wall(-3600.0)
    assert clock.wall() == EPOCH_S - 3600.0
    assert clock.now() == 0.0
