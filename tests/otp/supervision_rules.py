"""What must hold of supervision in whatever order things happen: judged from the book of a grove.

one life      a supervisor never runs two lives of one child
outlived      nothing outlives a supervisor with an orderly end, and nothing starts under one that has ended
backwards     when a supervisor stops children, it stops the last one first, and waits for its end
intensity     no more restarts within the window than allowed
restarts      a temporary child never comes back, a transient one not after a clean end, a permanent one always
"""

from __future__ import annotations

from typing import Final

from tests.otp.supervision_grove import LATE_S, Grove, Life
from tests.otp.supervision_script import Branch, Plan

PAUSE_S: Final = 1.0
"""The longest pause before a restart: a start may come so much later than the restart was counted."""
CUT: Final = ("killed", "noproc")
"""The ends that leave a supervisor no time for its children."""


class Judge:
    """Reads the book of a grove once, in order.

    Args:
        grove: whose book.
        unit_s: virtual seconds of one unit in which windows are planned.
        asked: what supervisors were asked for from outside, as (act, supervisor, id).
    """

    def __init__(self, grove: Grove, unit_s: float, asked: list[tuple[str, str, str]]) -> None:
        self.problems: list[str] = []
        self._grove, self._unit_s, self._asked = grove, unit_s, asked
        self._live: dict[Life, float] = {}
        """Who lives, and when its init was over."""
        self._over: dict[Life, str] = {}
        self._below: dict[Life, list[Life]] = {}
        """All lives under one life of a supervisor, in the order of their starts."""
        self._starts: dict[tuple[Life, str], list[float]] = {}

    def judge(self) -> list[str]:
        """Everything that is wrong."""
        for event, at in zip(self._grove.events, self._grove.times, strict=True):
            verb, id, life, how = event
            match verb:
                case "start":
                    self._started((id, life), how, at)
                case "terminate":
                    if how == "shutdown":
                        self._is_backwards((id, life))
                case "failed" | "end":
                    if verb == "end" and how == "shutdown" and not isinstance(self._grove.plans[id], Branch):
                        self._is_backwards((id, life))
                    self._ended((id, life), how, at)
        self._counted()
        return self.problems

    def _started(self, child: Life, how: str, at: float) -> None:
        parent = self._grove.parents[child]
        if parent in self._over:
            self._wrong("outlived", f"{child} starts under {parent}, which has ended")
        below = self._below.setdefault(parent, [])
        for other in below:
            if other[0] == child[0] and other in self._live:
                self._wrong("one life", f"{child} starts while {other} lives")
        below.append(child)
        self._starts.setdefault((parent, child[0]), []).append(at)
        if how in ("", "ok", "late"):
            self._live[child] = at + LATE_S if how == "late" else at
        self._may_start(child, parent)

    def _may_start(self, child: Life, parent: Life) -> None:
        earlier = [life for life in self._below[parent] if life[0] == child[0] and life != child]
        if not earlier or self._was_asked(("start", "restart"), parent, child[0]):
            return
        plan = self._grove.plans[child[0]]
        if plan.restart == "temporary":
            self._wrong("restarts", f"{child} comes back though it is temporary")
        last = self._over.get(earlier[-1], "")
        alone = self._branch(parent).strategy in ("one_for_one", "dynamic")
        if plan.restart == "transient" and alone and is_clean(last):
            self._wrong("restarts", f"{child} comes back after its end with {last!r}")

    def _ended(self, child: Life, how: str, at: float) -> None:
        # Whoever ends before its init is over, for whatever reason, has not started.
        self._over[child] = how if at >= self._live.pop(child, at) else "not started"
        if how in CUT:
            return
        left = [life for life in self._below.get(child, []) if life in self._live]
        if left:
            self._wrong("outlived", f"{child} ends, and {left} live on")

    def _is_backwards(self, child: Life) -> None:
        """A supervisor stops this child: those behind it must have ended."""
        parent = self._grove.parents[child]
        if parent not in self._below or parent in self._over or self._branch(parent).strategy == "dynamic":
            return
        if self._was_asked(("terminate",), parent, child[0]):
            return
        order: dict[str, None] = {plan.id: None for plan in self._branch(parent).children}
        order.update({life[0]: None for life in self._below[parent]})
        behind = [*order][[*order].index(child[0]) + 1 :]
        left = [life for life in self._below[parent] if life[0] in behind and life in self._live]
        if left:
            self._wrong("backwards", f"{child} is stopped before {left}")

    def _counted(self) -> None:
        for parent in self._below:
            if parent[0]:
                self._count(parent)

    def _count(self, parent: Life) -> None:
        branch = self._branch(parent)
        alone = branch.strategy in ("one_for_one", "dynamic")
        together: list[float] = []
        for id in {life[0]: None for life in self._below[parent]}:
            if self._was_asked(("start", "restart"), parent, id):
                continue
            restarts = self._starts[parent, id][1:]
            together += restarts
            if not alone:
                self._fits(parent, restarts)
        if alone:
            self._fits(parent, sorted(together))

    def _fits(self, parent: Life, restarts: list[float]) -> None:
        branch = self._branch(parent)
        window_s = branch.within * self._unit_s - PAUSE_S - 1e-6
        for first, last in zip(restarts, restarts[branch.max_restarts :], strict=False):
            if last - first <= window_s:
                self._wrong("intensity", f"{parent}: more than {branch.max_restarts} restarts from {first} to {last}")

    def _was_asked(self, acts: tuple[str, ...], parent: Life, id: str) -> bool:
        return any((act, parent[0], id) in self._asked for act in acts)

    def _branch(self, life: Life) -> Branch:
        plan: Plan = self._grove.plans[life[0]]
        assert isinstance(plan, Branch)
        return plan

    def _wrong(self, rule: str, what: str) -> None:
        self.problems.append(f"{rule}: {what}")


def is_clean(reason: str) -> bool:
    """Whether a process has ended as intended."""
    return reason in ("normal", "shutdown") or reason.startswith("shutdown:")
