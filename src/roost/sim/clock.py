"""The clock seam of a simulated node: virtual time, seen through a clock that may run wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from roost.runtime.clock import Timer
from roost.sim.loop import SimLoop

EPOCH_S: Final = 1_700_000_000.0
"""What a correct wall clock says when a world begins."""


class SimClock:
    """A node's clock. It may drift (`rate`), and its wall clock may jump.

    Args:
        loop: whose time it shows.
        rate: seconds that it counts in one true second.
        start_s: what its monotonic clock shows now; every boot of a machine has another.
    """

    def __init__(self, loop: SimLoop, rate: float = 1.0, start_s: float = 0.0) -> None:
        self._loop = loop
        self._rate = rate
        self._offset_s = start_s - loop.time() * rate
        self._wall_offset_s = 0.0

    def now(self) -> float:
        """Monotonic seconds."""
        return self._loop.time() * self._rate + self._offset_s

    def wall(self) -> float:
        """Seconds since the epoch."""
        return EPOCH_S + self._loop.time() * self._rate + self._wall_offset_s

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward, or back when negative. The monotonic clock does not notice."""
        self._wall_offset_s += seconds

    def call_later(self, delay_s: float, action: Callable[[], object]) -> Timer:
        """Run `action` once, `delay_s` seconds of this clock from now."""
        return self._loop.call_later(delay_s / self._rate, action)

    async def sleep(self, delay_s: float) -> None:
        """Wait `delay_s` seconds of this clock."""
        await asyncio.sleep(delay_s / self._rate)
