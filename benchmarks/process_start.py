"""How many processes start in a second, one after the other, each until its init has run.

The reference is an actor on an asyncio.Queue, a task each; the clock stops when all of them wait for mail.
"""

from __future__ import annotations

import asyncio
from time import perf_counter

from benchmarks.callers import Sample, rates
from benchmarks.line import Bound, Line
from benchmarks.local_call import Counter
from benchmarks.queue_actor import QueueActor
from benchmarks.rounds import Plan
from benchmarks.standby import others

PROCESSES = 50_000


async def ours(count: int) -> Sample:
    """GenServers, all alive until the clock has stopped."""
    start = perf_counter()
    started = [await Counter.start() for _ in range(count)]
    per_s = count / (perf_counter() - start)
    for counter in started:
        counter.exit("kill")
    return Sample(per_s)


async def reference(count: int) -> Sample:
    """Actors."""
    start = perf_counter()
    started = [QueueActor() for _ in range(count)]
    await asyncio.sleep(0)
    per_s = count / (perf_counter() - start)
    for actor in started:
        await actor.stop()
    return Sample(per_s)


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    count = plan.count(PROCESSES)
    async with others("erlang") as company:
        turns, facts = await company.beside(plan, [lambda: ours(count), lambda: reference(count)], "start", count)
    return [
        Line(
            "process_start",
            "processes/s",
            [Bound("ours", ">=", 100_000)],
            f"{count} one after the other, all kept; reference: an actor on an asyncio.Queue; erlang: gen_server:start",
            [rates(side) for side in turns],
            facts,
        )
    ]
