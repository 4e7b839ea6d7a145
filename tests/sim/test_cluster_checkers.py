"""Each judge of membership is shown a history that is in order, and the same history with one thing wrong."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from roost.core import membership as core
from roost.core.layout import Layout, Transfer
from roost.core.membership import Cluster, Member, birth
from roost.core.plan import commit, plan
from roost.core.ring import Ring
from roost.sim.checkers import Broken
from roost.sim.chronicle import Gift, Order, Sighting, Verb
from roost.sim.cluster_checkers import (
    STALE_S,
    Value,
    claimants,
    forgotten,
    forked,
    late,
    moved_early,
    strays,
    unexplained,
    unsound,
    values,
)

change = msgspec.structs.replace


def born(*names: str, id: bytes = b"id") -> Cluster:
    return birth(id, "sim", [Member(name, "valid", f"{name}:1") for name in names], 8)


def joining(cluster: Cluster, name: str) -> Cluster:
    return core.stage_join(cluster, Member(name, "valid", f"{name}:1"), 8)


def committed(cluster: Cluster) -> Cluster:
    return commit(core.planned(cluster, plan(cluster, 3).digest), 3)


def seen(*clusters: Cluster, by: str = "a") -> list[Sighting]:
    return [Sighting(float(at), by, cluster) for at, cluster in enumerate(clusters)]


def history(*clusters: Cluster) -> list[Value]:
    return [Value(float(at), cluster) for at, cluster in enumerate(clusters)]


def order(verb: Verb, subject: str = "", detail: str = "", **facts: object) -> Order:
    return change(Order(0, "a", verb, subject, detail, 0.0, 9.0, "done"), **facts)


def who(broken: Iterable[Broken]) -> list[str]:
    return [one.checker for one in broken]


ABC = born("a", "b", "c")
LATER = joining(ABC, "d")
COMMITTED = committed(LATER)
ALL = (order("join", "d"), order("plan"), order("commit"))


def test_one_version_is_one_value() -> None:
    other = core.stage_leave(ABC, "c")
    assert LATER.version == other.version
    assert forked(seen(ABC, LATER) + seen(ABC, LATER, by="b")) == []
    assert who(forked(seen(ABC, LATER) + seen(ABC, other, by="b"))) == ["forked"]
    assert who(forked(seen(ABC, LATER), [order("leave", "c", cluster=other)])) == ["forked"]
    assert forked(seen(ABC, LATER) + seen(change(other, id=b"another"), by="b")) == []


def test_a_node_does_not_forget_unless_its_disk_is_lost() -> None:
    assert forgotten(seen(ABC, LATER, LATER)) == []
    assert who(forgotten(seen(LATER, ABC))) == ["forgotten"]
    assert forgotten([*seen(LATER), Sighting(1.0, "a", ABC, disk=1)]) == []


def test_an_epoch_has_one_claimant() -> None:
    assert claimants(seen(ABC, core.succeed(ABC, "b"))) == []
    assert who(claimants(seen(ABC, change(ABC, claimant="b")))) == ["claimants"]


def test_a_ring_has_distinct_holders_that_are_known_and_even_shares() -> None:
    assert unsound(COMMITTED) == []
    uneven = Ring(("a", "b", "c"), (0, 0, 0, 0, 0, 0, 1, 2))
    assert who(unsound(change(ABC, layout=Layout.settled(uneven)))) == ["unsound"]
    assert set(who(unsound(change(ABC, members=ABC.members[:2])))) == {"unsound"}
    assert unsound(change(ABC, members=ABC.members[:2], left=("c",))) == []
    assert who(unsound(change(ABC, claimant="z"))) == ["unsound"]


def test_what_was_asked_for_explains_every_step() -> None:
    assert unexplained(history(ABC, LATER, COMMITTED), ALL) == []
    assert unexplained(history(ABC, COMMITTED), ALL) == []
    assert set(who(unexplained(history(ABC, LATER), []))) == {"unexplained"}
    refused = order("join", "d", outcome="refused")
    assert set(who(unexplained(history(ABC, LATER), [refused]))) == {"unexplained"}
    too_late = order("join", "d", began_s=5.0)
    assert set(who(unexplained(history(ABC, LATER), [too_late]))) == {"unexplained"}


def test_a_staged_change_that_is_lost_is_found() -> None:
    lost = change(LATER, version=LATER.version + 1, staged=())
    assert who(unexplained(history(LATER, lost), [order("join", "d")])) == ["unexplained"]
    assert unexplained(history(LATER, lost), [order("clear")]) == []


def test_a_status_that_nobody_gave_is_found() -> None:
    down = core.mark_down(ABC, ["c"], by="a")
    assert who(unexplained(history(ABC, down), [])) == ["unexplained"]
    assert unexplained(history(ABC, down), [order("down", "c")]) == []
    back = change(ABC, version=9, members=core.with_status(ABC, ["c"], "joining"))
    assert who(unexplained(history(ABC, back), [])) == ["unexplained"]
    gone = change(core.removed(ABC, ["c"]), version=9)
    assert who(unexplained(history(ABC, gone), [])) == ["unexplained"]


def test_a_majority_is_overruled_by_an_operator_only() -> None:
    overruled = core.overrule(core.mark_down(ABC, ["b", "c"], by="a"), 1)
    assert who(unexplained(history(ABC, overruled), [])) == ["unexplained"]
    assert unexplained(history(ABC, overruled), [order("overrule", "b", "c")]) == []


def given(cluster: Cluster, partition: int, at_s: float) -> list[Gift]:
    transfers = cluster.layout.transfers(partition, 3)
    return [Gift(one.giver, one, cluster.aimed, [at_s]) for one in transfers]


def test_a_partition_that_moves_on_too_early_is_found() -> None:
    partition = COMMITTED.layout.moving()[0]
    moved = history(COMMITTED, core.arrive(COMMITTED, [partition]))
    gifts = given(COMMITTED, partition, 0.5)
    assert moved_early(moved, gifts) == []
    assert who(moved_early(moved, gifts[1:])) == ["moved early"]
    assert who(moved_early(moved, [])) == ["moved early"]
    assert who(moved_early(moved, given(COMMITTED, partition, 1.5))) == ["moved early"]
    assert who(moved_early(moved, given(COMMITTED, partition, 0.5 - STALE_S))) == ["moved early"]
    other = [gift._replace(aimed=gift.aimed - 1) for gift in gifts]
    assert who(moved_early(moved, other)) == ["moved early"]
    assert isinstance(gifts[0].transfer, Transfer)


def test_an_order_without_an_answer_in_time_is_found() -> None:
    assert late([order("plan")], 9.0, 100.0) == []
    assert who(late([order("plan")], 8.0, 100.0)) == ["late"]
    assert who(late([order("plan", ended_s=None, outcome="open")], 9.0, 100.0)) == ["late"]


def test_who_belongs_together_in_the_end() -> None:
    alone = born("d", id=b"d")
    assert strays({"a": ABC, "b": ABC, "c": ABC, "d": alone}) == []
    assert set(who(strays({"a": ABC, "b": ABC, "c": alone, "d": alone}))) == {"strays"}
    assert set(who(strays({"a": ABC, "b": ABC}))) == {"strays"}
    assert set(who(strays({"a": ABC, "b": ABC, "c": ABC, "d": ABC}))) == {"strays"}


def test_values_are_sorted_by_age_and_seen_first() -> None:
    found = values([*seen(LATER, ABC), *seen(LATER, by="b")], [order("commit", cluster=COMMITTED, ended_s=0.5)])
    assert [(at_s, cluster.version) for at_s, cluster in found[b"id"]] == [
        (1.0, ABC.version),
        (0.0, LATER.version),
        (0.5, COMMITTED.version),
    ]
