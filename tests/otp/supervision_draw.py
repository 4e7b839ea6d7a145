"""Draws scripts of supervision from a seed: trees of up to three floors, and what happens to them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, TypeVar

from tests.otp.supervision_model import Model, Shape, Told
from tests.otp.supervision_script import Branch, Plan, Restart, Script, Shutdown, Start, Step, Strategy, Verb, Worker

T = TypeVar("T")

FLOORS_MAX: Final = 3
WORKERS_MAX: Final = 12
STEPS_MAX: Final = 7

RESTARTS: Final[tuple[Restart, ...]] = ("permanent", "permanent", "transient", "temporary")
STRATEGIES: Final[tuple[Strategy, ...]] = ("one_for_one", "one_for_one", "one_for_all", "rest_for_one")
WINDOWS: Final = (1000.5, 1000.5, 2.5)
TO_WORKERS: Final[tuple[Verb, ...]] = ("crash", "crash", "crash", "end", "end", "signal", "kill", "kill", "stop")
TO_BRANCHES: Final[tuple[Verb, ...]] = ("kill", "stop", "start", "start", "terminate", "restart", "restart", "delete")
TO_ROOTS: Final[tuple[Verb, ...]] = TO_BRANCHES[2:]
REASONS: Final = ("normal", "shutdown", "shutdown:moved", "bored")


class Draw:
    """One script in the making.

    Args:
        seed: decides everything.
        original: whether OTP's own supervisor can play it in real time: windows end far from every step, all children
            of a dynamic supervisor are of one kind, and their number has no limit.
    """

    def __init__(self, seed: int, *, original: bool = False) -> None:
        self._random = random.Random(seed)
        self._original = original
        self._ids = 0
        self._workers = 0

    def script(self) -> tuple[Script, list[Told], Shape]:
        """The script, what each step must lead to, and the tree before the last step, which ends it."""
        root = self.branch(1, None)
        model = Model(root, leaves_orphans=self._original)
        script, told = Script(root, []), [model.boot()]
        at, before, shape = 0.0, "", model.shape()
        for _ in range(self.number(1, STEPS_MAX)):
            if root.id not in model.now:
                break
            at += self._gap()
            step = self._step(at, before, model)
            before = step.target
            script.steps.append(step)
            shape = model.shape()
            told.append(model.step(step))
        if root.id in model.now:
            shape = model.shape()
            last = Step(at + 1, self.one(("stop", "leave")), root.id, self.one(REASONS))
            script.steps.append(last)
            told.append(model.step(last))
        return script, told, shape

    # Plans

    def branch(self, floor: int, parent: Branch | None) -> Branch:
        """The plan of a supervisor on this floor of the tree, with everything below it."""
        branch = Branch(self._id("s"), strategy=self.one(STRATEGIES))
        branch.max_restarts = self.number(2 if parent is None else 0, 5)
        branch.within = 1000.5 if self._original else self.one(WINDOWS)
        if self.chance(0.25):
            branch.auto_shutdown = self.one(("any_significant", "all_significant"))
        if parent is not None:
            self._child(branch, parent)
            branch.shutdown = "brutal" if branch.shutdown == "brutal" else "endless"
            if self.chance(0.2):
                self._make_dynamic(branch)
                return branch
        for _ in range(self.number(1, 4)):
            if self._workers == WORKERS_MAX:
                break
            below = floor < FLOORS_MAX and self.chance(0.25)
            branch.children.append(self.branch(floor + 1, branch) if below else self.worker(branch))
        return branch

    def _make_dynamic(self, branch: Branch) -> None:
        branch.strategy, branch.auto_shutdown = "dynamic", "never"
        if self._original:
            branch.each = Worker("each", self.one(RESTARTS), shutdown=self._shutdown())
        elif self.chance(0.3):
            branch.max_children = self.number(1, 2)

    def worker(self, parent: Branch) -> Worker:
        """The plan of one more worker."""
        self._workers += 1
        worker = Worker(self._id("w"), traps=self.chance(0.7))
        self._child(worker, parent)
        if self.chance(0.3):
            worker.ending = self.one(("late", "raise", "hang"))
        if self.chance(0.3):
            worker.starts = self._starts(parent)
        return worker

    def _starts(self, parent: Branch) -> list[Start]:
        first: Start = "ok" if self.chance(0.75) else self.one(("late", "ignore", "ignore", "raise", "stop"))
        later: tuple[Start, ...] = ("ok", "late", "raise", "stop", "ignore", "ignore")
        starts = [first, *(self.one(later) for _ in range(self.number(0, 4)))]
        # OTP keeps a dynamic child whose restart is ignored, without a process: an accident that nobody wants.
        dynamic = parent.strategy == "dynamic" and self._original
        return ["stop" if dynamic and start == "ignore" else start for start in starts]

    def _child(self, plan: Plan, parent: Branch) -> None:
        plan.restart, plan.shutdown = self.one(RESTARTS), self._shutdown()
        if parent.each is not None:
            plan.restart, plan.shutdown = parent.each.restart, parent.each.shutdown
        if parent.auto_shutdown != "never" and plan.restart != "permanent":
            plan.significant = self.chance(0.6)

    def _shutdown(self) -> Shutdown:
        return self.one(("timed", "timed", "timed", "timed", "endless", "brutal"))

    # Steps

    def _step(self, at: float, before: str, model: Model) -> Step:
        living = list(model.now.values())
        target = model.now.get(before) if self.chance(0.4) else None
        node = target or self.one(living)
        if isinstance(node.plan, Worker):
            verb = self.one(TO_WORKERS)
            return Step(at, verb, node.plan.id, self.one(REASONS) if verb in ("end", "signal", "stop") else "")
        branch = node.plan
        verb = self.one(TO_BRANCHES if node.parent is not None or self.chance(0.1) else TO_ROOTS)
        if branch.strategy == "dynamic" and verb in ("restart", "delete"):
            verb = "start"
        match verb:
            case "start":
                return Step(at, verb, branch.id, plan=self._new_child(branch, [slot.plan for slot in node.slots]))
            case "terminate" | "restart" | "delete":
                idle = [slot.plan.id for slot in node.slots if slot.now is None]
                ids = [slot.plan.id for slot in node.slots]
                known = idle if verb != "terminate" and idle and self.chance(0.7) else ids
                word = "nobody" if not known or self.chance(0.05) else self.one(known)
                return Step(at, verb, branch.id, word)
            case "stop":
                return Step(at, verb, branch.id, self.one(REASONS))
            case _:
                return Step(at, verb, branch.id)

    def _new_child(self, branch: Branch, known: Sequence[Plan]) -> Plan:
        if known and branch.strategy != "dynamic" and self.chance(0.25):
            return self.one(known)
        below = branch.each is None and self.chance(0.15)
        return self.branch(FLOORS_MAX, branch) if below else self.worker(branch)

    def _gap(self) -> float:
        if self.chance(0.85):
            return 1.0
        return 2000.0 if self._original else self.one((3.0, 2000.0))

    # Luck

    def _id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}{self._ids}"

    def one(self, choices: Sequence[T]) -> T:
        """One of several."""
        return choices[int(self._random.random() * len(choices))]

    def number(self, least: int, most: int) -> int:
        """A number between two, both included."""
        return least + int(self._random.random() * (most - least + 1))

    def chance(self, share: float) -> bool:
        """True in this share of all cases."""
        return self._random.random() < share
