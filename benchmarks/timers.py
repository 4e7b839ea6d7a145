"""Timers that are set and cancelled before they are due, as most timeouts are.

The reference is the event loop's own timer, which sends nothing and dies with nobody.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from benchmarks.callers import Sample, rates
from benchmarks.line import Line
from benchmarks.rounds import Plan
from benchmarks.standby import others
from roost.otp import GenServer, call

TIMERS = 100_000
DELAY_S = 60.0


class Timekeeper(GenServer):
    """Sends itself messages that never come."""

    @call
    def set_and_cancel(self, count: int) -> float:
        """Set all, then cancel all. Returns how many a second."""
        start = perf_counter()
        timers = [self.send_after(DELAY_S, "tick") for _ in range(count)]
        for timer in timers:
            timer.cancel()
        return count / (perf_counter() - start)


async def reference(count: int) -> Sample:
    """The loop's."""
    later = asyncio.get_running_loop().call_later
    start = perf_counter()
    timers = [later(DELAY_S, print) for _ in range(count)]
    for timer in timers:
        timer.cancel()
    return Sample(count / (perf_counter() - start))


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    count = plan.count(TIMERS)
    timekeeper = await Timekeeper.start()

    async def ours() -> Sample:
        return Sample(await timekeeper.set_and_cancel(count))

    async with others("erlang") as company:
        turns, facts = await company.beside(plan, [ours, lambda: reference(count)], "timer", count)
    await timekeeper.stop()
    return [
        Line(
            "timers",
            "timers/s",
            [],
            f"{count} that are all set, then all cancelled; reference: call_later of the same uvloop; erlang: "
            "erlang:send_after and cancel_timer",
            [rates(side) for side in turns],
            facts,
        )
    ]
