"""A plan asks about every partition exactly once, of few nodes, and of holders where there are any."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roost.core.claim import claim
from roost.core.coverage import plan
from roost.core.ring import Replica, preference_list, slot_of


@given(st.data())
def test_every_partition_is_asked_exactly_once(data: st.DataObject) -> None:
    names = tuple(f"n{number}" for number in range(data.draw(st.integers(1, 8))))
    ring = claim(names, 2 ** data.draw(st.integers(0, 6)))
    up = data.draw(st.sets(st.sampled_from(names)))
    n = data.draw(st.integers(1, 3))
    candidates = {p: preference_list(ring.order(p), p, n, up) for p in range(ring.size)}
    chosen, nobody = plan(candidates, data.draw(st.integers(0, 10)))
    asked = [one.partition for replicas in chosen.values() for one in replicas]
    assert sorted([*asked, *nobody]) == list(range(ring.size))
    for node, replicas in chosen.items():
        for one in replicas:
            assert one in candidates[one.partition]
            assert one.node == node in up
            assert one.is_primary or not any(other.is_primary for other in candidates[one.partition])
    assert all(not candidates[partition] for partition in nobody)


def test_few_nodes_are_asked() -> None:
    names = tuple(f"n{number}" for number in range(6))
    ring = claim(names, 64)
    chosen, _ = plan({p: preference_list(ring.order(p), p, 3, names) for p in range(64)})
    assert len(chosen) <= 3


def test_ties_are_settled_by_turns() -> None:
    both = {0: [Replica(slot_of(0, 0), "a", True), Replica(slot_of(0, 1), "b", True)]}
    assert [*plan(both, 0)[0], *plan(both, 1)[0]] == ["a", "b"]
    assert plan({}, 3) == ({}, ())
