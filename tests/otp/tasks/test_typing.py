"""What a type checker infers about tasks. mypy checks this module; the tests check that it is also true."""

from __future__ import annotations

from typing import assert_type

import pytest

from roost import Exited, Ok, Task, TaskSupervisor
from roost.otp import Child, TaskProcess
from tests.otp.tasks.test_task import double, triple
from tests.runtime import jobs

pytestmark = pytest.mark.virtual_time


async def test_that_tasks_are_typed() -> None:
    assert assert_type(await assert_type(Task.async_(double, 2), Task[int]), int) == 4
    assert assert_type(await Task.async_(triple, n=2), int) == 6
    assert assert_type(await assert_type(Task.cpu(jobs.add, 1), Task[int]), int) == 2
    assert assert_type(await Task.await_many([Task.async_(triple, 2)]), list[int]) == [6]
    assert assert_type(await Task.async_(triple, 2).yield_(), Ok[int] | Exited | None) == Ok(6)
    assert isinstance(assert_type(Task.child(double, 1), Child[TaskProcess]), Child)


async def test_that_streams_are_typed() -> None:
    tasks = assert_type(await TaskSupervisor.start_link(), TaskSupervisor)
    async for outcome in Task.async_stream(double, [1]):
        assert assert_type(outcome, Ok[int] | Exited) == Ok(2)
    async for outcome in tasks.async_stream_nolink(triple, [1]):
        assert assert_type(outcome, Ok[int] | Exited) == Ok(3)
    assert assert_type(await tasks.async_nolink(double, 1), int) == 2
    await assert_type(tasks.start_child(triple, 1), TaskProcess).down()
    await tasks.stop()


async def wrong_calls(tasks: TaskSupervisor) -> None:
    """Never run: each line is a mistake that mypy must see, or the unused comment fails the check."""
    Task.async_(double, "2")  # type: ignore[call-overload]  # a str where an int is declared
    Task.cpu(jobs.add, "2")  # type: ignore[arg-type]  # the same
    Task.start(double)  # type: ignore[call-arg]  # an argument is missing
    tasks.start_child(triple, "2")  # type: ignore[arg-type]  # a str where an int is declared
    Task.async_stream(double, ["2"])  # type: ignore[arg-type]  # items of another type
