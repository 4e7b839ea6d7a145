"""A coroutine that has to do with tasks may be cancelled at every await: nothing runs on, nothing is swallowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roost.otp.tasks.task import Task
from roost.sim.loop import turns
from tests.otp.tasks.interruption import Story, cancel_at_times, cancel_everywhere, strike_everywhere

pytestmark = pytest.mark.virtual_time


async def work(n: int) -> int:
    """Takes several awaits, and some more to clean up."""
    try:
        for _ in range(3):
            await asyncio.sleep(0.1)
        return n
    finally:
        await asyncio.sleep(0.1)


def compute(n: int) -> int:
    return n


async def items() -> AsyncIterator[int]:
    for n in range(4):
        await asyncio.sleep(0.15)
        yield n


async def await_one() -> None:
    assert await Task.async_(work, 1) == 1


async def await_two() -> None:
    one, two = Task.async_(work, 1), Task.async_(work, 2)
    assert await one + await two == 3


async def await_many() -> None:
    assert await Task.await_many([Task.async_(work, n) for n in range(3)]) == [0, 1, 2]


async def ask_often() -> None:
    task = Task.async_(work, 1)
    while await task.yield_(0.07) is None:
        pass


async def yield_many() -> None:
    await Task.yield_many([Task.async_(work, n) for n in range(3)], 0.15, on_timeout="kill_task")


async def shut_down() -> None:
    task = Task.async_(work, 1)
    await task.yield_(0.05)
    assert await task.shutdown() is None


async def nested() -> None:
    async def inner() -> int:
        return sum(await Task.await_many([Task.async_(work, n) for n in range(2)]))

    assert await Task.async_(inner) == 1


async def on_another_core() -> None:
    assert await Task.cpu(compute, 3) == 3


async def stream() -> None:
    async for _ in Task.async_stream(work, range(5), max_concurrency=2):
        await asyncio.sleep(0.01)


async def stream_as_they_come() -> None:
    async for _ in Task.async_stream(work, items(), max_concurrency=2, ordered=False):
        await asyncio.sleep(0.01)


async def stream_left_early() -> None:
    async with Task.async_stream(work, items(), max_concurrency=3) as outcomes:
        async for _ in outcomes:
            break


async def stream_dropped() -> None:
    async for _ in Task.async_stream(work, range(5), max_concurrency=3):
        break


STORIES = [
    await_one,
    await_two,
    await_many,
    ask_often,
    yield_many,
    shut_down,
    nested,
    on_another_core,
    stream,
    stream_as_they_come,
    stream_left_early,
    stream_dropped,
]


@pytest.mark.parametrize("story", STORIES)
async def test_a_coroutine_that_is_cancelled_at_any_await_leaves_nothing(story: Story) -> None:
    assert await cancel_everywhere(story) >= 1


@pytest.mark.parametrize("story", STORIES)
async def test_a_coroutine_that_is_cancelled_at_any_moment_leaves_nothing(story: Story) -> None:
    assert await cancel_at_times(story, 0.025, 1.0) >= 1


@pytest.mark.parametrize("story", STORIES)
async def test_a_process_that_is_struck_at_any_await_leaves_nothing(story: Story) -> None:
    assert await strike_everywhere(story) >= 1


async def test_a_story_that_leaves_something_is_caught() -> None:
    async def careless() -> None:
        asyncio.get_running_loop().call_later(1.0, lambda: Task.start(asyncio.sleep, 100.0))
        await asyncio.sleep(0.1)

    with pytest.raises(AssertionError, match="run on"):
        await cancel_everywhere(careless)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await turns(3)


async def test_a_story_that_swallows_its_cancellation_is_caught() -> None:
    async def deaf() -> None:
        try:
            await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            return

    with pytest.raises(AssertionError, match="swallowed"):
        await cancel_everywhere(deaf)
