"""Stages: demand, batches, buffers, ends, and what becomes of events whose consumer has crashed."""

from __future__ import annotations

import asyncio
import logging

import pytest

from roost.core.outlet import Undelivered
from roost.errors import ConfigError, NoSuchProcess, StageFailed, StartFailed
from roost.otp import Supervisor, call
from roost.otp.stages.consumer import Consumer
from roost.otp.stages.producer import Producer
from roost.sim import turns
from tests.otp.stages.samples import (
    Broadcaster,
    Eater,
    Log,
    Mute,
    Numbers,
    Options,
    Refuser,
    SlowEater,
    Sorter,
    Times,
    arrive,
)

TEN = Options(max_demand=10)


async def test_a_producer_makes_what_is_asked_for() -> None:
    log = Log()
    numbers = await Numbers.start(0, 24)
    eater = await Eater.start(log, "a", numbers, TEN)
    await eater.down()
    assert log.batches == [
        ("a", (0, 1, 2, 3, 4), False),
        ("a", (5, 6, 7, 8, 9), False),
        ("a", (10, 11, 12, 13, 14), False),
        ("a", (15, 16, 17, 18, 19), False),
        ("a", (20, 21, 22, 23, 24), False),
    ]
    assert not numbers.is_alive()


async def test_it_is_asked_again_when_half_is_handled() -> None:
    numbers = await Mute.start()
    log = Log()
    eater = await Eater.start(log, "a", numbers, TEN)
    numbers.say([1, 2, 3, 4])
    await arrive()
    assert await numbers.demands() == [10]
    numbers.say([5])
    await arrive()
    assert await numbers.demands() == [10, 5]
    counts = await numbers.counts()
    assert (counts.emitted, counts.acknowledged, counts.in_flight, counts.demand) == (5, 5, 0, 10)
    await eater.stop()
    await numbers.stop()


@pytest.mark.virtual_time
async def test_a_slow_consumer_slows_its_producer_down() -> None:
    log = Log()
    numbers = await Numbers.start()
    eater = await SlowEater.start(log, "a", numbers, Options(max_demand=4))
    await asyncio.sleep(10.5)
    assert log.all() == list(range(20))
    counts = await numbers.counts()
    assert counts.emitted == 24
    assert counts.in_flight == 4
    await eater.stop()
    await numbers.stop()


@pytest.mark.virtual_time
async def test_consumers_share_the_events_of_a_producer() -> None:
    log = Log()
    numbers = await Numbers.start(0, 39)
    eaters = [await SlowEater.start(log, who, numbers, Options(max_demand=2)) for who in "abcd"]
    began = asyncio.get_running_loop().time()
    for eater in eaters:
        await eater.down()
    assert asyncio.get_running_loop().time() - began == pytest.approx(10.0)
    assert sorted(log.all()) == list(range(40))
    assert [len(log.of(who)) for who in "abcd"] == [10] * 4


async def test_what_nobody_asks_for_waits_and_the_oldest_is_dropped_and_reported() -> None:
    class Small(Mute):
        buffer_max = 5

    log = Log()
    numbers = await Small.start()
    numbers.say(list(range(8)))
    assert await numbers.undelivered() == [("buffer_full", (0, 1, 2))]
    assert (await numbers.counts()).dropped == 3
    eater = await Eater.start(log, "a", numbers, TEN)
    await arrive()
    assert log.all() == [3, 4, 5, 6, 7]
    await eater.stop()
    await numbers.stop()


async def test_a_producer_without_a_hook_reports_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Small(Producer[str]):
        buffer_max = 1
        buffer_keep = "first"

        @call
        def say(self, words: list[str]) -> None:
            self.emit(words)

    small = await Small.start()
    with caplog.at_level(logging.WARNING, "roost.otp"):
        await small.say(["a", "b", "c"])
    assert "2 events not delivered (buffer_full): nobody has asked for them" in caplog.text
    (record,) = caplog.records
    report: object = record.report  # type: ignore[attr-defined]  # set by the record
    assert report == Undelivered("buffer_full", ("b", "c"), "nobody has asked for them, and 1 others wait")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "roost.otp"):
        await small.stop()
    assert "1 events not delivered (ended): the producer has ended: normal; they are ['a']" in caplog.text


async def test_demand_waits_until_it_is_let_through() -> None:
    class Later(Numbers):
        demand_mode = "accumulate"

    log = Log()
    numbers = await Later.start(0, 3)
    eater = await Eater.start(log, "a", numbers, TEN)
    await arrive()
    assert log.all() == []
    numbers.demand("forward")
    await eater.down()
    assert log.all() == [0, 1, 2, 3]


