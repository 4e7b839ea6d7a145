"""From the kill of a supervised process to the init of the next one.

Every restart is the first one in a row, so no pause comes before it, and the intensity is never reached. Neither side
writes a log. The reference is what one writes without supervisors: a task that its done callback starts again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter

from benchmarks.callers import Sample, latencies
from benchmarks.line import Bound, Line, percentile
from benchmarks.rounds import Plan
from benchmarks.standby import others, p50_us
from roost.otp import GenServer, Supervisor

RESTARTS = 300
PAUSE_S = 0.002
CALM_S = 0.001
"""A child that has lived so long is restarted without a pause."""


class Observer:
    """Hears of each init."""

    def __init__(self) -> None:
        self.at = 0.0
        self.kill: Callable[[], object] = lambda: None
        self._again: asyncio.Future[None] | None = None

    def up(self, kill: Callable[[], object]) -> None:
        """An init runs; `kill` ends what it has begun."""
        self.at, self.kill = perf_counter(), kill
        if self._again is not None:
            self._again.set_result(None)

    async def restarts(self, count: int) -> Sample:
        """Kill again and again."""
        times: list[float] = []
        loop = asyncio.get_running_loop()
        for _ in range(count):
            await asyncio.sleep(PAUSE_S)
            self._again = loop.create_future()
            before = perf_counter()
            self.kill()
            await self._again
            times.append(self.at - before)
        self._again = None
        times.sort()
        return Sample(0.0, percentile(times, 0.5) * 1e6, percentile(times, 0.99) * 1e6)


class Mortal(GenServer):
    """Tells of its init."""

    def init(self, observer: Observer) -> None:
        """Tell."""
        handle = self.handle
        observer.up(lambda: handle.exit("kill"))


async def ours(count: int) -> Sample:
    """A supervisor with one permanent child."""
    observer = Observer()
    child = Mortal.child(observer)
    supervisor = await Supervisor.start([child], max_restarts=count, within_s=CALM_S)
    sample = await observer.restarts(count)
    await supervisor.stop()
    return sample


async def reference(count: int) -> Sample:
    """A task that its done callback starts again."""
    observer = Observer()
    loop = asyncio.get_running_loop()
    enough = asyncio.Event()

    async def mortal() -> None:
        task = asyncio.current_task()
        assert task is not None
        observer.up(task.cancel)
        await loop.create_future()

    def begin(_: object = None) -> None:
        if not enough.is_set():
            loop.create_task(mortal()).add_done_callback(begin)

    begin()
    await asyncio.sleep(0)
    sample = await observer.restarts(count)
    enough.set()
    observer.kill()
    await asyncio.sleep(0)
    return sample


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    count = plan.count(RESTARTS)
    logging.disable()
    async with others("erlang") as company:
        turns, facts = await company.beside(
            plan, [lambda: ours(count), lambda: reference(count)], "restart", count, p50_us
        )
    return [
        Line(
            "supervisor_restart",
            "us",
            [Bound("ours", "<=", 100)],
            f"p50 of {count} kills a turn, {PAUSE_S * 1000:g} ms apart, until the init of the next child runs; "
            "reference: a task that its done callback starts again; erlang: a one_for_one supervisor",
            [[p50_us(sample) for sample in side] for side in turns],
            {**latencies(*turns), **facts},
        )
    ]
