"""The entropy seam: the only place that draws randomness."""

from __future__ import annotations

import os
import random
from typing import Protocol


class Entropy(Protocol):
    """A node's source of randomness."""

    def token(self, size_bytes: int) -> bytes:
        """`size_bytes` unpredictable bytes, for nonces, cookies and identities."""

    def number(self, bits: int) -> int:
        """An integer in [0, 2**bits)."""

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high], for jitter."""


class SystemEntropy:
    """The operating system's randomness."""

    def __init__(self) -> None:
        self._draw = random.SystemRandom()

    def token(self, size_bytes: int) -> bytes:
        """`size_bytes` unpredictable bytes."""
        return os.urandom(size_bytes)

    def number(self, bits: int) -> int:
        """An integer in [0, 2**bits)."""
        return self._draw.getrandbits(bits)

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""
        return self._draw.uniform(low, high)
