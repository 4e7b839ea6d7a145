"""Failures of elements: which step, which element, and what becomes of the rest."""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from roost.errors import FlowFailed, Refusal
from roost.jobs import Flow, Window
from roost.jobs.flow_line import Line, Meter, SlowLine, Step
from roost.limits import FLOW_SKIPS_LOGGED
from roost.otp import Scheduler


def reciprocal(number: float) -> float:
    """Fails for zero."""
    return 1 / number


def half(number: float) -> float:
    """Never fails."""
    return number / 2


def both(number: int) -> Iterator[float]:
    """A generator that fails in the middle."""
    yield float(number)
    yield 1 / number


class Divider:
    """A callable object that fails for zero."""

    def __call__(self, number: float) -> float:
        return 1 / number


def divide(dividend: float, divisor: float) -> float:
    """Fails for zero, when some of it is known."""
    return dividend / divisor


async def run_through(line: Line | SlowLine, items: list[object]) -> None:
    """One batch."""
    if isinstance(line, Line):
        line.take(items)
    else:
        await line.take(items)


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ([Step("map", half), Step("map", reciprocal)], "map(reciprocal)"),
        ([Step("filter", reciprocal), Step("map", half)], "filter(reciprocal)"),
        ([Step("map", half), Step("flat_map", both)], "flat_map(both)"),
        ([Step("map", Divider()), Step("map", half)], "map(Divider)"),
        ([Step("map", half), Step("map", partial(divide, 1.0))], "map(divide)"),
        (
            [Step("map", half), Step("map", math.sqrt), Step("map", partial(operator.truediv, 1.0))],
            "map(sqrt) or map(truediv)",
        ),
    ],
)
async def test_the_error_names_the_step_and_the_element(steps: list[Step], named: str) -> None:
    for line in (Line(steps, None, Meter()), SlowLine(steps, None, Meter())):
        with pytest.raises(FlowFailed) as failed:
            await run_through(line, [3, 2, 1, 0, 5])
        assert failed.value.element == "0"
        assert failed.value.__cause__ is not None
        if isinstance(line, Line):
            assert named in failed.value.step


async def test_a_flow_fails_with_the_first_error_and_ends() -> None:
    with pytest.raises(
        FlowFailed, match=r"map\(reciprocal\) failed for 0: ZeroDivisionError: division by zero"
    ) as failed:
        await Flow.from_iterable(range(3)).map(reciprocal).collect()
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert not Scheduler.current().processes


@pytest.mark.virtual_time
async def test_every_kind_of_stage_fails_with_the_flow() -> None:
    async def slow(number: float) -> float:
        return 1 / number

    async def fine(number: float) -> float:
        return number

    def refuse(number: float) -> float:
        raise Refusal("no")

    flow = Flow.from_iterable([3.0, 2.0, 0.0, 1.0])
    wrong: list[tuple[Flow[float], str]] = [
        (flow.map(slow), "slow"),
        (flow.map(fine).map(slow), "slow"),
        (flow.partition(stages=3).map(reciprocal), "reciprocal"),
        (flow.partition(reciprocal, stages=3).map(half), "partition.reciprocal"),
        (flow.partition(reciprocal, stages=3).map(fine), "partition.reciprocal"),
        (flow.partition(stages=3).map(slow), "slow"),
        (flow.map(half).reduce(float, divide), "reduce.divide"),
        (flow.map(refuse), "refuse"),
    ]
    for one, where in wrong:
        with pytest.raises(FlowFailed, match=where):
            await one.collect()
        assert not Scheduler.current().processes, where


async def test_an_error_of_the_source_is_told_as_such() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    with pytest.raises(FlowFailed, match="the source failed for the next element: OSError: disk") as failed:
        await Flow.from_iterable(broken()).collect()
    assert isinstance(failed.value.__cause__, OSError)


async def test_a_function_that_raises_stop_iteration_does_not_end_the_flow_in_silence() -> None:
    def first(items: list[int]) -> int:
        return next(iter(items))

    with pytest.raises(FlowFailed, match="StopIteration"):
        await Flow.from_iterable([[1], [], [2]]).map(first).collect()
    flow = Flow.from_iterable([[1], [], [2]]).map(first).on_error("skip")
    assert await flow.collect() == [1, 2]


