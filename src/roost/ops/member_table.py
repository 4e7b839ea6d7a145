"""The members of a cluster as text, in the form of Riak's member-status."""

from __future__ import annotations

from collections.abc import Iterable

from roost.cluster.status import Member, MemberStatus
from roost.core.membership import STATUSES
from roost.ops.table import Rows, banner, columns, flag, rule


def member_table(answer: MemberStatus) -> str:
    """Who belongs to the cluster, who is up, who owns how much; staged changes below."""
    has_zones = any(member.zone for member in answer.members)
    width = max(len(_name(member)) for member in answer.members)
    rows = [_row(member, width, has_zones=has_zones) for member in answer.members]
    header = ["Status", "Ring", "Pending", "Health", *["Zone"] * has_zones, "Node"]
    lines = columns(header, rows, (1, 2), gap=3)
    lines = [banner("Membership"), lines[0], rule(), *lines[1:], rule()]
    lines.append(statuses(member.status for member in answer.members))
    lines += [line for member in answer.members if (line := _dispute(member))]
    lines += ["(C) is the claimant, which drives changes."] if any(one.is_claimant for one in answer.members) else []
    if answer.staged:
        lines += ["", "Staged changes, which wait for roost cluster plan and roost cluster commit:"]
        lines += [f"  {change}" for change in answer.staged]
    return "\n".join(lines)


def statuses(found: Iterable[str]) -> str:
    """How many members have which status: "Valid:3 / Leaving:0 / ..."."""
    counts = list(found)
    return " / ".join(f"{status.capitalize()}:{counts.count(status)}" for status in STATUSES)


def health(member: Member) -> str:
    """Riak's four: up, down (an operator has said so), and the two that nobody expects."""
    if member.status == "down":
        return "up!" if member.up else "down"
    return "up" if member.up else "down!"


def _name(member: Member) -> str:
    return member.name + " (C)" * member.is_claimant


def _row(member: Member, width: int, *, has_zones: bool) -> list[str]:
    """The cells of a member. Where zones are used, they take the place of the web address: lines have an end."""
    name = _name(member)
    where = [member.zone, name] if has_zones else [f"{name:{width}}  {member.web}/" if member.web else name]
    return [
        f"{member.status:<8}",
        f"{member.ring_percent:.1f}%",
        "--  " if member.pending_percent is None else f"{member.pending_percent:.1f}%",
        f"{health(member):<6}",
        *where,
    ]


def _dispute(member: Member) -> str:
    """One line for a member that is down for somebody."""
    if not member.down_for or member.status == "joining":
        return ""
    if not member.up_for:
        return f"{member.name} is down for every node that answers."
    return f"{member.name} is down for {', '.join(member.down_for)} but up for {', '.join(member.up_for)}."


def member_rows(answer: MemberStatus) -> Rows:
    """A row for each member."""
    header = (
        "node", "status", "up", "claimant", "ring_percent", "pending_percent", "zone", "web", "up_for", "down_for",
    )  # fmt: skip
    rows = [
        (
            member.name,
            member.status,
            flag(member.up),
            flag(member.is_claimant),
            f"{member.ring_percent:.2f}",
            "" if member.pending_percent is None else f"{member.pending_percent:.2f}",
            member.zone,
            member.web or "",
            " ".join(member.up_for),
            " ".join(member.down_for),
        )
        for member in answer.members
    ]
    return header, rows
