"""The ring of a cluster as text, in the blocks of Riak's ring-status."""

from __future__ import annotations

from collections.abc import Sequence

from roost.cluster.status import Pending, RingStatus, TransferStatus
from roost.ops.table import Rows, banner, columns, count, flag

NUMBERS_MAX = 12
"""Partitions that are listed one by one."""


def ring_table(answer: RingStatus) -> str:
    """Who drives changes, whether all agree, what is on its way and why, who sees whom."""
    lines = [
        banner("Claimant"),
        f"Claimant:   {answer.claimant}",
        f"Status:     {'up' if answer.claimant_up else 'down'}",
        f"Ring Ready: {flag(answer.ready)}",
        f"Ring Size:  {count(answer.size, 'partition')}",
        f"Version:    {answer.version}, epoch {answer.epoch}",
    ]
    if answer.differing:
        lines.append(f"Another version than {answer.node}'s: {', '.join(answer.differing)}")
    lines += ["", banner("Ring"), *_shares(answer)]
    lines += ["", banner("Ownership Handoff"), *_pending(answer)]
    lines += ["", banner("Hinted Handoff"), *_hinted([one for one in answer.transfers if one.kind != "ownership"])]
    lines += ["", banner("Unreachable Nodes"), *_unreachable(answer)]
    return "\n".join(lines)


def _shares(answer: RingStatus) -> list[str]:
    if not answer.moving:
        rows = [(share.node, str(share.partitions)) for share in answer.shares]
        return columns(("Node", "Partitions"), rows, (1,))
    wide = [(share.node, str(share.partitions), str(share.pending)) for share in answer.shares]
    return columns(("Node", "Partitions", "Pending"), wide, (1, 2))


def _pending(answer: RingStatus) -> list[str]:
    lines: list[str] = []
    if answer.staged:
        lines += [f"Staged: {change}" for change in answer.staged]
        lines += ["Nothing of that happens before roost cluster plan and roost cluster commit."]
    elif not answer.pending:
        lines.append("No pending changes.")
    for one in answer.pending:
        lines += ["", *_group(one)] if lines else _group(one)
    return lines


def _group(one: Pending) -> list[str]:
    if one.owner == one.next_owner:
        lines = [f"Owner:      {one.owner} (other copies move)"]
    else:
        lines = [f"Owner:      {one.owner}", f"Next Owner: {one.next_owner}"]
    listed = ", ".join(map(str, one.partitions[:NUMBERS_MAX]))
    more = len(one.partitions) - NUMBERS_MAX
    return [
        *lines,
        f"Partitions: {listed}" + (f" and {more} more" if more > 0 else ""),
        f"  {one.copies} cop{'y' if one.copies == 1 else 'ies'} to give: {one.why}",
    ]


def _hinted(transfers: Sequence[TransferStatus]) -> list[str]:
    if not transfers:
        return ["No pending handoffs."]
    rows = [
        (str(one.partition), one.source, one.target, str(one.items_total), str(one.attempts), one.reason or one.phase)
        for one in transfers
    ]
    return columns(("Partition", "From", "To", "Items", "Attempts", "Waiting because"), rows, (0, 3, 4), gap=2)


def _unreachable(answer: RingStatus) -> list[str]:
    lines = [f"{sight.node} does not see {', '.join(sight.missing)}" for sight in answer.sights]
    if not answer.unreachable:
        return lines or ["All nodes are up and reachable"]
    return [
        *answer.unreachable,
        *lines,
        "",
        "Fallbacks serve what they hold, and hand it back when they return. If one is",
        "lost for good: roost cluster force-remove, or roost cluster force-replace.",
    ]


def ring_rows(answer: RingStatus) -> Rows:
    """A row for each member."""
    waiting = {share.node: 0 for share in answer.shares}
    for one in answer.transfers:
        waiting[one.source] = waiting.get(one.source, 0) + one.items_total - one.items_done
    rows = [
        (
            share.node,
            str(share.partitions),
            str(share.pending),
            flag(share.node == answer.claimant),
            flag(share.node not in answer.unreachable),
            "" if share.node in answer.unreachable else flag(share.node not in answer.differing),
            str(waiting[share.node]),
        )
        for share in answer.shares
    ]
    header = ("node", "partitions", "pending_partitions", "claimant", "reachable", "same_ring", "handoff_items")
    return header, rows
