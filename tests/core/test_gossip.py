"""Rumours reach everybody soon, at a constant cost for each."""

from __future__ import annotations

import random

import pytest

from roost.core.gossip import FANOUT, audience


def rounds_until_all_know(count: int, seed: int) -> tuple[int, int]:
    """How many rounds it takes until all of `count` nodes know, and the most words that one node said in a round."""
    draw = random.Random(seed)
    names = tuple(f"n{number}" for number in range(count))
    known, fresh = {"n0"}, {"n0"}
    rounds = most = 0
    while len(known) < count:
        rounds += 1
        told: set[str] = set()
        for name in sorted(fresh):
            chosen = audience([other for other in names if other != name], draw.randrange)
            most = max(most, len(chosen))
            told.update(chosen)
        for name in names:  # the one word of every round, whatever happens
            (other,) = audience([one for one in names if one != name], draw.randrange, 1)
            if name in known:
                told.add(other)
            elif other in known:
                told.add(name)  # it hears from the other that it is behind
        fresh = told - known
        known |= told
        assert rounds < 20
    return rounds, most


@pytest.mark.parametrize("seed", range(50))
def test_a_hundred_nodes_know_within_five_rounds(seed: int) -> None:
    rounds, most = rounds_until_all_know(100, seed)
    assert rounds <= 5
    assert most <= FANOUT


def test_an_audience_has_no_node_twice_and_none_that_is_not_there() -> None:
    draw = random.Random(1)
    for count in range(8):
        peers = [f"n{number}" for number in range(count)]
        chosen = audience(peers, draw.randrange)
        assert len(set(chosen)) == len(chosen) == min(count, FANOUT)
        assert set(chosen) <= set(peers)
