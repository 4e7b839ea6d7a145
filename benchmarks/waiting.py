"""Waiting for what a benchmark needs before it can measure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchmarks.child import Failed


async def until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """Wait until `condition()` is true.

    Raises:
        Failed: it is still false `within_s` seconds later.
    """
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise Failed(f"no sight of {what} within {within_s:g} s")
        await asyncio.sleep(0.02)
