"""Hedges: reads that ask a further node when one takes longer than it usually does.

One timer looks after all of them every HEDGE_FIRST_S, and only while there are any (Dean and Barroso: "The Tail at
Scale", 2013). A node that was late itself accuses nobody: the answers may be in its own inbox.
"""

from __future__ import annotations

from typing import Final, Protocol

from roost import limits
from roost.core.latency import Latencies
from roost.runtime.clock import Clock, Timer

LAG_S: Final = 4 * limits.HEDGE_FIRST_S
"""A look that comes so much too late is no look."""


class Hedged(Protocol):
    """An operation that may ask further nodes."""

    def look(self, now: float) -> bool:
        """Ask a further node in place of each one that is late; return whether to look again."""


class Hedges:
    """The hedged reads of one node that wait for somebody.

    Attributes:
        latencies: how long each node usually takes.
        asked: how often a further node was asked, because one was late.
    """

    def __init__(self, clock: Clock) -> None:
        self.latencies = Latencies()
        self.asked = 0
        self._clock = clock
        self._waiting: dict[Hedged, None] = {}
        self._timer: Timer | None = None
        self._due = 0.0

    def watch(self, operation: Hedged) -> None:
        """Look after an operation until it is answered or leaves."""
        self._waiting[operation] = None
        if self._timer is None:
            self._set()

    def leave(self, operation: Hedged) -> None:
        """An operation is answered."""
        self._waiting.pop(operation, None)

    def close(self) -> None:
        """Look after nothing any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        self._due = self._clock.now() + limits.HEDGE_FIRST_S
        self._timer = self._clock.call_later(limits.HEDGE_FIRST_S, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._clock.now()
        if now - self._due < LAG_S:
            for operation in list(self._waiting):
                if not operation.look(now):
                    self._waiting.pop(operation, None)
        if self._waiting and self._timer is None:
            self._set()
