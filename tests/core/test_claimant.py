"""What the claimant does next, and who succeeds it."""

from __future__ import annotations

from roost.core import membership as core
from roost.core.claimant import Report, finished, heir, next_step
from roost.core.membership import Cluster
from tests.core.test_membership import born, committed, joining, statuses


def all_given(cluster: Cluster, depth: int = 3) -> dict[str, Report]:
    """What every giver says when it has given everything."""
    found: dict[str, set[tuple[int, int, str]]] = {}
    for partition in cluster.layout.moving():
        for one in cluster.layout.transfers(partition, depth, cluster.gone):
            found.setdefault(one.giver, set()).add((one.source, one.target, one.taker))
    return {giver: Report(cluster.aimed, frozenset(given)) for giver, given in found.items()}


def test_a_partition_arrives_when_every_giver_has_given() -> None:
    cluster = committed(joining(born("a", "b", "c"), "d"))
    reports = all_given(cluster)
    assert finished(cluster, 3, reports) == cluster.layout.moving()
    assert next_step(cluster, 3, reports, cluster.names, ()).layout.is_settled
    lacking = dict(reports)
    giver, report = next(iter(reports.items()))
    missing = min(report.given)
    lacking[giver] = report._replace(given=report.given - {missing})
    assert set(cluster.layout.moving()) - set(finished(cluster, 3, lacking)) == {missing[0] >> 3}
    assert finished(cluster, 3, {}) == ()


def test_nothing_is_waited_for_from_a_node_that_was_removed_by_force() -> None:
    cluster = committed(core.stage_force_remove(born("a", "b", "c", "d"), "d"))
    reports = all_given(cluster)
    assert "d" not in reports
    assert finished(cluster, 3, reports) == cluster.layout.moving()


def test_a_report_for_another_taker_counts_for_nothing() -> None:
    cluster = committed(joining(born("a", "b", "c"), "d"))
    reports = {
        giver: report._replace(given=frozenset((s, t, "x") for s, t, _ in report.given))
        for giver, report in all_given(cluster).items()
    }
    assert finished(cluster, 3, reports) == ()


def test_what_was_given_on_the_way_to_an_earlier_goal_counts_for_nothing() -> None:
    before = committed(joining(born("a", "b", "c"), "d"))
    reports = all_given(before)
    after = committed(joining(before, "e"))
    assert after.aimed > before.aimed
    assert {*all_given(after)["a"].given} & {*reports["a"].given}, "the same transfer"
    assert finished(after, 3, reports) == ()
    assert core.arrive(before, before.layout.moving()[:1]).aimed == before.aimed


def test_the_claimant_does_everything_that_is_due_in_one_step() -> None:
    cluster = committed(core.stage_leave(born("a", "b", "c"), "c"))
    cluster = core.mark_down(cluster, ["b"], by="a")
    after = next_step(cluster, 3, all_given(cluster), ("a", "b", "c"), ())
    assert statuses(after) == {"a": "valid", "b": "valid", "c": "exiting"}
    assert next_step(after, 3, {}, ("a", "b", "c"), ()) is after
    assert next_step(after, 3, {}, ("a", "b", "c"), ("c",)).names == ("a", "b")


def test_a_claimant_that_leaves_after_all_hands_its_office_on() -> None:
    cluster = committed(core.stage_leave(born("a", "b", "c"), "c"))
    cluster = core.succeed(core.arrive(cluster, cluster.layout.moving()), "c")
    after = next_step(cluster, 3, {}, ("a", "b", "c"), ())
    assert (after.claimant, after.epoch, statuses(after)["c"]) == ("a", cluster.epoch + 1, "exiting")
    assert next_step(after, 3, {}, ("a", "b", "c"), ("c",)).names == ("a", "b")


def test_joins_commit_by_themselves_only_under_the_automatic_policy() -> None:
    cluster = joining(born("a"), "b")
    assert next_step(cluster, 3, {}, ("a", "b"), ()) is cluster
    auto = core.set_policy(cluster, "auto")
    assert next_step(auto, 3, {}, ("a", "b"), ()).having("valid") == ("a", "b")
    assert next_step(auto, 3, {}, ("a",), ()) is auto, "b may not know that it was let in"


def test_the_first_of_a_majority_that_cannot_reach_the_claimant_succeeds_it() -> None:
    cluster = joining(born("a", "b", "c", "d", "e"), "aa")
    others = ("b", "c", "d", "e")
    assert heir(cluster, dict.fromkeys(("a", *others), ("a", *others))) is None
    assert heir(cluster, dict.fromkeys(others, others)) == "b"
    assert heir(cluster, {"b": ("a", *others), "c": others, "d": others, "e": others}) == "c", "b sees it"
    assert heir(cluster, {"b": ("a", "b"), "c": ("a", "c"), "d": ("d", "e"), "e": ("d", "e")}) is None
    assert heir(cluster, {"c": others, "d": others}) is None, "two of five are no majority"
    assert heir(cluster, {"aa": others, "b": others, "c": others}) is None, "who joins has no vote"
