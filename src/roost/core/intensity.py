"""How often a supervisor may restart, and how long it waits before it does.

The rule is OTP's: more than `max_restarts` restarts within `within_s` seconds, and the supervisor gives up. The
pause before a restart is added on top: none before the first, then doubling, with jitter, so that a child whose
database is down neither burns the processor nor wakes up in step with a hundred others.
"""

from __future__ import annotations

from collections import deque
from typing import Final

BACKOFF_FIRST_S: Final = 0.05
"""The pause before the second restart in a row."""
BACKOFF_LAST_S: Final = 1.0
"""The longest pause before a restart."""


class Intensity:
    """Counts the restarts of one supervisor in a sliding window."""

    __slots__ = ("_times", "max_restarts", "within_s")

    def __init__(self, max_restarts: int, within_s: float) -> None:
        self.max_restarts, self.within_s = max_restarts, within_s
        self._times: deque[float] = deque()

    def allow(self, now: float) -> bool:
        """Count one restart at `now` (monotonic seconds); False when it is one too many. O(1) amortised.

        As in OTP (supervisor:add_restart), one that is exactly `within_s` seconds old still counts.
        """
        times = self._times
        while times and times[0] < now - self.within_s:
            times.popleft()
        if len(times) >= self.max_restarts:
            return False
        times.append(now)
        return True


class Backoff:
    """The pauses before the restarts of one child.

    A child that lived for `calm_s` seconds has recovered: its next restart is immediate again. The first pause is
    none, the second `first_s` seconds, and each further one is twice as long, up to `last_s`.
    """

    __slots__ = ("_failures", "_started", "calm_s", "first_s", "last_s")

    def __init__(self, calm_s: float, first_s: float = BACKOFF_FIRST_S, last_s: float = BACKOFF_LAST_S) -> None:
        self.calm_s, self.first_s, self.last_s = calm_s, first_s, last_s
        self._failures = 0
        self._started: float | None = None
        """Since when the child runs; None when it does not."""

    def started(self, now: float) -> None:
        """The child runs since `now` (monotonic seconds)."""
        self._started = now

    def pause_s(self, now: float, jitter: float) -> float:
        """How long to wait, now that the child has ended or has not started.

        Args:
            now: monotonic seconds.
            jitter: a draw from [0, 1]; it takes away up to half of the pause.
        """
        started, self._started = self._started, None  # the time without the child is no life of it
        if started is not None and now - started >= self.calm_s:
            self._failures = 0
        failures, self._failures = self._failures, self._failures + 1
        if failures == 0:
            return 0.0
        longest: float = min(self.last_s, self.first_s * 2.0 ** min(failures - 1, 60))
        return longest * (1.0 - jitter / 2.0)
