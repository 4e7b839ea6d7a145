"""Streams of outcomes: order, back-pressure, what fails, and nothing left behind."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from roost.errors import CallTimeout, ConfigError, Refusal
from roost.otp import GenServer, call
from roost.otp.tasks.process import Exited, Ok
from roost.otp.tasks.stream import TaskStream
from roost.otp.tasks.task import Task
from roost.sim.loop import turns

pytestmark = pytest.mark.virtual_time


class Crowd:
    """Counts how many run at the same time."""

    def __init__(self) -> None:
        self.inside = self.most = self.begun = self.ended = 0

    async def work(self, pause_s: float) -> float:
        """Be inside for a while."""
        self.inside += 1
        self.begun += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(pause_s)
            return pause_s
        finally:
            self.inside -= 1
            self.ended += 1


async def values(stream: TaskStream[float, float]) -> list[float]:
    return [outcome.value async for outcome in stream if isinstance(outcome, Ok)]


async def slowly(items: list[float], pause_s: float) -> AsyncIterator[float]:
    for item in items:
        await asyncio.sleep(pause_s)
        yield item


async def odd_fails(n: int) -> int:
    await asyncio.sleep(1.0)
    if n % 2:
        raise ValueError(f"odd: {n}")
    return n


async def test_outcomes_come_in_the_order_of_the_items() -> None:
    crowd = Crowd()
    pauses = [3.0, 1.0, 2.0, 0.5, 4.0, 0.1]
    assert await values(Task.async_stream(crowd.work, pauses, max_concurrency=3)) == pauses
    assert crowd.most == 3


async def test_outcomes_come_as_the_tasks_end() -> None:
    crowd = Crowd()
    pauses = [3.0, 1.0, 2.0, 0.5]
    assert await values(Task.async_stream(crowd.work, pauses, max_concurrency=4, ordered=False)) == sorted(pauses)


async def test_functions_that_are_not_async() -> None:
    assert [outcome async for outcome in Task.async_stream(abs, [-1, 2, -3])] == [Ok(1), Ok(2), Ok(3)]


async def test_a_slow_item_does_not_stop_the_others_up_to_a_bound() -> None:
    crowd = Crowd()
    stream = Task.async_stream(crowd.work, [100.0, *[1.0] * 50], max_concurrency=4, timeout_s=None)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(50.0)
    assert (crowd.most, crowd.begun) == (4, 8), "4 run; as many wait for the first one"
    assert await first == Ok(100.0)
    assert len([outcome async for outcome in stream]) == 50
    assert crowd.most == 4


@pytest.mark.parametrize("ordered", [True, False])
async def test_nothing_begins_before_it_is_asked_for(ordered: bool) -> None:
    crowd = Crowd()
    taken: list[int] = []

    def count() -> Iterator[float]:
        for number in itertools.count():
            taken.append(number)
            yield 1.0

    async with Task.async_stream(crowd.work, count(), max_concurrency=3, ordered=ordered) as stream:
        await asyncio.sleep(10.0)
        assert taken == []
        assert await anext(stream) == Ok(1.0)
        await asyncio.sleep(10.0)
        assert len(taken) == crowd.begun == 3
        for _ in range(20):
            await anext(stream)
        await turns(3)
        assert len(taken) == crowd.begun <= 23 + 3
    assert crowd.most == 3
    assert crowd.inside == 0


async def test_an_async_source_is_asked_for_one_item_at_a_time() -> None:
    crowd = Crowd()
    asked: list[int] = []

    async def source() -> AsyncIterator[float]:
        for number in itertools.count():
            asked.append(number)
            await asyncio.sleep(0.1)
            yield 1.0

    async with Task.async_stream(crowd.work, source(), max_concurrency=2) as stream:
        assert await anext(stream) == Ok(1.0)
        await asyncio.sleep(10.0)
        assert len(asked) == crowd.begun == 2


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_outcome_does_not_wait_for_the_next_item(ordered: bool) -> None:
    loop = asyncio.get_running_loop()
    crowd = Crowd()
    stream = Task.async_stream(crowd.work, slowly([1.0, 1.0], 60.0), max_concurrency=5, ordered=ordered)
    moments = []
    async for _ in stream:
        moments.append(loop.time())
    assert moments == [pytest.approx(61.0), pytest.approx(121.0)]


async def test_no_items() -> None:
    assert [outcome async for outcome in Task.async_stream(abs, list[int]())] == []
    assert [outcome async for outcome in Task.async_stream(abs, slowly([], 1.0))] == []


async def test_a_plain_coroutine_gets_failures_with_their_items() -> None:
    outcomes = [outcome async for outcome in Task.async_stream(odd_fails, range(4), max_concurrency=2)]
    assert [outcome for outcome in outcomes if isinstance(outcome, Ok)] == [Ok(0), Ok(2)]
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exited)]
    assert [(str(outcome.reason), outcome.input) for outcome in failed] == [("odd: 1", 1), ("odd: 3", 3)]


async def test_a_refusal_is_an_outcome_for_a_process_too() -> None:
    class Closed(Refusal):
        pass

    async def refuse(n: int) -> int:
        raise Closed(n)

    class Reader(GenServer):
        @call
        async def read(self) -> list[str]:
            return [type(outcome).__name__ async for outcome in Task.async_stream(refuse, [1, 2])]

    reader = await Reader.start()
    assert await reader.read() == ["Exited", "Exited"]
    await reader.stop()


async def test_a_task_that_takes_too_long_ends_the_stream() -> None:
    crowd = Crowd()
    stream = Task.async_stream(crowd.work, [1.0, 60.0, 1.0], max_concurrency=3, ordered=False)
    assert [await anext(stream), await anext(stream)] == [Ok(1.0), Ok(1.0)]
    with pytest.raises(CallTimeout) as failure:
        await anext(stream)
    assert failure.value.timeout_s == 5.0
    assert crowd.inside == 0
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_task_that_takes_too_long_is_ended_alone() -> None:
    crowd = Crowd()
    stream = Task.async_stream(crowd.work, [1.0, 60.0, 2.0], timeout_s=3.0, on_timeout="kill_task")
    assert [outcome async for outcome in stream] == [Ok(1.0), Exited("timeout", 60.0), Ok(2.0)]
    assert (crowd.begun, crowd.inside) == (3, 0)


async def test_a_timeout_counts_while_the_reader_is_busy() -> None:
    crowd = Crowd()
    stream = Task.async_stream(crowd.work, [1.0, 60.0], max_concurrency=2, timeout_s=3.0, on_timeout="kill_task")
    assert await anext(stream) == Ok(1.0)
    await asyncio.sleep(4.0)
    assert crowd.inside == 0
    assert await anext(stream) == Exited("timeout", 60.0)


async def test_what_the_source_raises_is_raised_by_the_stream() -> None:
    crowd = Crowd()

    def source() -> Iterator[float]:
        yield 1.0
        yield 60.0
        raise LookupError("no more")

    async def async_source() -> AsyncIterator[float]:
        for item in source():
            yield item

    for items in (source(), async_source()):
        with pytest.raises(LookupError):
            async for _ in Task.async_stream(crowd.work, items, max_concurrency=5):
                pass
        assert crowd.inside == 0


@pytest.mark.parametrize("async_source", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_loop_that_is_left_leaves_nothing(ordered: bool, async_source: bool) -> None:
    crowd = Crowd()
    closed: list[str] = []

    async def endless() -> AsyncIterator[float]:
        try:
            while True:
                await asyncio.sleep(0.1)
                yield 1.0
        finally:
            closed.append("source")

    def begin() -> TaskStream[float, float]:
        items = endless() if async_source else itertools.repeat(1.0)
        return Task.async_stream(crowd.work, items, max_concurrency=4, ordered=ordered)

    async for _ in begin():
        break
    await turns(5)
    assert crowd.inside == 0

    async def fail() -> None:
        async for _ in begin():
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    await turns(5)
    assert crowd.inside == 0
    async with begin() as stream:
        async for _ in stream:
            break
    assert crowd.inside == 0, "on leaving the block, without another turn"
    reader = asyncio.ensure_future(values(begin()))
    await asyncio.sleep(7.05)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert crowd.inside == 0
    await turns(5)
    assert len(asyncio.all_tasks()) == 1
    assert closed == ["source"] * 4 * async_source


async def test_a_source_that_fails_when_it_is_closed_is_told_by_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def source() -> AsyncIterator[float]:
        try:
            while True:
                yield 1.0
        finally:
            raise LookupError("cannot close")

    async for _ in Task.async_stream(Crowd().work, source(), max_concurrency=1):
        break
    await turns(5)
    assert "cannot close" in caplog.text


async def test_only_one_reads_a_stream() -> None:
    stream = Task.async_stream(Crowd().work, [1.0, 1.0])
    first = asyncio.ensure_future(anext(stream))
    await turns(2)
    with pytest.raises(RuntimeError):
        await anext(stream)
    assert await first == Ok(1.0)
    await stream.aclose()


async def test_closing_wakes_the_reader() -> None:
    stream = Task.async_stream(Crowd().work, [3.0, 3.0])
    reader = asyncio.ensure_future(values(stream))
    await asyncio.sleep(1.0)
    await stream.aclose()
    assert await reader == []


async def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="max_concurrency"):
        Task.async_stream(abs, [1], max_concurrency=0)
    with pytest.raises(ConfigError, match="on_timeout"):
        Task.async_stream(abs, [1], on_timeout="maybe")  # type: ignore[call-overload]  # the error is the point


async def test_many_items_take_no_more_room_than_few() -> None:
    crowd = Crowd()
    count = 0
    async for _ in Task.async_stream(crowd.work, itertools.repeat(0.001, 2000), max_concurrency=50, ordered=False):
        count += 1
    assert (count, crowd.ended, crowd.most) == (2000, 2000, 50)
