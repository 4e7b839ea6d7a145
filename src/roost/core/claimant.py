"""The claimant: who drives the changes of a cluster, and what it does next.

One node at a time, the claimant of an epoch, lets partitions arrive when their transfers are done, lets nodes that own
nothing go, and commits joins when the policy says so. Whatever it wants is a change that the voters agree on, so a
claimant that nobody can reach does no harm; and one that a majority cannot reach for a while is succeeded by the first
of those, by name. An epoch has one claimant, because succession is such a change, too.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from roost.core.layout import Transfer
from roost.core.membership import Cluster, advance, arrive, seen_again
from roost.core.plan import commit_joins


class Report(NamedTuple):
    """What one giver says that it has given.

    Attributes:
        aimed: on the way to which goal, see `Cluster.aimed`. On the way to an earlier one the same transfer may have
            been given, and then forgotten, and written to since.
        given: the slots from and to, and who took it.
    """

    aimed: int
    given: frozenset[tuple[int, int, str]]


def finished(cluster: Cluster, depth: int, reports: Mapping[str, Report]) -> tuple[int, ...]:
    """The partitions that may move on: everything that their next holders need was given.

    Args:
        depth: the largest number of copies that anything in this cluster has.
        reports: what each giver says, and has not taken back.
    """
    layout, gone = cluster.layout, cluster.gone

    def is_done(transfer: Transfer) -> bool:
        report = reports.get(transfer.giver)
        what = transfer.source, transfer.target, transfer.taker
        return report is not None and report.aimed == cluster.aimed and what in report.given

    return tuple(
        partition
        for partition in layout.moving()
        if all(is_done(transfer) for transfer in layout.transfers(partition, depth, gone))
    )


def next_step(
    cluster: Cluster, depth: int, reports: Mapping[str, Report], up: Iterable[str], empty: Iterable[str]
) -> Cluster:
    """The cluster as the claimant wants it, or the same when there is nothing to do.

    Args:
        depth: the largest number of copies that anything in this cluster has.
        reports: what was given.
        up: the nodes that the claimant can reach.
        empty: the nodes that are exiting and say that they hold nothing any more.
    """
    after = seen_again(cluster, up)
    after = arrive(after, finished(after, depth, reports))
    after = advance(after, empty)
    if after.policy == "auto" and {*after.having("joining")} <= {*up}:
        return commit_joins(after, depth)  # who has asked, and is not seen, may not know that it was let in
    return after


def heir(cluster: Cluster, seen: Mapping[str, Container[str]]) -> str | None:
    """Who succeeds a claimant that is lost: the first, by name, of those who cannot reach it; None when it is not lost.

    It is lost when a majority of the voters says that it cannot be reached; what one node alone sees is no reason.

    Args:
        seen: whom each node that answers can reach.
    """
    blind = [name for name in cluster.names if name in seen and cluster.claimant not in seen[name]]
    if 2 * len(cluster.voters.intersection(blind)) <= len(cluster.voters):
        return None
    return next((name for name in cluster.having("valid") if name in blind), None)
