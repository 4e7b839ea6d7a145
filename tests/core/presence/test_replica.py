"""One node's presences as another knows them: deltas, states, gaps, and what is remembered for whom."""

from __future__ import annotations

import pytest

from roost.core.presence import replica as replica_module
from roost.core.presence.fragment import Fragment
from roost.core.presence.replica import Replica
from roost.core.presence.spans import END
from tests.core.presence.writer import ORIGIN, add, after, copy, row


def keys(replica: Replica) -> list[str]:
    return [presence.key for presence in replica.rows.values()]


def test_a_new_replica_knows_nothing_and_has_nothing_to_say() -> None:
    replica = Replica(ORIGIN)
    assert (replica.clock, replica.rows, replica.has_gaps, replica.after(0)) == (0, {}, False, None)


def test_who_is_up_to_date_is_told_nothing() -> None:
    writer = Replica(ORIGIN)
    add(writer)
    assert writer.after(writer.clock) is None


def test_a_delta_holds_only_what_is_new() -> None:
    writer = Replica(ORIGIN)
    add(writer, "alex")
    add(writer, "bo")
    assert after(writer, 1) == Fragment(ORIGIN, ((1, 2),), (), (row(2, "bo"),))


def test_a_removal_is_an_event_and_names_what_it_removes() -> None:
    writer = Replica(ORIGIN)
    dot = add(writer)
    other = copy(writer)
    assert writer.remove(dot) == row(1)
    assert writer.clock == 2
    delta = after(writer, 1)
    assert delta == Fragment(ORIGIN, ((1, 2),), (1,), ())
    change = other.merge(delta)
    assert change is not None
    assert change.gone == [row(1)]
    assert other.clock == 2


def test_nobody_is_removed_twice() -> None:
    writer = Replica(ORIGIN)
    writer.remove(add(writer))
    with pytest.raises(KeyError):
        writer.remove(1)
    assert writer.clock == 2


def test_who_came_and_went_is_not_told_as_present() -> None:
    writer = Replica(ORIGIN)
    writer.remove(add(writer))
    add(writer, "bo")
    other = copy(writer)
    assert keys(other) == ["bo"]
    assert other.clock == 3


def test_a_delta_that_is_not_contiguous_leaves_a_gap() -> None:
    writer = Replica(ORIGIN)
    add(writer, "alex")
    other = copy(writer)
    add(writer, "bo")
    add(writer, "cleo")
    assert other.merge(after(writer, 2)) is not None
    assert keys(other) == ["alex", "cleo"]
    assert (other.clock, other.has_gaps) == (1, True)


def test_a_gap_is_filled_by_what_was_missing_and_the_clock_absorbs_the_cloud() -> None:
    writer = Replica(ORIGIN)
    other = copy(writer)
    for key in ("alex", "bo", "cleo"):
        add(writer, key)
    deltas = [Fragment(ORIGIN, ((dot - 1, dot),), (), (writer.rows[dot],)) for dot in (1, 2, 3)]
    for number in (2, 0):
        other.merge(deltas[number])
    assert (other.clock, other.has_gaps) == (1, True)
    other.merge(deltas[1])
    assert (other.clock, other.has_gaps, keys(other)) == (3, False, ["alex", "bo", "cleo"])


def test_a_removal_that_comes_before_what_it_removes_is_not_forgotten() -> None:
    writer = Replica(ORIGIN)
    dot = add(writer)
    first = after(writer, 0)
    writer.remove(dot)
    other = Replica(ORIGIN)
    other.merge(after(writer, 1))
    other.merge(first)
    assert other.rows == {}
    assert other.clock == 2


def test_an_old_delta_brings_nobody_back() -> None:
    writer = Replica(ORIGIN)
    dot = add(writer)
    old = after(writer, 0)
    other = copy(writer)
    writer.remove(dot)
    other.merge(after(writer, 1))
    change = other.merge(old)
    assert change is not None
    assert change.came == []
    assert other.rows == {}


def test_an_old_state_takes_nobody_away() -> None:
    writer = Replica(ORIGIN)
    add(writer, "alex")
    old = after(writer, 0)
    add(writer, "bo")
    other = copy(writer)
    other.merge(old)
    assert keys(other) == ["alex", "bo"]


def test_a_state_takes_away_who_is_not_in_it() -> None:
    writer = Replica(ORIGIN)
    dot = add(writer, "alex")
    add(writer, "bo")
    other = copy(writer)
    writer.remove(dot)
    change = other.merge(copy(writer).after(0) or after(writer, 0))
    assert change is not None
    assert [gone.key for gone in change.gone] == ["alex"]
    assert keys(other) == ["bo"]