async def test_elements_that_fail_can_be_left_out() -> None:
    skipped: list[FlowFailed] = []

    async def slow(number: float) -> float:
        return 1 / number

    steps: list[tuple[Callable[[Flow[float]], Flow[float]], list[float]]] = [
        (lambda flow: flow.map(reciprocal), [0.5, 1.0]),
        (lambda flow: flow.map(slow), [0.5, 1.0]),
        (lambda flow: flow.partition(reciprocal, stages=1).map(half), [1.0, 0.5]),
        (lambda flow: flow.reduce(lambda: 2.0, divide), [1.0]),
    ]
    for step, expected in steps:
        skipped.clear()
        flow = step(Flow.from_iterable([2.0, 0.0, 1.0], stages=1)).on_error("skip", skipped.append)
        assert await flow.collect() == expected
        assert [failed.element for failed in skipped] == ["0.0"]
    progress = await Flow.from_iterable([2.0, 0.0]).map(reciprocal).on_error("skip", skipped.append).run()
    assert (progress.done, progress.emitted, progress.skipped) == (2, 1, 1)


async def test_what_was_made_of_a_failing_element_before_stays() -> None:
    flow = Flow.from_iterable([1, 0, 2]).flat_map(both).on_error("skip", lambda failed: None)
    assert await flow.collect() == [1.0, 1.0, 0.0, 2.0, 0.5]


async def test_the_log_is_told_of_the_first_elements_that_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "roost.flow"):
        flow = Flow.from_iterable([0] * (FLOW_SKIPS_LOGGED + 50)).map(reciprocal).on_error("skip")
        assert (await flow.run()).skipped == FLOW_SKIPS_LOGGED + 50
    assert len(caplog.records) == FLOW_SKIPS_LOGGED
    assert "map(reciprocal) failed for 0: ZeroDivisionError" in caplog.records[0].message
    assert caplog.records[-1].message.endswith("further ones are only counted")


async def test_a_hook_for_left_out_elements_that_fails_makes_the_flow_fail() -> None:
    def hook(failed: FlowFailed) -> None:
        raise ValueError("full")

    with pytest.raises(FlowFailed, match="full"):
        await Flow.from_iterable([0]).map(reciprocal).on_error("skip", hook).collect()


def ends_at(last: int, number: int) -> int:
    """Raises what means the end of an iterator."""
    if number == last:
        raise StopIteration
    return number


@pytest.mark.parametrize("number", [0, 1, 99])
@pytest.mark.parametrize("size", [1, 2, 100])
async def test_a_function_that_raises_stop_iteration_has_failed_wherever_the_element_is(number: int, size: int) -> None:
    flow = Flow.from_iterable(range(100), batch=size).map(partial(ends_at, number))
    for one in (flow, flow.count_by(), flow.filter(partial(operator.ne, -1))):
        with pytest.raises(FlowFailed, match=f"for {number}: RuntimeError: .* has raised StopIteration"):
            await one.collect()
    skipped: list[FlowFailed] = []
    assert len(await flow.on_error("skip", skipped.append).collect()) == 99
    assert [failed.element for failed in skipped] == [str(number)]
    counts = Flow.from_iterable(range(100), batch=size).count_by(partial(ends_at, number), window=Window.count(200))
    assert len(await counts.on_error("skip", skipped.append).collect()) == 99
    assert len(skipped) == 2


async def more(number: int) -> int:
    """Awaited."""
    return number + 1


class More:
    """Awaited, when it is called."""

    async def __call__(self, number: int) -> int:
        return number + 1


async def test_a_coroutine_that_nobody_would_await_is_refused() -> None:
    for flow in (
        Flow.from_iterable(range(50)).map(lambda number: more(number)),
        Flow.from_iterable(range(50)).map(half).filter(lambda number: more(int(number))),
        Flow.from_iterable(range(50)).flat_map(lambda number: more(number)),  # type: ignore[arg-type, return-value]  # no iterable
    ):
        with pytest.raises(FlowFailed, match="gives a coroutine, but is no `async def`"):
            await flow.collect()


async def test_objects_and_partials_that_must_be_awaited_are() -> None:
    for function in (More(), partial(More()), partial(more)):
        assert sorted(await Flow.from_iterable(range(3)).map(function).collect()) == [1, 2, 3]
