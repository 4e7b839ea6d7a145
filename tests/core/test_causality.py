"""Which value follows from which. Histories are played on replicas that hear of each other in any order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.causality import (
    Clock,
    Version,
    Versions,
    check_clock,
    decode,
    encode,
    merge,
    merge_encoded,
    update,
)
from roost.errors import BadMessage, TooLarge
from roost.limits import SIBLINGS_MAX

A, B, C = 11, 22, 33
ACTORS = (A, B, C)


class History:
    """Three replicas, a client that keeps every context, and what is true of every write."""

    def __init__(self) -> None:
        self.held: dict[int, Versions | None] = dict.fromkeys(ACTORS)
        self.contexts: list[Clock] = []
        self.superseded: dict[bytes, None] = {}
        self.written: dict[bytes, tuple[int, Clock | None]] = {}

    def write(self, actor: int, seen: Clock | None, value: bytes) -> None:
        held = self.held[actor]
        before = {} if held is None else {one.value: one for one in held.versions}
        self.held[actor] = after = update(held, seen, actor, value)
        kept = {one.value for one in after.versions}
        self.superseded.update(dict.fromkeys(one for one in before if one is not None and one not in kept))
        self.contexts.append(after.clock)

    def tell(self, source: int, target: int) -> None:
        one, other = self.held[source], self.held[target]
        if one is not None:
            self.held[target] = one if other is None else merge(other, one)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(ACTORS), st.integers(-1, 30)),
        st.tuples(st.just("tell"), st.sampled_from(ACTORS), st.sampled_from(ACTORS)),
    ),
    max_size=25,
)


def play(story: list[tuple[str, int, int]]) -> History:
    history = History()
    for number, (verb, one, other) in enumerate(story):
        if verb == "tell":
            history.tell(one, other)
        else:
            seen = history.contexts[other] if 0 <= other < len(history.contexts) else None
            history.write(one, seen, b"%d" % number)
    return history


@st.composite
def objects(draw: st.DrawFn) -> list[Versions]:
    """What three replicas hold after one history: objects that can meet."""
    history = play(draw(steps))
    return [held if held is not None else Versions((), ()) for held in history.held.values()]


@given(objects())
def test_merge_is_commutative_associative_and_idempotent(three: list[Versions]) -> None:
    one, two, other = three
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), other) == merge(one, merge(two, other))
    assert merge(one, one) == one
    assert merge(merge(one, two), two) == merge(one, two)


@given(objects())
def test_equal_objects_are_equal_bytes(three: list[Versions]) -> None:
    one, two, other = three
    left, right = merge(merge(one, two), other), merge(other, merge(two, one))
    assert encode(left) == encode(right)
    assert decode(encode(left)) == left
    assert list(left.clock) == sorted(left.clock)


@given(steps)
@settings(max_examples=200)
def test_no_value_is_lost_unless_a_later_write_has_replaced_it(story: list[tuple[str, int, int]]) -> None:
    history = play(story)
    everything: Versions | None = None
    for held in history.held.values():
        if held is not None:
            everything = held if everything is None else merge(everything, held)
    found = () if everything is None else everything.values()
    written = [b"%d" % number for number, (verb, _, _) in enumerate(story) if verb == "write"]
    # A writer that had read value X replaces X wherever it is; what it had not read must stay.
    replaced = _replaced(story)
    assert set(found) == set(written) - replaced


def _replaced(story: list[tuple[str, int, int]]) -> set[bytes]:
    """The same history, told with plain sets of events instead of clocks: the specification."""
    seen: dict[int, set[bytes]] = {actor: set() for actor in ACTORS}
    live: dict[int, set[bytes]] = {actor: set() for actor in ACTORS}
    contexts: list[set[bytes]] = []
    gone: set[bytes] = set()
    for number, (verb, one, other) in enumerate(story):
        if verb == "tell":
            merged = (live[one] & live[other]) | (live[one] - seen[other]) | (live[other] - seen[one])
            live[other] = merged
            seen[other] = seen[other] | seen[one]
        else:
            context = contexts[other] if 0 <= other < len(contexts) else set(seen[one])
            gone |= context
            live[one] = (live[one] - context) | {b"%d" % number}
            seen[one] = seen[one] | context | {b"%d" % number}
            contexts.append(set(seen[one]))
    return gone


def descends(one: Versions, other: Versions) -> bool:
    """Whether `one` has seen every write that `other` has seen."""
    clock = dict(one.clock)
    return all(clock.get(actor, 0) >= counter for actor, counter in other.clock)


@given(objects())
def test_a_merge_descends_from_both(three: list[Versions]) -> None:
    one, two, _ = three
    assert descends(merge(one, two), one)
    assert descends(merge(one, two), two)
    assert merge(one, two) == one or not descends(one, two) or descends(two, one)


def test_a_blind_write_replaces_what_the_replica_holds() -> None:
    first = update(None, None, A, b"1")
    second = update(first, None, B, b"2")
    assert second.values() == (b"2",)
    assert merge(first, second) == second
    assert second.clock == ((A, 1), (B, 1))


def test_a_write_with_a_context_leaves_what_it_had_not_seen() -> None:
    first = update(None, None, A, b"1")
    second = update(first, None, A, b"2")
    third = update(second, first.clock, A, b"3")
    assert third.values() == (b"2", b"3")
    assert update(third, third.clock, B, b"4").values() == (b"4",)


def test_writes_on_two_sides_become_siblings_and_are_settled_by_one_write() -> None:
    one, two = update(None, None, A, b"1"), update(None, None, B, b"2")
    both = merge(one, two)
    assert both.values() == (b"1", b"2")
    settled = update(one, both.clock, A, b"3")
    assert merge(two, settled).values() == (b"3",)


def test_a_tombstone_is_a_version_and_a_concurrent_write_survives_it() -> None:
    first = update(None, None, A, b"1")
    gone = update(first, first.clock, A, None)
    assert gone.values() == ()
    assert gone.versions == (Version(A, 2, None),)
    assert merge(first, gone) == gone
    late = update(first, first.clock, B, b"2")
    assert merge(gone, late).values() == (b"2",)


def test_two_writers_of_the_same_value_are_no_conflict() -> None:
    both = merge(update(None, None, A, b"1"), update(None, None, B, b"1"))
    assert len(both.versions) == 2
    assert both.values() == (b"1",)


def test_a_dot_is_never_given_twice_by_one_life() -> None:
    stored: Versions | None = None
    dots = []
    for number in range(5):
        stored = update(stored, None, A, b"%d" % number)
        dots.append((stored.versions[0].actor, stored.versions[0].counter))
    assert dots == [(A, counter) for counter in range(1, 6)]


def test_a_context_from_ahead_moves_the_counter_past_it() -> None:
    ahead = update(None, ((A, 7),), A, b"1")
    assert ahead.versions == (Version(A, 8, b"1"),)


def test_siblings_are_bounded() -> None:
    stored: Versions | None = None
    for number in range(SIBLINGS_MAX):
        stored = update(stored, (), A, b"%d" % number)
    assert stored is not None
    with pytest.raises(TooLarge):
        update(stored, (), A, b"one more")
    assert len(update(stored, stored.clock, A, b"settled").versions) == 1


def test_encoded_objects_merge_as_objects_do() -> None:
    one, two = update(None, None, A, b"1"), update(None, None, B, b"2")
    assert merge_encoded(encode(one), encode(two)) == encode(merge(one, two))
    assert merge_encoded(None, encode(one)) == merge_encoded(encode(one), None) == encode(one)
    assert merge_encoded(None, None) is None
    with pytest.raises(msgspec.MsgspecError):
        merge_encoded(encode(one), b"\xc1")


@pytest.mark.parametrize(
    "clock", [((5, 1), (5, 1)), ((6, 1), (5, 1)), ((5, 0),), ((5, 2**53),), ((-1, 1),), ((2**64, 1),)]
)
def test_a_clock_that_no_write_has_made_is_refused(clock: Clock) -> None:
    with pytest.raises(BadMessage):
        check_clock(clock)


@given(objects())
def test_the_clock_of_every_object_is_accepted(three: list[Versions]) -> None:
    for one in three:
        check_clock(one.clock)
