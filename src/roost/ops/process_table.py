"""The processes of a node as text: a tree for people, rows for programs."""

from __future__ import annotations

from collections.abc import Sequence

from roost.ops.table import banner, columns, rule
from roost.otp.process_info import Memory, ProcessInfo, ProcessTree, walk

LABEL_MAX = 40
"""Characters of a process in the tree."""


def tree_table(tree: ProcessTree) -> str:
    """Each process below the one that started it."""
    rows: list[tuple[str, ...]] = []
    more: list[tuple[int, int]] = []  # (depth, how many) of the siblings that are left out, of those who are open
    for depth, node in walk(tree.roots):
        _close(more, depth, rows)
        info = node.info
        label = _cut("  " * depth + (f"{info.name}  {info.kind}" if info.name else info.kind))
        rows.append((label, str(info.pid), info.status, str(info.mailbox), _where(info)))
        more.append((depth + 1, node.omitted))
    _close(more, 0, rows)
    if tree.omitted:
        rows.append((f"... {tree.omitted} more", "", "", "", ""))
    lines = columns(("Process", "Number", "Status", "Mail", "Handler"), rows, (1, 3), gap=2)
    return "\n".join(
        [banner(f"Processes of {tree.node}"), lines[0], rule(), *lines[1:], rule(), f"{tree.count} processes"]
    )


def _close(more: list[tuple[int, int]], depth: int, rows: list[tuple[str, ...]]) -> None:
    """What is left out below the processes that end here, innermost first."""
    while more and more[-1][0] > depth:
        level, omitted = more.pop()
        if omitted:
            rows.append((f"{'  ' * level}... {omitted} more", "", "", "", ""))


def tree_rows(tree: ProcessTree) -> tuple[Sequence[str], list[Sequence[str]]]:
    """The header and a row for each process that is listed."""
    header = ("pid", "parent", "depth", "kind", "name", "status", "handler", "place", "mailbox", "children_omitted")
    rows: list[Sequence[str]] = []
    path: list[int] = []
    for depth, node in walk(tree.roots):
        del path[depth:]
        info = node.info
        parent = str(path[-1]) if path else ""
        path.append(info.pid)
        rows.append(
            (
                str(info.pid),
                parent,
                str(depth),
                info.kind,
                info.name or "",
                info.status,
                info.handler or "",
                info.place or "",
                str(info.mailbox),
                str(node.omitted),
            )
        )
    return header, rows


def info_table(info: ProcessInfo) -> str:
    """Everything about one process, a line for each fact that there is."""
    title = f"{info.kind} {info.name!r}" if info.name else f"{info.kind} #{info.pid}"
    mail = f"{info.mailbox} of at most {info.mailbox_max} messages"
    facts = [
        ("Node", info.node),
        ("Number", str(info.pid)),
        ("Status", info.status),
        ("Handler", _where(info)),
        ("Waits for", ", ".join(info.waits_for)),
        ("Mailbox", mail + (f", {info.dropped} dropped" if info.dropped else "")),
        ("Started by", " < ".join(info.ancestors)),
        ("Links", _some(info.links, info.link_count)),
        ("Traps exits", "yes" if info.trapping else ""),
        ("Monitors", _some(info.monitors, info.monitor_count)),
        ("Watchers", str(info.watchers or "")),
        ("Timers", str(info.timers or "")),
        ("Activities", ", ".join(info.activities)),
        ("State", "" if info.memory is None else _size(info.memory)),
    ]
    return "\n".join([banner(title), *(f"{name:<11}  {text}" for name, text in facts if text)])


def info_rows(info: ProcessInfo) -> tuple[Sequence[str], list[Sequence[str]]]:
    """The header and the one row of a process."""
    memory = info.memory
    cells = {
        "pid": str(info.pid),
        "kind": info.kind,
        "name": info.name or "",
        "node": info.node,
        "status": info.status,
        "handler": info.handler or "",
        "place": info.place or "",
        "mailbox": str(info.mailbox),
        "mailbox_max": str(info.mailbox_max),
        "dropped": str(info.dropped),
        "links": str(info.link_count),
        "monitors": str(info.monitor_count),
        "watchers": str(info.watchers),
        "timers": str(info.timers),
        "ancestors": "; ".join(info.ancestors),
        "state_bytes": "" if memory is None else str(memory.bytes),
    }
    return tuple(cells), [tuple(cells.values())]


def _where(info: ProcessInfo) -> str:
    return " ".join(filter(None, (info.handler, info.place)))


def _cut(text: str) -> str:
    return text if len(text) <= LABEL_MAX else text[: LABEL_MAX - 3] + "..."


def _some(texts: Sequence[str], count: int) -> str:
    more = count - len(texts)
    return ", ".join([*texts, f"and {more} more"] if more else texts)


def _size(memory: Memory) -> str:
    least = "" if memory.complete else "at least "
    return f"{least}{memory.bytes} bytes in {memory.objects} objects"
