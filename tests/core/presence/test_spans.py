"""Sets of event numbers: a clock absorbs its cloud."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from roost.core.presence.spans import beyond, clock_of, covers, joined, top_of

spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6)


def numbers(given_spans: object) -> set[int]:
    assert isinstance(given_spans, list | tuple)
    return {number for after, until in given_spans for number in range(after + 1, until + 1)}


def test_what_touches_becomes_one() -> None:
    assert joined([(0, 3)], [(5, 6), (3, 5)]) == ((0, 6),)


def test_what_does_not_touch_stays_apart() -> None:
    assert joined([(4, 5)], [(0, 3)]) == ((0, 3), (4, 5))


def test_a_clock_absorbs_its_cloud_when_the_hole_is_filled() -> None:
    cloudy = joined([(0, 2)], [(3, 4), (5, 6)])
    assert (clock_of(cloudy), top_of(cloudy)) == (2, 6)
    assert clock_of(joined(cloudy, [(2, 3)])) == 4
    assert joined(cloudy, [(2, 3)], [(4, 5)]) == ((0, 6),)


def test_a_set_that_does_not_begin_at_the_first_event_has_no_clock() -> None:
    assert clock_of(((2, 9),)) == 0
    assert clock_of(()) == top_of(()) == 0


@given(spans, spans)
def test_a_union_holds_what_either_holds(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    both = joined(left, right)
    assert numbers(both) == numbers(left) | numbers(right)
    assert both == joined(right, left) == joined(both, left)
    assert all(covers(both, number) == (number in numbers(both)) for number in range(32))
    assert all(one[1] < other[0] for one, other in pairwise(both))


@given(spans, st.integers(0, 31))
def test_what_is_beyond_a_number_is_higher(some: list[tuple[int, int]], number: int) -> None:
    assert numbers(beyond(joined(some), number)) == {one for one in numbers(some) if one > number}
