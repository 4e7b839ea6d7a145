"""Flows in worker processes: what travels, what comes back, and what happens when it does not."""

from __future__ import annotations

import math
import operator
import os
import signal
from collections import Counter
from functools import partial

import pytest

from roost.errors import ConfigError, FlowFailed, StartFailed
from roost.jobs import Flow, Window
from roost.jobs.flow_cpu import find, locate
from roost.otp import Scheduler
from roost.runtime.worker_main import Place
from roost.sim import turns

TEXT = ["the cat sat on the mat", "the dog sat on the cat", "", "a mat"] * 300


def is_long(word: str) -> bool:
    """Three letters and more."""
    return len(word) > 2


def multiply(by: int, number: int) -> int:
    """A product."""
    return by * number


def add(sum: int, number: int) -> int:
    """A sum."""
    return sum + number


def reciprocal(number: float) -> float:
    """Fails for zero."""
    return 1 / number


def end_yourself(number: int) -> int:
    """Kills the process that it runs in."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def as_object(number: int) -> object:
    """What cannot travel."""
    return object()


class Word:
    """A class with methods to call."""

    @classmethod
    def shout(cls, word: str) -> str:
        """In large letters."""
        return word.upper()


async def slow(number: int) -> int:
    """Not for workers."""
    return number


async def test_words_are_counted_in_worker_processes() -> None:
    words = Counter(word for line in TEXT for word in line.split() if len(word) > 2)
    flow = Flow.from_iterable(TEXT, cpu=True, batch=50).flat_map(str.split).filter(is_long)
    assert dict(await flow.count_by().collect()) == words
    assert Counter(await flow.collect()) == words
    await Scheduler.current().runtime.cpu.close()


@pytest.mark.virtual_time
async def test_sums_of_every_kind_in_parts_and_whole() -> None:
    flow = Flow.from_iterable(range(1_000), cpu=True, stages=2).map(partial(multiply, 2))
    assert await flow.reduce(int, add, combine=add).collect() == [999_000]
    assert await flow.reduce(int, add).collect() == [999_000], "without a way to combine it is added up in the loop"
    windows = await flow.reduce(int, add, combine=add, window=Window.count(500)).collect()
    assert (len(windows), sum(windows)) == (2, 999_000)
    groups = dict(await flow.group_by(partial(operator.and_, 7), str).collect())
    assert {key: len(items) for key, items in groups.items()} == {0: 250, 2: 250, 4: 250, 6: 250}
    assert {type(item) for items in groups.values() for item in items} == {str}
    roots = flow.partition(partial(operator.and_, 3), stages=3, cpu=True).map(math.sqrt).map(int)
    counts = Counter[int]()
    for root, count in await roots.count_by().collect():
        counts[root] += count
    assert counts == Counter(int(math.sqrt(2 * number)) for number in range(1_000))
    many = await flow.departition(cpu=True).map(str).departition().map(len).count_by().collect()
    assert sum(count for _, count in many) == 1_000


@pytest.mark.virtual_time
async def test_as_many_jobs_run_at_a_time_as_there_are_workers() -> None:
    cpu = Scheduler.current().runtime.cpu
    running = most = 0
    honest = type(cpu).perform

    async def counted(self: object, *args: object) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await honest(self, *args)  # type: ignore[arg-type]  # what it was given
        finally:
            running -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(cpu), "perform", counted)
        await Flow.from_iterable(range(10_000), cpu=True, batch=10).map(str).run()
    assert most == cpu.workers


@pytest.mark.virtual_time
async def test_many_batches_make_one_job() -> None:
    cpu = Scheduler.current().runtime.cpu
    jobs: list[int] = []
    honest = type(cpu).prepare

    def counted(self: object, function: object, args: tuple[object, ...]) -> object:
        items = args[2]
        assert isinstance(items, list)
        jobs.append(len(items))
        return honest(self, function, args)  # type: ignore[arg-type]  # what it was given

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(cpu), "prepare", counted)
        await Flow.from_iterable(range(100_000), cpu=True).map(str).run()
    assert sum(jobs) == 100_000
    assert max(jobs) >= 10_000


@pytest.mark.virtual_time
async def test_failures_come_back_with_step_and_element() -> None:
    flow = Flow.from_iterable([2.0, 0.0, 1.0], cpu=True).map(reciprocal)
    with pytest.raises(FlowFailed, match=r"map\(reciprocal\) failed for 0.0: ZeroDivisionError"):
        await flow.collect()
    skipped: list[FlowFailed] = []
    assert await flow.on_error("skip", skipped.append).collect() == [0.5, 1.0]
    assert [(failed.step, failed.element) for failed in skipped] == [("map(reciprocal)", "0.0")]
    with pytest.raises(FlowFailed, match=r"map\(as_object\) failed for a batch of 2 elements: .*object cannot"):
        await Flow.from_iterable([1, 2], cpu=True).map(as_object).collect()


async def test_a_worker_that_dies_makes_the_flow_fail() -> None:
    with pytest.raises(FlowFailed, match=r"map\(end_yourself\) failed for a batch of 1 elements: WorkerLost"):
        await Flow.from_iterable([1], cpu=True).map(end_yourself).collect()
    assert not Scheduler.current().processes
    await Scheduler.current().runtime.cpu.close()


@pytest.mark.virtual_time
async def test_leaving_early_ends_the_jobs() -> None:
    async for _ in Flow.from_iterable(range(100_000), cpu=True, batch=10).map(str):
        break
    await turns(50)
    assert not Scheduler.current().processes


@pytest.mark.virtual_time
async def test_functions_that_no_worker_can_find_are_refused() -> None:
    flow = Flow.from_iterable([1], cpu=True)
    for wrong in (flow.map(lambda x: x), flow.map(slow), flow.map(list[int]().append)):
        with pytest.raises(StartFailed) as failed:
            await wrong.collect()
        assert isinstance(failed.value.__cause__, StartFailed | ConfigError)
        assert "top of a module" in str(failed.value) or "is async" in str(failed.value)
    assert not Scheduler.current().processes


@pytest.mark.parametrize(
    ("function", "argument", "value"),
    [
        (str.split, "a b", ["a", "b"]),
        (len, "abc", 3),
        (int, "7", 7),
        (Word.shout, "hey", "HEY"),
        (partial(partial(divmod), 7), 2, (3, 1)),
        (dict.fromkeys, "ab", {"a": None, "b": None}),
        (partial(sorted, reverse=True), [1, 2], [2, 1]),
    ],
)
def test_functions_are_found_again(function: object, argument: object, value: object) -> None:
    assert callable(function)
    assert find(locate(function), Place())(argument) == value
