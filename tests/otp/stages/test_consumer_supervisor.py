"""One child per event: how many at a time, and what becomes of the event of a child that fails."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from roost.errors import ConfigError
from roost.otp import Child, GenServer, Ignore, Restart
from roost.otp.stages.consumer_supervisor import ConsumerSupervisor
from roost.otp.stages.from_iterable import FromIterable
from roost.sim import turns
from tests.otp.stages.samples import Mute, Numbers


class Desk:
    """What the workers of a test share."""

    def __init__(self, fails: dict[int, int] | None = None) -> None:
        self.fails = fails or {}
        self.running = self.most = 0
        self.done: list[int] = []
        self.begun: list[int] = []


class Worker(GenServer):
    """Takes a second, and fails as often as the desk says."""

    def init(self, desk: Desk, number: int) -> None:
        desk.begun.append(number)
        if number < 0:
            raise Ignore
        if number >= 1_000:
            raise OSError("no such file")
        self.activity(self.work(desk, number))

    async def work(self, desk: Desk, number: int) -> None:
        """A second of work."""
        desk.running += 1
        desk.most = max(desk.most, desk.running)
        try:
            await self.scheduler.runtime.clock.sleep(1.0)
        finally:
            desk.running -= 1
        if desk.fails.get(number, 0) > 0:
            desk.fails[number] -= 1
            raise ValueError(f"{number} failed")
        desk.done.append(number)
        self.exit("normal")


class Office(ConsumerSupervisor[int]):
    """Starts workers."""

    max_restarts: ClassVar[int] = 5

    def init(self, desk: Desk, numbers: Numbers, restart: Restart = "temporary", max_demand: int = 4) -> None:
        self.desk, self.restart = desk, restart
        self.subscribe_to(numbers, max_demand=max_demand, min_demand=max_demand - 1)

    def child_for(self, event: int) -> Child:
        """A worker."""
        return Worker.child(self.desk, event, restart=self.restart)


@pytest.mark.virtual_time
async def test_no_more_children_run_than_were_asked_for() -> None:
    desk = Desk()
    numbers = await FromIterable.start(range(20))
    office = await Office.start(desk, numbers)
    began = asyncio.get_running_loop().time()
    await office.down()
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)
    assert desk.most == 4
    assert sorted(desk.done) == list(range(20))


@pytest.mark.virtual_time
async def test_an_event_whose_child_failed_comes_again_a_few_times() -> None:
    desk = Desk({1: 2, 2: 100})
    numbers = await Numbers.start(0, 3)
    office = await Office.start(desk, numbers)
    down = office.down()
    await asyncio.sleep(7.5)
    assert await numbers.undelivered() == [("poison", (2,))] if numbers.is_alive() else down.done()
    await down
    assert sorted(desk.done) == [0, 1, 3]
    assert [desk.begun.count(number) for number in range(4)] == [1, 3, 4, 1]


@pytest.mark.virtual_time
async def test_a_transient_child_is_restarted_for_the_same_event() -> None:
    desk = Desk({1: 2})
    numbers = await Numbers.start(0, 2)
    office = await Office.start(desk, numbers, "transient")
    await office.down()
    assert sorted(desk.done) == [0, 1, 2]
    assert desk.begun.count(1) == 3


@pytest.mark.virtual_time
async def test_an_office_that_gives_up_leaves_its_events_to_the_next() -> None:
    class Impatient(Office):
        max_restarts: ClassVar[int] = 1

    desk = Desk({0: 2})
    numbers = await Numbers.start(0, 9)
    first = await Impatient.start(desk, numbers, "transient")
    assert (await first.down()).reason == "shutdown"
    assert desk.running == 0
    second = await Office.start(desk, numbers, "transient")
    await second.down()
    assert sorted(set(desk.done)) == list(range(10))


@pytest.mark.virtual_time
async def test_children_with_nothing_to_do_and_those_that_do_not_start() -> None:
    desk = Desk()
    numbers = await Mute.start()
    office = await Office.start(desk, numbers)
    numbers.say([-1, 1_000, 5])
    await asyncio.sleep(2.0)
    assert desk.done == [5]
    assert await numbers.undelivered() == [("poison", (1_000,))]
    counts = await numbers.counts()
    assert (counts.acknowledged, counts.in_flight, counts.demand) == (2, 0, 4)
    assert await office.which_children() == ()
    await office.stop()
    await numbers.stop()


@pytest.mark.virtual_time
async def test_its_children_end_with_it_and_their_events_go_back() -> None:
    desk = Desk()
    numbers = await Mute.start()
    office = await Office.start(desk, numbers)
    numbers.say([1, 2, 3])
    await asyncio.sleep(0.5)
    assert (await office.count_children()).active == 3
    await office.stop("shutdown")
    assert desk.running == 0
    counts = await numbers.counts()
    assert (counts.buffered, counts.in_flight) == (3, 0)
    await numbers.stop()


async def test_a_permanent_child_makes_no_sense() -> None:
    numbers = await Mute.start()
    office = await Office.start(Desk(), numbers, "permanent")
    numbers.say([1])
    reason = (await office.down()).reason
    assert "cannot be permanent" in str(reason)
    await numbers.stop()


async def test_what_child_to_start_must_be_said() -> None:
    class Vague(ConsumerSupervisor[int]):
        def init(self, numbers: Mute) -> None:
            self.subscribe_to(numbers)

    numbers = await Mute.start()
    vague = await Vague.start(numbers)
    numbers.say([1])
    assert "does not define it" in str((await vague.down()).reason)
    await turns(50)
    await numbers.stop()


def test_a_name_that_stages_need_is_refused() -> None:
    with pytest.raises(ConfigError, match="Clumsy defines it, but Producer needs this name itself"):

        class Clumsy(Mute):
            def _emit(self, events: list[object], origin: int | None) -> None:
                """Not what the machinery means."""
