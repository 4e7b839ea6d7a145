"""Who belongs to a cluster, what is staged, and every refusal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from roost import limits
from roost.core import membership as core
from roost.core.membership import Change, Cluster, Member
from roost.core.plan import commit, plan
from roost.errors import (
    AlreadyLeaving,
    AlreadyMember,
    AlreadyStaged,
    ChangeRefused,
    DifferentRingSizes,
    HasNoVote,
    InvalidReplacement,
    IsClaimant,
    NotMember,
    OnlyMember,
    TooLarge,
)

SIZE = 16


def born(*names: str) -> Cluster:
    """A cluster of these nodes."""
    return core.birth(b"id", "test", [Member(name, "valid", f"{name}:1") for name in names], SIZE)


def joining(cluster: Cluster, *names: str) -> Cluster:
    """The same with joins staged."""
    for name in names:
        cluster = core.stage_join(cluster, Member(name, "valid", f"{name}:1"), SIZE)
    return cluster


def committed(cluster: Cluster) -> Cluster:
    """Planned, looked at and committed."""
    return commit(core.planned(cluster, plan(cluster, 3).digest), 3)


def arrived(cluster: Cluster) -> Cluster:
    """With all transfers done."""
    return core.arrive(cluster, cluster.layout.moving())


def statuses(cluster: Cluster) -> dict[str, str]:
    """By name."""
    return {member.name: member.status for member in cluster.members}


def test_a_cluster_is_born_valid_with_its_first_member_as_claimant() -> None:
    cluster = born("b", "a", "c")
    assert cluster.names == ("a", "b", "c")
    assert (cluster.claimant, cluster.epoch, cluster.version) == ("a", 1, 1)
    assert cluster.voters == {"a", "b", "c"}
    assert cluster.layout.is_settled
    assert not cluster.gone


def test_a_newcomer_is_known_at_once_and_owns_nothing_until_the_commit() -> None:
    cluster = joining(born("a", "b"), "c")
    assert statuses(cluster)["c"] == "joining"
    assert cluster.staged == (Change("join", "c"),)
    assert "c" not in cluster.voters
    assert "c" not in cluster.layout.nodes()
    after = committed(cluster)
    assert statuses(after)["c"] == "valid"
    assert "c" in after.voters
    assert after.staged == ()
    assert after.layout.goal.counts()["c"] == SIZE // 3


def test_asking_to_join_again_changes_nothing() -> None:
    cluster = joining(born("a"), "b")
    assert joining(cluster, "b") is cluster


def test_who_leaves_gives_everything_and_is_out_when_he_holds_nothing() -> None:
    cluster = committed(core.stage_leave(born("a", "b", "c", "d"), "d"))
    assert statuses(cluster)["d"] == "leaving"
    assert "d" in cluster.voters
    assert core.advance(cluster) is cluster, "it still owns something"
    cluster = core.advance(arrived(cluster))
    assert statuses(cluster)["d"] == "exiting"
    assert "d" not in cluster.voters
    assert core.advance(cluster) is cluster, "it has not said that it is empty"
    with pytest.raises(AlreadyLeaving):
        core.stage_replace(joining(cluster, "e"), "d", "e")
    cluster = core.advance(cluster, ["d"])
    assert cluster.names == ("a", "b", "c")
    assert cluster.left == ("d",)


def test_a_claimant_that_leaves_is_succeeded_in_the_same_change() -> None:
    cluster = committed(core.stage_leave(born("a", "b"), "a"))
    assert (cluster.claimant, cluster.epoch) == ("b", 2)


def test_a_replacement_takes_exactly_the_place_of_the_other() -> None:
    before = joining(born("a", "b", "c"), "d")
    cluster = committed(core.stage_replace(before, "b", "d"))
    for partition in range(SIZE):
        expected = "d" if before.layout.owner(partition) == "b" else before.layout.owner(partition)
        assert cluster.layout.goal.owner(partition) == expected
    assert statuses(cluster) == {"a": "valid", "b": "leaving", "c": "valid", "d": "valid"}


def test_a_node_that_is_removed_by_force_is_gone_and_the_others_give_in_its_place() -> None:
    cluster = committed(core.stage_force_remove(born("a", "b", "c", "d"), "d"))
    assert cluster.names == ("a", "b", "c")
    assert cluster.gone == {"d"}
    transfers = [one for p in cluster.layout.moving() for one in cluster.layout.transfers(p, 3, cluster.gone)]
    assert transfers
    assert "d" not in {transfer.giver for transfer in transfers}
    assert not arrived(cluster).gone


def test_clear_takes_everything_back_and_lets_newcomers_go() -> None:
    cluster = core.clear(core.stage_leave(joining(born("a", "b"), "c"), "b"))
    assert cluster.staged == ()
    assert cluster.names == ("a", "b")
    assert cluster.left == ("c",)
    assert core.clear(cluster) is cluster
    again = joining(cluster, "c")
    assert again.left == ()


def test_a_node_marked_as_down_has_no_vote_and_keeps_what_it_owns_until_it_is_seen() -> None:
    cluster = core.mark_down(born("a", "b", "c"), ["a"], by="c")
    assert statuses(cluster)["a"] == "down"
    assert cluster.voters == {"b", "c"}
    assert (cluster.claimant, cluster.epoch) == ("c", 2)
    assert cluster.layout.goal.counts()["a"] > 0
    assert core.mark_down(cluster, ["a"], by="b") is cluster
    back = core.seen_again(cluster, ["a", "b", "c"])
    assert statuses(back)["a"] == "valid"
    assert core.seen_again(back, ["a"]) is back


def test_a_node_that_was_leaving_when_it_was_marked_as_down_goes_on_leaving() -> None:
    cluster = committed(core.stage_leave(born("a", "b", "c"), "c"))
    cluster = core.seen_again(core.mark_down(cluster, ["c"], by="a"), ["c"])
    assert statuses(cluster)["c"] == "leaving"


def test_a_node_that_is_joining_is_not_the_claimant_because_it_was_asked() -> None:
    cluster = core.mark_down(joining(born("a", "b", "c"), "x"), ["a"], by="x")
    assert (cluster.claimant, cluster.epoch) == ("b", 2)


def test_of_two_histories_the_one_that_was_overruled_more_often_is_newer() -> None:
    cluster = born("a", "b")
    ahead = core.set_policy(core.set_policy(cluster, "auto"), "manual")
    assert core.overrule(core.mark_down(cluster, ["b"], by="a"), 7).age > ahead.age > cluster.age


def test_every_change_makes_the_next_version_and_nothing_makes_none() -> None:
    cluster = born("a", "b", "c")
    assert core.set_policy(cluster, "auto").version == cluster.version + 1
    assert core.set_policy(cluster, "manual") is cluster
    assert core.succeed(cluster, "a") is cluster
    assert core.succeed(cluster, "b").epoch == cluster.epoch + 1
    assert core.arrive(cluster, [0]) is cluster
    moved = core.relocate(cluster, Member("b", "valid", "elsewhere:1"))
    assert moved.member("b").address == "elsewhere:1"
    assert core.relocate(moved, Member("b", "valid", "elsewhere:1")) is moved


def test_a_zone_is_staged_once_and_comes_with_the_commit() -> None:
    cluster = core.stage_zone(core.stage_zone(born("a", "b"), "a", "north"), "a", "south")
    assert cluster.staged == (Change("set-zone", "a", "south"),)
    cluster = committed(cluster)
    assert cluster.member("a").zone == "south"
    assert cluster.layout.goal.zones == ("south", "")


def test_those_who_left_are_remembered_but_not_for_ever() -> None:
    cluster = born("a")
    for number in range(limits.NODES_MAX + 5):
        cluster = core.clear(joining(cluster, f"n{number}"))
    assert len(cluster.left) == limits.NODES_MAX
    assert cluster.left[-1] == f"n{limits.NODES_MAX + 4}"


REFUSALS: list[tuple[type[ChangeRefused], Callable[[], object]]] = [
    (NotMember, lambda: core.stage_leave(born("a"), "x")),
    (NotMember, lambda: core.stage_force_remove(born("a"), "x")),
    (NotMember, lambda: core.stage_zone(born("a"), "x", "north")),
    (NotMember, lambda: core.mark_down(born("a"), ["x"], by="a")),
    (HasNoVote, lambda: core.mark_down(joining(born("a"), "x"), ["x"], by="a")),
    (OnlyMember, lambda: core.stage_leave(born("a"), "a")),
    (OnlyMember, lambda: core.stage_leave(core.stage_leave(born("a", "b"), "a"), "b")),
    (OnlyMember, lambda: core.stage_force_remove(core.stage_leave(born("a", "b"), "a"), "b")),
    (AlreadyLeaving, lambda: core.stage_leave(committed(core.stage_leave(born("a", "b"), "b")), "b")),
    (AlreadyStaged, lambda: core.stage_leave(core.stage_leave(born("a", "b", "c"), "b"), "b")),
    (AlreadyStaged, lambda: core.stage_force_remove(core.stage_leave(born("a", "b", "c"), "b"), "b")),
    (AlreadyStaged, lambda: core.stage_leave(joining(born("a"), "b"), "b")),
    (IsClaimant, lambda: core.stage_force_remove(born("a", "b"), "a")),
    (IsClaimant, lambda: core.stage_replace(joining(born("a", "b"), "c"), "a", "c", force=True)),
    (InvalidReplacement, lambda: core.stage_replace(born("a", "b"), "a", "b")),
    (
        InvalidReplacement,
        lambda: core.stage_replace(core.stage_replace(joining(born("a", "b"), "c"), "b", "c"), "a", "c"),
    ),
    (AlreadyMember, lambda: joining(born("a", "b"), "b")),
    (AlreadyMember, lambda: core.stage_join(joining(born("a"), "b"), Member("b", "valid", "b:2"), SIZE)),
    (DifferentRingSizes, lambda: core.stage_join(born("a"), Member("b", "valid"), 2 * SIZE)),
]


@pytest.mark.parametrize(("refusal", "act"), REFUSALS)
def test_what_is_not_possible_is_refused_in_a_sentence(refusal: type[ChangeRefused], act: Callable[[], object]) -> None:
    with pytest.raises(refusal) as told:
        act()
    assert len(str(told.value).split()) > 5
    assert type(told.value)(*told.value.args).facts() == told.value.facts(), "it crosses between nodes"


def test_an_attempt_that_finds_its_own_work_is_not_refused() -> None:
    stages: list[Callable[[Cluster], Cluster]] = [
        lambda cluster: core.stage_leave(cluster, "b"),
        lambda cluster: core.stage_force_remove(cluster, "b"),
        lambda cluster: core.stage_replace(cluster, "b", "d"),
    ]
    for stage in stages:
        attempt, cluster = core.once(stage), joining(born("a", "b", "c"), "d")
        assert attempt(cluster) == attempt(cluster) == stage(cluster)
        assert attempt(stage(cluster)) == stage(cluster)
        with pytest.raises((AlreadyStaged, InvalidReplacement)):
            core.once(stage)(stage(cluster))


def test_a_cluster_has_a_limit() -> None:
    full = born(*[f"n{number:03d}" for number in range(limits.NODES_MAX)])
    with pytest.raises(TooLarge, match="members"):
        joining(full, "one-more")
    with pytest.raises(TooLarge, match="zone"):
        core.stage_zone(full, "n000", "z" * (limits.NAME_BYTES_MAX + 1))


def test_by_force_a_node_that_leaves_can_be_removed_too() -> None:
    leaving = committed(core.stage_leave(born("a", "b", "c"), "c"))
    after = committed(core.stage_force_remove(leaving, "c"))
    assert after.names == ("a", "b")
