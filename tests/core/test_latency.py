"""Latencies: a node is late when it takes longer than it usually does."""

from __future__ import annotations

import random

from roost.core.latency import FORGET_S, Latencies
from roost.core.ring import Replica
from roost.limits import HEDGE_FIRST_S, HEDGE_LAST_S, NODES_MAX

A, B, C = (Replica(0, "a", True), Replica(1, "b", True), Replica(2, "c", True))


def test_patience_is_about_the_95th_percentile_of_what_a_node_takes() -> None:
    latencies, chance = Latencies(), random.Random(1)
    waits = 0
    for number in range(20_000):
        took_s = chance.uniform(0.01, 0.11)
        waits += number > 1_000 and took_s > latencies.patience_s("b", 0.0)
        latencies.answered("b", took_s, 0.0)
    assert 0.03 < waits / 19_000 < 0.08
    assert 0.09 < latencies.patience_s("b", 0.0) < 0.12


def test_patience_has_bounds() -> None:
    latencies = Latencies()
    assert latencies.patience_s("nobody", 0.0) == HEDGE_FIRST_S
    latencies.answered("quick", 1e-6, 0.0)
    latencies.answered("slow", 60.0, 0.0)
    assert latencies.patience_s("quick", 0.0) == HEDGE_FIRST_S
    assert latencies.patience_s("slow", 0.0) == HEDGE_LAST_S


def test_the_own_copy_is_asked_first_and_slow_nodes_last() -> None:
    latencies = Latencies()
    assert tuple(latencies.rank((A, B, C), "c", False, 0.0)) == (C, A, B)
    latencies.late("a", 0.1, 0.0)
    assert tuple(latencies.rank((A, B, C), "c", False, 0.0)) == (C, B, A)
    assert tuple(latencies.rank((A, B, C), "d", False, 0.0)) == (B, C, A)
    assert tuple(latencies.rank((), "d", False, 0.0)) == ()


def test_slow_is_what_takes_longer_than_others_do() -> None:
    latencies = Latencies()
    latencies.answered("a", 0.1, 0.0)
    latencies.answered("b", 0.05, 0.0)
    assert tuple(latencies.rank((A, B, C), "c", False, 0.0)) == (C, A, B)
    latencies.late("a", 0.2, 0.0)
    assert tuple(latencies.rank((A, B, C), "c", False, 0.0)) == (C, B, A)


def test_primaries_come_first_when_they_must_answer() -> None:
    stand_in = Replica(0, "d", False)
    latencies = Latencies()
    assert tuple(latencies.rank((stand_in, B, C), "d", True, 0.0)) == (B, C, stand_in)
    assert tuple(latencies.rank((stand_in, B, C), "d", False, 0.0)) == (stand_in, B, C)


def test_nodes_that_are_about_as_quick_keep_their_order() -> None:
    latencies = Latencies()
    latencies.answered("a", 2 * HEDGE_FIRST_S, 0.0)
    latencies.answered("b", HEDGE_FIRST_S, 0.0)
    assert tuple(latencies.rank((A, B, C), "d", False, 0.0)) == (A, B, C)


def test_a_silence_of_many_questions_at_once_counts_once() -> None:
    latencies = Latencies()
    for _ in range(50):
        latencies.late("a", 0.01, 0.0)
    assert latencies.patience_s("a", 0.0) == 0.02


def test_a_node_that_was_slow_is_tried_again() -> None:
    latencies = Latencies()
    latencies.late("a", 0.1, 0.0)
    assert tuple(latencies.rank((A, B), "d", False, 0.9 * FORGET_S)) == (B, A)
    assert tuple(latencies.rank((A, B), "d", False, 60 * FORGET_S)) == (A, B)


def test_only_so_many_nodes_are_remembered() -> None:
    latencies = Latencies()
    for number in range(NODES_MAX + 1):
        latencies.answered(f"n{number}", 0.1, float(number))
    assert latencies.patience_s("n0", NODES_MAX) == HEDGE_FIRST_S
    assert latencies.patience_s(f"n{NODES_MAX}", NODES_MAX) == 0.1
