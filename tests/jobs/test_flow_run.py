"""Runs of flows: they end when they are exhausted, left, cancelled or broken, and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.errors import ConfigError, FlowFailed, StartFailed
from roost.jobs import Flow, Progress
from roost.limits import FLOW_BATCH
from roost.otp import GenServer, Scheduler, call
from roost.sim import run, turns
from tests.jobs.programs import OPS, Ops, extend, processes


async def test_leaving_early_ends_everything() -> None:
    async def slow(number: int) -> int:
        await turns(3)
        return number

    flow = Flow.from_iterable(range(10_000), stages=4).map(slow).partition(stages=3).map(slow)
    async for _ in flow:
        break
    await turns(20)
    assert processes() == []
    run = flow.stream()
    await anext(run)
    del run
    gc.collect()
    await turns(20)
    assert processes() == []
    async with flow.stream() as left:
        await anext(left)
        assert processes() != []
    assert processes() == []


@pytest.mark.virtual_time
async def test_cancelling_ends_everything() -> None:
    cleaned: list[int] = []

    async def slow(number: int) -> int:
        try:
            await asyncio.sleep(100.0)
        finally:
            await asyncio.sleep(1.0)
            cleaned.append(number)
        return number

    flow = Flow.from_iterable(range(100), stages=4).map(slow)
    for end in (flow.collect, flow.run):
        task = asyncio.ensure_future(end())
        await asyncio.sleep(10.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert processes() == []
        assert len(cleaned) == 4, "what was awaited could clean up"
        cleaned.clear()


@pytest.mark.virtual_time
async def test_a_flow_ends_with_the_process_that_runs_it() -> None:
    class Importer(GenServer):
        @call
        async def work(self) -> int:
            return len(await Flow.from_iterable(range(1_000), stages=3).map(self.fetch).collect())

        async def fetch(self, number: int) -> int:
            await asyncio.sleep(1.0)
            return number

    importer = await Importer.start()
    task = asyncio.ensure_future(importer.with_timeout(None).work())
    await asyncio.sleep(5.0)
    assert len(processes()) > 3
    importer.exit("kill")
    with pytest.raises(Exception, match="killed"):
        await task
    await turns(20)
    assert processes() == []


@pytest.mark.virtual_time
async def test_progress_is_told_at_times_and_at_the_end() -> None:
    async def slow(number: int) -> int:
        await asyncio.sleep(0.1)
        return number

    told: list[Progress] = []
    flow = Flow.from_iterable(range(40), stages=2).map(slow).filter(lambda x: x < 10).on_progress(told.append, 0.5)
    progress = await flow.run()
    assert [round(one.elapsed_s, 1) for one in told] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert told[-1] == progress
    assert (progress.done, progress.emitted, progress.skipped, progress.finished) == (40, 10, 0, True)


async def test_a_progress_hook_that_fails_makes_the_flow_fail() -> None:
    def hook(progress: Progress) -> None:
        raise ValueError("no screen")

    with pytest.raises(FlowFailed, match=r"on_progress\(.*hook\) failed.*no screen"):
        await Flow.from_iterable([1]).on_progress(hook).collect()


async def test_a_run_can_be_left_and_asked_again() -> None:
    stream = Flow.from_iterable(range(50), batch=2).stream()
    assert await anext(stream) == 0
    await stream.aclose()
    await stream.aclose()
    assert await stream.batch() is None


async def test_a_flow_begins_with_few_elements_until_it_knows_how_long_they_take() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100_000):
            taken.append(number)
            yield number

    async with Flow.from_iterable(numbers()).map(abs).stream() as stream:
        await stream.batch()
        assert len(taken) < FLOW_BATCH
        for _ in range(100):
            await stream.batch()
        assert len(taken) > 20 * FLOW_BATCH


async def test_one_task_at_a_time_takes_from_a_run() -> None:
    async with Flow.from_iterable(range(10)).stream() as stream:
        first = asyncio.ensure_future(stream.batch())
        await turns(1)
        with pytest.raises(ConfigError, match="another task waits"):
            await stream.batch()
        assert await first == list(range(10))


async def test_a_run_whose_process_is_killed_fails() -> None:
    stream = Flow.from_iterable(range(50), batch=2).stream()
    await stream.batch()
    assert stream._runner is not None
    stream._runner.exit("kill")
    with pytest.raises(FlowFailed, match="killed"):
        await stream.batch()
    assert processes() == []


@settings(max_examples=150, deadline=None)
@given(
    OPS,
    st.integers(1, 4),
    st.sampled_from(["leave", "cancel", "break", "kill"]),
    st.integers(0, 40),
    st.integers(0, 5),
)
def test_however_a_flow_ends_nothing_is_left(ops: Ops, stages: int, end: str, when: int, seed: int) -> None:
    """A random program, which is left after some elements, cancelled at any moment, broken by an element, or killed."""

    def burst(number: int) -> int:
        if end == "break" and number == when:
            raise ValueError("enough")
        return number

    async def take() -> None:
        count = 0
        async for _ in extend(Flow.from_iterable(range(60), stages=stages, batch=3).map(burst), ops):
            count += 1
            if end == "leave" and count > when:
                break

    async def story() -> None:
        task = asyncio.ensure_future(take())
        if end == "cancel":
            await turns(when)
            task.cancel()
        elif end == "kill":
            await turns(when)
            alive = list(Scheduler.current().processes.values())
            if alive:
                alive[when % len(alive)].kill()
        with suppress(asyncio.CancelledError, FlowFailed, StartFailed):
            await task
        await turns(30)
        assert processes() == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(seed, story())
