"""The ground that a real cluster stands on: where its nodes live, how they reach each other, and who is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Protocol, TypeAlias

from roost.config import Address

Pair: TypeAlias = tuple[str, str]
"""Two places, by letter: what the first one sends does not reach the second one."""

PLACES: Final = "abcdefg"
"""Where nodes may live. A node dials those with greater letters."""


class Refused(Exception):
    """This machine does not let us have such a ground; says why."""


class Ground(Protocol):
    """Places for nodes. Clients stand outside and reach every place always."""

    @property
    def mode(self) -> str:
        """How it is made, in a few words."""

    def name(self, letter: str) -> str:
        """What the node at a place is called."""

    def listens(self, letter: str) -> Address:
        """Where the node at a place accepts other nodes."""

    def advertised(self, letter: str) -> Address:
        """Where it says that others reach it."""

    def dialled(self, by: str, letter: str) -> Address:
        """Where the node at one place reaches the node at another."""

    def web(self, letter: str) -> Address:
        """Where clients reach it."""

    def inside(self, letter: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` at a place."""

    async def open(self) -> None:
        """Make it.

        Raises:
            Refused: when this machine does not allow it.
        """

    async def cut(self, pairs: AbstractSet[Pair]) -> None:
        """From now on exactly these pairs are cut."""

    async def close(self) -> None:
        """Leave nothing of it behind."""


def isolated(letter: str) -> frozenset[Pair]:
    """Nothing gets from this place to any other, or back."""
    return muted(letter) | deafened(letter)


def muted(letter: str) -> frozenset[Pair]:
    """Nothing gets from this place to any other."""
    return frozenset((letter, other) for other in PLACES if other != letter)


def deafened(letter: str) -> frozenset[Pair]:
    """Nothing gets from any other place to this one."""
    return frozenset((other, letter) for other in PLACES if other != letter)


def split(side: AbstractSet[str]) -> frozenset[Pair]:
    """Nothing gets from these places to the others, or back."""
    here, there = sorted(side), [letter for letter in PLACES if letter not in side]
    return frozenset(pair for one in here for other in there for pair in ((one, other), (other, one)))


async def lasting(seconds: float) -> None:
    """Let a fault last; where time is not the fault itself, wait for what it is about instead."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    timer = loop.call_later(seconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()
