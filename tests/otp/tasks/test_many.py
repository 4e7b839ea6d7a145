"""Several tasks at once: all of their values, or what they have by now."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import CallTimeout, NotOwner, ProcessDown
from roost.otp.tasks.process import Ok
from roost.otp.tasks.task import Task
from roost.sim.loop import turns
from tests.otp.tasks.test_task import crash, double

pytestmark = pytest.mark.virtual_time


async def test_many_are_awaited_in_order() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await Task.await_many([Task.async_(double, n, 3.0 - n) for n in range(3)]) == [0, 2, 4]
    assert loop.time() - began == pytest.approx(3.0)
    assert await Task.await_many(list[Task[int]]()) == []


async def test_the_first_failure_of_many_ends_the_others() -> None:
    tasks = [Task.async_(double, 1, 3600.0), Task.async_(crash)]
    with pytest.raises(ProcessDown, match="a bug"):
        await Task.await_many(tasks, None)
    await turns(5)
    assert tasks[0].done()


async def test_many_that_take_too_long_are_ended() -> None:
    tasks = [Task.async_(double, n, 3600.0 * n) for n in range(3)]
    with pytest.raises(CallTimeout, match="2 of 3 tasks"):
        await Task.await_many(tasks, 1.0)
    await turns(5)
    assert all(task.done() for task in tasks)


async def test_many_are_asked_for_what_they_have() -> None:
    def begin() -> list[Task[int]]:
        return [Task.async_(double, n, 10.0 * n) for n in range(3)]

    tasks = begin()
    assert await Task.yield_many(tasks, 15.0) == [(tasks[0], Ok(0)), (tasks[1], Ok(2)), (tasks[2], None)]
    assert await Task.yield_many(tasks, 15.0) == [(task, Ok(2 * n)) for n, task in enumerate(tasks)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = begin()
    outcomes = await Task.yield_many(tasks, None, limit=2, on_timeout="kill_task")
    assert [outcome for _, outcome in outcomes] == [Ok(0), Ok(2), None]
    assert loop.time() - began == pytest.approx(10.0)
    await turns(5)
    assert tasks[2].done()
    tasks = begin()
    await Task.yield_many(tasks, 1.0, on_timeout="ignore")
    with pytest.raises(NotOwner):
        await tasks[2]
    await asyncio.sleep(30.0)
