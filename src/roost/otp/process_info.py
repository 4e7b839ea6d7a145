"""The processes of a node as data: who they are, what they do right now, who started whom.

Nothing here waits for a process or changes it: it is safe to ask in production, and about a process that hangs.
After observer and process_info/1 of OTP.
"""

from __future__ import annotations

import dataclasses
import gc
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import PurePath
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from roost.errors import NotLocal
from roost.limits import LISTED_MAX, STATE_OBJECTS_SIZED_MAX, TREE_CHILDREN_MAX, TREE_DEPTH_MAX, TREE_PROCESSES_MAX
from roost.otp.crash import ancestors, kind_of
from roost.otp.process import Process
from roost.otp.scheduler import Scheduler

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer

Status = Literal["idle", "ready", "running", "waiting", "suspended", "ending"]
"""What a process does: nothing; it has mail and gets its turn; a handler runs at this very moment; its async handler
waits for something; it lets its mail wait until it is resumed; it cleans up."""

DIGITS_MAX: Final = 20
"""Digits of the number of a process; Python refuses to read thousands of them."""
_MACHINERY: Final = frozenset(("roost.otp.serving", "roost.otp.ending"))
"""Modules whose frames stand between a task and the handler that it runs."""


class Memory(msgspec.Struct, frozen=True):
    """How much data a state holds: its containers, texts, numbers and structs, each counted once.

    Another object in the state counts without what it refers to. A value that several processes share counts in each
    of them. `complete` is False when there was more to count than `roost.limits.STATE_OBJECTS_SIZED_MAX` objects.
    """

    bytes: int
    objects: int
    complete: bool


class ProcessInfo(msgspec.Struct, frozen=True):
    """One process at one moment. Other processes are given as their texts, such as "Supervisor 'root'".

    Attributes:
        kind: its class.
        name: its registered name.
        pid: its number on its node.
        node: its node.
        status: what it does.
        handler: the handler that it is in, when it is running or waiting.
        place: the line where that handler is, "shop.py:31".
        waits_for: the processes whose replies that handler awaits.
        mailbox: messages that wait.
        mailbox_max: how many may.
        dropped: messages that its overflow policy has dropped.
        trapping: whether it traps exits.
        ancestors: who started it, who started that one, and so on.
        links: the processes that it is linked with, the first of them when they are many.
        link_count: how many those are.
        monitors: the processes that it monitors, the first of them when they are many.
        monitor_count: how many those are.
        watchers: how many monitors watch it.
        timers: messages that it will send to itself.
        activities: the names of what runs beside its mailbox.
        memory: of its state; None where many processes are listed.
    """

    kind: str
    name: str | None
    pid: int
    node: str
    status: Status
    handler: str | None
    place: str | None
    waits_for: tuple[str, ...]
    mailbox: int
    mailbox_max: int
    dropped: int
    trapping: bool
    ancestors: tuple[str, ...]
    links: tuple[str, ...]
    link_count: int
    monitors: tuple[str, ...]
    monitor_count: int
    watchers: int
    timers: int
    activities: tuple[str, ...]
    memory: Memory | None = None


class ProcessNode(msgspec.Struct, frozen=True):
    """One process of a tree, and those that it has started, oldest first; `omitted` says how many are left out."""

    info: ProcessInfo
    children: tuple[ProcessNode, ...]
    omitted: int


class ProcessTree(msgspec.Struct, frozen=True):
    """The processes of one node.

    `roots` are those that no living process has started with a link, oldest first; `omitted` of them are left out.
    `count` is the number of all processes of the node.
    """

    node: str
    count: int
    roots: tuple[ProcessNode, ...]
    omitted: int


def process_info(handle: GenServer) -> ProcessInfo:
    """What there is to say about one process of this node.

    Raises:
        ProcessDown: when it has ended.
        NotLocal: when it is of another node.
    """
    process: object = handle._process
    if not isinstance(process, Process):
        raise NotLocal(str(process))
    if not process.alive:
        raise process.down()
    return describe(process, with_memory=True)


def find_process(scheduler: Scheduler, text: str) -> Process | None:
    """The process that somebody means who writes its name, or else its number, with or without a "#" before it."""
    found = scheduler.names.get(text)
    digits = text.removeprefix("#")
    if found is None and digits.isdecimal() and len(digits) <= DIGITS_MAX:
        found = scheduler.processes.get(int(digits))
    return found


def process_tree(
    scheduler: Scheduler, children_max: int = TREE_CHILDREN_MAX, processes_max: int = TREE_PROCESSES_MAX
) -> ProcessTree:
    """The processes of a node, each below the one that started it.

    Args:
        scheduler: of the node.
        children_max: how many children of one process are listed, and how many roots; of the others the number is.
        processes_max: how many processes are listed; those near the roots come first.
    """
    children: dict[Process | None, list[Process]] = {}
    for process in scheduler.processes.values():
        children.setdefault(_parent(process), []).append(process)
    shown: dict[Process | None, list[Process]] = {None: children.get(None, [])[:children_max]}
    front = deque((process, 1) for process in shown[None])
    left = processes_max - len(front)
    order: list[Process] = []
    while front:
        process, depth = front.popleft()
        order.append(process)
        room = min(children_max, left) if depth < TREE_DEPTH_MAX else 0
        below = shown[process] = children.get(process, [])[:room]
        left -= len(below)
        front.extend((child, depth + 1) for child in below)
    nodes: dict[Process, ProcessNode] = {}
    for process in reversed(order):  # children before parents: however deep the tree is, nothing recurses
        below = shown[process]
        omitted = len(children.get(process, ())) - len(below)
        nodes[process] = ProcessNode(describe(process), tuple([nodes[child] for child in below]), omitted)
    roots = tuple([nodes[process] for process in shown[None]])
    return ProcessTree(scheduler.name, len(scheduler.processes), roots, len(children.get(None, ())) - len(roots))


