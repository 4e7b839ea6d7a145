"""What was changed, what is planned, and what is ready, as text."""

from __future__ import annotations

from collections.abc import Sequence

from roost.ops.answers import Done, Flow, PlannedChange, PlanStatus, Ready
from roost.ops.member_table import statuses
from roost.ops.table import Rows, banner, columns, count, flag, rule


def done_table(answer: Done) -> str:
    """What was done, what is staged, and what to type next."""
    lines = [f"{answer.done}."]
    if answer.staged:
        lines += ["Staged changes:", *(f"  {change}" for change in answer.staged)]
    if answer.next_step:
        lines.append(f"Next: {answer.next_step}")
    return "\n".join(lines)


def done_rows(answer: Done) -> Rows:
    """One row."""
    row = (answer.node, answer.done, str(answer.version), "; ".join(answer.staged))
    return ("node", "done", "version", "staged"), [row]


def ready_table(answer: Ready) -> str:
    """TRUE or FALSE, as Riak's ringready, and why not."""
    if answer.ready:
        return f"TRUE {answer.cluster}: {answer.wanted}."
    return "\n".join([f"FALSE {reason}" for reason in answer.reasons])


def ready_rows(answer: Ready) -> Rows:
    """One row."""
    return ("node", "ready", "reasons"), [(answer.node, flag(answer.ready), "; ".join(answer.reasons))]


def plan_table(answer: PlanStatus) -> str:
    """The staged changes, what they warn of, the members afterwards, and everything that moves."""
    changes = [(change.action, _detail(change)) for change in answer.changes]
    lines = columns(("Action", "Details"), changes, gap=6)
    lines = [banner("Staged Changes"), lines[0], rule(), *lines[1:], rule()]
    lines += [f"WARNING: {warning}" for warning in answer.warnings]
    lines += ["", banner("Membership after the commit"), *_members(answer)]
    lines += ["", *_flows("Partitions reassigned", "partition", answer.reassigned)]
    lines += ["", *_flows("Transfers", "transfer", answer.transfers)]
    lines += ["", "Nothing has changed yet. Next: roost cluster commit, or roost cluster clear"]
    return "\n".join(lines)


def _detail(change: PlannedChange) -> str:
    match change.action:
        case "replace" | "force-replace":
            return f"{change.node} with {change.detail}"
        case "set-zone":
            return f"{change.node} to {change.detail or 'a zone of its own'}"
        case _:
            return change.node


def _members(answer: PlanStatus) -> list[str]:
    rows = [
        (
            member.status,
            f"{100 * member.partitions / answer.ring_size:.1f}%",
            f"{100 * member.pending_partitions / answer.ring_size:.1f}%",
            member.name + " (C)" * member.is_claimant,
        )
        for member in answer.members
    ]
    lines = columns(("Status", "Ring", "Pending", "Node"), rows, (1, 2))
    return [lines[0], rule(), *lines[1:], rule(), statuses(member.status for member in answer.members)]


def _flows(title: str, what: str, flows: Sequence[Flow]) -> list[str]:
    lines = [f"{title}: {sum(flow.count for flow in flows)}"]
    return lines + [f"  {count(flow.count, what)} from {flow.source} to {flow.target}" for flow in flows]


def plan_rows(answer: PlanStatus) -> Rows:
    """A row for each change, member, warning and flow; `what` says which one it is."""
    rows: list[Sequence[str]] = [("change", one.action, one.node, one.detail, "") for one in answer.changes]
    rows += [
        ("member", one.status, one.name, str(one.partitions), str(one.pending_partitions)) for one in answer.members
    ]
    rows += [("warning", warning, "", "", "") for warning in answer.warnings]
    rows += [("reassigned", "", one.source, one.target, str(one.count)) for one in answer.reassigned]
    rows += [("transfers", "", one.source, one.target, str(one.count)) for one in answer.transfers]
    return ("what", "kind", "node", "detail", "count"), rows
