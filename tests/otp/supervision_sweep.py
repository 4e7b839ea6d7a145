"""Interrupts the start and the stop of a tree in every single turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Final

from tests.otp.supervision_draw import Draw
from tests.otp.supervision_grove import SOUND, Holder, Kinds
from tests.otp.supervision_rules import Judge
from tests.otp.supervision_script import Branch
from tests.otp.supervision_storm import UNIT_S, Storm, Weather

INTERRUPTIONS: Final = ("start given up", "start killed", "stop given up", "stop killed")
TURNS_MAX: Final = 500
"""Turns within which every tree has started, and stopped."""


class Interruption(Weather):
    """One tree whose start or stop is interrupted in one turn.

    Args:
        root: the plan of the tree.
        what: one of INTERRUPTIONS.
        turn: in which turn of the loop after the beginning of the start, or the stop.
        kinds: the classes of the supervisors.
    """

    def __init__(self, root: Branch, what: str, turn: int, kinds: Kinds = SOUND) -> None:
        super().__init__(0, Storm(root), kinds)
        self.came_late = False
        """Whether there was nothing left to interrupt."""
        self._what, self._turn, self._root = what, turn, root

    async def _story(self) -> None:
        holder = await Holder.start(self.grove, self._root)
        boot = self.call("start", self.boot(holder), self._cut("start"))
        self._interrupt("start", boot, holder)
        await asyncio.wait([boot])
        root = self.grove.now.get(self._root.id)
        if self._what.startswith("stop") and root is not None:
            stop = self.call("stop", root.stop("bored"), self._cut("stop"))
            self._interrupt("stop", stop, holder)
            await asyncio.wait([stop])
        elif self._what.startswith("stop"):
            self.came_late = True
        await self.settle(holder)

    def _cut(self, begun: str) -> float | None:
        return -float(self._turn) if self._what == f"{begun} given up" else None

    def _interrupt(self, begun: str, task: asyncio.Task[object], holder: Holder) -> None:
        def act() -> None:
            self.came_late = task.done()
            if self._what == f"{begun} killed":
                self.strike_any(0, holder)

        if self._what.startswith(begun):
            self.grove.loop.after_turns(self._turn, act)


def sweep(seed: int, kinds: Kinds = SOUND) -> list[str]:
    """Interrupt the tree of a seed in every way in every turn. Returns what is wrong with the first one that fails."""
    for what in INTERRUPTIONS:
        for turn in range(1, TURNS_MAX):
            weather = Interruption(Draw(seed).branch(1, None), what, turn, kinds)
            weather.blow()
            problems = weather.grove.problems + Judge(weather.grove, UNIT_S, weather.asked).judge()
            if problems:
                return [f"{what} in turn {turn}", *problems]
            if weather.came_late:
                break
    return []
