"""What one subscription asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.inlet import Inlet
from roost.errors import ConfigError


def test_it_asks_for_all_and_again_when_half_is_left() -> None:
    inlet = Inlet(10)
    assert (inlet.batch, inlet.first()) == (5, 10)
    assert [inlet.settled(count) for count in (4, 1, 5, 3, 1, 1)] == [0, 5, 5, 0, 0, 5]


def test_with_a_demand_of_one_it_asks_for_each() -> None:
    inlet = Inlet(1)
    assert (inlet.batch, inlet.first(), inlet.settled(1), inlet.settled(1)) == (1, 1, 1, 1)


def test_by_hand_it_asks_only_when_told_and_never_for_too_much() -> None:
    inlet = Inlet(5, manual=True)
    assert (inlet.first(), inlet.ask(3), inlet.settled(3), inlet.ask(9), inlet.ask(1)) == (0, 3, 0, 5, 0)


@pytest.mark.parametrize(("max_demand", "min_demand"), [(0, None), (10, 10), (10, -1)])
def test_a_demand_that_makes_no_sense_is_refused(max_demand: int, min_demand: int | None) -> None:
    with pytest.raises(ConfigError, match=r"_demand"):
        Inlet(max_demand, min_demand)


@given(st.integers(1, 50), st.data())
def test_never_more_than_the_maximum_is_under_way_and_never_nothing(max_demand: int, data: st.DataObject) -> None:
    inlet = Inlet(max_demand, data.draw(st.integers(0, max_demand - 1)))
    under_way = inlet.first()
    for _ in range(30):
        count = data.draw(st.integers(1, under_way))
        under_way += inlet.settled(count) - count
        assert inlet.min_demand < under_way <= max_demand
