"""Sources of modules for stories about code change, and what such stories need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import ModuleType

# Any: the modules are made at run time, so no type checker knows them
from typing import Any

Write = Callable[..., ModuleType]
"""Writes the source of a module, and imports it the first time: see the fixture `write`."""

HEAD = """
from __future__ import annotations
import asyncio
import msgspec
from roost.otp import GenServer, StateMachine, call, cast, info, Request
from roost.errors import Refusal
"""

FIRST = """
PRICE = 2
class Counter(GenServer):
    vsn = 1
    def init(self, start=0):
        self.n = start
        self.log = []
        self.gate, self.began = asyncio.Event(), asyncio.Event()
    @call
    def increment(self, by: int = 1) -> int:
        self.n += by
        return self.n
    @call
    def price(self) -> int:
        return cost(self.n)
    @call
    async def wait(self, label: str) -> str:
        self.began.set()
        await self.gate.wait()
        return f"old {label}"
    @cast
    def note(self, word: str) -> None:
        self.log.append(f"old {word}")
    @call
    def history(self) -> list[str]:
        return self.log
def cost(n):
    return n * PRICE
"""
NEW_CALL = FIRST.replace(
    "    @call\n    def history",
    "    @call\n    def double(self) -> int:\n        self.n *= 2\n        return self.n\n    @call\n    def history",
)


async def until(condition: Callable[[], bool]) -> None:
    """Let the others work until it is so."""
    while not condition():  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0)


def inside(handle: Any) -> Any:
    """The state of a process."""
    return handle._process.server
