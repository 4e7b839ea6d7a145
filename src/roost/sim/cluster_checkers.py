"""Judges of membership: pure functions of what nodes knew and operators were told, to the promises that were broken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from roost import limits
from roost.core.membership import Change, Cluster
from roost.sim.checkers import Broken
from roost.sim.chronicle import Gift, Order, Sighting, Verb

PATHS: Final[Mapping[str, Collection[str]]] = {
    "joining": ("valid",),
    "valid": ("leaving", "exiting", "down"),
    "leaving": ("exiting", "down", "valid"),
    "exiting": (),
    "down": ("valid", "leaving", "exiting"),
}
"""Where a member may go from each status; any of them may be removed."""
STALE_S: Final = 5.0
"""How old the word of a giver may be that lets a partition move on, in virtual seconds."""


class Value(NamedTuple):
    """A value of a cluster, and when it was seen first."""

    at_s: float
    cluster: Cluster


def values(sightings: Iterable[Sighting], orders: Iterable[Order] = ()) -> dict[bytes, list[Value]]:
    """By the identity of a cluster, each value that was seen, once, by its age; of several of one age the first."""
    seen = [Value(one.at_s, one.cluster) for one in sightings]
    seen += [Value(one.ended_s or 0.0, one.cluster) for one in orders if one.cluster is not None]
    found: dict[bytes, dict[tuple[int, int], Value]] = {}
    for value in sorted(seen, key=lambda one: one.at_s):
        found.setdefault(value.cluster.id, {}).setdefault(value.cluster.age, value)
    return {id: [of_one[age] for age in sorted(of_one)] for id, of_one in found.items()}


def forked(sightings: Iterable[Sighting], orders: Iterable[Order] = ()) -> list[Broken]:
    """There is one history: a version of a cluster is the same value wherever and whenever it is known."""
    first: dict[tuple[bytes, tuple[int, int]], tuple[str, Cluster]] = {}
    told = [(one.machine, one.cluster) for one in sightings]
    told += [(f"the operator of order {one.index}", one.cluster) for one in orders if one.cluster is not None]
    broken: list[Broken] = []
    for who, cluster in told:
        other, known = first.setdefault((cluster.id, cluster.age), (who, cluster))
        if known != cluster:
            broken.append(Broken("forked", _named(cluster), f"{who} and {other} know different values of it"))
    return broken


def forgotten(sightings: Iterable[Sighting]) -> list[Broken]:
    """A node never goes back to an older value of the same cluster, not even when it has crashed, unless its disk was
    lost."""
    newest: dict[tuple[str, int, bytes], Cluster] = {}
    broken: list[Broken] = []
    for at_s, machine, cluster, disk in sightings:
        known = newest.setdefault((machine, disk, cluster.id), cluster)
        if cluster.age < known.age:
            broken.append(Broken("forgotten", machine, f"knew {_named(known)}, and {_named(cluster)} at {at_s:.3f} s"))
        newest[machine, disk, cluster.id] = cluster
    return broken


def claimants(sightings: Iterable[Sighting]) -> list[Broken]:
    """An epoch has one claimant."""
    first: dict[tuple[bytes, int, int], str] = {}
    broken: list[Broken] = []
    for _, machine, cluster, _ in sightings:
        claimant = first.setdefault((cluster.id, cluster.generation, cluster.epoch), cluster.claimant)
        if claimant != cluster.claimant:
            what = f"{machine} takes {cluster.claimant} for the claimant of epoch {cluster.epoch}, others {claimant}"
            broken.append(Broken("claimants", _named(cluster), what))
    return broken


def unsound(cluster: Cluster) -> list[Broken]:
    """Each partition has an owner, and as many holders as there can be, each once; who holds anything is known."""
    broken: list[Broken] = []
    layout = cluster.layout
    known = {*cluster.names, *cluster.left}
    for partition in range(layout.size):
        order = layout.order(partition)
        if len(set(order)) != len(order) or not order:
            broken.append(Broken("unsound", _named(cluster), f"partition {partition} is held by {order}"))
        strangers = [node for node in order if node not in known]
        if strangers:
            broken.append(Broken("unsound", _named(cluster), f"{strangers} hold partition {partition}, as no members"))
    counts = layout.goal.counts()
    if max(counts.values()) - min(counts.values()) > 1:
        broken.append(Broken("unsound", _named(cluster), f"shares differ by more than one partition: {counts}"))
    if list(cluster.names) != sorted(set(cluster.names)) or not cluster.has(cluster.claimant):
        broken.append(Broken("unsound", _named(cluster), f"claimant {cluster.claimant}, members {cluster.names}"))
    return broken


def unexplained(history: Sequence[Value], orders: Iterable[Order]) -> list[Broken]:
    """Every step of a history follows from the one before: by itself, or by an order that was not refused."""
    given = [one for one in orders if one.outcome != "refused"]
    broken: list[Broken] = []
    for before, after in pairwise(history):
        known = [one for one in given if one.began_s <= after.at_s]

        def was_ordered(
            *verbs: Verb, subject: str = "", detail: str = "", known: Sequence[Order] = known, since_s: float = 0.0
        ) -> bool:
            return any(
                one.verb in verbs
                and (not subject or subject in (one.subject, *one.detail.split()))
                and (not detail or one.detail == detail)
                and (one.outcome != "done" or one.ended_s is None or one.ended_s >= since_s)
                for one in known
            )

        for what in _unexplained_steps(before, after, was_ordered):
            broken.append(Broken("unexplained", _named(after.cluster), f"after {_named(before.cluster)}: {what}"))
    return broken


def _unexplained_steps(before: Value, after: Value, was_ordered: Callable[..., bool]) -> Iterator[str]:
    old, new, since_s = before.cluster, after.cluster, min(before.at_s, after.at_s)
    if new.generation != old.generation:
        if not was_ordered("down", "overrule"):
            yield "a majority was overruled by nobody"
        return
    if new.epoch < old.epoch or ((new.epoch == old.epoch) != (new.claimant == old.claimant) and new.epoch == old.epoch):
        yield f"epoch {new.epoch} of {new.claimant} follows epoch {old.epoch} of {old.claimant}"
    commits = was_ordered("commit", since_s=since_s) or new.policy == "auto"
    if any(change not in new.staged for change in old.staged) and not (
        commits or was_ordered("clear", "set-zone", since_s=since_s)
    ):
        yield f"{[str(change) for change in old.staged]} became {[str(change) for change in new.staged]}"
    for change in new.staged:
        if change not in old.staged and not _is_asked(change, was_ordered):
            yield f"nobody asked for {change}"
    if new.planned and new.planned != old.planned and not was_ordered("plan"):
        yield "nobody asked for a plan"
    if new.layout.goal != old.layout.goal and not commits:
        yield "the ring changes without a commit"
    yield from _unexplained_members(old, new, was_ordered, commits)


def _is_asked(change: Change, was_ordered: Callable[..., bool]) -> bool:
    return was_ordered(change.action, subject=change.node, detail=change.detail)


def _unexplained_members(old: Cluster, new: Cluster, was_ordered: Callable[..., bool], commits: bool) -> Iterator[str]:
    for member in new.members:
        if not old.has(member.name):
            if not was_ordered("join", subject=member.name):
                yield f"{member.name} is a member, and nobody asked for that"
            continue
        was = old.member(member.name)
        # A member that goes and comes back between two looks shows any other status: then it was asked to join.
        if member.status != was.status and not was_ordered("join", subject=member.name):
            if member.status not in PATHS[was.status]:
                yield f"{member.name} was {was.status}, and is {member.status}"
            elif member.status == "down" and not was_ordered("down", "overrule", subject=member.name):
                yield f"{member.name} is down, and nobody said so"
            elif was.status in ("joining", "valid") and member.status in ("valid", "leaving") and not commits:
                yield f"{member.name} was {was.status}, and is {member.status} without a commit"
    for member in old.members:
        if not new.has(member.name) and not (
            member.status in ("leaving", "exiting") or commits or was_ordered("clear", "leave", subject="")
        ):
            yield f"{member.name} was {member.status}, and is no member any more"


def moved_early(history: Sequence[Value], gifts: Iterable[Gift], depth: int = limits.REPLICAS) -> list[Broken]:
    """A partition moves on only when every transfer that its next holders need is given, by the giver's latest word.

    That may be STALE_S old: a giver that has crashed says nothing any more, which the claimant has to notice first.
    """
    given = {(gift.transfer, gift.aimed): gift.said for gift in gifts}
    broken: list[Broken] = []
    for before, after in pairwise(history):
        old, new = before.cluster.layout, after.cluster.layout
        if before.cluster.generation != after.cluster.generation or old.goal not in new.rings:
            continue
        goal = new.rings.index(old.goal)
        for partition in old.moving():
            if new.at[partition] != goal:
                continue
            missing: list[str] = []
            for gone in (before.cluster.gone, frozenset(old.nodes()) - {*after.cluster.names}):
                missing = [
                    f"{one.giver} to {one.taker} ({one.source} to {one.target})"
                    for one in old.transfers(partition, depth, gone)
                    if not any(0 <= after.at_s - at_s <= STALE_S for at_s in given.get((one, before.cluster.aimed), ()))
                ]
                if not missing:
                    break
            if missing:
                what = f"partition {partition} moved on before {', '.join(missing)} had given"
                broken.append(Broken("moved early", _named(after.cluster), what))
    return broken


def late(orders: Iterable[Order], bound_s: float, end_s: float) -> list[Broken]:
    """Every operator is answered within `bound_s`."""
    return [
        Broken("late", f"order {one.index}", f"{one} took {(one.ended_s or end_s) - one.began_s:.1f} s")
        for one in orders
        if (one.ended_s is None and end_s - one.began_s > bound_s)
        or (one.ended_s is not None and one.ended_s - one.began_s > bound_s)
    ]


def strays(known: Mapping[str, Cluster]) -> list[Broken]:
    """In the end a node belongs to the cluster that it says, to all who belong to it, and to no other.

    Args:
        known: by node, what it knows of its cluster.
    """
    broken: list[Broken] = []
    for name, cluster in known.items():
        if not cluster.has(name):
            broken.append(Broken("strays", name, "is no member of its own cluster, and does not go alone"))
        for other in cluster.names:
            if other not in known:
                broken.append(Broken("strays", name, f"takes {other} for a member, and there is no such node"))
            elif known[other].id != cluster.id:
                broken.append(Broken("strays", name, f"takes {other} for a member, which does not know of it"))
        for other, its in known.items():
            if its.id == cluster.id and not its.has(name):
                broken.append(Broken("strays", name, f"is no member to {other}, and does not know of it"))
    return broken


def _named(cluster: Cluster) -> str:
    return f"version {cluster.generation}.{cluster.version} of {cluster.id.hex()[:6]}"