async def test_an_async_source_is_asked_once_at_a_time() -> None:
    class Web(Producer[int]):
        def init(self) -> None:
            self.page = 0

        async def handle_demand(self, demand: int) -> list[int]:
            self.page += 1
            await turns(1)
            if self.page == 3:
                self.finish()
            return [100 * self.page + number for number in range(min(demand, 3))]

    log = Log()
    web = await Web.start()
    eater = await Eater.start(log, "a", web, Options(max_demand=3, min_demand=0))
    await eater.down()
    assert log.all() == [100, 101, 102, 200, 201, 202, 300, 301, 302]


async def test_by_hand_nothing_comes_unasked() -> None:
    log = Log()
    numbers = await Numbers.start()
    eater = await Eater.start(log, "a", numbers, Options(max_demand=10, manual=True))
    await arrive()
    assert log.all() == []
    assert await eater.want(3) == 3
    await arrive()
    assert log.all() == [0, 1, 2]
    assert await eater.want(50) == 10
    await arrive()
    assert len(log.all()) == 13
    await eater.stop()
    await numbers.stop()


async def test_a_consumer_subscribes_later_and_leaves() -> None:
    log = Log()
    numbers = await Mute.start(name="numbers")
    eater = await Eater.start(log, "a")
    subscription = await eater.subscribe(numbers, max_demand=10)
    with pytest.raises(NoSuchProcess):
        await eater.subscribe("nobody")
    numbers.say([1, 2])
    await arrive()
    await eater.unsubscribe(subscription)
    await eater.unsubscribe(subscription)
    numbers.say([3])
    await arrive()
    assert log.all() == [1, 2]
    assert await eater.cancels() == await numbers.cancels() == ["unsubscribed"]
    eater.subscribe_soon("numbers")
    await arrive()
    assert log.all() == [1, 2, 3]
    await eater.stop()
    await numbers.stop()


@pytest.mark.virtual_time
async def test_what_a_leaving_consumer_has_not_begun_goes_to_another() -> None:
    log = Log()
    numbers = await Mute.start()
    slow = await SlowEater.start(log, "slow", numbers, Options(max_demand=4, min_demand=3))
    numbers.say([1, 2, 3, 4])
    await asyncio.sleep(0.5)
    going = slow.go()
    quick = await Eater.start(log, "quick", numbers, TEN)
    await going
    await arrive()
    assert log.batches == [("slow", (1,), False), *(("quick", (number,), False) for number in (2, 3, 4))]
    await slow.stop()
    await quick.stop()
    await numbers.stop()


async def test_one_that_leaves_while_it_handles_events_has_handled_them() -> None:
    class Taster(Eater):
        def handle_events(self, events: list[int]) -> None:
            assert self.subscription is not None
            self.unsubscribe_from(self.subscription)
            super().handle_events(events)

    log = Log()
    numbers = await Mute.start()
    taster = await Taster.start(log, "taster", numbers, TEN)
    numbers.say(list(range(8)))
    await arrive()
    eater = await Eater.start(log, "eater", numbers, TEN)
    await arrive()
    assert log.batches == [("taster", (0, 1, 2, 3, 4), False), ("eater", (5, 6, 7), False)]
    for stage in (taster, eater, numbers):
        await stage.stop()


async def test_there_is_a_delivery_only_while_events_are_handled() -> None:
    class Curious(Eater):
        @call
        def look(self) -> bool:
            return self.delivery.again

    curious = await Curious.start(Log(), "a")
    with pytest.raises(ConfigError, match="only while handle_events runs"):
        await curious.look()
    await curious.stop()


@pytest.mark.parametrize(
    ("cancel", "reason", "lives"),
    [
        ("permanent", "normal", False),
        ("permanent", "broken", False),
        ("transient", "normal", True),
        ("transient", "shutdown", True),
        ("transient", "broken", False),
        ("temporary", "normal", True),
        ("temporary", "broken", True),
    ],
)
async def test_which_ends_of_the_producer_end_the_consumer(cancel: str, reason: str, lives: bool) -> None:
    numbers = await Mute.start()
    eater = await Eater.start(Log(), "a", numbers, Options(cancel=cancel))
    await numbers.stop(reason)
    await arrive()
    assert eater.is_alive() == lives
    if lives:
        assert await eater.cancels() == [reason]
        await eater.stop()


async def test_events_that_have_arrived_are_handled_before_the_end_of_their_producer() -> None:
    log = Log()
    numbers = await Numbers.start(0, None, 7)
    eater = await Eater.start(log, "a", numbers, TEN)
    await turns(1)
    down = eater.down()
    numbers.exit("kill")
    assert (await down).reason == "killed"
    assert log.all() == [0, 1, 2, 3, 4, 5, 6]


