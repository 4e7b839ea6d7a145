"""Calls and casts between processes of one node, against an actor on an asyncio.Queue in the same loop.

Beside them, for the record: a gen_server of Erlang, and two actor libraries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from benchmarks.callers import Sample, latencies, rates
from benchmarks.line import Bound, Line, percentile
from benchmarks.queue_actor import QueueActor
from benchmarks.rounds import Plan
from benchmarks.standby import others
from roost.otp import GenServer, call, cast

CALLS = 200_000
TIMED_CALLS = 20_000
CASTS = 200_000
BURST = 10_000
"""Casts between two barriers, so that no mailbox runs full."""


class Counter(GenServer):
    """Counts."""

    def init(self) -> None:
        """Start at zero."""
        self.count = 0

    @call
    def increment(self, by: int) -> int:
        """Add, and tell the sum."""
        self.count += by
        return self.count

    @cast
    def add(self, by: int) -> None:
        """Add."""
        self.count += by


Call = Callable[[int], Awaitable[int]]


async def one_caller(increment: Call, calls: int) -> Sample:
    """One caller at full speed; the percentiles come from a second, shorter pass with a clock around each call."""
    start = perf_counter()
    for _ in range(calls):
        await increment(1)
    per_s = calls / (perf_counter() - start)
    times: list[float] = []
    for _ in range(TIMED_CALLS):
        before = perf_counter()
        await increment(1)
        times.append(perf_counter() - before)
    times.sort()
    return Sample(per_s, percentile(times, 0.5) * 1e6, percentile(times, 0.99) * 1e6)


async def many_callers(increment: Call, calls: int, callers: int = 100) -> Sample:
    """Calls per second of a hundred callers of one process."""

    async def caller() -> None:
        for _ in range(calls // callers):
            await increment(1)

    start = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    return Sample(calls / (perf_counter() - start))


async def producer(add: Callable[[int], None], increment: Call, casts: int) -> Sample:
    """Casts per second of one producer; the clock stops when the last cast has been handled."""
    start = perf_counter()
    for _ in range(casts // BURST):
        for _ in range(BURST):
            add(1)
        await increment(0)
    return Sample(casts / (perf_counter() - start))


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    counter = await Counter.start()
    actor = QueueActor()
    calls, casts = plan.count(CALLS), plan.count(CASTS)
    async with others("erlang", "pykka", "xoscar") as company:
        one, one_facts = await company.beside(
            plan,
            [lambda: one_caller(counter.increment, calls), lambda: one_caller(actor.increment, calls)],
            "call",
            calls,
        )
        many, many_facts = await company.beside(
            plan,
            [lambda: many_callers(counter.increment, calls), lambda: many_callers(actor.increment, calls)],
            "call_100",
            calls,
        )
        told, told_facts = await company.beside(
            plan,
            [
                lambda: producer(counter.add, counter.increment, casts),
                lambda: producer(actor.add, actor.increment, casts),
            ],
            "cast",
            casts,
        )
    await actor.stop()
    await counter.stop()
    peer = "reference: an actor on an asyncio.Queue in the same uvloop; erlang: a gen_server"
    return [
        Line(
            "local_call",
            "calls/s",
            [Bound("ours", ">=", 1e6), Bound("ratio", ">=", 4)],
            f"one caller, a sync handler; {peer}",
            [rates(side) for side in one],
            {**latencies(*one), **one_facts},
        ),
        Line(
            "local_call_100",
            "calls/s",
            [Bound("ours", ">=", 0.9e6)],
            f"100 callers of one process; {peer}",
            [rates(side) for side in many],
            many_facts,
        ),
        Line(
            "local_cast",
            "casts/s",
            [Bound("ours", ">=", 2.5e6)],
            f"one producer, one plain argument, until the last cast is handled; {peer}; it has two schedulers or more, "
            "so its producer runs beside it",
            [rates(side) for side in told],
            told_facts,
        ),
    ]
