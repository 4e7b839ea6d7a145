"""A small model of OTP's supervision: what each step of a script must lead to.

It is written from the documentation and the behaviour of OTP's supervisor, shares nothing with Roost, and does
everything at once: no messages, no tasks, no clock. So it speaks of a tree that is at rest before each step. What is
open even then is only how the lives of processes go on beside each other whose supervisor was killed; the model tells
them as threads, and any interleaving of the threads is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.otp.supervision_script import Branch, Event, Plan, Step, Worker

CLEAN = ("normal", "shutdown")
FAILING = ("raise", "stop")

Shape: TypeAlias = dict[str, list[tuple[str, bool]]]
"""The children of each supervisor, and whether they run."""


@dataclass(frozen=True)
class Join:
    """In a thread: it goes on when these threads are over."""

    threads: tuple[int, ...]


@dataclass
class Thread:
    """Events in order, from the moment on when thread `parent` had come to its item number `since`."""

    items: list[Event | Join] = field(default_factory=list)
    parent: int = -1
    since: int = 0


class Told:
    """What one step leads to: threads of events."""

    def __init__(self) -> None:
        self.threads = [Thread()]
        self._here = 0

    def add(self, *event: object) -> None:
        """The next event of the thread that is being told."""
        self.threads[self._here].items.append(event)  # type: ignore[arg-type]  # always the four of an Event

    @contextmanager
    def aside(self) -> Iterator[int]:
        """What the block tells goes on beside what is told after it."""
        here = self._here
        self.threads.append(Thread([], here, len(self.threads[here].items)))
        self._here = len(self.threads) - 1
        yield self._here
        self._here = here

    def join(self, threads: list[int]) -> None:
        """Wait for the end of these."""
        self.threads[self._here].items.append(Join(tuple(threads)))

    def differs(self, seen: list[Event]) -> str | None:
        """What is wrong with a sequence of events; None when this may be told so."""
        if len(self.threads) == 1 and self.threads[0].items == seen:
            return None
        places = {
            item: (number, place)
            for number, thread in enumerate(self.threads)
            for place, item in enumerate(thread.items)
            if not isinstance(item, Join)
        }
        done = [0] * len(self.threads)
        for position, event in enumerate(seen):
            number, place = places.pop(event, (-1, 0))
            if number < 0 or self._next(done, number) != place:
                return f"event {position}, {event}, does not belong there"
            done[number] = place + 1
        return f"missing: {[*places]}" if places else None

    def _next(self, done: list[int], number: int) -> int:
        """The place in a thread that may come next; -1 when none may."""
        parent, since = self.threads[number].parent, self.threads[number].since
        if parent >= 0 and self._passed(done, parent) < since:
            return -1
        return self._passed(done, number)

    def _passed(self, done: list[int], number: int) -> int:
        """How far a thread has come, with the joins at which it need not wait any more."""
        items = self.threads[number].items
        while done[number] < len(items):
            item = items[done[number]]
            if not isinstance(item, Join):
                break
            if any(self._passed(done, other) < len(self.threads[other].items) for other in item.threads):
                break
            done[number] += 1
        return done[number]


class Slot:
    """One line of a supervisor's list of children."""

    def __init__(self, plan: Plan, now: Node | None) -> None:
        self.plan, self.now = plan, now


class Node:
    """One life of a worker or a supervisor."""

    def __init__(self, plan: Plan, life: int, parent: Node | None) -> None:
        self.plan, self.life, self.parent = plan, life, parent
        self.alive = True
        self.slots: list[Slot] = []
        self.restarts: list[float] = []

    @property
    def branch(self) -> Branch:
        """The plan of a supervisor."""
        assert isinstance(self.plan, Branch)
        return self.plan


