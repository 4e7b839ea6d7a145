"""What happened in a simulated world, as one number: equal for equal seeds, whatever the hash seed of Python."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

LINES_KEPT: Final = 200
"""How many of the last events are kept as text, to be read beside a failing seed."""


class Trace:
    """A running hash over every delivered message, disk commit, fault and client event.

    Args:
        time: the virtual clock, in seconds.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._hash = hashlib.blake2b(digest_size=8)
        self._last: list[str] = []
        self.events = 0
        self._once: dict[str, list[Callable[[], object]]] = {}

    def add(self, kind: str, *facts: str | int | float | bytes) -> None:
        """Count one event in. Facts are values, never objects: an address in a `repr` differs in every run."""
        self.events += 1
        line = f"{self._time():.9f} {kind} {facts!r}"
        self._hash.update(line.encode())
        self._last.append(line)
        if len(self._last) >= 2 * LINES_KEPT:
            del self._last[:LINES_KEPT]
        if self._once and kind in self._once:
            for action in self._once.pop(kind):
                action()

    def once(self, kind: str, action: Callable[[], object]) -> None:
        """Call `action` at the next event of a kind, such as "put ok". It must only take note of it."""
        self._once.setdefault(kind, []).append(action)

    def now(self) -> float:
        """Virtual seconds since the world began."""
        return self._time()

    @property
    def digest(self) -> str:
        """The hash so far, 16 hexadecimal digits."""
        return self._hash.hexdigest()

    def tail(self) -> tuple[str, ...]:
        """The last events, oldest first."""
        return tuple(self._last[-LINES_KEPT:])
