"""What leaves together at the end of a turn of the loop.

While a turn lasts, sockets only collect their frames. Broadcasts that fall into one turn, as they do when there is
much to do, then cost each socket one system call together instead of one each; the order of frames stays as it was.

When things fail: a collector that raises, which none should, is logged; the others are flushed all the same.
"""

from __future__ import annotations

import logging
from typing import Protocol

from roost.runtime.clock import Clock

logger = logging.getLogger("roost.pubsub")


class Flushable(Protocol):
    """Something that has collected frames."""

    def flush(self) -> None:
        """Send what was collected. It must not raise."""


class Turn:
    """The collectors of one node that have something to send."""

    __slots__ = ("_clock", "_waiting")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[Flushable, None] = {}

    def mark(self, collector: Flushable) -> None:
        """Flush `collector` at the end of this turn."""
        waiting = self._waiting
        if not waiting:
            self._clock.call_later(0.0, self.end)
        waiting[collector] = None

    def end(self) -> None:
        """Flush everything that was marked."""
        waiting, self._waiting = self._waiting, {}
        for collector in waiting:
            try:
                collector.flush()
            except Exception:
                logger.exception("what had to leave at the end of a turn has not")
