"""The answers of the console as text: a table for people, JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal

import msgspec

from roost.cluster.status import Handoff, Member, MemberStatus, RingStatus
from roost.ops.process_table import info_rows, info_table, tree_rows, tree_table
from roost.ops.table import banner, columns, rule
from roost.otp.process_info import ProcessInfo, ProcessTree

Form = Literal["table", "json", "csv"]
Answer = MemberStatus | RingStatus | ProcessTree | ProcessInfo

STATES = ("valid", "leaving", "exiting", "joining", "down")


def render(answer: Answer, form: Form) -> str:
    """`answer` as text, without a final line end."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(answer), indent=2).decode()
    table = form == "table"
    match answer:
        case MemberStatus():
            return _member_table(answer) if table else _member_csv(answer)
        case RingStatus():
            return _ring_table(answer) if table else _ring_csv(answer)
        case ProcessTree():
            return tree_table(answer) if table else _csv(*tree_rows(answer))
        case ProcessInfo():
            return info_table(answer) if table else _csv(*info_rows(answer))


def _member_table(answer: MemberStatus) -> str:
    """Riak's member-status, with the health and the web address of each node added."""
    lines = [
        banner("Membership"),
        "Status     Ring    Pending    Health  Node",
        rule(),
    ]
    for member in answer.members:
        pending = "  --  " if member.pending_percent is None else f"{member.pending_percent:5.1f}%"
        where = f"  {member.web}/" if member.web else ""
        health = "up" if member.up else "down!"
        lines.append(
            f"{member.status:<8}  {member.ring_percent:5.1f}%    {pending}    {health:<7} {member.name}{where}"
        )
    lines.append(rule())
    counts = {state: sum(member.status == state for member in answer.members) for state in STATES}
    lines.append(" / ".join(f"{state.capitalize()}:{count}" for state, count in counts.items()))
    lines += [line for member in answer.members if (line := _dispute(answer, member))]
    return "\n".join(lines)


def _dispute(answer: MemberStatus, member: Member) -> str:
    """One line for a member that is down for somebody."""
    if not member.down_for:
        return ""
    if not member.up_for:
        return f"{member.name} is down for every node that answers."
    return f"{member.name} is down for {', '.join(member.down_for)} but up for {', '.join(member.up_for)}."


def _member_csv(answer: MemberStatus) -> str:
    header = ("node", "status", "up", "ring_percent", "pending_percent", "web", "up_for", "down_for")
    rows = [
        (
            member.name,
            member.status,
            str(member.up).lower(),
            f"{member.ring_percent:.2f}",
            "" if member.pending_percent is None else f"{member.pending_percent:.2f}",
            member.web or "",
            " ".join(member.up_for),
            " ".join(member.down_for),
        )
        for member in answer.members
    ]
    return _csv(header, rows)


def _ring_table(answer: RingStatus) -> str:
    """Riak's ring-status, block by block; no claimant is shown, since a ring that never changes has none."""
    lines = [banner("Ring"), f"Ring Ready: {str(answer.ready).lower()}", f"Ring Size:  {answer.size} partitions"]
    if answer.differing:
        lines.append(f"Another ring than {answer.node}'s: {', '.join(answer.differing)}")
    lines += [
        "",
        *columns(("Node", "Partitions"), [(share.node, str(share.partitions)) for share in answer.shares], (1,)),
    ]
    lines += ["", banner("Hinted Handoff"), *_handoff_lines(answer.handoffs)]
    lines += ["", banner("Unreachable Nodes")]
    if answer.unreachable:
        lines += [
            *answer.unreachable,
            "",
            "Fallbacks serve what they hold, and hand it back when they return.",
        ]
    else:
        lines.append("All nodes are up and reachable")
    return "\n".join(lines)


def _handoff_lines(handoffs: Sequence[Handoff]) -> list[str]:
    if not handoffs:
        return ["No pending handoffs."]
    rows = [
        (str(one.partition), one.source, one.target, str(one.items), str(one.attempts), one.reason) for one in handoffs
    ]
    return columns(("Partition", "From", "To", "Items", "Attempts", "Waiting because"), rows, (0, 3, 4), gap=2)


def _ring_csv(answer: RingStatus) -> str:
    waiting = {share.node: 0 for share in answer.shares}
    for handoff in answer.handoffs:
        waiting[handoff.source] = waiting.get(handoff.source, 0) + handoff.items
    rows = [
        (
            share.node,
            str(share.partitions),
            str(share.node not in answer.unreachable).lower(),
            str(share.node not in answer.differing).lower() if share.node not in answer.unreachable else "",
            str(waiting[share.node]),
        )
        for share in answer.shares
    ]
    return _csv(("node", "partitions", "reachable", "same_ring", "handoff_items"), rows)


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")
