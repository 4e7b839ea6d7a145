"""The sockets of a cluster as text: for each node, a line for each endpoint."""

from __future__ import annotations

from roost.ops.answers import SocketsStatus
from roost.ops.table import Rows, banner, columns, count, rule, size
from roost.web.socket_counts import SocketCounts

HEADER = ("Path", "Sockets", "Channels", "Polls", "Behind", "Dropped", "Coalesced", "Closed")


def socket_table(answer: SocketsStatus) -> str:
    """Who is connected where, who does not keep up, and what was done about it."""
    every = [counts for one in answer.nodes for counts in one.endpoints]
    lines = columns(HEADER, [_cells(counts) for counts in every], range(1, len(HEADER)), gap=2)
    text = [banner("Sockets"), lines.pop(0), rule()]
    for one in answer.nodes:
        text.append(one.node)
        text += [lines.pop(0) for _ in one.endpoints]
    text += [rule(), _total(every)]
    if answer.silent:
        text.append(f"Without an answer: {', '.join(answer.silent)}")
    return "\n".join(text)


def _cells(counts: SocketCounts) -> tuple[str, ...]:
    return (
        counts.path,
        str(counts.sockets),
        str(counts.channels),
        str(counts.polls),
        f"{counts.behind}: {size(counts.waiting_bytes)}" if counts.behind else "0",
        str(counts.dropped),
        str(counts.coalesced),
        str(counts.closed_slow),
    )


def _total(every: list[SocketCounts]) -> str:
    if not every:
        return "The application has no sockets."
    sockets = count(sum(one.sockets for one in every), "socket")
    channels = count(sum(one.channels for one in every), "channel")
    return f"{sockets}, {channels}; {count(sum(one.behind for one in every), 'client')} behind."


def socket_rows(answer: SocketsStatus) -> Rows:
    """A row for each endpoint of each node."""
    names = SocketCounts.__struct_fields__
    rows = [
        (one.node, *(str(getattr(counts, name)) for name in names)) for one in answer.nodes for counts in one.endpoints
    ]
    return ("node", *names), rows
