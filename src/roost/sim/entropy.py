"""The entropy seam of a simulated node: every draw follows from the seed."""

from __future__ import annotations

import random


class SimEntropy:
    """Randomness of one domain of one world; domains do not disturb each other.

    Args:
        seed: of the world.
        domain: whose randomness it is, such as "entropy/a/1" for the first life of node a.
    """

    def __init__(self, seed: int, domain: str) -> None:
        self._draw = random.Random(f"{seed}/{domain}")

    def token(self, size_bytes: int) -> bytes:
        """`size_bytes` bytes."""
        return self._draw.randbytes(size_bytes)

    def number(self, bits: int) -> int:
        """An integer in [0, 2**bits)."""
        return self._draw.getrandbits(bits)

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""
        return self._draw.uniform(low, high)
