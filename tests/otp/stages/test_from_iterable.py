"""A producer from an iterable: lazy, sync or async, and ended when everything is handled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from roost.errors import ConfigError, StartFailed
from roost.otp.stages.from_iterable import FromIterable
from roost.sim import turns
from tests.otp.stages.samples import Eater, Log, Options, SlowEater


async def test_items_are_taken_when_they_are_asked_for() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    log = Log()
    source = await FromIterable.start(endless)
    assert taken == []
    eater = await Eater.start(log, "a", source, Options(max_demand=8, manual=True))
    await eater.want(5)
    await turns(50)
    assert log.all() == taken == [0, 1, 2, 3, 4]
    await eater.stop()
    await source.stop()


async def test_it_ends_when_all_is_handled() -> None:
    log = Log()
    source = await FromIterable.start([3, 1, 2])
    eater = await Eater.start(log, "a", source)
    assert (await eater.down()).reason == "normal"
    assert log.all() == [3, 1, 2]
    assert not source.is_alive()


@pytest.mark.virtual_time
async def test_an_async_iterable_waits_for_demand_and_demand_for_it() -> None:
    taken: list[int] = []

    async def ticks() -> AsyncIterator[int]:
        for number in range(6):
            await asyncio.sleep(1.0)
            taken.append(number)
            yield number

    log = Log()
    source = await FromIterable.start(ticks)
    await asyncio.sleep(10.0)
    assert taken == []
    eater = await SlowEater.start(log, "a", source, Options(max_demand=2, min_demand=1))
    await asyncio.sleep(2.5)
    assert log.all() == [0]
    await eater.down()
    assert log.all() == [0, 1, 2, 3, 4, 5]
    assert not source.is_alive()


async def test_async_items_that_come_at_once_leave_together() -> None:
    async def rush() -> AsyncIterator[int]:
        for number in range(1_000):
            yield number

    log = Log()
    source = await FromIterable.start(rush())
    eater = await Eater.start(log, "a", source, Options(max_demand=1_000, min_demand=0))
    await eater.down()
    assert log.all() == list(range(1_000))
    assert len(log.batches) <= 12


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_error_of_the_iterable_is_a_crash_after_what_came_before(is_async: bool) -> None:
    def broken() -> Iterator[int]:
        yield from range(10)
        raise OSError("disk")

    async def broken_too() -> AsyncIterator[int]:
        for number in broken():
            yield number

    log = Log()
    source = await FromIterable.start(broken_too() if is_async else broken())
    eater = await Eater.start(log, "a", source, Options(max_demand=10))
    assert isinstance((await eater.down()).reason, OSError)
    assert log.all() == list(range(10))


async def test_an_async_generator_is_closed_with_its_producer() -> None:
    closed = asyncio.Event()

    async def forever() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    log = Log()
    source = await FromIterable.start(forever())
    eater = await Eater.start(log, "a", source, Options(max_demand=4, manual=True, cancel="temporary"))
    await eater.want(2)
    await turns(50)
    await source.stop()
    assert closed.is_set()
    await eater.stop()


async def test_what_cannot_be_iterated_is_refused() -> None:
    with pytest.raises(StartFailed) as failed:
        await FromIterable.start(lambda: 5)
    assert isinstance(failed.value.__cause__, ConfigError)
