"""The watchdog seam: notices that the event loop does not turn, and looks at what it does instead.

The loop gives a sign of life a few times in each span that is too long. A thread looks whether the last sign is old,
and does nothing else as long as it is not. When it is, the thread samples what the loop's thread executes, until the
next sign of life. So a program whose handlers are short pays for two timers, whatever it does between them.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Final, Protocol

Look = Callable[[FrameType], object]
"""What a frame of the loop's thread, the innermost one, means to whoever watches: anything hashable. It is called in
the watchdog's thread, while the loop's thread stands still, and must neither wait nor change anything."""
Tell = Callable[[float, Mapping[object, int], bool], None]
"""Told of seconds without a sign of life, how often each thing was seen in them, and whether they are over. It is
called on the loop when they are; else in the watchdog's thread, after 10, 20, 40 ... times as long as is allowed."""

SIGNS: Final = 3
"""Signs of life in a span that is too long; so a duration is exact to a third of it."""
LATE: Final = 1.25
"""How many times the usual pause between two signs of life makes the thread look. With this and three signs, it looks
at least once into everything that is too long."""
STILL: Final = 10
"""How many times as long as is allowed is worth a word before it is over."""


class Watch(Protocol):
    """One loop that is being watched."""

    def lag_s(self) -> float:
        """How late the last sign of life was, in seconds."""

    def stop(self) -> None:
        """End it, and wait until nothing of it is left. Harmless when it has ended."""


class Watchdog(Protocol):
    """Who watches loops."""

    def watch(self, late_s: float, look: Look, tell: Tell) -> Watch:
        """Watch the running loop, from within it.

        Args:
            late_s: how many seconds without a turn of the loop are too long.
            look: what to remember of each sample.
            tell: who is told.
        """


class ThreadWatchdog:
    """A thread for each watched loop."""

    def watch(self, late_s: float, look: Look, tell: Tell) -> Watch:
        """Watch the running loop, from within it."""
        return _ThreadWatch(asyncio.get_running_loop(), late_s, look, tell)


class _ThreadWatch:
    """The signs of life on one side, the thread on the other; `_lock` is around what both of them use."""

    def __init__(self, loop: asyncio.AbstractEventLoop, late_s: float, look: Look, tell: Tell) -> None:
        self._loop, self._late_s, self._look, self._tell = loop, late_s, look, tell
        self._period_s = late_s / SIGNS
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._loop_thread = threading.get_ident()
        self._ground: FrameType | None = None
        self._lag_s = 0.0
        self._seen: dict[object, int] = {}
        self._sign_at = time.monotonic()
        self._timer = loop.call_later(self._period_s, self._sign)
        self._thread = threading.Thread(target=self._run, name="roost watchdog", daemon=True)
        self._thread.start()

    def lag_s(self) -> float:
        """How late the last sign of life was, in seconds."""
        return self._lag_s

    def stop(self) -> None:
        """Stop the signs and the thread."""
        self._timer.cancel()
        self._stopping.set()
        self._thread.join()
        self._ground = None

    def _sign(self) -> None:
        """The loop turns."""
        self._ground = sys._getframe(1)
        now = time.monotonic()
        with self._lock:
            silent_s, self._sign_at = now - self._sign_at, now
            seen, self._seen = self._seen, {}
        self._lag_s = max(silent_s - self._period_s, 0.0)
        self._timer = self._loop.call_later(self._period_s, self._sign)
        if silent_s >= self._late_s and seen:
            self._tell(silent_s, seen, True)

    def _run(self) -> None:
        """Sleep, and look at the last sign of life; sample while it is old."""
        still_s = STILL * self._late_s
        while not self._stopping.wait(self._period_s) and not self._loop.is_closed():
            with self._lock:
                sign_at = self._sign_at
            silent_s = time.monotonic() - sign_at
            if silent_s < LATE * self._period_s:
                still_s = STILL * self._late_s
            elif (seen := self._sample(sign_at)) and silent_s >= still_s:
                still_s *= 2
                self._tell(silent_s, seen, False)

    def _sample(self, sign_at: float) -> dict[object, int]:
        """Look at what the loop's thread does. Returns what was seen since the last sign of life."""
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None or self._is_idle(frame):
            return {}
        sight = self._look(frame)
        with self._lock:
            if self._sign_at != sign_at:
                return {}
            self._seen[sight] = self._seen.get(sight, 0) + 1
            return dict(self._seen)

    def _is_idle(self, frame: FrameType) -> bool:
        """Whether the loop waits for the world, as it does in a machine that was asleep: that blocks nobody.

        The loop of asyncio waits in the module selectors, as `subprocess` does in a handler that blocks, so it matters
        who waits there; that of uvloop has no frame above the one that runs it.
        """
        waits: FrameType | None = frame
        while waits is not None and waits.f_globals.get("__name__") == "selectors":
            waits = waits.f_back
        asleep = waits is not frame and waits is not None and waits.f_globals.get("__name__") == "asyncio.base_events"
        return asleep or frame is self._ground or not self._loop.is_running()