def walk(nodes: Iterable[ProcessNode], depth: int = 0) -> Iterator[tuple[int, ProcessNode]]:
    """Every process of a tree with its depth, parents before children."""
    front = [(depth, node) for node in nodes][::-1]
    while front:
        depth, node = front.pop()
        yield depth, node
        front += [(depth + 1, child) for child in reversed(node.children)]


def describe(process: Process, *, with_memory: bool = False) -> ProcessInfo:
    """The facts about a process that is alive."""
    ties, modes = process.ties, process.modes
    handler, place = _activity(process)
    return ProcessInfo(
        kind=kind_of(process),
        name=process.name,
        pid=process.pid,
        node=process.scheduler.name,
        status=_status(process),
        handler=handler,
        place=place,
        waits_for=() if ties is None else _first(str(target) for done, target in ties.waits.items() if not done.done()),
        mailbox=len(process.mail or ()) // 2,
        mailbox_max=process.entries_max // 2,
        dropped=0 if modes is None else modes.dropped,
        trapping=ties is not None and ties.trapping,
        ancestors=ancestors(process),
        links=() if ties is None else _first(map(str, ties.links)),
        link_count=0 if ties is None else len(ties.links),
        monitors=() if ties is None else _first(str(monitor.target) for monitor in ties.monitoring),
        monitor_count=0 if ties is None else len(ties.monitoring),
        watchers=0 if ties is None else len(ties.monitors),
        timers=0 if ties is None else len(ties.timers),
        activities=() if ties is None else _first(ties.activities.values()),
        memory=_memory(process.server) if with_memory else None,
    )


def handler_of(frame: FrameType | None, server: object) -> FrameType | None:
    """The outermost frame of a stack that is a method of `server`: the handler that runs."""
    found = None
    while frame is not None:
        names = frame.f_code.co_varnames
        if frame.f_code.co_argcount and frame.f_locals.get(names[0]) is server:
            found = frame
        frame = frame.f_back
    return found


def place_of(frame: FrameType) -> str:
    """The line where a frame is, for people."""
    return f"{PurePath(frame.f_code.co_filename).name}:{frame.f_lineno}"


def plain_name(qualified: str) -> str:
    """The name of a function without the functions that it is defined in."""
    return qualified.rpartition("<locals>.")[2]


def _first(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(texts, LISTED_MAX))


def _parent(process: Process) -> Process | None:
    parent = process.ties.parent if process.ties is not None else None
    return parent if parent is not None and parent.alive and parent.scheduler is process.scheduler else None


def _runs(process: Process) -> bool:
    """Whether the code that asks was called by a handler of the process."""
    return process.scheduler.is_running(process) or process.scheduler.caller() is process


def _status(process: Process) -> Status:
    if process.leaving is not None:
        return "ending"
    if _runs(process):
        return "running"
    if process.task is not None:
        return "waiting"
    if process.suspended:
        return "suspended"
    return "ready" if process.mail else "idle"


def _activity(process: Process) -> tuple[str | None, str | None]:
    """The handler that the process is in, and the line where it is."""
    if _runs(process):
        frame = handler_of(sys._getframe(1), process.server)
        return (None, None) if frame is None else (plain_name(frame.f_code.co_qualname), place_of(frame))
    if process.task is None:
        return None, None
    handler = place = None
    for coroutine in coroutines(process.task.get_coro()):
        frame = coroutine.cr_frame
        if frame is not None and frame.f_globals.get("__name__") not in _MACHINERY:
            handler = handler or plain_name(coroutine.__qualname__)
            place = place_of(frame) if place is None or _is_own(frame) else place
    return handler, place


def coroutines(outermost: object) -> Iterator[CoroutineType[object, object, object]]:
    """A coroutine, the one that it awaits, and so on."""
    inner = outermost
    while isinstance(inner, CoroutineType):
        yield inner
        inner = inner.cr_await


def _is_own(frame: FrameType) -> bool:
    """Whether this is a line of the application rather than of asyncio, which it waits in."""
    return not str(frame.f_globals.get("__name__", "")).startswith("asyncio")


def _memory(server: object) -> Memory:
    seen: set[int] = {id(server)}
    # The collector knows what the server holds. To look at its __dict__ would make the server slower for ever.
    held = [value for value in gc.get_referents(server) if not isinstance(value, (type, Process))]
    front: deque[object] = deque(held)
    size = sys.getsizeof(server)
    while front:
        value = front.popleft()
        if id(value) in seen:
            continue
        if len(seen) >= STATE_OBJECTS_SIZED_MAX:
            return Memory(size, len(seen), False)
        seen.add(id(value))
        size += sys.getsizeof(value, 0)
        front.extend(_parts(value))
    return Memory(size, len(seen), True)


def _parts(value: object) -> Iterable[object]:
    """The values that a value holds, when it is data."""
    if isinstance(value, dict):
        return (part for pair in value.items() for part in pair)
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return value
    if isinstance(value, msgspec.Struct):
        return [getattr(value, name) for name in value.__struct_fields__ if hasattr(value, name)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value) if hasattr(value, field.name)]
    return ()
