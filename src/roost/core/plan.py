"""The plan: what the staged changes of a cluster come to, before anybody commits them.

A plan is computed from the cluster alone, so that whoever commits it computes the same one again and sees whether
anything has changed since the operator looked: its digest covers the members, the staged changes and the ring that is
aimed at, and not the progress of transfers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from roost import limits
from roost.core.claim import moved, reclaim, replace, shortcomings
from roost.core.membership import Action, Change, Cluster, Status, removed, with_status
from roost.core.ring import Ring
from roost.errors import NothingPlanned, PlanChanged, TransfersPending

FORCED: Final[tuple[Action, ...]] = ("force-remove", "force-replace")


class Flow(msgspec.Struct, array_like=True, frozen=True):
    """`count` partitions, or copies of partitions, go from one node to another."""

    source: str
    target: str
    count: int


class Share(msgspec.Struct, array_like=True, frozen=True):
    """One member in a plan: its status after the commit, and how many partitions it owns now and in the end."""

    node: str
    status: str
    now: int
    then: int


class Plan(msgspec.Struct, frozen=True):
    """What a commit would do.

    Attributes:
        digest: equal for equal plans.
        changes: the staged changes.
        shares: every node that is a member now.
        reassigned: partitions that get another owner.
        transfers: copies that have to be given to another node.
        warnings: what the result does not fulfil, or loses, in words.
    """

    digest: bytes
    changes: tuple[Change, ...]
    shares: tuple[Share, ...]
    reassigned: tuple[Flow, ...]
    transfers: tuple[Flow, ...]
    warnings: tuple[str, ...]


def plan(cluster: Cluster, depth: int) -> Plan:
    """What a commit of the staged changes would do now.

    Args:
        depth: the largest number of copies that anything in this cluster has.

    Raises:
        NothingPlanned: when nothing is staged.
        TransfersPending: when too many changes are under way.
    """
    after = _outcome(cluster, depth)
    now, then = cluster.layout.counts(), after.layout.goal.counts()
    statuses: Mapping[str, Status] = {member.name: member.status for member in after.members}
    return Plan(
        _digest(cluster, after),
        cluster.staged,
        tuple(
            Share(name, statuses.get(name, "removed"), now.get(name, 0), then.get(name, 0)) for name in cluster.names
        ),
        tuple(Flow(*pair, count) for pair, count in sorted(moved(cluster.layout.goal, after.layout.goal).items())),
        _transfers(after, depth),
        _warnings(cluster, after, depth),
    )


def commit(cluster: Cluster, depth: int) -> Cluster:
    """Let the staged changes happen, as they were planned.

    Raises:
        NothingPlanned: when nothing is staged, or nobody has looked at a plan.
        PlanChanged: when it would do something else than what was planned.
        TransfersPending: when too many changes are under way.
    """
    if not cluster.staged or not cluster.planned:
        raise NothingPlanned(len(cluster.staged))
    after = _outcome(cluster, depth)
    if _digest(cluster, after) != cluster.planned:
        raise PlanChanged
    return after


def once(depth: int) -> Callable[[Cluster], Cluster]:
    """The same commit, attempted several times: that its own work is done must not look like one without a plan."""
    mine: list[Cluster] = []

    def attempt(cluster: Cluster) -> Cluster:
        if not cluster.staged and any(_is_outcome(cluster, after) for after in mine):
            return cluster
        mine.append(commit(cluster, depth))
        return mine[-1]

    return attempt


def _is_outcome(cluster: Cluster, after: Cluster) -> bool:
    """Whether `cluster` has come from `after`; it has not when somebody has taken the staged changes back instead."""
    return cluster.layout.goal == after.layout.goal and cluster.names == after.names


def commit_joins(cluster: Cluster, depth: int) -> Cluster:
    """What the automatic policy does: commit when joins, and nothing else, are staged."""
    if not cluster.staged or any(change.action != "join" for change in cluster.staged):
        return cluster
    if len(cluster.layout.rings) >= limits.RINGS_MAX:
        return cluster
    return _outcome(cluster, depth)


def _outcome(cluster: Cluster, depth: int) -> Cluster:
    if not cluster.staged:
        raise NothingPlanned(0)
    is_forced = any(change.action in FORCED for change in cluster.staged)
    if len(cluster.layout.rings) >= limits.RINGS_MAX and not is_forced:  # which may be what all the others wait for
        raise TransfersPending(len(cluster.layout.rings), limits.RINGS_MAX)
    after = _with_members(cluster)
    layout, aimed, version = cluster.layout, cluster.aimed, cluster.version + 1
    goal = _goal(cluster, after)
    if goal != layout.goal:
        layout, aimed = layout.aim(goal, depth), version
    after = msgspec.structs.replace(after, version=version, layout=layout, aimed=aimed, staged=(), planned=b"")
    if after.claimant not in after.having("valid"):
        heir = (after.having("valid") or after.having("leaving") or after.names)[0]
        after = msgspec.structs.replace(after, claimant=heir, epoch=cluster.epoch + 1)
    return after


def _with_members(cluster: Cluster) -> Cluster:
    """The members and their statuses after the commit."""
    by_action: dict[str, list[Change]] = {}
    for change in cluster.staged:
        by_action.setdefault(change.action, []).append(change)
    joining = [change.node for change in by_action.get("join", ())]
    leaving = [change.node for action in ("leave", "replace") for change in by_action.get(action, ())]
    lost = [change.node for action in FORCED for change in by_action.get(action, ())]
    zones = {change.node: change.detail for change in by_action.get("set-zone", ())}
    after = msgspec.structs.replace(cluster, members=with_status(cluster, joining, "valid"))
    after = msgspec.structs.replace(after, members=with_status(after, leaving, "leaving"))
    after = msgspec.structs.replace(
        after,
        members=tuple(
            msgspec.structs.replace(member, zone=zones.get(member.name, member.zone)) for member in after.members
        ),
    )
    return removed(after, lost)


def _goal(cluster: Cluster, after: Cluster) -> Ring:
    """The ring that the changes lead to."""
    ring = cluster.layout.goal
    for change in cluster.staged:
        if change.action in ("replace", "force-replace") and change.node in ring.members:
            ring = replace(ring, change.node, change.detail)
    claiming = [member for member in after.members if member.status in ("valid", "down")]
    names, zones = tuple(member.name for member in claiming), tuple(member.zone for member in claiming)
    if not any(zones):
        zones = ()
    owners = {name for name, count in ring.counts().items() if count}
    if owners == set(names) and ring.members == names and ring.zones == zones:
        return ring
    return reclaim(ring, names, zones)


def _digest(cluster: Cluster, after: Cluster) -> bytes:
    members = tuple((member.name, member.status, member.zone) for member in after.members)  # wherever they are
    facts = (cluster.staged, members, after.layout.goal)
    return hashlib.sha256(msgspec.msgpack.encode(facts)).digest()


def _transfers(after: Cluster, depth: int) -> tuple[Flow, ...]:
    counts: dict[tuple[str, str], int] = {}
    layout, gone = after.layout, after.gone
    for partition in layout.moving():
        for transfer in layout.transfers(partition, depth, gone):
            pair = transfer.giver, transfer.taker
            counts[pair] = counts.get(pair, 0) + 1
    return tuple(Flow(*pair, count) for pair, count in sorted(counts.items()))


def _warnings(cluster: Cluster, after: Cluster, depth: int) -> tuple[str, ...]:
    found: list[str] = []
    for change in cluster.staged:
        if change.action in FORCED:
            found.append(f"the copies that {change.node} holds are lost: they are made anew from the other copies")
    down = after.having("down")
    if down:
        found.append(
            f"{', '.join(down)} marked as down: what it has to give waits until it is back, or removed by force"
        )
    return (*found, *shortcomings(after.layout.goal, depth))
