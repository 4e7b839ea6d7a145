"""The judges are awake: every planted bug comes to light, and the same world without it is in order."""

from __future__ import annotations

import logging

import pytest

from tests.sim.mutants import MUTANTS, search


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_comes_to_light(name: str) -> None:
    mutant = MUTANTS[name]
    logging.disable()
    try:
        found = search(name, mutant.seed)
        assert found is not None, "not within so many worlds"
        assert mutant.story(found[0]).broken == [], "the same world, without the bug, is in order"
    finally:
        logging.disable(logging.NOTSET)
