"""A plan says what a commit does, and a commit does what the plan has said."""

from __future__ import annotations

import pytest

from roost import limits
from roost.core import membership as core
from roost.core.membership import Cluster, Member
from roost.core.plan import Flow, commit, commit_joins, once, plan
from roost.errors import NothingPlanned, PlanChanged, TransfersPending
from tests.core.test_membership import SIZE, arrived, born, committed, joining


def test_a_plan_names_every_member_and_every_transfer() -> None:
    cluster = core.stage_leave(joining(born("a", "b", "c"), "d"), "a")
    found = plan(cluster, 3)
    assert [str(change) for change in found.changes] == ["join d", "leave a"]
    assert {share.node: share.status for share in found.shares} == {
        "a": "leaving",
        "b": "valid",
        "c": "valid",
        "d": "valid",
    }
    assert sum(share.now for share in found.shares) == sum(share.then for share in found.shares) == SIZE
    assert next(share.then for share in found.shares) == 0
    assert {flow.source for flow in found.reassigned} <= {"a", "b", "c"}
    after = committed(cluster)
    counts: dict[tuple[str, str], int] = {}
    for partition in after.layout.moving():
        for transfer in after.layout.transfers(partition, 3):
            pair = transfer.giver, transfer.taker
            counts[pair] = counts.get(pair, 0) + 1
    assert found.transfers == tuple(Flow(*pair, count) for pair, count in sorted(counts.items()))


def test_a_plan_of_nothing_and_a_commit_without_a_plan_are_refused() -> None:
    cluster = born("a", "b")
    with pytest.raises(NothingPlanned, match="no staged changes"):
        plan(cluster, 3)
    with pytest.raises(NothingPlanned, match="no staged changes"):
        commit(cluster, 3)
    with pytest.raises(NothingPlanned, match="plan first"):
        commit(joining(cluster, "c"), 3)


def looked_at(cluster: Cluster) -> Cluster:
    return core.planned(cluster, plan(cluster, 3).digest)


def test_a_commit_is_refused_when_anything_that_matters_has_changed() -> None:
    cluster = looked_at(joining(born("a", "b", "c"), "d"))
    for changed in (
        joining(cluster, "e"),
        core.stage_leave(cluster, "b"),
        core.mark_down(cluster, ["b"], by="a"),
    ):
        with pytest.raises(PlanChanged):
            commit(changed, 3)
    again = looked_at(joining(cluster, "e"))
    assert commit(again, 3).staged == ()


def test_a_plan_stays_good_when_only_time_and_transfers_go_on() -> None:
    moving = committed(joining(born("a", "b"), "c"))
    cluster = looked_at(joining(moving, "d"))
    later = core.succeed(core.arrive(cluster, cluster.layout.moving()[:2]), "b")
    assert commit(later, 3).layout.goal == commit(cluster, 3).layout.goal


def test_looking_twice_at_the_same_plan_changes_nothing() -> None:
    cluster = looked_at(joining(born("a"), "b"))
    assert looked_at(cluster) is cluster


def test_changes_may_overlap_up_to_a_limit() -> None:
    cluster = born("a", "b", "c")
    for number in range(limits.NODES_MAX):
        cluster = committed(joining(cluster, f"n{number}"))
        if len(cluster.layout.rings) == limits.RINGS_MAX:
            break
        cluster = core.arrive(cluster, cluster.layout.moving()[-1:])  # so that this ring is in use
    assert len(cluster.layout.rings) == limits.RINGS_MAX
    staged = joining(cluster, "one-more")
    with pytest.raises(TransfersPending, match="under way"):
        plan(staged, 3)
    assert commit_joins(staged, 3) is staged
    plan(arrived(staged), 3)
    freed = committed(core.stage_force_remove(cluster, "c"))
    assert freed.gone == {"c"}, "or nobody could remove the node for which all of them wait"


def test_the_automatic_policy_commits_joins_and_nothing_else() -> None:
    cluster = born("a", "b")
    assert commit_joins(cluster, 3) is cluster
    after = commit_joins(joining(cluster, "c", "d"), 3)
    assert after.having("valid") == ("a", "b", "c", "d")
    mixed = core.stage_leave(joining(cluster, "c"), "b")
    assert commit_joins(mixed, 3) is mixed


def test_losses_and_shortcomings_are_said_in_words() -> None:
    cluster = core.mark_down(core.stage_force_remove(born("a", "b", "c"), "c"), ["b"], by="a")
    warnings = plan(cluster, 3).warnings
    assert any("c holds are lost" in warning for warning in warnings)
    assert any("b marked as down" in warning for warning in warnings)
    assert any("2 nodes" in warning for warning in warnings)


def test_a_commit_that_is_attempted_again_knows_its_own_work_from_a_clear() -> None:
    for staged in (joining(born("a", "b"), "c"), core.stage_leave(born("a", "b"), "b")):
        cluster = core.planned(staged, plan(staged, 3).digest)
        attempt = once(3)
        after = attempt(cluster)
        assert after == commit(cluster, 3)
        assert attempt(after) is after
        assert attempt(cluster) == after, "what was proposed was not chosen"
        with pytest.raises(NothingPlanned):
            attempt(core.clear(cluster))


def test_a_node_that_moves_to_another_address_changes_no_plan() -> None:
    cluster = looked_at(joining(born("a", "b"), "c"))
    moved = core.relocate(cluster, Member("b", "valid", "elsewhere:1"))
    assert moved != cluster
    assert commit(moved, 3).layout.goal == commit(cluster, 3).layout.goal
