"""Storms: trees to which things happen at any moment, one on top of the other, with callers that give up halfway.

What order then is right is open, so a storm is judged by what must hold in every order: see `supervision_rules`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final

import msgspec

from roost.errors import CallTimeout, ProcessDown, Refusal, StartFailed
from roost.otp import GenServer
from roost.otp.keeper import Keeper
from roost.sim.loop import turns
from tests.otp.supervision_draw import FLOORS_MAX, Draw
from tests.otp.supervision_grove import SOUND, Grove, Holder, Kinds, Leaf, ask
from tests.otp.supervision_rules import Judge
from tests.otp.supervision_script import Branch, Worker

UNIT_S: Final = 1.0
"""Virtual seconds of one unit in which windows are planned."""
REST_S: Final = 60.0
"""Virtual seconds after which a tree is at rest, whatever was done to it."""

NOBODY: Final = Worker("nobody")

Cut = float | None
"""When a caller gives up: after so many seconds, or, when negative, so many turns of the loop; None is never."""
PAUSES: Final = (0.0, 0.0, 0.0, -1.0, -2.0, -4.0, -8.0, 0.001, 0.01, 0.04, 0.06, 0.3, 1.2)
"""What may lie between two blows: seconds, or, when negative, turns of the loop."""

TO_LEAVES: Final = (*["crash", "kill"] * 2, "crash_later", "quit", "signal", "stop", "wait", "resist", "hurry")
TO_BRANCHES: Final = ("kill", "stop", *["start", "terminate", "restart"] * 2, "delete", "which", "count")
REASONS: Final = ("normal", "shutdown:moved", "bored")
"""Never plain "shutdown": in a storm only supervisors say that."""


class Blow(msgspec.Struct, omit_defaults=True):
    """One thing that happens."""

    pause: float
    act: str
    target: str
    word: str = ""
    plan: Worker | Branch | None = None
    cut: Cut = None


class Storm(msgspec.Struct):
    """A tree and what happens to it.

    `held` trees have a process for a parent, which starts them; others are started by a plain coroutine, which may
    give up (`cut`) before they stand.
    """

    root: Branch
    held: bool = False
    cut: Cut = None
    rash: bool = False
    """Whether the blows do not wait until the tree stands."""
    blows: list[Blow] = []


def draw_storm(seed: int) -> Storm:
    """The storm of a seed."""
    draw = Draw(seed)
    return _squall(draw) if draw.chance(0.35) else _gale(draw)


def _squall(draw: Draw) -> Storm:
    """The children of one supervisor fail again and again, also while it pauses before it restarts them."""
    root = draw.branch(1, None)
    branches = [branch for branch in flat(root)[1] if branch.children]
    branch = draw.one(branches) if branches else root
    branch.strategy = draw.one(("one_for_one", "one_for_all", "rest_for_one", "rest_for_one"))
    branch.max_restarts, branch.auto_shutdown = draw.number(5, 12), "never"
    for child in branch.children:
        child.significant = False
        child.restart = draw.one(("permanent", "permanent", "permanent", "transient", "temporary"))
    storm = Storm(root)
    ids = [child.id for child in branch.children] or ["nobody"]
    for _ in range(draw.number(4, 12)):
        pause_s = draw.one((-1.0, -3.0, 0.002, 0.01, 0.02, 0.03, 0.05, 0.08, 0.15))
        if draw.chance(0.75):
            storm.blows.append(Blow(pause_s, draw.one(("kill", "kill", "crash", "quit")), draw.one(ids), "bored"))
        else:
            act = draw.one(("terminate", "restart", "delete", "which", "stop"))
            target = draw.one(ids) if act == "stop" else branch.id
            storm.blows.append(Blow(pause_s, act, target, "bored" if act == "stop" else draw.one(ids)))
    return storm


def _gale(draw: Draw) -> Storm:
    """Anything happens anywhere."""
    root = draw.branch(1, None)
    leaves, branches = flat(root)
    for leaf in leaves:
        leaf.named = draw.chance(0.15)
    storm = Storm(root, draw.chance(0.5))
    if draw.chance(0.2):
        storm.cut = -float(draw.number(1, 40)) if draw.chance(0.8) else draw.one((0.005, 0.015, 0.04))
    storm.rash = storm.cut is not None or draw.chance(0.1)
    for _ in range(draw.number(2, 12)):
        if draw.chance(0.02):
            blow = Blow(draw.one(PAUSES), "leave", root.id, draw.one(REASONS))
        elif draw.chance(0.05):
            blow = Blow(draw.one(PAUSES), "strike", str(draw.number(0, 20)))
        elif leaves and draw.chance(0.65):
            blow = Blow(draw.one(PAUSES), draw.one(TO_LEAVES), draw.one(leaves).id, draw.one(REASONS))
        else:
            blow = _to_branch(draw, draw.one(branches), leaves, branches)
        if draw.chance(0.25):
            blow.cut = draw.one(PAUSES)
        storm.blows.append(blow)
    return storm


def _to_branch(draw: Draw, branch: Branch, leaves: list[Worker], branches: list[Branch]) -> Blow:
    blow = Blow(draw.one(PAUSES), draw.one(TO_BRANCHES), branch.id, draw.one(REASONS))
    if blow.act == "start":
        below = draw.chance(0.2)
        blow.plan = draw.branch(FLOORS_MAX, branch) if below else draw.worker(branch)
        new_leaves, new_branches = flat(blow.plan) if isinstance(blow.plan, Branch) else ([blow.plan], [])
        leaves += new_leaves
        branches += new_branches
    elif blow.act in ("terminate", "restart", "delete"):
        children = [*branch.children, *leaves[-1:]]
        blow.word = draw.one(children).id if children else "nobody"
    return blow


def flat(root: Branch) -> tuple[list[Worker], list[Branch]]:
    """Every worker and every supervisor of a tree."""
    leaves: list[Worker] = []
    branches = [root]
    for branch in branches:
        for child in branch.children:
            if isinstance(child, Worker):
                leaves.append(child)
            else:
                branches.append(child)
    return leaves, branches


class Caller:
    """Somebody outside who waits for an answer, and perhaps gives up."""

    def __init__(self, asked: str, task: asyncio.Task[object], cut: Cut) -> None:
        self.asked, self.task, self.cut = asked, task, cut

    def problem(self) -> str | None:
        """What is wrong with what became of it."""
        if not self.task.done():
            return f"{self.asked}: nobody answers"
        if self.task.cancelled():
            return None if self.cut is not None else f"{self.asked}: cancelled by nobody"
        error = self.task.exception()
        return f"{self.asked}: {error!r}" if error is not None and not is_answer(error) else None


class Weather:
    """One storm over one grove."""

    def __init__(self, seed: int, storm: Storm, kinds: Kinds = SOUND) -> None:
        self.grove = Grove(seed, UNIT_S, kinds)
        self.asked: list[tuple[str, str, str]] = []
        """What supervisors were asked for, as (act, supervisor, id)."""
        self._storm = storm
        self._callers: list[Caller] = []

    def blow(self) -> None:
        """Play the storm. What is wrong by itself is then in `grove.problems`."""
        self.grove.run(self._story())

    async def _story(self) -> None:
        storm, grove = self._storm, self.grove
        holder = await Holder.start(grove, storm.root)
        boot = self.call("boot", self.boot(holder), storm.cut)
        if not storm.rash:
            await asyncio.wait([boot])
        for blow in storm.blows:
            await pause(blow.pause)
            self._strike(blow, holder)
        await self.settle(holder)

    async def settle(self, holder: Holder) -> None:
        """Let the tree come to rest, look at it, and end it."""
        grove = self.grove
        await asyncio.sleep(REST_S)
        root = grove.now.get(self._storm.root.id)
        await self._look(holder, root)
        if root is not None:
            await root.stop("shutdown")
        holder.exit("kill")
        await asyncio.sleep(REST_S)
        grove.problems += [problem for caller in self._callers if (problem := caller.problem()) is not None]

    async def boot(self, holder: Holder) -> Keeper:
        """Start the tree."""
        if self._storm.held:
            return await holder.with_timeout(None).hold()
        return await self.grove.start_branch(self._storm.root)

    def _strike(self, blow: Blow, holder: Holder) -> None:
        if blow.act == "leave":
            holder.leave(blow.word)
            return
        if blow.act == "strike":
            self.strike_any(int(blow.target), holder)
            return
        target = self.grove.now.get(blow.target)
        if target is None:
            return
        asked = f"{blow.act} of {blow.target}"
        match blow.act, target:
            case "signal", _:
                target.exit(blow.word)
            case "kill", _:
                target.exit("kill")
            case "stop", _:
                self.call(asked, target.stop(blow.word), blow.cut)
            case "crash", Leaf():
                target.crash()
            case "crash_later", Leaf():
                target.crash_later()
            case "quit", Leaf():
                target.quit(blow.word)
            case _, Leaf():
                self.call(asked, _at_leaf(blow.act, target), blow.cut)
            case _, Keeper():
                self.call(asked, self._at_branch(blow, target), blow.cut)

    def strike_any(self, number: int, holder: Holder) -> None:
        """Kill one of all processes, also one that has not started yet."""
        processes = [one for one in self.grove.scheduler.processes.values() if one.handle != holder]
        if processes:
            target = processes[number % len(processes)].handle
            self.grove.killed_at_start |= isinstance(target, Keeper) and target not in self.grove.now.values()
            target.exit("kill")

    async def _at_branch(self, blow: Blow, target: Keeper) -> object:
        if blow.act == "which":
            return await target.which_children()
        if blow.act == "count":
            return await target.count_children()
        plan = blow.plan or NOBODY
        self.asked.append((blow.act, blow.target, plan.id if blow.plan is not None else blow.word))
        child = self.grove.child(plan, (blow.target, self.grove.lives[blow.target]))
        return await ask(target, blow.act, blow.word, child, self.grove.now.get(blow.word))

    def call(self, asked: str, act: Coroutine[object, object, object], cut: Cut) -> asyncio.Task[object]:
        """Let somebody outside wait for `act`, and perhaps give up."""
        loop = self.grove.loop
        task = loop.create_task(act)
        self._callers.append(Caller(asked, task, cut))
        if cut is not None and cut >= 0:
            loop.call_later(cut, task.cancel)
        elif cut is not None:
            loop.after_turns(int(-cut), task.cancel)
        return task

    async def _look(self, holder: Holder, root: GenServer | None) -> None:
        """Whether the supervisors know what there is, once the tree is at rest."""
        grove = self.grove
        known: list[GenServer] = []
        for id, handle in list(grove.now.items()):
            if isinstance(handle, Keeper):
                for state in await handle.which_children():
                    if state.process is not None:
                        known.append(state.process)
                    elif state.restarting or (state.restart == "permanent" and not self._may_rest(id, state.id)):
                        grove.problems.append(f"{id} does not bring {state.id} back")
                    if state.process is not None and not state.process.is_alive():
                        grove.problems.append(f"{id} believes that {state.id} lives")
        for process in grove.scheduler.processes.values():
            if process.handle not in (holder, root, *known):
                grove.problems.append(f"nobody supervises {process}")

    def _may_rest(self, supervisor: str, id: str) -> bool:
        """Whether a permanent child need not run: somebody wanted that, or it had nothing to do."""
        plan, life = self.grove.plans[id], self.grove.lives[id]
        ignored = isinstance(plan, Worker) and plan.starts[life - 1 : life] == ["ignore"]
        return ignored or any((act, supervisor, id) in self.asked for act in ("terminate", "restart"))


async def pause(length: float) -> None:
    """Let seconds pass, or, when negative, turns of the loop; nothing at all when 0."""
    if length > 0:
        await asyncio.sleep(length)
    elif length < 0:
        await turns(int(-length))


def is_answer(error: BaseException) -> bool:
    """Whether a caller may get this instead of a reply."""
    return isinstance(error, (Refusal, ProcessDown, CallTimeout, StartFailed))


async def _at_leaf(act: str, target: Leaf) -> float | None:
    match act:
        case "wait":
            return await target.with_timeout(None).wait(0.05)
        case "resist":
            return await target.with_timeout(None).resist(0.05)
        case _:
            return await target.with_timeout(0.02).wait(0.05)


def play_storm(seed: int, kinds: Kinds = SOUND) -> list[str]:
    """Draw the storm of a seed and play it. Returns what is wrong with it."""
    weather = Weather(seed, draw_storm(seed), kinds)
    weather.blow()
    return weather.grove.problems + Judge(weather.grove, UNIT_S, weather.asked).judge()
