"""Who sits too close to whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roost.core.seating import Seating, crowding


@st.composite
def seatings(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Owners of a ring, and the zone of each node."""
    count = draw(st.integers(1, 6))
    size = 2 ** draw(st.integers(0, 5))
    owners = draw(st.lists(st.integers(-1, count - 1), min_size=size, max_size=size))
    return owners, draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))


def test_crowding_looks_both_ways_and_around() -> None:
    owners = (0, 1, 2, 0, 1, 2, 1, 0)
    assert crowding(owners, 0, 2) == 1
    assert crowding(owners, 0, 3) == 1
    assert crowding(owners, 0, 4) == 2
    assert crowding(owners, 2, 3) == 0
    assert crowding((0, 0), 0, 2) == 1


@given(seatings(), st.data())
def test_what_a_seating_has_added_up_is_what_a_fresh_one_counts(
    seating: tuple[list[int], list[int]], data: st.DataObject
) -> None:
    owners, zones = seating
    changed = Seating(owners, zones)
    for _ in range(data.draw(st.integers(1, 5))):
        changed.put(data.draw(st.integers(0, len(owners) - 1)), data.draw(st.integers(-1, len(zones) - 1)))
    fresh = Seating(changed.owners, zones)
    assert changed.near == fresh.near
    assert changed.tension() == fresh.tension()


@given(seatings(), st.data())
def test_a_gain_is_what_the_tension_falls_by(seating: tuple[list[int], list[int]], data: st.DataObject) -> None:
    owners, zones = [max(owner, 0) for owner in seating[0]], seating[1]
    if len(owners) == 1:
        return
    one, other = data.draw(st.lists(st.integers(0, len(owners) - 1), min_size=2, max_size=2, unique=True))
    first, second = data.draw(st.tuples(*[st.integers(0, len(zones) - 1)] * 2))
    before = Seating(owners, zones)
    after = Seating(owners, zones)
    after.put(one, first)
    after.put(other, second)
    assert 2 * before.gain(one, first, other, second) == before.tension() - after.tension()


def test_near_seats_crowd_more_than_distant_ones_and_zones_less_than_nodes() -> None:
    def tension(owners: tuple[int, ...]) -> int:
        return Seating(owners, (0, 0, 1, 2, 3)).tension()

    same_node = [tension((0, 0, 2, 3, 4, -1, -1, -1)), tension((0, 2, 3, 0, 4, -1, -1, -1))]
    same_zone = [tension((0, 1, 2, 3, 4, -1, -1, -1)), tension((0, 2, 3, 1, 4, -1, -1, -1))]
    assert same_node[0] > same_zone[0] > same_node[1] > same_zone[1] > 0
    assert tension((0, 2, 3, 4, 0, 2, 3, 4)) == 0