def test_a_removal_is_passed_on_to_who_has_seen_the_presence(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Replica(ORIGIN)
    dot = add(writer)
    middle, last = copy(writer), copy(writer)
    writer.remove(dot)
    middle.merge(after(writer, 1))
    last.merge(after(middle, last.clock))
    assert last.rows == {}


def test_who_was_born_and_removed_in_one_delta_is_removed_from_whoever_saw_the_birth() -> None:
    writer = Replica(ORIGIN)
    add(writer, "first")
    middle, last = copy(writer), copy(writer)
    dot = add(writer, "brief")
    last.merge(after(writer, 1))
    assert keys(last) == ["first", "brief"]
    writer.remove(dot)
    middle.merge(after(writer, 1))
    last.merge(after(middle, last.clock))
    assert keys(last) == ["first"]


def test_who_has_learned_from_a_state_tells_others_a_state() -> None:
    writer = Replica(ORIGIN)
    dot = add(writer, "gone")
    behind = copy(writer)
    writer.remove(dot)
    add(writer, "here")
    middle = copy(writer)
    fragment = after(middle, behind.clock)
    assert fragment.is_whole
    behind.merge(fragment)
    assert keys(behind) == ["here"]


def test_removals_that_are_remembered_are_bounded_and_who_is_further_behind_gets_the_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replica_module, "PRESENCE_REMOVALS_KEPT", 3)
    writer = Replica(ORIGIN)
    dots = [add(writer, f"k{number}") for number in range(9)]
    others = {writer.clock: copy(writer)}
    for dot in dots[:6]:
        writer.remove(dot)
        others[writer.clock] = copy(writer)
    for clock, other in others.items():
        if clock == writer.clock:
            continue
        fragment = after(writer, clock)
        assert len(fragment.removed) <= 3
        assert fragment.is_whole == (clock < 12)
        other.merge(fragment)
        assert keys(other) == ["k6", "k7", "k8"]


def test_a_presence_that_changes_without_end_costs_no_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "PRESENCE_REMOVALS_KEPT", 20)
    writer = Replica(ORIGIN)
    dot = add(writer)
    near, far = copy(writer), copy(writer)
    for turn in range(1_000):
        writer.remove(dot)
        dot = add(writer)
        near.merge(after(writer, near.clock))
        if turn % 100 == 0:
            far.merge(after(writer, far.clock))
    far.merge(after(writer, far.clock))
    for replica in (writer, near, far):
        assert replica.seen == ((0, dot),)
        assert list(replica.rows) == [dot]
        assert len(replica._removals) <= 20


def test_gaps_are_bounded_and_what_would_make_one_more_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "PRESENCE_GAPS_MAX", 2)
    other = Replica(ORIGIN)
    for dot in (2, 4):
        assert other.merge(Fragment(ORIGIN, ((dot - 1, dot),), (), (row(dot),))) is not None
    assert other.merge(Fragment(ORIGIN, ((5, 6),), (), (row(6),))) is not None
    before = other.seen, dict(other.rows)
    assert other.merge(Fragment(ORIGIN, ((7, 8),), (), (row(8),))) is None
    assert (other.seen, other.rows) == before


def test_a_row_that_its_fragment_does_not_cover_is_not_taken() -> None:
    other = Replica(ORIGIN)
    other.merge(Fragment(ORIGIN, ((0, 1),), (), (row(1), row(7))))
    assert list(other.rows) == [1]


def test_after_the_last_event_nobody_comes_any_more() -> None:
    writer = Replica(ORIGIN)
    add(writer)
    other = copy(writer)
    change = other.merge(Fragment(ORIGIN, ((0, END),), (), ()))
    assert change is not None
    assert change.gone == [row(1)]
    add(writer)
    other.merge(after(writer, 1))
    assert other.rows == {}


def test_a_state_of_someone_with_a_cloud_says_all_that_it_knows() -> None:
    writer = Replica(ORIGIN)
    for key in ("alex", "bo", "cleo"):
        add(writer, key)
    cloudy = Replica(ORIGIN)
    cloudy.merge(after(writer, 2))
    other = copy(cloudy)
    assert other.merge(after(cloudy, 0)) is not None
    assert (keys(other), other.seen) == (["cleo"], ((2, 3),))
