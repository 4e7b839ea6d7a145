"""Sums of flows: per window, per partition, and what is said when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from roost.errors import FlowFailed
from roost.jobs import Flow, Trigger, Window
from roost.sim import turns


def add(sum: int, number: int) -> int:
    """Adds."""
    return sum + number


def extend(items: list[int], number: int) -> list[int]:
    """Adds in place."""
    items.append(number)
    return items


async def test_the_sum_of_nothing_is_said_once() -> None:
    assert await Flow.from_iterable(list[int]()).reduce(int, add).collect() == [0]
    assert await Flow.from_iterable(list[int]()).count_by().collect() == []


async def test_sums_so_far_are_said_after_some_elements_and_are_copies() -> None:
    flow = Flow.from_iterable(range(1, 8), batch=2).reduce(list[int], extend, window=Window.whole(every=3))
    assert await flow.collect() == [[1, 2, 3], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]]


async def test_count_windows_begin_anew() -> None:
    flow = Flow.from_iterable(range(1, 8)).reduce(int, add, window=Window.count(3))
    assert await flow.collect() == [6, 15, 7]


async def test_fixed_windows_go_by_the_time_of_the_elements(caplog: pytest.LogCaptureFixture) -> None:
    visits = [("a", 1.0), ("b", 2.0), ("a", 9.0), ("b", 11.0), ("late", 3.0), ("b", 25.0)]
    window = Window.fixed(10.0, by=lambda visit: visit[1])

    def tell(counts: Counter[str], trigger: Trigger) -> tuple[list[object], Counter[str]]:
        return [(trigger.starts_at, trigger.kind, dict(counts))], counts

    flow = Flow.from_iterable(visits).count_by(lambda visit: visit[0], window=window).on_trigger(tell)
    assert await flow.collect() == [
        (0.0, "done", {"a": 2, "b": 1}),
        (10.0, "done", {"b": 1}),
        (20.0, "done", {"b": 1}),
    ]
    assert "elements come after their window is closed" in caplog.text
    assert (await flow.run()).late == 1


async def test_a_trigger_may_begin_anew() -> None:
    def flush(sum: int, trigger: Trigger) -> tuple[list[str], int]:
        return [f"{trigger.kind} {sum}"], 0

    flow = Flow.from_iterable([1] * 7).reduce(int, add, window=Window.whole(every=3)).on_trigger(flush)
    assert await flow.collect() == ["every 3", "every 3", "done 1"]


@pytest.mark.virtual_time
async def test_periodic_windows_and_triggers_go_by_the_clock() -> None:
    async def ticks() -> AsyncIterator[int]:
        for number in range(1, 8):
            await asyncio.sleep(1.0)
            yield number

    periodic = Flow.from_iterable(ticks()).reduce(int, add, window=Window.periodic(2.5))
    assert await periodic.collect() == [1 + 2, 3 + 4, 5 + 6 + 7]
    so_far = Flow.from_iterable(ticks()).reduce(int, add, window=Window.whole(every_s=2.5))
    assert await so_far.collect() == [3, 10, 28]


@pytest.mark.virtual_time
async def test_windows_of_partitions_that_are_awaited() -> None:
    async def slow(number: int) -> int:
        await asyncio.sleep(1.0)
        return number

    async def slower(numbers: list[int]) -> list[int]:
        await turns(3)
        return numbers

    flow = Flow.from_iterable(range(12)).partition(lambda x: x % 2, stages=2).map(slow)
    sums = await flow.reduce(list[int], extend, window=Window.periodic(2.5)).map(slower).collect()
    assert sorted(number for numbers in sums for number in numbers) == list(range(12))
    assert len(sums) >= 6
    assert all(len({number % 2 for number in numbers}) == 1 for numbers in sums)
    triggers: list[Trigger] = []

    def note(sum: list[int], trigger: Trigger) -> tuple[list[int], list[int]]:
        triggers.append(trigger)
        return [], []

    assert await flow.reduce(list[int], extend, window=Window.count(4)).on_trigger(note).collect() == []
    assert Counter((one.kind, one.partition) for one in triggers) == {("done", 0): 2, ("done", 1): 2}


async def test_a_trigger_that_fails_makes_the_flow_fail() -> None:
    def broken(sum: int, trigger: Trigger) -> tuple[list[int], int]:
        raise KeyError(trigger.kind)

    for window, when in ((Window.whole(), "done"), (Window.whole(every=1), "every")):
        with pytest.raises(FlowFailed, match=rf"reduce\(add\) failed for .*KeyError: '{when}'"):
            await Flow.from_iterable([1]).reduce(int, add, window=window).on_trigger(broken).collect()


async def test_a_time_that_cannot_be_told_fails_like_any_step() -> None:
    window = Window.fixed(10.0, by=lambda item: item["at"])
    flow = Flow.from_iterable([{"at": 1.0}, {}, {"at": 2.0}]).count_by(len, window=window)
    with pytest.raises(FlowFailed, match="KeyError"):
        await flow.collect()
    assert await flow.on_error("skip", lambda failed: None).collect() == [(1, 2)]


async def test_what_comes_out_of_windows_flows_on() -> None:
    words = Flow.from_iterable(["a b a", "b b", "c"] * 50).flat_map(str.split)
    chunks = words.count_by(window=Window.count(10)).filter(lambda pair: pair[1] > 1)
    totals = await chunks.group_by(lambda pair: pair[0], lambda pair: pair[1]).collect()
    assert {word: sum(counts) for word, counts in totals}["b"] == 150


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_was_made_of_an_element_before_it_failed_stays(is_async: bool) -> None:
    def parts(number: int) -> list[int]:
        return [number, number, 0, number]

    async def parts_slowly(number: int) -> list[int]:
        return parts(number)

    def append_reciprocal(sum: list[float], number: float) -> list[float]:
        return [*sum, 1 / number]

    elements = Flow.from_iterable([1, 2]).partition(stages=1)
    flow = elements.flat_map(parts_slowly) if is_async else elements.flat_map(parts)
    skipped: list[FlowFailed] = []
    sums = flow.map(float).reduce(list[float], append_reciprocal, window=Window.count(2))
    assert sorted(await sums.on_error("skip", skipped.append).collect()) == [[0.5, 0.5], [1.0, 1.0]]
    assert sorted([failed.element for failed in skipped]) == ["1", "2"]


async def test_a_sum_outlives_a_trigger_that_fails() -> None:
    def tell(sum: int, trigger: Trigger) -> tuple[list[int], int]:
        if trigger.kind == "every":
            raise ValueError(sum)
        return [sum], sum

    skipped: list[FlowFailed] = []
    sums = Flow.from_iterable(range(4)).reduce(int, add, window=Window.whole(every=2)).on_trigger(tell)
    assert await sums.on_error("skip", skipped.append).collect() == [6]
    assert len(skipped) == 2
