"""Faults: what happens to the nodes of a real cluster, drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from tests.real.ground import Pair, deafened, isolated, lasting, muted, split
from tests.real.house import House

STREAMS: Final = 2
"""Faults at a time, each with nodes of its own."""
AWAY_S: Final = (0.1, 1.5)
NAP_S: Final = (2.0, 3.5)
CUT_S: Final = (1.5, 3.0)
GAP_S: Final = (0.5, 2.0)
AIMED: Final = 0.5
"""How many of the faults meet a node that gives or takes data, when one does."""


class Faults:
    """What breaks.

    Args:
        house: whose nodes.
        seed: what is drawn from.
        kinds: which faults; all that there are when not given.
        nap_s: how long a nap takes, at least and at most.

    Attributes:
        fired: how often each kind has happened.
        moving: set while partitions are on their way: the best time for faults.
        movers: who gives or takes them.
        taken: nodes that something happens to.
        allowed: set while faults may begin.
        diary: what happened when.
    """

    def __init__(
        self, house: House, seed: str, kinds: tuple[str, ...] = (), nap_s: tuple[float, float] = NAP_S
    ) -> None:
        self._house = house
        self._nap_s = nap_s
        self._draw = random.Random(seed)
        self._kinds = kinds or tuple(KINDS)
        self._bag: list[str] = []
        self._cuts: dict[int, frozenset[Pair]] = {}
        self._number = 0
        self.fired: dict[str, int] = {}
        self.diary: list[str] = []
        self.moving = asyncio.Event()
        self.movers: tuple[str, ...] = ()
        self.taken: dict[str, None] = {}
        self.allowed = asyncio.Event()
        self.allowed.set()

    @property
    def count(self) -> int:
        """How many have happened."""
        return sum(self.fired.values())

    async def rage(self, count: int) -> None:
        """Break and mend until so many faults have happened; everything is mended on return."""
        async with asyncio.TaskGroup() as group:
            for _ in range(STREAMS):
                group.create_task(self._stream(count))

    async def _stream(self, count: int) -> None:
        while self.count < count:
            await self._gap()
            await self.allowed.wait()
            victim = self._victim()
            if victim is None or self.count >= count:
                continue
            kind = self._next()
            with self.holding(victim):
                self.fired[kind] = self.fired.get(kind, 0) + 1
                self.note(f"{kind} {victim}" + (" while data moves" if self.moving.is_set() else ""))
                await KINDS[kind](self, victim)
                self.note(f"{kind} {victim} is over")

    def note(self, what: str) -> None:
        """Write into the diary."""
        self.diary.append(f"{self._house.now():.3f} {what}")

    @contextmanager
    def holding(self, letter: str) -> Iterator[None]:
        """Nobody else breaks this node meanwhile."""
        self.taken[letter] = None
        try:
            yield
        finally:
            self.taken.pop(letter, None)

    def free(self) -> list[str]:
        """The nodes that run, and that nothing happens to."""
        return [letter for letter in self._house.running() if letter not in self.taken]

    async def _gap(self) -> None:
        """Some time without a new fault, unless data begins to move."""
        length_s = self._draw.uniform(*GAP_S)
        if self.moving.is_set():
            await lasting(length_s)
            return
        try:
            async with asyncio.timeout(length_s):
                await self.moving.wait()
        except TimeoutError:
            return

    def _next(self) -> str:
        """Each kind as often as any other, in no order."""
        if not self._bag:
            self._bag = self._draw.sample(self._kinds, len(self._kinds))
        return self._bag.pop()

    def _victim(self) -> str | None:
        free = self.free()
        moving = [letter for letter in free if self._house.ground.name(letter) in self.movers]
        chosen = moving if moving and self._draw.random() < AIMED else free
        return self._draw.choice(chosen) if chosen else None

    # The kinds

    async def kill(self, victim: str) -> None:
        """kill -9, and a start after a while."""
        await self._house.kill(victim)
        await lasting(self._draw.uniform(*AWAY_S))
        await self._house.start(victim)

    async def stop(self, victim: str) -> None:
        """SIGTERM, and a start after a while."""
        await self._house.stop(victim)
        await lasting(self._draw.uniform(*AWAY_S))
        await self._house.start(victim)

    async def nap(self, victim: str) -> None:
        """SIGSTOP, and SIGCONT after some seconds."""
        self._house.suspend(victim)
        await lasting(self._draw.uniform(*self._nap_s))
        self._house.resume(victim)

    async def cut_off(self, victim: str) -> None:
        """Nobody reaches it, and it reaches nobody; clients reach it still."""
        await self._cut(isolated(victim))

    async def one_way(self, victim: str) -> None:
        """It hears the others and they do not hear it, or the other way round."""
        await self._cut(muted(victim) if self._draw.random() < 0.5 else deafened(victim))

    async def tear(self, victim: str) -> None:
        """The cluster falls into two halves."""
        others = [letter for letter in self._house.letters() if letter != victim]
        await self._cut(split({victim, *self._draw.sample(others, len(others) // 2)}))

    async def unlink(self, victim: str) -> None:
        """Two nodes do not reach each other, and all others reach both."""
        other = self._draw.choice([letter for letter in self._house.letters() if letter != victim])
        await self._cut(frozenset({(victim, other), (other, victim)}))

    async def blackout(self, victim: str) -> None:
        """kill -9 of everybody whom nothing else happens to, at once."""
        letters = [victim, *self.free()]
        for letter in letters:
            self.taken[letter] = None
        try:
            await asyncio.gather(*[self._house.kill(letter) for letter in letters])
            await asyncio.gather(*[self._house.start(letter) for letter in letters])
        finally:
            for letter in letters:
                self.taken.pop(letter, None)

    async def _cut(self, pairs: frozenset[Pair]) -> None:
        self._number += 1
        number = self._number
        self._cuts[number] = pairs
        try:
            await self._apply()
            await lasting(self._draw.uniform(*CUT_S))
        finally:
            del self._cuts[number]
            await self._apply()

    async def _apply(self) -> None:
        await self._house.ground.cut(frozenset().union(*self._cuts.values()))


KINDS: Final[Mapping[str, Callable[[Faults, str], Awaitable[None]]]] = {
    "kill": Faults.kill,
    "stop": Faults.stop,
    "nap": Faults.nap,
    "cut off": Faults.cut_off,
    "one way": Faults.one_way,
    "tear": Faults.tear,
    "unlink": Faults.unlink,
    "blackout": Faults.blackout,
}
"""Every kind of fault by name."""
