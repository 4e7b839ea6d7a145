"""Who watches whom, and what becomes of a doubt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roost import limits
from roost.core.pulse import Doubts, Verdict, neighbours

NAMES = st.sets(st.text("abcdefgh", min_size=1, max_size=4), min_size=1, max_size=60)


@given(NAMES)
def test_neighbours_are_mutual_and_few(names: set[str]) -> None:
    near = {name: neighbours(name, names - {name}) for name in names}
    for name, others in near.items():
        assert name not in others
        assert len(others) == min(len(names) - 1, 2 * limits.WATCHERS_PER_SIDE)
        assert all(name in near[other] for other in others)


def turns(doubts: Doubts, count: int) -> list[Verdict]:
    return [doubts.turn() for _ in range(count)]


def test_a_peer_that_is_missed_is_told_of_and_then_given_up() -> None:
    doubts = Doubts()
    assert doubts.begin("a", own=True)
    assert not doubts.begin("a", own=True)
    verdicts = turns(doubts, limits.DOUBT_TURNS)
    assert [verdict.told for verdict in verdicts if verdict.told] == [("a",)]
    assert verdicts[limits.DOUBT_TOLD_TURNS - 1].told == ("a",)
    assert [verdict.lost for verdict in verdicts[:-1] if verdict.lost] == []
    assert verdicts[-1].lost == ("a",)
    assert "a" not in doubts


def test_what_others_told_is_not_told_again() -> None:
    doubts = Doubts()
    doubts.begin("a", own=False)
    assert not any(verdict.told for verdict in turns(doubts, limits.DOUBT_TURNS))


def test_a_peer_that_answers_is_neither_told_of_nor_given_up() -> None:
    doubts = Doubts()
    doubts.begin("a", own=True)
    doubts.turn()
    doubts.end("a")
    assert turns(doubts, limits.DOUBT_TURNS) == [Verdict((), (), False)] * limits.DOUBT_TURNS


def test_two_silent_peers_are_one_alarm() -> None:
    doubts = Doubts()
    doubts.begin("a", own=False)
    doubts.begin("b", own=True)
    verdicts = turns(doubts, limits.DOUBT_TURNS)
    assert sum(verdict.is_alarm for verdict in verdicts) == 1