async def test_a_crash_gives_what_was_under_way_to_another(caplog: pytest.LogCaptureFixture) -> None:
    log = Log()
    numbers = await Mute.start()
    weak = await Eater.start(log, "weak", numbers, Options(max_demand=4), lambda event: event == 3)
    numbers.say([1, 2, 3, 4])
    await weak.down()
    strong = await Eater.start(log, "strong", numbers, TEN)
    await arrive()
    assert log.batches == [
        ("weak", (1, 2), False),
        ("strong", (3,), True),
        ("strong", (4,), True),
    ]
    counts = await numbers.counts()
    assert (counts.redelivered, counts.acknowledged, counts.in_flight) == (2, 4, 0)
    await strong.stop()
    await numbers.stop()


@pytest.mark.virtual_time
async def test_a_restarted_consumer_gets_everything_and_the_poison_is_given_up() -> None:
    log = Log()
    numbers = await Numbers.start(0, 29, name="numbers")
    supervisor = await Supervisor.start(
        [Eater.child(log, "a", "numbers", TEN, lambda event: event == 12, restart="transient")], max_restarts=10
    )
    reported: list[tuple[str, tuple[object, ...]]] = []
    while numbers.is_alive():
        reported = await numbers.undelivered()
        await asyncio.sleep(0.1)
    assert reported == [("poison", (12,))]
    assert sorted(set(log.all())) == [number for number in range(30) if number != 12]
    assert len(log.all()) == 29, "only events that were being handled in the crash came twice"
    await supervisor.stop()


@pytest.mark.virtual_time
async def test_under_rest_for_one_a_producer_that_comes_back_finds_its_consumers_again() -> None:
    log = Log()
    supervisor = await Supervisor.start(
        [Numbers.child(0, 19, name="numbers", restart="transient"), SlowEater.child(log, "a", "numbers", TEN)],
        strategy="rest_for_one",
    )
    await asyncio.sleep(1.5)
    Numbers.whereis("numbers").exit("kill")
    await asyncio.sleep(30.0)
    assert set(log.all()) == set(range(20))
    assert len(log.all()) > 20, "a new producer begins anew"
    await supervisor.stop()


async def test_a_subscription_that_wants_reports_gets_no_event_twice() -> None:
    log = Log()
    numbers = await Mute.start()
    options = Options(max_demand=4, on_crash="report")
    weak = await Eater.start(log, "weak", numbers, options, lambda event: event == 3)
    numbers.say([1, 2, 3, 4, 5])
    await weak.down()
    strong = await Eater.start(log, "strong", numbers, options)
    await arrive()
    assert log.all() == [1, 2, 5]
    assert await numbers.undelivered() == [("crash", (3, 4))]
    await strong.stop()
    await numbers.stop()


async def test_a_refusal_in_a_handler_of_events_is_a_crash() -> None:
    numbers = await Numbers.start(name="numbers")
    refuser = await Refuser.start("numbers")
    reason = (await refuser.down()).reason
    assert isinstance(reason, StageFailed)
    assert "handle_events of Refuser" in str(reason)
    await numbers.stop()


async def test_a_broadcast_reaches_everybody_at_the_pace_of_the_slowest() -> None:
    log = Log()
    speaker = await Broadcaster.start()
    a = await Eater.start(log, "a", speaker, Options(max_demand=4))
    b = await Eater.start(log, "b", speaker, Options(max_demand=2, manual=True), None, lambda event: event % 2 == 1)
    speaker.say([1, 2, 3])
    await arrive()
    assert log.all() == []
    await b.want(2)
    await arrive()
    assert (log.of("a"), log.of("b")) == ([1, 2, 3], [1, 3])
    for eater in (a, b):
        await eater.stop()
    await speaker.stop()


async def test_a_named_listener_of_a_broadcast_gets_again_what_it_missed() -> None:
    log = Log()
    speaker = await Broadcaster.start()
    weak = await Eater.start(log, "a", speaker, Options(max_demand=4), lambda event: event == 2, name="a")
    nameless = await Eater.start(log, "b", speaker, Options(max_demand=4), lambda event: event == 2)
    speaker.say([1, 2, 3])
    await weak.down()
    await nameless.down()
    again = await Eater.start(log, "a", speaker, TEN, name="a")
    await arrive()
    assert log.batches == [("a", (1,), True), ("a", (2,), True), ("a", (3,), False)]
    assert await speaker.undelivered() == [("absent", (1, 2)), ("absent", (3,))]
    await again.stop()
    await speaker.stop()


@pytest.mark.virtual_time
async def test_a_broadcast_that_is_finished_waits_a_while_for_those_who_crashed() -> None:
    log = Log()
    speaker = await Broadcaster.start()
    weak = await Eater.start(log, "a", speaker, TEN, lambda event: True, name="a")
    speaker.say([1])
    await weak.down()
    speaker.end()
    down = speaker.down()
    await asyncio.sleep(59.0)
    assert not down.done()
    await asyncio.sleep(2.0)
    assert down.done()