class Model:
    """A tree of OTP's supervisors and workers.

    `now` maps ids to the nodes that live; `step` does the next thing and tells what it leads to.

    Args:
        root: the plan of the tree.
        leaves_orphans: whether a child that is always killed to be stopped may end as it likes when its supervisor
            is killed. OTP leaves it alone; Roost kills it, so that it cannot outlive its supervisor. Nothing else
            that shows in a script is different.
    """

    def __init__(self, root: Branch, *, leaves_orphans: bool) -> None:
        self.root = root
        self._leaves_orphans = leaves_orphans
        self.lives: dict[str, int] = {}
        self.now: dict[str, Node] = {}
        self._at = 0.0
        self._told = Told()

    def boot(self) -> Told:
        """Start the tree."""
        started = self._start(self.root, None)
        self._told.add("reply", "boot", 0, "ok" if isinstance(started, Node) else "failed")
        return self._told

    def step(self, step: Step) -> Told:
        """Do one step."""
        self._told, self._at = Told(), step.at
        node = self.now.get(step.target)
        outcome = "noproc" if node is None else self._done(node, step)
        self._told.add("reply", step.verb, 0, outcome)
        return self._told

    def shape(self) -> Shape:
        """For each supervisor that lives: its children in order, by id for a dynamic one, and whether they run."""
        shape: Shape = {}
        for node in self.now.values():
            if isinstance(node.plan, Branch):
                children = [(slot.plan.id, slot.now is not None) for slot in node.slots]
                shape[node.plan.id] = sorted(children) if node.plan.strategy == "dynamic" else children
        return shape

    # The steps

    def _done(self, node: Node, step: Step) -> str:
        match step.verb:
            case "crash":
                self._end(node, self._terminated(node, "crash"))
            case "end" | "stop":
                self._end(node, self._terminated(node, step.word))
            case "leave":
                self._end(node, self._told_by_parent(node, step.word))
            case "kill":
                self._killed(node)
                self._tell_parent(node, "killed")
            case "signal":
                traps = isinstance(node.plan, Branch) or node.plan.traps
                if not traps and step.word != "normal":
                    self._end(node, step.word)
            case "start":
                assert step.plan is not None
                return self._start_child(node, step.plan)
            case "terminate":
                return self._terminate_child(node, step.word)
            case "restart":
                return self._restart_child(node, step.word)
            case "delete":
                return self._delete_child(node, step.word)
        return "ok"

    def _start_child(self, node: Node, plan: Plan) -> str:
        if node.branch.strategy == "dynamic":
            most = node.branch.max_children
            if most is not None and len(node.slots) >= most:
                return "max_children"
        else:
            slot = find(node, plan.id)
            if slot is not None:
                return "already_started" if slot.now is not None else "already_present"
        started = self._start(plan, node)
        if isinstance(started, Node):
            node.slots.append(Slot(plan, started))
            return "ok"
        if started == "ignored" and plan.restart != "temporary" and node.branch.strategy != "dynamic":
            node.slots.append(Slot(plan, None))
        return started

    def _terminate_child(self, node: Node, id: str) -> str:
        slot = find(node, id)
        if slot is None:
            return "not_found"
        self._stop(slot)
        if slot.plan.restart == "temporary" or node.branch.strategy == "dynamic":
            node.slots.remove(slot)
        return "ok"

    def _restart_child(self, node: Node, id: str) -> str:
        slot = find(node, id)
        if slot is None or node.branch.strategy == "dynamic":
            return "not_found"
        if slot.now is not None:
            return "running"
        started = self._start(slot.plan, node)
        if isinstance(started, Node):
            slot.now = started
            return "ok"
        return started

    def _delete_child(self, node: Node, id: str) -> str:
        slot = find(node, id)
        if slot is None or node.branch.strategy == "dynamic":
            return "not_found"
        if slot.now is not None:
            return "running"
        node.slots.remove(slot)
        return "ok"

    # Starting

    def _start(self, plan: Plan, parent: Node | None) -> Node | str:
        """A node that runs, or "failed", or "ignored"."""
        life = self.lives[plan.id] = self.lives.get(plan.id, 0) + 1
        node = Node(plan, life, parent)
        if isinstance(plan, Worker):
            does = plan.starts[life - 1] if life <= len(plan.starts) else "ok"
            self._told.add("start", plan.id, life, does)
            if does in FAILING:
                return "failed"
            if does == "ignore":
                return "ignored"
        else:
            self._told.add("start", plan.id, life, "")
            node.slots = [Slot(child, None) for child in plan.children]
            if self._start_slots(node, node.slots) is not None:
                self._stop_all(node)
                self._told.add("failed", plan.id, life, "")
                return "failed"
        self.now[plan.id] = node
        return node

    def _start_slots(self, node: Node, slots: list[Slot]) -> Slot | None:
        """Start children in order. Returns the one that did not start; those after it are not tried."""
        for slot in list(slots):
            started = self._start(slot.plan, node)
            if started == "failed":
                return slot
            slot.now = started if isinstance(started, Node) else None
            if slot.now is None and slot.plan.restart == "temporary":
                node.slots.remove(slot)
        return None

    # Ending

    def _end(self, node: Node, reason: str) -> None:
        """A node has ended with nothing left below it."""
        self._gone(node, reason)
        self._tell_parent(node, reason)

    def _gone(self, node: Node, reason: str) -> None:
        node.alive = False
        if self.now.get(node.plan.id) is node:
            del self.now[node.plan.id]
        self._told.add("end", node.plan.id, node.life, reason)

    def _terminated(self, node: Node, reason: str) -> str:
        """Run what belongs to an orderly end. Returns the reason that others will see."""
        if isinstance(node.plan, Branch):
            self._stop_all(node)
            return reason
        self._told.add("terminate", node.plan.id, node.life, reason)
        return "crash" if node.plan.ending == "raise" else reason

    def _told_by_parent(self, node: Node, reason: str) -> str:
        """The parent has ended, or says that it is time to stop."""
        return self._terminated(node, reason) if isinstance(node.plan, Branch) or node.plan.traps else reason

    def _stop(self, slot: Slot) -> None:
        """What a supervisor does to stop one child."""
        node, slot.now = slot.now, None
        if node is None:
            return
        if node.plan.shutdown == "brutal":
            self._killed(node)
            return
        reason = self._told_by_parent(node, "shutdown")
        worker = node.plan if isinstance(node.plan, Worker) else None
        if worker is not None and worker.traps and worker.ending == "hang" and worker.shutdown == "timed":
            reason = "killed"
        self._gone(node, reason)

    def _stop_all(self, node: Node) -> None:
        if node.branch.strategy == "dynamic":
            beside: list[int] = []
            for slot in node.slots:
                with self._told.aside() as thread:
                    self._stop(slot)
                beside.append(thread)
            self._told.join(beside)
        else:
            for slot in reversed(node.slots):
                self._stop(slot)

    def _killed(self, node: Node) -> None:
        """A node ends without a chance to do anything. Those below it hear of it, each for itself."""
        for slot in node.slots:
            if slot.now is not None:
                with self._told.aside():
                    if slot.plan.shutdown == "brutal" and not self._leaves_orphans:
                        self._killed(slot.now)
                    else:
                        self._gone(slot.now, self._told_by_parent(slot.now, "killed"))
        self._gone(node, "killed")

    # Restarting

    def _tell_parent(self, node: Node, reason: str) -> None:
        parent = node.parent
        if parent is None or not parent.alive:
            return
        slot = next(slot for slot in parent.slots if slot.now is node)
        slot.now = None
        clean = reason in CLEAN or reason.startswith("shutdown:")
        if slot.plan.restart == "permanent" or (slot.plan.restart == "transient" and not clean):
            self._restart(parent, slot)
            return
        if slot.plan.restart == "temporary" or parent.branch.strategy == "dynamic":
            parent.slots.remove(slot)
        if slot.plan.significant and (
            parent.branch.auto_shutdown == "any_significant"
            or (
                parent.branch.auto_shutdown == "all_significant"
                and not any(other.plan.significant and other.now is not None for other in parent.slots)
            )
        ):
            self._give_up(parent)

    def _restart(self, parent: Node, slot: Slot) -> None:
        """Bring a child back, and whatever the strategy brings down with it; again until it works or is too much."""
        failed: Slot | None = slot
        while failed is not None:
            parent.restarts = [at for at in parent.restarts if at >= self._at - parent.branch.within] + [self._at]
            if len(parent.restarts) > parent.branch.max_restarts:
                self._give_up(parent)
                return
            failed = self._restart_once(parent, failed)

    def _restart_once(self, parent: Node, slot: Slot) -> Slot | None:
        if parent.branch.strategy in ("one_for_one", "dynamic"):
            started = self._start(slot.plan, parent)
            slot.now = started if isinstance(started, Node) else None
            if started == "ignored" and parent.branch.strategy == "dynamic":
                parent.slots.remove(slot)
            return slot if started == "failed" else None
        first = parent.slots.index(slot) if parent.branch.strategy == "rest_for_one" else 0
        for other in reversed(parent.slots[first:]):
            self._stop(other)
            if other.plan.restart == "temporary":
                parent.slots.remove(other)
        return self._start_slots(parent, parent.slots[first:])

    def _give_up(self, node: Node) -> None:
        self._stop_all(node)
        self._end(node, "shutdown")


def find(node: Node, id: str) -> Slot | None:
    """The line of a supervisor's list with this id."""
    return next((slot for slot in node.slots if slot.plan.id == id), None)
