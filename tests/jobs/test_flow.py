"""Flows: what comes out, how much is awaited at a time, how far it is, and how it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.errors import ConfigError, FlowFailed, StartFailed
from roost.jobs import Flow
from roost.sim import run, turns
from tests.jobs.programs import OPS, Ops, extend, model, processes
from tests.otp.stages.samples import Mute, Numbers

TEXT = ["the cat sat on the mat", "the dog sat on the cat", "", "a mat"]


async def test_steps_run_in_order() -> None:
    flow = Flow.from_iterable(range(10)).map(lambda x: x * 2).filter(lambda x: x % 3).flat_map(lambda x: [x, -x])
    assert await flow.collect() == [2, -2, 4, -4, 8, -8, 10, -10, 14, -14, 16, -16]
    assert processes() == []


async def test_a_flow_of_a_list_can_be_run_again_and_one_without_steps_is_the_list() -> None:
    flow = Flow.from_iterable([3, 1, 2])
    assert await flow.collect() == [3, 1, 2]
    assert await flow.collect() == [3, 1, 2]
    assert await Flow.from_iterable([]).map(str).collect() == []


async def test_words_are_counted() -> None:
    counts = await Flow.from_iterable(TEXT).flat_map(str.split).count_by().collect()
    assert dict(counts) == Counter(" ".join(TEXT).split())


@pytest.mark.parametrize("stages", [1, 3, 8])
async def test_partitions_add_up_for_themselves(stages: int) -> None:
    flow = Flow.from_iterable(TEXT * 300).flat_map(str.split).partition(stages=stages)
    counts = await flow.count_by().collect()
    assert len(counts) == len(dict(counts)), "each word is in one partition"
    assert dict(counts) == Counter(" ".join(TEXT * 300).split())
    sums = await flow.map(len).reduce(int, lambda sum, length: sum + length).collect()
    assert len(sums) == stages
    assert sum(sums) == len("".join(TEXT * 300).replace(" ", ""))


async def test_without_partitions_there_is_one_sum_however_many_stages() -> None:
    async def same(number: int) -> int:
        await turns(number % 3)
        return number

    assert await Flow.from_iterable(range(100)).reduce(int, lambda sum, x: sum + x).collect() == [4950]
    awaited = Flow.from_iterable(range(100), stages=5).map(same)
    assert await awaited.reduce(int, lambda sum, x: sum + x).collect() == [4950]


async def test_partitions_can_be_brought_together_again() -> None:
    flow = Flow.from_iterable(range(1_000)).partition(lambda x: x % 7, stages=4).reduce(int, lambda sum, x: sum + x)
    assert await flow.departition().reduce(list, lambda sums, one: [*sums, one]).map(sum).collect() == [499_500]


async def test_equal_keys_meet_in_one_partition() -> None:
    keys: list[object] = [1, True, 1.0, "1", 2.0, 2, (1, "a"), (1, "a")]
    groups = await Flow.from_iterable(keys).partition(stages=50).group_by(lambda key: key).collect()
    assert dict(groups) == {1: [1, True, 1.0], "1": ["1"], 2: [2.0, 2], (1, "a"): [(1, "a"), (1, "a")]}


async def test_groups_keep_the_order_of_their_elements() -> None:
    groups = await Flow.from_iterable(range(10)).group_by(lambda x: x % 3, lambda x: 10 * x).collect()
    assert groups == [(0, [0, 30, 60, 90]), (1, [10, 40, 70]), (2, [20, 50, 80])]


@pytest.mark.virtual_time
async def test_async_functions_are_awaited_as_many_at_a_time_as_there_are_stages() -> None:
    running = most = 0

    async def fetch(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1.0)
        running -= 1
        return number * number

    began = asyncio.get_running_loop().time()
    squares = await Flow.from_iterable(range(20), stages=5).map(fetch).filter(lambda x: x % 2).collect()
    assert asyncio.get_running_loop().time() - began == pytest.approx(4.0)
    assert most == 5
    assert sorted(squares) == [number * number for number in range(1, 20, 2)]
    assert await Flow.from_iterable(range(5), stages=1).map(fetch).collect() == [0, 1, 4, 9, 16]


@pytest.mark.virtual_time
async def test_partitions_await_beside_each_other_and_keep_their_order() -> None:
    handled: dict[str, list[int]] = {}

    async def handle(order: tuple[str, int]) -> tuple[str, int]:
        await asyncio.sleep(1.0 / (1 + order[1]))
        handled.setdefault(order[0], []).append(order[1])
        return order

    orders = [(customer, number) for number in range(5) for customer in "abcdef"]
    flow = Flow.from_iterable(orders).partition(lambda order: order[0], stages=6).map(handle)
    groups = await flow.group_by(lambda order: order[0], lambda order: order[1]).collect()
    assert handled == {customer: [0, 1, 2, 3, 4] for customer in "abcdef"}
    assert dict(groups) == handled


@pytest.mark.virtual_time
async def test_async_steps_after_a_sum_and_after_plain_steps() -> None:
    async def later(value: object) -> list[object]:
        await asyncio.sleep(1.0)
        return [value, value]

    flow = Flow.from_iterable(["a b", "b"]).flat_map(str.split).count_by().flat_map(later)
    assert Counter(await flow.collect()) == Counter({("a", 1): 2, ("b", 2): 2})

    async def even(pair: tuple[object, int]) -> bool:
        return pair[1] % 2 == 0

    by_word = Flow.from_iterable(["a b", "b"]).flat_map(str.split).partition(stages=2)
    assert sorted(await by_word.flat_map(later).count_by().filter(even).collect()) == [("a", 2), ("b", 4)]


@pytest.mark.virtual_time
async def test_elements_come_as_fast_as_they_are_taken() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1_000_000):
            taken.append(number)
            yield number

    got = []
    async for number in Flow.from_iterable(numbers(), batch=10).map(lambda x: x + 1):
        got.append(number)
        if number == 25:
            break
    assert got == list(range(1, 26))
    assert len(taken) <= 200
    await turns(20)
    assert processes() == []


@pytest.mark.virtual_time
async def test_an_async_iterable_is_taken_element_by_element() -> None:
    async def ticks() -> AsyncIterator[int]:
        for number in range(5):
            await asyncio.sleep(1.0)
            yield number

    began = asyncio.get_running_loop().time()
    seen = []
    async for number in Flow.from_iterable(ticks()).map(lambda x: 10 * x):
        seen.append((number, round(asyncio.get_running_loop().time() - began)))
    assert seen == [(0, 1), (10, 2), (20, 3), (30, 4), (40, 5)]


async def test_flows_come_together() -> None:
    left = Flow.from_iterable(range(5)).map(lambda x: x * 10)
    words = left.map(str)
    right = Flow.merge(Flow.from_iterable(["a"]), Flow.from_iterable("bc"))
    merged = await Flow.merge(words, right).collect()
    assert sorted(merged) == ["0", "10", "20", "30", "40", "a", "b", "c"]
    sums = Flow.merge(left, left).reduce(int, lambda sum, x: sum + x)
    assert await sums.collect() == [200]


async def test_events_of_stages_flow_until_their_producers_end() -> None:
    one, two = await Numbers.start(1, 10, name="one"), await Numbers.start(11, 20)
    flow = Flow.from_stages("one", two, max_demand=4).map(lambda x: x * 2)
    assert sorted(await flow.collect()) == list(range(2, 42, 2))
    assert not one.is_alive()
    assert not two.is_alive()


async def test_events_that_were_not_taken_go_back_to_their_producer() -> None:
    mute = await Mute.start()
    mute.say([1, 2, 3, 4])
    async with Flow.from_stages(mute, max_demand=2).stream() as run:
        assert await anext(run) == 1
    counts = await mute.counts()
    assert counts.buffered == 4 - counts.acknowledged
    assert await Flow.from_stages(mute, max_demand=1).stream().batch() is not None
    await mute.stop()


async def test_a_flow_that_was_left_by_a_producer_starts_with_what_is_left() -> None:
    mute = await Mute.start()
    mute.say([1, 2, 3])

    def parse(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    with pytest.raises(FlowFailed):
        await Flow.from_stages(mute, max_demand=1).map(parse).collect()
    mute.end()
    assert await Flow.from_stages(mute, max_demand=1).collect() == [2, 3]


async def test_what_makes_no_sense_is_refused() -> None:
    async def awaited(*_: object) -> int:
        return 1

    wrongs: list[Callable[[], object]] = [
        lambda: Flow.from_iterable([], stages=0),
        lambda: Flow.from_iterable([], batch=0),
        lambda: Flow.from_iterable([]).partition(stages=0),
        lambda: Flow.from_stages(),
        lambda: Flow.from_stages("a", max_demand=0),
        lambda: Flow.merge(),
        lambda: Flow.from_iterable([1]).partition(awaited),  # type: ignore[arg-type]  # that is the point
        lambda: Flow.from_iterable([1]).count_by(awaited),  # type: ignore[type-var]  # that is the point
        lambda: Flow.from_iterable([1]).reduce(int, max).on_trigger(awaited),  # type: ignore[arg-type]  # the same
        lambda: Flow.from_iterable([]).on_error("ignore"),  # type: ignore[arg-type]  # that is the point
    ]
    for wrong in wrongs:
        with pytest.raises(ConfigError):
            wrong()
    with pytest.raises(StartFailed, match="nobody"):
        await Flow.from_stages("nobody").collect()
    assert processes() == []


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-20, 20), max_size=40), OPS, st.integers(1, 7), st.integers(1, 4), st.integers(0, 5))
def test_any_flow_gives_what_plain_python_gives(items: list[int], ops: Ops, batch: int, stages: int, seed: int) -> None:
    """Random programs against lists; sums are compared as one sum, because partitions divide them."""

    async def story() -> None:
        flow = extend(Flow.from_iterable(items, stages=stages, batch=batch), ops)
        assert Counter(await flow.collect()) == Counter(model(items, ops))
        assert processes() == []

    run(seed, story())
