"""Tasks that are started and awaited one after the other; each gives a result at once."""

from __future__ import annotations

import asyncio
from time import perf_counter

from benchmarks.callers import Sample, rates
from benchmarks.line import Line
from benchmarks.rounds import Plan
from benchmarks.standby import others
from roost.otp.tasks.task import Task

TASKS = 20_000


async def give(number: int) -> int:
    """A result."""
    return number


async def ours(count: int) -> Sample:
    """Each a process, linked to who awaits it."""
    start = perf_counter()
    for number in range(count):
        await Task.async_(give, number)
    return Sample(count / (perf_counter() - start))


async def reference(count: int) -> Sample:
    """Bare tasks of the loop."""
    begin = asyncio.get_running_loop().create_task
    start = perf_counter()
    for number in range(count):
        await begin(give(number))
    return Sample(count / (perf_counter() - start))


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    count = plan.count(TASKS)
    async with others("erlang") as company:
        turns, facts = await company.beside(plan, [lambda: ours(count), lambda: reference(count)], "task", count)
    return [
        Line(
            "task_start",
            "tasks/s",
            [],
            "Task.async_ and await, one after the other; reference: create_task and await of the same uvloop; erlang: "
            "spawn_monitor and the result by its exit reason",
            [rates(side) for side in turns],
            facts,
        )
    ]
