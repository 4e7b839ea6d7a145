"""Functions for worker processes in a simulation: the same rules, no process."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import CallTimeout, ConfigError, CpuFailed, NotSendable
from roost.sim.clock import SimClock
from roost.sim.cpu import JOB_S, SimCpu
from roost.sim.loop import running_loop
from tests.runtime import jobs

pytestmark = pytest.mark.virtual_time


async def test_a_function_takes_its_time() -> None:
    loop = running_loop()
    cpu = SimCpu(SimClock(loop), workers=2, job_s=1.0)
    assert cpu.workers == 2
    together = await asyncio.gather(*[cpu.run(jobs.add, (n,)) for n in range(4)])
    assert (together, loop.time()) == ([1, 2, 3, 4], 2.0)
    await cpu.close()


async def test_outcomes_are_those_of_real_workers() -> None:
    cpu = SimCpu(SimClock(running_loop()))
    assert await cpu.run(jobs.mirror, (jobs.Point(1, 2),)) == jobs.Point(2, 1)
    with pytest.raises(jobs.SoldOut):
        await cpu.run(jobs.refuse, (1,))
    with pytest.raises(CpuFailed, match="ValueError: a bug"):
        await cpu.run(jobs.fail)
    with pytest.raises(NotSendable):
        await cpu.run(jobs.echo, (object(),))
    with pytest.raises(ConfigError):
        await cpu.run(lambda: None)
    assert await cpu.perform(cpu.prepare(jobs.add, (1, 2))) == 3


async def test_a_job_that_is_late_or_cancelled_never_runs() -> None:
    cpu = SimCpu(SimClock(running_loop()), workers=1)
    seen: list[object] = []
    with pytest.raises(CallTimeout):
        await cpu.run(jobs.add, (1,), timeout_s=JOB_S / 2)
    task = asyncio.ensure_future(cpu.run(jobs.add, (1,)))
    task.add_done_callback(seen.append)
    await asyncio.sleep(JOB_S / 2)
    task.cancel()
    assert await cpu.run(jobs.add, (1,)) == 2
    assert task.cancelled()
