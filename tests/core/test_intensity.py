"""Restart intensity against OTP's rule, and the pauses of the back-off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.intensity import BACKOFF_FIRST_S, BACKOFF_LAST_S, Backoff, Intensity


def test_the_fourth_restart_within_five_seconds_is_one_too_many() -> None:
    intensity = Intensity(3, 5.0)
    assert [intensity.allow(now) for now in (0.0, 1.0, 2.0, 4.9)] == [True, True, True, False]


def test_restarts_leave_the_window_when_it_has_passed() -> None:
    intensity = Intensity(1, 5.0)
    assert intensity.allow(0.0)
    assert not intensity.allow(5.0)
    assert intensity.allow(5.001)


def test_zero_allows_none() -> None:
    assert not Intensity(0, 5.0).allow(0.0)


@given(st.integers(0, 5), st.lists(st.integers(0, 40), max_size=60))
def test_never_more_than_allowed_in_any_window(max_restarts: int, gaps: list[int]) -> None:
    """Model: a restart is allowed exactly when fewer than the maximum were counted in the window before it."""
    intensity = Intensity(max_restarts, 10.0)
    now, counted = 0.0, list[float]()
    for gap in gaps:
        now += gap
        expected = sum(time >= now - 10.0 for time in counted) < max_restarts
        if expected:
            counted.append(now)
        assert intensity.allow(now) == expected


def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer_and_longer() -> None:
    backoff = Backoff(calm_s=5.0)
    backoff.started(0.0)
    pauses = [backoff.pause_s(1.0, jitter=0.0) for _ in range(8)]
    assert pauses[:4] == [0.0, BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]
    assert pauses[-1] == BACKOFF_LAST_S


def test_jitter_takes_away_up_to_half() -> None:
    backoff = Backoff(calm_s=5.0)
    backoff.started(0.0)
    backoff.pause_s(1.0, jitter=0.0)
    assert backoff.pause_s(1.0, jitter=1.0) == pytest.approx(BACKOFF_FIRST_S / 2)


def test_a_child_that_lived_long_enough_has_recovered() -> None:
    backoff = Backoff(calm_s=5.0)
    backoff.started(0.0)
    assert [backoff.pause_s(1.0, 0.0), backoff.pause_s(1.0, 0.0) > 0] == [0.0, True]
    backoff.started(2.0)
    assert backoff.pause_s(7.0, 0.0) == 0.0
    backoff.started(8.0)
    assert backoff.pause_s(12.9, 0.0) > 0


def test_a_child_that_lived_long_and_cannot_be_started_again_has_not_recovered() -> None:
    backoff = Backoff(calm_s=5.0)
    backoff.started(0.0)
    assert [backoff.pause_s(3_600.0 + 10 * attempt, 0.0) for attempt in range(4)] == [
        0.0,
        BACKOFF_FIRST_S,
        2 * BACKOFF_FIRST_S,
        4 * BACKOFF_FIRST_S,
    ]
