"""Plays a script of supervision on Roost, one step at a time, each when the tree is at rest."""

from __future__ import annotations

from typing import Final

from roost.errors import RoostError
from roost.otp import GenServer
from roost.otp.dynamic_supervisor import DynamicSupervisor
from roost.otp.keeper import Keeper
from tests.otp.supervision_draw import Draw
from tests.otp.supervision_grove import SOUND, Grove, Holder, Kinds, Leaf, ask
from tests.otp.supervision_model import Shape, Told
from tests.otp.supervision_script import Event, Script, Step, Worker

UNIT_S: Final = 20.0
"""Virtual seconds of one unit of a script."""


NOBODY: Final = Worker("nobody")


class Player:
    """One script on one grove."""

    def __init__(self, seed: int, script: Script, kinds: Kinds = SOUND) -> None:
        self.grove = Grove(seed, UNIT_S, kinds)
        self.shape: Shape = {}
        self._script = script

    def play(self) -> list[list[Event]]:
        """Returns what the start and each step have led to."""
        return self.grove.run(self._story())

    async def _story(self) -> list[list[Event]]:
        grove, told, loop = self.grove, [], self.grove.loop
        holder = await Holder.start(grove, self._script.root)
        try:
            await holder.with_timeout(None).hold()
        except RoostError:
            outcome = "failed"
        else:
            outcome = "ok"
        await grove.rest(UNIT_S / 2)
        grove.note("reply", "boot", 0, outcome)
        told.append(self._taken())
        for step in self._script.steps:
            await self._look()
            await grove.rest(step.at * UNIT_S - loop.time())
            target = grove.now.get(step.target)
            outcome = "noproc" if target is None else await self._do(step, target, holder)
            await grove.rest(UNIT_S / 2)
            grove.note("reply", step.verb, 0, outcome)
            told.append(self._taken())
        holder.exit("kill")
        await grove.rest(UNIT_S)
        return told

    def _taken(self) -> list[Event]:
        events, self.grove.events = self.grove.events, []
        return events

    async def _look(self) -> None:
        self.shape.clear()
        for id, handle in list(self.grove.now.items()):
            if isinstance(handle, Keeper):
                children = [(state.id, state.process is not None) for state in await handle.which_children()]
                self.shape[id] = sorted(children) if isinstance(handle, DynamicSupervisor) else children

    async def _do(self, step: Step, target: GenServer, holder: Holder) -> str:
        match step.verb:
            case "crash":
                assert isinstance(target, Leaf)
                target.crash()
            case "end":
                assert isinstance(target, Leaf)
                target.quit(step.word)
            case "signal":
                target.exit(step.word)
            case "kill":
                target.exit("kill")
            case "stop":
                await target.stop(step.word)
            case "leave":
                holder.leave(step.word)
            case _:
                assert isinstance(target, Keeper)
                child = self.grove.child(step.plan or NOBODY, (step.target, self.grove.lives[step.target]))
                return await ask(target, step.verb, step.word, child, self.grove.now.get(step.word))
        return "ok"


def play_calm(seed: int, kinds: Kinds = SOUND) -> list[str]:
    """Draw the script of a seed and play it. Returns what goes another way than the model says."""
    return compare(seed, *Draw(seed).script(), kinds)


def compare(seed: int, script: Script, expected: list[Told], shape: Shape, kinds: Kinds = SOUND) -> list[str]:
    """Play a script. Returns what goes another way than expected."""
    player = Player(seed, script, kinds)
    problems: list[str] = []
    for number, (told, seen) in enumerate(zip(expected, player.play(), strict=True)):
        problem = told.differs(seen)
        if problem is not None:
            step = script.steps[number - 1] if number else "the start"
            model = [thread.items for thread in told.threads]
            problems.append(f"{step}: {problem}\n  expected {model}\n  seen {seen}")
            break
    if not problems and player.shape != shape:
        problems.append(f"the tree before the last step is {player.shape}, expected {shape}")
    return problems + player.grove.problems
