"""Presences of real nodes under every fault: they converge, and there are no ghosts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.sim.presence_mutants import MUTANTS, search
from tests.sim.presence_story import KINDS, tell

SEEDS = 200


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The nodes complain of the faults, as they should."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(600)
def test_presences_converge_and_no_ghost_outlives_the_last_fault_by_five_seconds() -> None:
    fired: Counter[str] = Counter()
    sessions = deploys = passed_on = 0
    for seed in range(SEEDS):
        try:
            outcome = tell(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        assert outcome.broken == [], f"seed {seed}"
        fired += outcome.fired
        sessions += outcome.sessions
        deploys += outcome.deploys
        passed_on += outcome.passed_on
    assert sessions > 200 * SEEDS
    assert set(fired) == set(KINDS)
    assert deploys > SEEDS / 10
    assert passed_on == SEEDS


def test_a_seed_tells_the_same_story_twice() -> None:
    assert [tell(seed).digest for seed in range(3)] == [tell(seed).digest for seed in range(3)]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_comes_to_light(name: str) -> None:
    found = search(name)
    assert found is not None, "not within so many worlds"
    assert tell(found[0]).broken == [], "the same world, without the bug, is in order"
