"""Changes: an operator who lets nodes join, leave, take the place of others and be removed, whatever else happens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from tests.real.faults import Faults
from tests.real.ground import PLACES, lasting
from tests.real.house import LOOK_S, House, HouseError
from tests.real.shop import State

CHANGE_S: Final = 60.0
"""How long one change may take while everything around it breaks."""
RESTED_S: Final = 0.5
DONE: Final = ("already_staged", "already_leaving", "nothing_planned")
"""Refusals that say that an order was obeyed when it was given before."""
CYCLE: Final = ("join", "replace", "leave", "lose")
"""What is changed, again and again."""
MEMBERS: Final = 5
"""With fewer than so many, none leaves and none is lost."""


class Changes:
    """The operator.

    Args:
        house: whose members change.
        faults: what breaks meanwhile.
        seed: what is drawn from.

    Attributes:
        made: how often each kind of change was made.
        longest_s: how long the slowest took.
    """

    def __init__(self, house: House, faults: Faults, seed: str) -> None:
        self._house, self._faults = house, faults
        self._draw = random.Random(seed)
        self._members: frozenset[str] = frozenset(house.letters())
        self.made: dict[str, int] = {}
        self.longest_s = 0.0

    async def make(self, stop: asyncio.Event) -> None:
        """Change one thing after the other until told to stop; the last one is finished on return."""
        while not stop.is_set():
            await self.one()
            await lasting(RESTED_S)

    @property
    def count(self) -> int:
        """How many were made."""
        return sum(self.made.values())

    async def one(self) -> None:
        """Make the next change."""
        kind, began = self._next(), self._house.now()
        await self._one(kind)
        self.longest_s = max(self.longest_s, self._house.now() - began)
        self.made[kind] = self.made.get(kind, 0) + 1

    def _next(self) -> str:
        """What comes next, unless there would be too few members, or no place for one more."""
        kind = CYCLE[self.count % len(CYCLE)]
        if kind in ("leave", "lose") and len(self._members) < MEMBERS:
            return "join"
        return "leave" if kind in ("join", "replace") and len(self._members) == len(PLACES) else kind

    async def _one(self, kind: str) -> None:
        """One change from its beginning to its end."""
        house, faults = self._house, self._faults
        faults.note(f"{kind} begins")
        try:
            async with asyncio.timeout(CHANGE_S):
                await {"join": self._join, "replace": self._replace, "leave": self._leave, "lose": self._lose}[kind]()
        except TimeoutError:
            states = {letter: await house.state(letter) for letter in house.running()}
            raise HouseError(f"{kind} was not done within {CHANGE_S:g} s: {states}") from None
        finally:
            faults.moving.clear()
            faults.movers = ()
        faults.note(f"{kind} is done")

    async def _join(self) -> None:
        newcomer = self._vacant()
        with self._faults.holding(newcomer):
            await self._admit(newcomer)
        await self._carry_out()

    async def _replace(self) -> None:
        newcomer, member = self._vacant(), self._someone()
        with self._faults.holding(newcomer):
            await self._admit(newcomer)
        await self._order(lambda by: self._house.order(by, "replace", node=member, newcomer=newcomer), "replace")
        self._members -= {member}
        self._house.leaving[member] = None
        await self._carry_out()
        await self._see_off(member)

    async def _leave(self) -> None:
        member = self._someone()
        await self._order(lambda by: self._house.order(by, "leave", node=member), "leave")
        self._members -= {member}
        self._house.leaving[member] = None
        await self._carry_out()
        await self._see_off(member)

    async def _lose(self) -> None:
        """A node dies, and its disk with it: the others go on without it.

        What was written with w=2 is on two nodes, but while somebody keeps things for others these two may become one:
        a node that leaves may give its copy to the one that keeps the other. So disks are lost when nothing waits.
        """
        self._faults.allowed.clear()
        try:
            while self._faults.taken:
                await lasting(LOOK_S)
            await self._reached(lambda state: not state.moving and not state.waiting, everybody=True)
            victim = await self._free()
            self._house.serving.pop(victim, None)
            await self._house.kill(victim)
        finally:
            self._faults.allowed.set()
        with self._faults.holding(victim):
            await self._house.leave(victim)
            self._members -= {victim}
            await self._order(lambda by: self._house.order(by, "down", node=victim), "down")
            await self._order(lambda by: self._house.order(by, "force-remove", node=victim), "force-remove")
            await self._carry_out()

    # The steps

    async def _admit(self, newcomer: str) -> None:
        """Start a node, which asks to join, and wait until the cluster knows it."""
        await self._house.move_in(newcomer)
        name = self._house.ground.name(newcomer)
        await self._reached(lambda state: name in state.members, everybody=True)
        self._members |= {newcomer}
        self._house.serving[newcomer] = None

    async def _carry_out(self) -> None:
        """Plan and commit what is staged, and wait until everything has moved."""
        await self._order(lambda by: self._house.order(by, "commit"), "commit")
        self._faults.moving.set()
        names = sorted(map(self._house.ground.name, self._members))
        await self._reached(lambda state: sorted(state.members) == names and not state.moving)

    async def _see_off(self, member: str) -> None:
        """A member that has left is a cluster of its own; then nobody needs its process any more."""
        self._house.serving.pop(member, None)
        while member in self._faults.taken:
            await lasting(LOOK_S)
        with self._faults.holding(member):
            await self._house.leave(member)

    async def _order(self, order: Callable[[str], Awaitable[State]], what: str) -> None:
        """Let any member do something, until one has done it: what was not answered may have been done."""
        while True:
            by = self._draw.choice(sorted(self._members & set(self._house.running())) or [""])
            try:
                if by:
                    await order(by)
                    return
            except HouseError as error:
                self._faults.note(f"{what}: {error}")
                if any(done in str(error) for done in DONE):
                    return
            await lasting(LOOK_S)

    async def _reached(self, condition: Callable[[State], bool], *, everybody: bool = False) -> None:
        """Wait until a member, or every one that answers, knows it to be so."""
        while True:
            letters = sorted(self._members & set(self._house.running()))
            awake = [letter for letter in letters if not self._house.places[letter].is_asleep]
            states = [state for letter in awake if (state := await self._house.state(letter)) is not None]
            for state in states:
                self._look(state)
            verdicts = [condition(state) for state in states]
            if verdicts and (all(verdicts) if everybody else any(verdicts)):
                return
            await lasting(LOOK_S)

    def _look(self, state: State) -> None:
        """Whom the faults had better meet, and who serves no clients any more."""
        self._faults.movers = state.movers
        for letter in self._house.leaving:
            if state.members.get(self._house.ground.name(letter)) == "exiting":
                self._house.serving.pop(letter, None)

    def _vacant(self) -> str:
        return self._draw.choice([letter for letter in PLACES if letter not in self._house.places])

    def _someone(self) -> str:
        return self._draw.choice(sorted(self._members))

    async def _free(self) -> str:
        """A member that runs and that nothing else happens to."""
        while True:
            free = [letter for letter in self._faults.free() if letter in self._members]
            if free:
                return self._draw.choice(free)
            await lasting(LOOK_S)
