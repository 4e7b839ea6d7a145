"""The laws of a replicated data type: whatever comes, in whatever order and how often, all come to know the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.presence import fragment as fragment_module
from roost.core.presence.fragment import Assembly, Fragment, Part, parts
from roost.core.presence.replica import Replica
from roost.core.presence.spans import END, covers
from tests.core.presence.writer import ORIGIN, Story, add, after, copy, facts, stories

laws = settings(max_examples=150, deadline=None)
shuffles = st.randoms(use_true_random=False)


def merged(*fragments: Fragment) -> Replica:
    replica = Replica(ORIGIN)
    for fragment in fragments:
        assert replica.merge(fragment) is not None
    return replica


def state(replica: Replica) -> list[Fragment]:
    """All that a replica knows, its cloud included."""
    whole = Fragment(replica.origin, replica.seen, (), tuple(replica.rows.values()))
    return [whole] if replica.seen else []


def split(story: Story, draw: st.DataObject, ways: int) -> list[Replica]:
    """Replicas that have heard of different fragments."""
    owners = [draw.draw(st.integers(0, ways - 1)) for _ in story.fragments]
    return [
        merged(*(fragment for fragment, owner in zip(story.fragments, owners, strict=True) if owner == one))
        for one in range(ways)
    ]


@laws
@given(stories(), shuffles)
def test_fragments_may_come_in_any_order_and_twice(story: Story, shuffle: object) -> None:
    first = merged(*story.fragments)
    again = [*story.fragments, *story.fragments]
    shuffle.shuffle(again)  # type: ignore[attr-defined]  # hypothesis says object of a random.Random
    assert facts(merged(*again)) == facts(first)


@laws
@given(stories(), st.data())
def test_merging_states_is_commutative(story: Story, draw: st.DataObject) -> None:
    left, right = split(story, draw, 2)
    assert facts(merged(*state(left), *state(right))) == facts(merged(*state(right), *state(left)))


@laws
@given(stories(), st.data())
def test_merging_states_is_associative(story: Story, draw: st.DataObject) -> None:
    one, two, three = split(story, draw, 3)
    left = merged(*state(merged(*state(one), *state(two))), *state(three))
    right = merged(*state(one), *state(merged(*state(two), *state(three))))
    assert facts(left) == facts(right)


@laws
@given(stories(), st.data())
def test_merging_states_is_idempotent(story: Story, draw: st.DataObject) -> None:
    (replica,) = split(story, draw, 1)
    before = facts(replica)
    for fragment in (*state(replica), *story.fragments):
        change = replica.merge(fragment)
        assert change is not None
        assert not change.came
        assert not change.gone
    assert facts(replica) == before


@laws
@given(stories(), st.data())
def test_merging_fragments_is_merging_the_states_that_they_make(story: Story, draw: st.DataObject) -> None:
    left, right = split(story, draw, 2)
    assert facts(merged(*state(left), *state(right))) == facts(merged(*story.fragments))


@laws
@given(stories(), st.data())
def test_a_delta_does_what_the_whole_state_does(story: Story, draw: st.DataObject) -> None:
    told = Replica(ORIGIN)
    for fragment in story.fragments[: draw.draw(st.integers(0, len(story.fragments)))]:
        told.merge(fragment)
    delta = story.writer.after(told.clock)
    if delta is not None:
        told.merge(delta)
    assert facts(told) == facts(copy(story.writer)) == facts(story.writer)


@laws
@given(stories())
def test_who_has_seen_a_removal_has_not_got_what_it_removes(story: Story) -> None:
    replica = Replica(ORIGIN)
    for fragment in story.fragments:
        replica.merge(fragment)
        for event, dot in story.removed_by.items():
            assert not (covers(replica.seen, event) and dot in replica.rows)
        assert all(covers(replica.seen, dot) for dot in replica.rows)
        assert list(replica.rows) == sorted(replica.rows)


@laws
@given(stories(), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20), st.data())
def test_what_is_passed_on_makes_everybody_know_what_the_writer_knows(
    story: Story, passes: list[tuple[int, int]], draw: st.DataObject
) -> None:
    others = split(story, draw, 3)
    everybody = [story.writer, *others]
    for giver, taker in [*passes, (0, 1), (1, 2), (2, 3)]:
        if taker == 0 or giver == taker:
            continue
        fragment = everybody[giver].after(everybody[taker].clock)
        if fragment is not None:
            assert everybody[taker].merge(fragment) is not None
    assert [facts(other) for other in others] == [facts(story.writer)] * 3


@laws
@given(stories(), shuffles)
def test_after_a_farewell_there_are_no_ghosts_whatever_comes_late(story: Story, shuffle: object) -> None:
    farewell = Fragment(ORIGIN, ((0, END),), (), ())
    order = [farewell, *story.fragments]
    shuffle.shuffle(order)  # type: ignore[attr-defined]  # hypothesis says object of a random.Random
    replica = merged(*order)
    assert not replica.rows
    assert replica.clock == END
    assert replica.after(0) == farewell


@laws
@given(stories(), st.integers(1, 3))
def test_a_fragment_is_the_same_when_its_parts_have_come(story: Story, rows: int) -> None:
    for fragment in story.fragments:
        assembly = Assembly()
        found = [assembly.add(part) for part in _parts(fragment, rows)]
        assert found[-1] == fragment
        assert not any(found[:-1])


def _parts(fragment: Fragment, rows: int) -> list[Part]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fragment_module, "PRESENCE_PART_ROWS", rows)
        return [*parts(3, fragment)]


def test_a_fragment_that_was_not_completed_leaves_nothing_to_the_next_one() -> None:
    writer = Replica(ORIGIN)
    for _ in range(4):
        add(writer)
    first, second, *_ = _parts(after(writer, 0), 1)
    assembly = Assembly()
    assert assembly.add(first) is assembly.add(second) is None
    (farewell,) = parts(3, Fragment(ORIGIN, ((0, END),), (), ()))
    found = assembly.add(farewell)
    assert found is not None
    assert found.rows == ()


def test_parts_after_one_that_was_lost_are_dropped() -> None:
    writer = Replica(ORIGIN)
    for _ in range(3):
        add(writer)
    first, _, last = _parts(after(writer, 0), 1)
    assembly = Assembly()
    assert assembly.add(first) is assembly.add(last) is None
    assert assembly.add(last) is None