async def test_partitions_have_one_consumer_each() -> None:
    log = Log()
    sorter = await Sorter.start()
    eaters = [
        await Eater.start(log, str(number), sorter, Options(max_demand=5, partition=number)) for number in range(4)
    ]
    late = await Eater.start(log, "late", sorter, Options(partition=2))
    assert isinstance((await late.down()).reason, ConfigError)
    sorter.say([10, 11, 20, 19, 13, 23, 21, 30])
    await arrive()
    assert [log.of(str(number)) for number in range(4)] == [[10, 20, 30], [11, 21], [], [13, 23]]
    assert (await sorter.counts()).discarded == 1
    sorter.say([15])
    assert await sorter.undelivered() == [("misrouted", (15,))]
    for eater in eaters:
        await eater.stop()
    await sorter.stop()


async def test_a_stage_in_the_middle_makes_events_from_events() -> None:
    log = Log()
    numbers = await Numbers.start(1, 20)
    times = await Times.start(numbers, 10, 2)
    eater = await Eater.start(log, "a", times, TEN)
    await eater.down()
    assert log.all() == [10 * number for number in range(1, 21) for _ in range(2)]
    assert not times.is_alive()


async def test_a_stage_in_the_middle_holds_no_more_than_is_asked_of_it() -> None:
    log = Log()
    numbers = await Numbers.start()
    times = await Times.start(numbers, 1, 3)
    eater = await Eater.start(log, "a", times, Options(max_demand=6, manual=True))
    await arrive()
    assert (await times.counts()).emitted == 0
    await eater.want(6)
    await arrive()
    counts = await times.counts()
    assert (counts.emitted, counts.buffered) == (15, 9), "the five events of one batch, three times each"
    assert (await numbers.counts()).acknowledged == 0
    for _ in range(2):
        await eater.want(6)
        await arrive()
    assert (await numbers.counts()).acknowledged == 5, "it is acknowledged when all that was made of it is"
    for stage in (eater, times, numbers):
        await stage.stop()


@pytest.mark.virtual_time
async def test_a_crash_in_the_middle_loses_nothing() -> None:
    log = Log()
    numbers = await Numbers.start(0, 49)
    first = await Times.start(numbers, 1)
    eater = await SlowEater.start(log, "a", first, Options(cancel="temporary"))
    await asyncio.sleep(3.5)
    first.exit("kill")
    second = await Times.start(numbers, 1)
    await eater.subscribe(second, max_demand=10)
    await eater.down()
    assert set(log.all()) == set(range(50))
    again = len(log.all()) - 50
    assert 0 < again <= 20, "what was under way came twice"


async def test_a_consumer_needs_a_producer_of_this_node() -> None:
    eater = await Eater.start(Log(), "a")
    with pytest.raises(ConfigError, match="is no producer"):
        await eater.subscribe(eater)
    numbers = await Numbers.start()
    for options in (Options(cancel="never"), Options(max_demand=0)):
        with pytest.raises(StartFailed):
            await Eater.start(Log(), "b", numbers, options)
    await numbers.stop()
    with pytest.raises(NoSuchProcess):
        await eater.subscribe(numbers)
    await eater.stop()


def test_a_stage_may_not_drop_its_mail() -> None:
    with pytest.raises(ConfigError, match="Leaky is a stage"):

        class Leaky(Consumer[int]):
            overflow = "drop_oldest"


async def test_consumers_that_ask_unequally_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    numbers = await Mute.start()
    a = await Eater.start(Log(), "a", numbers, Options(max_demand=10))
    b = await Eater.start(Log(), "b", numbers, Options(max_demand=20))
    await arrive()
    assert "max_demand=20 beside max_demand=10" in caplog.text
    for stage in (a, b, numbers):
        await stage.stop()


class Basket(Producer[list[int]]):
    """Emits what can be changed."""

    def init(self) -> None:
        self.last = [1]

    @call
    def say(self) -> list[int]:
        """Emit, and change it afterwards."""
        self.emit([self.last])
        self.last.append(2)
        return self.last


async def test_what_is_sent_cannot_be_changed_from_the_other_side() -> None:
    seen: list[list[int]] = []

    class Changer(Consumer[list[int]]):
        def init(self, basket: Basket) -> None:
            self.subscribe_to(basket)

        def handle_events(self, events: list[list[int]]) -> None:
            seen.append(list(events[0]))
            events[0].append(9)
            if len(seen) == 1:
                raise ValueError("first time")

    basket = await Basket.start()
    first = await Changer.start(basket)
    assert await basket.say() == [1, 2]
    await first.down()
    second = await Changer.start(basket)
    await arrive()
    assert seen == [[1], [1]]
    await second.stop()
    await basket.stop()
