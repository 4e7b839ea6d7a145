"""How many elements are handled at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roost.core.pace import PACE_FIRST, PACE_LONG_S, Pace


def settle(pace: Pace, element_s: float) -> list[float]:
    """How long each of some batches takes when each element takes as long."""
    times = []
    for _ in range(30):
        seconds = pace.size * element_s
        times.append(seconds)
        pace.took(pace.size, seconds)
    return times


def test_quick_elements_soon_come_in_large_batches() -> None:
    pace = Pace(500)
    assert pace.size == PACE_FIRST
    settle(pace, 1e-6)
    assert pace.size == 500


def test_slow_elements_come_one_by_one() -> None:
    pace = Pace(500)
    times = settle(pace, 0.1)
    assert pace.size == 1
    assert max(times[1:]) == 0.1


def test_elements_that_become_slow_are_cut_down_at_once() -> None:
    pace = Pace(500)
    settle(pace, 1e-6)
    assert settle(pace, 1e-3)[1] <= PACE_LONG_S


def test_small_batches_for_want_of_elements_say_nothing() -> None:
    pace = Pace(500)
    pace.took(1, 0.0)
    assert pace.size == PACE_FIRST


@given(st.integers(1, 1_000), st.floats(0.0, 1.0))
def test_batches_settle_at_a_moment_and_never_leave_their_bounds(most: int, element_s: float) -> None:
    pace = Pace(most)
    times = settle(pace, element_s)
    assert 1 <= pace.size <= most
    assert times[-1] <= max(PACE_LONG_S, element_s)
