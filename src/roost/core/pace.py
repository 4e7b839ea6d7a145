"""How many elements to handle at once, so that it takes a moment, and not more."""

from __future__ import annotations

from typing import Final

PACE_FIRST: Final = 16
"""Elements that are handled at once at the beginning, when nobody knows how long they take."""
PACE_LONG_S: Final = 0.01
"""What takes longer is too much at once."""
PACE_SHORT_S: Final = 0.0025
"""What takes less may be more at once."""


class Pace:
    """The size of batches: doubled while they take less than PACE_SHORT_S, cut down when they take PACE_LONG_S.

    Args:
        most: the largest size.
    """

    __slots__ = ("most", "size")

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = min(PACE_FIRST, most)

    @classmethod
    def fixed(cls, size: int) -> Pace:
        """Batches of one size, for as long as nobody says how long they take."""
        pace = cls(size)
        pace.size = size
        return pace

    def took(self, count: int, seconds: float) -> None:
        """So many elements were handled at once, and took so long. O(1)."""
        if seconds >= PACE_LONG_S:
            self.size = max(1, min(self.size, int(count * PACE_LONG_S / (2 * seconds))))
        elif seconds < PACE_SHORT_S and count >= self.size:
            self.size = min(self.most, 2 * self.size)
