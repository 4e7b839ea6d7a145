"""The dispatchers against their rules: never more than was asked for, nothing lost, order, fairness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.dispatch import (
    BroadcastDispatcher,
    DemandDispatcher,
    Dispatcher,
    Lot,
    PartitionDispatcher,
    Place,
    Ref,
    spread,
)
from roost.errors import ConfigError
from roost.limits import STAGE_ABSENT_MAX

A, B, C = (1, 1), (2, 1), (3, 1)


class Ledger:
    """What each consumer has asked for and got."""

    def __init__(self, dispatcher: Dispatcher, refs: Sequence[Ref], places: Sequence[Place] = ()) -> None:
        self.dispatcher = dispatcher
        self.asked = Counter[Ref]()
        self.got: dict[Ref, list[object]] = {ref: [] for ref in refs}
        for ref, place in zip(refs, places or [Place(10)] * len(refs), strict=True):
            assert dispatcher.subscribe(ref, place) is None

    def ask(self, ref: Ref, count: int) -> None:
        """Ask, and take what comes."""
        self.asked[ref] += count
        self._take(self.dispatcher.ask(ref, count))

    def dispatch(self, *events: object) -> Sequence[object]:
        """Dispatch as many as there is room for; the rest comes back."""
        room = self.dispatcher.room()
        now, rest = events[:room], events[room:]
        if now:
            self._take(self.dispatcher.dispatch(Lot(list(now))).sent)
        return rest

    def _take(self, sent: Sequence[tuple[Ref, Lot]]) -> None:
        for ref, lot in sent:
            self.asked[ref] -= len(lot.events)
            assert self.asked[ref] >= 0, "more was sent than was asked for"
            self.got[ref] += lot.events


def test_whoever_asks_for_most_gets_the_event() -> None:
    ledger = Ledger(DemandDispatcher(), [A, B])
    ledger.ask(A, 2)
    ledger.ask(B, 3)
    assert ledger.dispatch(1, 2, 3, 4, 5, 6) == (6,)
    assert ledger.got == {A: [4, 5], B: [1, 2, 3]}


def test_among_equals_the_one_that_waits_longest_gets_it() -> None:
    ledger = Ledger(DemandDispatcher(), [A, B, C])
    for ref in (B, C, A):
        ledger.ask(ref, 1)
    for event in (1, 2, 3):
        ledger.dispatch(event)
    assert ledger.got == {A: [3], B: [1], C: [2]}


def test_consumers_that_ask_unequally_are_warned_of() -> None:
    dispatcher = DemandDispatcher()
    assert dispatcher.subscribe(A, Place(10)) is None
    assert "max_demand=20 beside max_demand=10" in (dispatcher.subscribe(B, Place(20)) or "")


def test_the_demand_of_one_that_is_gone_is_forgotten() -> None:
    ledger = Ledger(DemandDispatcher(), [A, B])
    ledger.ask(A, 5)
    ledger.ask(B, 1)
    assert ledger.dispatcher.cancel(A, left=False) == []
    assert ledger.dispatch(1, 2) == (2,)
    assert ledger.got[B] == [1]


def test_a_broadcast_goes_to_all_and_waits_for_the_slowest() -> None:
    ledger = Ledger(BroadcastDispatcher(), [A, B])
    ledger.ask(A, 5)
    assert ledger.dispatch(1) == (1,)
    ledger.ask(B, 2)
    assert ledger.dispatch(1, 2, 3) == (3,)
    assert ledger.got == {A: [1, 2], B: [1, 2]}
    ledger.dispatcher.cancel(B, left=True)
    assert ledger.dispatch(3, 4, 5, 6) == (6,)


def test_a_selector_costs_no_demand_for_what_it_leaves_out() -> None:
    odd = Place(10, selector=lambda event: event in (1, 3, 5))
    ledger = Ledger(BroadcastDispatcher(), [A, B], [odd, Place(10)])
    ledger.ask(A, 2)
    ledger.ask(B, 10)
    ledger.dispatch(1, 2)
    assert ledger.dispatch(4, 3) == (3,)
    ledger.dispatch(3)
    assert ledger.dispatch(5) == (5,)
    assert ledger.got == {A: [1, 3], B: [1, 2, 4, 3]}


def test_a_selector_that_fails_is_told_of() -> None:
    dispatcher = BroadcastDispatcher()
    dispatcher.subscribe(A, Place(10, selector=lambda event: 1 / len(str(event)[1:]) > 0))
    dispatcher.ask(A, 5)
    done = dispatcher.dispatch(Lot(["ab", "a"]))
    assert done.sent == [(A, Lot(["ab"]))]
    assert [(lost.event, lost.why) for lost in done.misrouted] == [("a", "ZeroDivisionError: division by zero")]


def test_a_process_listens_to_a_broadcast_once() -> None:
    dispatcher = BroadcastDispatcher()
    dispatcher.subscribe((1, 1), Place(1))
    with pytest.raises(ConfigError, match="subscribed to this broadcast already"):
        dispatcher.subscribe((1, 2), Place(1))


def test_what_a_listener_missed_waits_for_its_name() -> None:
    dispatcher = BroadcastDispatcher()
    dispatcher.subscribe(A, Place(10, key="a"))
    dispatcher.ask(A, 1)
    dispatcher.give_back(A, [Lot([1, 2], again=True)])
    assert dispatcher.cancel(A, left=False) == []
    assert dispatcher.waiting() == [Lot([1, 2], again=True)]
    dispatcher.subscribe(B, Place(10, key="b"))
    dispatcher.ask(B, 5)
    dispatcher.subscribe(C, Place(10, key="a"))
    assert dispatcher.ask(C, 1) == [(C, Lot([1], again=True))]
    assert dispatcher.ask(C, 5) == [(C, Lot([2], again=True))]
    assert dispatcher.room() == 4


def test_what_a_nameless_listener_missed_is_nobodys() -> None:
    dispatcher = BroadcastDispatcher()
    dispatcher.subscribe(A, Place(10))
    dispatcher.give_back(A, [Lot([1])])
    assert dispatcher.cancel(A, left=False) == [Lot([1])]


def test_too_many_that_are_missing_are_not_waited_for() -> None:
    dispatcher = BroadcastDispatcher()
    lost: list[Lot] = []
    for number in range(STAGE_ABSENT_MAX + 1):
        dispatcher.subscribe((number, 1), Place(10, key=str(number)))
        dispatcher.give_back((number, 1), [Lot([number])])
        lost += dispatcher.cancel((number, 1), left=False)
    assert lost == [Lot([0])]
    assert dispatcher.give_up() == [Lot([number]) for number in range(1, STAGE_ABSENT_MAX + 1)]
    assert dispatcher.waiting() == []


def by_last_digit(event: int) -> Hashable:
    """Partitions 0 and 1; 2 to discard; others do not exist."""
    digit = event % 10
    return None if digit == 2 else digit


def test_each_event_goes_to_its_partition() -> None:
    ledger = Ledger(PartitionDispatcher(2, by_last_digit), [A, B], [Place(10, 0), Place(10, 1)])
    ledger.ask(A, 3)
    ledger.ask(B, 3)
    assert ledger.dispatch(10, 20, 11) == ()
    assert ledger.got == {A: [10, 20], B: [11]}


def test_no_partition_means_discarded_and_a_wrong_one_is_told_of() -> None:
    dispatcher = PartitionDispatcher(2, by_last_digit)
    dispatcher.subscribe(A, Place(10, 0))
    dispatcher.ask(A, 10)
    done = dispatcher.dispatch(Lot([12, 13, 10, "x"]))
    assert (done.discarded, done.sent) == (1, [(A, Lot([10]))])
    assert [lost.event for lost in done.misrouted] == ["x", 13]
    assert "TypeError" in done.misrouted[0].why
    assert "there is no partition 3" in done.misrouted[1].why


def test_a_busy_partition_waits_in_its_queue_which_is_bounded_by_demand() -> None:
    ledger = Ledger(PartitionDispatcher(2, by_last_digit), [A, B], [Place(10, 0), Place(10, 1)])
    ledger.ask(A, 2)
    ledger.ask(B, 5)
    assert ledger.dispatch(10, 20, 30, 40, 50, 60, 70, 80) == (80,)
    assert ledger.dispatch(80) == (80,), "as many wait for the first partition as the second one still asks for"
    ledger.ask(A, 3)
    assert ledger.got == {A: [10, 20, 30, 40, 50], B: []}


def test_the_next_consumer_of_a_partition_gets_what_the_last_one_left() -> None:
    dispatcher = PartitionDispatcher(["x"], lambda event: "x")
    dispatcher.subscribe(A, Place(10, "x"))
    dispatcher.ask(A, 2)
    dispatcher.dispatch(Lot([1, 2]))
    dispatcher.give_back(A, [Lot([1, 2], again=True)])
    assert dispatcher.cancel(A, left=False) == []
    dispatcher.subscribe(B, Place(10, "x"))
    assert dispatcher.ask(B, 5) == [(B, Lot([1, 2], again=True))]
    assert dispatcher.room() == 3


def test_a_partition_has_one_consumer() -> None:
    dispatcher = PartitionDispatcher(2)
    dispatcher.subscribe(A, Place(10, 0))
    with pytest.raises(ConfigError, match="0 has a consumer already"):
        dispatcher.subscribe(B, Place(10, 0))
    with pytest.raises(ConfigError, match="2 is not one of 0, 1"):
        dispatcher.subscribe(B, Place(10, 2))
    with pytest.raises(ConfigError, match="at least one"):
        PartitionDispatcher(0)


class _Number(IntEnum):
    ONE = 1


class _Text(StrEnum):
    ONE = "1"


@pytest.mark.parametrize(
    "equal",
    [
        (1, 1.0, True, Decimal(1), Fraction(1), complex(1), _Number.ONE),
        (-1, -1.0, Decimal(-1)),
        (2**70, 2.0**70, Decimal(2**70)),
        (2.5, Decimal("2.5"), Fraction(5, 2)),
        (inf, Decimal("inf")),
        ("1", _Text.ONE),
        ((1, "1"), (1.0, _Text.ONE), (True, "1")),
        (frozenset([1, 17, 33]), frozenset([33, 17, 1]), frozenset([17.0, 1, 33])),
        (nan, nan),
    ],
)
def test_equal_values_have_the_same_partition(equal: Sequence[object]) -> None:
    partition = spread(range(1_009))
    assert len({partition(value) for value in equal}) == 1


def test_values_spread_evenly_and_the_same_way_in_every_run() -> None:
    partition = spread(range(4))
    assert [partition(value) for value in ("a", "b", 7, (1, "x"), None)] == [3, 1, 3, 3, 1]
    shares = Counter(partition(f"word {number}") for number in range(4_000))
    assert all(800 < share < 1_200 for share in shares.values())


Step = tuple[str, int, int]
STEPS = st.lists(st.tuples(st.sampled_from(["ask", "dispatch"]), st.integers(0, 2), st.integers(1, 7)), max_size=60)


def drive(ledger: Ledger, steps: Sequence[Step]) -> list[object]:
    """Random asks and dispatches, then enough demand for what is left. Returns the events in their order."""
    refs, emitted, waiting = list(ledger.got), list[object](), list[object]()
    for kind, who, count in steps:
        if kind == "ask":
            ledger.ask(refs[who], count)
        else:
            fresh = [10 * (len(emitted) + number) + who for number in range(count)]
            emitted += fresh
            waiting += fresh
        waiting = list(ledger.dispatch(*waiting))
    for ref in refs:
        ledger.ask(ref, 10 * len(emitted) + 10)
    assert not ledger.dispatch(*waiting)
    return emitted


@given(STEPS)
def test_demand_loses_nothing_and_sends_nothing_twice(steps: list[Step]) -> None:
    ledger = Ledger(DemandDispatcher(), [A, B, C])
    emitted = drive(ledger, steps)
    assert Counter(event for got in ledger.got.values() for event in got) == Counter(emitted)
    order = {event: number for number, event in enumerate(emitted)}
    for got in ledger.got.values():
        assert [order[event] for event in got] == sorted(order[event] for event in got)


@given(STEPS)
def test_a_broadcast_is_the_same_for_all(steps: list[Step]) -> None:
    ledger = Ledger(BroadcastDispatcher(), [A, B, C])
    emitted = drive(ledger, steps)
    assert all(got == emitted for got in ledger.got.values())


@given(STEPS)
def test_partitions_keep_their_order_and_lose_nothing(steps: list[Step]) -> None:
    places = [Place(10, number) for number in range(3)]
    ledger = Ledger(PartitionDispatcher(3, lambda event: event % 10), [A, B, C], places)
    emitted = [event for event in drive(ledger, steps) if isinstance(event, int)]
    for number, ref in enumerate((A, B, C)):
        assert ledger.got[ref] == [event for event in emitted if event % 10 == number]
