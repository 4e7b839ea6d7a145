"""The method: two sides take turns in one run, so that whatever the machine does, it does to both."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure. `rounds` turns for each side; `window_s` scales what one turn takes."""

    rounds: int = 5
    quick: bool = False

    def window_s(self, full_s: float) -> float:
        """The length of one turn, in seconds."""
        return full_s / 5 if self.quick else full_s

    def count(self, full: int) -> int:
        """How many operations, or sockets, one turn takes."""
        return max(full // 10, 1) if self.quick else full


async def alternate(plan: Plan, *sides: Callable[[], Awaitable[Result]], warm: bool = True) -> tuple[list[Result], ...]:
    """Measure ours, reference, ours, reference ...: each side's turns, in order of the sides.

    To warm up, one turn of each before that goes unrecorded.
    """
    if warm:
        for side in sides:
            await side()
    results: tuple[list[Result], ...] = tuple([] for _ in sides)
    for number in range(plan.rounds):
        for turns, side in zip(results, sides, strict=True):
            gc.collect()
            await asyncio.sleep(0.02)
            turns.append(await side())
        say(f"  round {number + 1} of {plan.rounds}")
    return results


def say(text: str) -> None:
    """Progress, for people: on stderr, because stdout carries the lines."""
    print(text, file=sys.stderr, flush=True)
