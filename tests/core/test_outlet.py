"""The producing side of a stage: demand, buffer, parcels, and what a crash makes of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.dispatch import BroadcastDispatcher, DemandDispatcher, Dispatcher, PartitionDispatcher, Place, Ref
from roost.core.inlet import Inlet
from roost.core.outlet import Counts, Deliver, Effect, Keep, OnCrash, Outlet, Settled, Undelivered
from roost.errors import ConfigError

A, B = (1, 1), (2, 1)


def outlet(
    dispatcher: Dispatcher | None = None, buffer_max: int | None = 100, keep: Keep = "last", redeliveries_max: int = 3
) -> Outlet:
    """An outlet with two consumers that handle two events at once."""
    made = Outlet(dispatcher or DemandDispatcher(), buffer_max=buffer_max, keep=keep, redeliveries_max=redeliveries_max)
    for ref in (A, B):
        made.subscribe(ref, Place(10, ref[0] - 1, key=str(ref[0])), 2, "redeliver")
    return made


def sent(effects: Sequence[Effect]) -> list[tuple[int, list[object], bool]]:
    """The parcels among the effects: to whom, what, and whether again."""
    return [(effect.ref[0], effect.events, effect.again) for effect in effects if isinstance(effect, Deliver)]


def test_what_nobody_asks_for_waits_and_leaves_in_parcels() -> None:
    producer = outlet()
    assert producer.emit([1, 2, 3, 4, 5]) == []
    assert producer.ask(A, 3) == [Deliver(A, 1, [1, 2], False), Deliver(A, 2, [3], False)]
    assert producer.counts() == Counts(emitted=5, delivered=3, in_flight=3, buffered=2)


def test_the_source_is_asked_for_what_is_neither_there_nor_on_its_way() -> None:
    producer = outlet()
    producer.emit([1])
    producer.ask(A, 5)
    assert producer.wanted() == 4
    assert producer.wanted() == 0
    producer.cancel(A, "gone", crashed=False)
    producer.ask(B, 6)
    assert producer.wanted() == 1, "one came back, and four are still owed"


@pytest.mark.parametrize(("keep", "kept", "lost"), [("last", (3, 4, 5), (1, 2)), ("first", (1, 2, 3), (4, 5))])
def test_a_full_buffer_says_what_it_drops(keep: Keep, kept: tuple[int, ...], lost: tuple[int, ...]) -> None:
    producer = outlet(buffer_max=3, keep=keep)
    dropped: list[object] = []
    for events in ([1, 2], [3, 4, 5]):
        for effect in producer.emit(list(events)):
            assert isinstance(effect, Undelivered)
            assert effect.cause == "buffer_full"
            dropped += effect.events
    assert tuple(dropped) == lost
    assert tuple(event for _, events, _ in sent(producer.ask(A, 10)) for event in events) == kept
    assert producer.counts().dropped == producer.counts().undelivered == 2


def test_what_a_crashed_consumer_had_goes_to_another_and_the_suspects_go_alone() -> None:
    producer = outlet()
    producer.ask(A, 6)
    producer.emit([1, 2, 3, 4])
    producer.ask(B, 10)
    assert sent(producer.cancel(A, "broke", crashed=True)) == [
        (2, [1], True),
        (2, [2], True),
        (2, [3, 4], False),
    ]
    assert producer.counts().redelivered == 2


def test_after_a_clean_end_nobody_is_suspected() -> None:
    producer = outlet()
    producer.ask(A, 6)
    producer.emit([1, 2, 3])
    producer.ask(B, 10)
    assert sent(producer.cancel(A, "shutdown", crashed=False)) == [(2, [1, 2], True), (2, [3], False)]


def test_one_who_leaves_gives_back_what_it_has_not_begun() -> None:
    producer = outlet()
    producer.ask(A, 6)
    producer.emit([1, 2, 3])
    producer.handled(A, 1)
    producer.ask(B, 10)
    assert sent(producer.cancel(A, "unsubscribed", crashed=False, left=True)) == [(2, [3], False)]
    assert producer.acknowledge(A, 1) == []


def test_a_poisonous_event_is_given_up_and_takes_no_other_with_it() -> None:
    producer = outlet(redeliveries_max=2)
    parcels = deque(sent(producer.ask(A, 10) + producer.emit([1, 2])))
    given_up: list[Effect] = []
    crashes = 0
    while parcels and crashes < 9:
        _, events, _ = parcels.popleft()
        if 2 in events:
            crashes += 1
            effects = producer.cancel(A, "ate 2", crashed=True)
            producer.subscribe(A, Place(10), 2, "redeliver")
            effects += producer.ask(A, 10)
            parcels = deque(sent(effects))
            given_up += [effect for effect in effects if isinstance(effect, Undelivered)]
        else:
            producer.acknowledge(A, 1)
    assert given_up == [Undelivered("poison", (2,), "ate 2")]
    assert crashes == 3
    assert producer.idle()


def test_a_subscription_may_want_a_report_instead() -> None:
    producer = Outlet(DemandDispatcher(), buffer_max=10, keep="last", redeliveries_max=3)
    producer.subscribe(A, Place(10), 2, "report")
    producer.subscribe(B, Place(10), 2, "report")
    producer.ask(A, 4)
    producer.emit([1, 2, 3])
    producer.ask(B, 1)
    effects = producer.cancel(A, "broke", crashed=True)
    assert effects == [Undelivered("crash", (1, 2), "broke"), Deliver(B, 1, [3], False)]


def test_a_refused_parcel_is_sent_again_to_whoever_asks() -> None:
    producer = outlet(redeliveries_max=1)
    producer.ask(A, 2)
    producer.emit([1, 2])
    producer.ask(B, 2)
    assert sent(producer.refuse(A, 1, "no")) == [(2, [1], True), (2, [2], True)]
    assert producer.refuse(B, 1, "no") == [Undelivered("poison", (1,), "no")]
    assert producer.acknowledge(B, 2) == []
    assert producer.idle()


def test_a_partition_gets_its_refused_parcel_again_in_its_place() -> None:
    producer = outlet(PartitionDispatcher(2, lambda event: 0))
    producer.ask(A, 3)
    producer.emit([1, 2, 3, 4])
    producer.ask(B, 5)
    assert sent(producer.refuse(A, 1, "no")) == []
    assert sent(producer.ask(A, 3)) == [(1, [1], True), (1, [2], True), (1, [4], False)]


def test_an_origin_is_settled_when_all_that_was_made_of_it_is() -> None:
    producer = outlet(BroadcastDispatcher(), buffer_max=None)
    producer.ask(A, 4)
    producer.open(7)
    assert sent(producer.emit([1, 2], 7)) == []
    assert producer.close(7) == []
    assert len(sent(producer.ask(B, 1))) == 2
    assert len(sent(producer.ask(B, 1))) == 2
    for ref, number in ((A, 1), (B, 1), (A, 2)):
        assert producer.acknowledge(ref, number) == []
    assert producer.acknowledge(B, 2) == [Settled(7)]


def test_an_origin_of_which_nothing_was_made_is_settled_at_once() -> None:
    producer = outlet()
    producer.open(7)
    assert producer.close(7) == [Settled(7)]


def test_a_discarded_event_settles_its_origin_and_a_misrouted_one_is_reported() -> None:
    producer = outlet(PartitionDispatcher(2, lambda event: None if event == 1 else 9))
    producer.ask(A, 4)
    producer.open(7)
    assert producer.emit([1, 2], 7) == [Undelivered("misrouted", (2,), "there is no partition 9")]
    assert producer.close(7) == [Settled(7)]
    assert producer.counts().discarded == producer.counts().undelivered == 1


def test_what_is_left_at_the_end_is_known_but_for_what_will_be_made_again() -> None:
    producer = outlet(buffer_max=None)
    producer.emit([1, 2])
    producer.open(7)
    producer.emit([3], 7)
    producer.ask(A, 1)
    assert producer.unsettled() == [1, 2]
    producer.forget(7)
    assert producer.unsettled() == [1, 2, 3]


@pytest.mark.parametrize(
    ("buffer_max", "keep", "redeliveries_max"), [(-1, "last", 3), (1, "middle", 3), (1, "last", -1)]
)
def test_settings_that_make_no_sense_are_refused(buffer_max: int, keep: Keep, redeliveries_max: int) -> None:
    with pytest.raises(ConfigError):
        outlet(None, buffer_max, keep, redeliveries_max)


def test_a_word_that_is_no_mode_is_refused() -> None:
    producer = outlet()
    with pytest.raises(ConfigError, match="'ignore' is not one of redeliver, report"):
        producer.subscribe((3, 1), Place(1), 1, "ignore")  # type: ignore[arg-type]  # that is the point


@dataclass
class Eater:
    """A consumer in the model: parcels that wait in its mailbox, and its demand."""

    ref: Ref
    inlet: Inlet
    mail: deque[Deliver] = field(default_factory=deque)


class Market:
    """A producer and its consumers, with the mail between them, all driven by hand."""

    def __init__(self, dispatcher: Dispatcher, modes: Sequence[OnCrash], max_demand: int, poison: int) -> None:
        self.outlet = Outlet(dispatcher, buffer_max=10_000, keep="last", redeliveries_max=2)
        self.modes, self.max_demand, self.poison = modes, max_demand, poison
        self.emitted = 0
        self.pids = 0
        self.handled: dict[int, list[tuple[int, bool]]] = {slot: [] for slot in range(len(modes))}
        self.reported: list[object] = []
        self.accused = Counter[object]()
        self.eaters: dict[int, Eater | None] = dict.fromkeys(range(len(modes)))

    def start(self, slot: int) -> None:
        """Let the consumer of this slot come, or come back."""
        self.pids += 1
        eater = self.eaters[slot] = Eater((self.pids, 1), Inlet(self.max_demand))
        self.outlet.subscribe(
            eater.ref, Place(self.max_demand, slot, key=f"slot {slot}"), eater.inlet.batch, self.modes[slot]
        )
        self.act(self.outlet.ask(eater.ref, eater.inlet.first()))

    def crash(self, slot: int) -> None:
        """End the consumer of this slot; what is in its mailbox is gone with it."""
        eater, self.eaters[slot] = self.eaters[slot], None
        assert eater is not None
        if eater.mail:
            self.accused.update(eater.mail[0].events)
        self.act(self.outlet.cancel(eater.ref, "crash", crashed=True))

    def make(self, count: int) -> None:
        """Emit as many as are wanted, up to `count`."""
        count = min(count, self.outlet.wanted())
        events: list[object] = list(range(self.emitted, self.emitted + count))
        self.emitted += count
        self.act(self.outlet.emit(events))

    def eat(self, slot: int) -> None:
        """Let the consumer of this slot handle the next parcel; the poisonous event kills it."""
        eater = self.eaters[slot]
        if eater is None or not eater.mail:
            return
        parcel = eater.mail[0]
        for event in parcel.events:
            assert isinstance(event, int)
            if event == self.poison:
                self.crash(slot)
                return
            self.handled[slot].append((event, parcel.again))
        eater.mail.popleft()
        self.act(self.outlet.acknowledge(eater.ref, parcel.number))
        more = eater.inlet.settled(len(parcel.events))
        if more:
            self.act(self.outlet.ask(eater.ref, more))

    def act(self, effects: Sequence[Effect]) -> None:
        """Deliver the mail, and note what is reported."""
        by_ref = {eater.ref: eater for eater in self.eaters.values() if eater is not None}
        for effect in effects:
            if isinstance(effect, Undelivered):
                self.reported += effect.events
            elif isinstance(effect, Deliver):
                by_ref[effect.ref].mail.append(effect)
        for eater in by_ref.values():
            assert sum(len(parcel.events) for parcel in eater.mail) <= self.max_demand
        assert self.outlet.counts().in_flight <= self.max_demand * len(by_ref)

    def finish(self) -> None:
        """Bring everybody back, as often as it takes, until all is handled."""
        for _ in range(10_000):
            for slot, eater in self.eaters.items():
                if eater is None:
                    self.start(slot)
                self.eat(slot)
            if self.outlet.idle():
                return
        raise AssertionError("it never ends")


Life = list[tuple[str, int, int]]
LIVES = st.lists(
    st.tuples(st.sampled_from(["start", "crash", "eat", "eat", "make", "make"]), st.integers(0, 2), st.integers(1, 9)),
    max_size=80,
)


def live(market: Market, life: Life) -> None:
    """A random history, and its end."""
    for kind, slot, count in life:
        eater = market.eaters[slot]
        if kind == "make":
            market.make(count)
        elif kind == "eat":
            market.eat(slot)
        elif kind == "start" and eater is None:
            market.start(slot)
        elif kind == "crash" and eater is not None:
            market.crash(slot)
    market.finish()


def check_nothing_is_lost(market: Market, expected: Callable[[int], range | list[int]]) -> None:
    """Every event was handled by, or reported for, those who should have it; what came twice was marked."""
    reported = Counter(market.reported)
    for slot, handled in market.handled.items():
        got = {event for event, _ in handled}
        missing = [event for event in expected(slot) if event not in got and not reported[event]]
        assert not missing, f"lost: {missing}"
        seen: set[int] = set()
        for event, again in handled:
            assert again or event not in seen, f"{event} came twice and was not marked"
            seen.add(event)


@settings(max_examples=300)
@given(LIVES, st.integers(1, 6), st.integers(0, 12))
def test_with_crashes_every_event_is_handled_or_reported(life: Life, max_demand: int, poison: int) -> None:
    market = Market(DemandDispatcher(), ["redeliver"] * 3, max_demand, poison)
    live(market, life)
    everywhere = [entry for handled in market.handled.values() for entry in handled]
    market.handled = {0: sorted(everywhere)}
    check_nothing_is_lost(market, lambda slot: range(market.emitted))
    assert all(market.accused[event] == 3 for event in market.reported), "only what seems to be poison is given up"


@settings(max_examples=300)
@given(LIVES, st.integers(1, 6), st.integers(0, 12))
def test_with_reports_no_event_is_handled_twice(life: Life, max_demand: int, poison: int) -> None:
    market = Market(DemandDispatcher(), ["report"] * 3, max_demand, poison)
    live(market, life)
    handled = Counter(event for handled in market.handled.values() for event, _ in handled)
    assert all(count == 1 for count in handled.values())
    assert set(handled) | set(market.reported) == set(range(market.emitted))


@settings(max_examples=300)
@given(LIVES, st.integers(1, 6), st.integers(0, 12))
def test_with_crashes_partitions_keep_their_order(life: Life, max_demand: int, poison: int) -> None:
    market = Market(PartitionDispatcher(3, lambda event: event % 3), ["redeliver"] * 3, max_demand, poison)
    live(market, life)
    check_nothing_is_lost(market, lambda slot: [event for event in range(market.emitted) if event % 3 == slot])
    for handled in market.handled.values():
        first_times = list(dict.fromkeys(event for event, _ in handled))
        assert first_times == sorted(first_times)


@settings(max_examples=300)
@given(LIVES, st.integers(1, 6), st.integers(0, 12))
def test_with_crashes_a_broadcast_reaches_all_who_stay(life: Life, max_demand: int, poison: int) -> None:
    """A consumer that comes back has missed what was broadcast while it was away, and nothing else."""
    market = Market(BroadcastDispatcher(), ["redeliver"] * 3, max_demand, poison)
    owed: dict[int, dict[int, None]] = {slot: {} for slot in range(3)}
    act = market.act

    def noting(effects: Sequence[Effect]) -> None:
        by_ref = {eater.ref: slot for slot, eater in market.eaters.items() if eater is not None}
        for effect in effects:
            if isinstance(effect, Deliver):
                owed[by_ref[effect.ref]] |= {event: None for event in effect.events if isinstance(event, int)}
        act(effects)

    market.act = noting  # type: ignore[method-assign]  # to see what was sent to whom
    live(market, life)
    check_nothing_is_lost(market, lambda slot: list(owed[slot]))


def test_a_lost_redelivery_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: what comes back from a crashed consumer is dropped."""
    monkeypatch.setattr(Outlet, "_return", lambda self, ref, lots: None)
    with pytest.raises(AssertionError, match=r"lost: \["):
        test_with_crashes_every_event_is_handled_or_reported()
