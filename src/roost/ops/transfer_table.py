"""Transfers, and the limits of handoff, as text."""

from __future__ import annotations

from roost.cluster.status import Transfers, TransferStatus
from roost.ops.answers import HandoffConfig
from roost.ops.table import Rows, banner, columns, count, rule, size, span

BAR = 20
"""Characters of a progress bar."""


def transfer_table(answer: Transfers) -> str:
    """Two lines for each transfer: what goes where, and how far it is or why it waits."""
    lines = [banner("Transfers")]
    for one in sorted(answer.transfers, key=_urgency):
        lines += [_what(one), _progress(one)]
    if answer.transfers:
        waiting, given = (sum(map(is_so, answer.transfers)) for is_so in (_is_waiting, _is_given))
        under_way = len(answer.transfers) - waiting - given
        total = count(len(answer.transfers), "transfer")
        lines += [rule(), f"{total}: {under_way} under way, {waiting} waiting, {given} given"]
    if answer.moving:
        lines.append(f"{count(answer.moving, 'partition')} on the way to other nodes")
    if answer.is_over:
        lines.append("No transfers: everything that is known of is where it belongs." if answer.silent else OVER)
    if answer.silent:
        lines.append(f"What these have to give is not known, they do not answer: {', '.join(answer.silent)}")
    return "\n".join(lines)


OVER = "No transfers: all data is where it belongs."


def _is_waiting(one: TransferStatus) -> bool:
    return one.is_waiting


def _is_given(one: TransferStatus) -> bool:
    return one.is_given


def _urgency(one: TransferStatus) -> int:
    """What is under way first, what is given last."""
    return 2 if one.is_given else 1 if one.is_waiting else 0


def _what(one: TransferStatus) -> str:
    return f"{one.kind:<9}  {one.ring}: partition {one.partition}, copy {one.index}  {one.source} -> {one.target}"


def _progress(one: TransferStatus) -> str:
    if one.is_waiting:
        tried = f", {count(one.attempts, 'attempt')} so far" if one.attempts else ""
        return f"  waits with {count(one.items_total, 'item')}{tried}: {one.reason}"
    part = min(1.0, one.items_done / one.items_total) if one.items_total else 1.0
    facts = [f"{one.items_done} of {count(one.items_total, 'item')}", size(one.bytes_done)]
    if one.rate_bytes_s:
        facts.append(f"{size(one.rate_bytes_s)}/s")
    if one.eta_s is not None:
        facts.append(f"{span(one.eta_s)} left")
    facts.append(one.phase)
    bar = "=" * round(part * BAR)
    return f"  |{bar:<{BAR}}| {part:4.0%}  {', '.join(facts)}"


def transfer_rows(answer: Transfers) -> Rows:
    """A row for each transfer."""
    rows = [
        (
            one.kind,
            one.ring,
            str(one.partition),
            str(one.index),
            one.source,
            one.target,
            one.phase,
            str(one.items_done),
            str(one.items_total),
            str(one.bytes_done),
            f"{one.rate_bytes_s:.0f}",
            "" if one.eta_s is None else f"{one.eta_s:.1f}",
            str(one.attempts),
            one.reason,
            f"{one.started_s_ago:.1f}",
        )
        for one in answer.transfers
    ]
    header = (
        "kind", "ring", "partition", "copy", "source", "target", "phase", "items_done", "items_total", "bytes_done",
        "rate_bytes_s", "eta_s", "attempts", "reason", "started_s_ago",
    )  # fmt: skip
    return header, rows


def handoff_table(answer: HandoffConfig) -> str:
    """How many transfers each node gives and takes, and may."""
    rows = [
        (one.node, str(one.outgoing), _limit(one.outgoing_max), str(one.incoming), _limit(one.incoming_max))
        for one in answer.nodes
    ]
    lines = columns(("Node", "Giving", "At most", "Taking", "At most"), rows, (1, 2, 3, 4))
    lines = [banner("Handoff"), lines[0], rule(), *lines[1:]]
    if answer.silent:
        lines += [rule(), f"Nothing was changed, they do not answer: {', '.join(answer.silent)}"]
    return "\n".join(lines)


def _limit(limit: int) -> str:
    return str(limit) if limit else "disabled"


def handoff_rows(answer: HandoffConfig) -> Rows:
    """A row for each node that answers."""
    rows = [
        (one.node, str(one.outgoing), str(one.outgoing_max), str(one.incoming), str(one.incoming_max))
        for one in answer.nodes
    ]
    return ("node", "outgoing", "outgoing_max", "incoming", "incoming_max"), rows
