"""The clock seam: the only place that reads time or waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that will happen, unless it is cancelled first."""

    def cancel(self) -> None:
        """Prevent it; harmless when it has happened."""


class Clock(Protocol):
    """A node's sense of time."""

    def now(self) -> float:
        """Monotonic seconds, for measuring and deadlines. Its zero means nothing."""

    def wall(self) -> float:
        """Seconds since the epoch, for people to read. It may jump in both directions."""

    def call_later(self, delay_s: float, action: Callable[[], object]) -> Timer:
        """Run `action` once, `delay_s` seconds from now, on the loop."""

    async def sleep(self, delay_s: float) -> None:
        """Wait `delay_s` seconds; 0 lets everything else that is ready run first."""


class SystemClock:
    """The machine's clocks, and the running loop's timers."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def call_later(self, delay_s: float, action: Callable[[], object]) -> Timer:
        """Run `action` once, `delay_s` seconds from now, on the running loop."""
        return asyncio.get_running_loop().call_later(delay_s, action)

    async def sleep(self, delay_s: float) -> None:
        """Wait `delay_s` seconds."""
        await asyncio.sleep(delay_s)
