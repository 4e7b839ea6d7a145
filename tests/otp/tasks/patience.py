"""Something to wait for that does not come until the test says so."""

from __future__ import annotations

import asyncio
from typing import ClassVar


class Patience:
    """What a function that resists its end waits for.

    Args:
        askings_max: how often it may be asked to end before the test is wrong.
    """

    __sendable__: ClassVar[bool] = True

    def __init__(self, askings_max: int) -> None:
        self.asked = 0
        self._askings_max = askings_max
        self._over = asyncio.Event()

    async def last(self) -> str:
        """Wait for the end of the test."""
        assert self.asked <= self._askings_max, "asked to end too often"
        await self._over.wait()
        return "at last"

    def end(self) -> None:
        """The test is over."""
        self._over.set()
