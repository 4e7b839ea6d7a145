"""How a simulated network behaves when nothing is broken: delays, and writes that arrive in pieces."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Climate:
    """The odds. A lost packet is a `stall`: TCP sends it again, and everything behind it waits.

    Args:
        delay_min_s: the shortest way from host to host.
        delay_mean_s: what is added on average, exponentially distributed.
        split_chance: of a write to arrive in two pieces or more.
        stall_chance: of a piece to be sent twice.
        stall_s: the longest that takes.
        window_bytes: what a socket holds before its writer has to buffer.
    """

    delay_min_s: float = 0.0001
    delay_mean_s: float = 0.0005
    split_chance: float = 0.05
    stall_chance: float = 0.002
    stall_s: float = 0.25
    window_bytes: int = 65_536


class Weather:
    """Draws from a climate."""

    def __init__(self, climate: Climate, draw: random.Random) -> None:
        self.climate = climate
        self._draw = draw

    def delay_s(self) -> float:
        """How long one piece is on its way."""
        climate, draw = self.climate, self._draw
        delay_s = climate.delay_min_s + draw.expovariate(1.0) * climate.delay_mean_s
        if climate.stall_chance and draw.random() < climate.stall_chance:
            delay_s += draw.uniform(0.0, climate.stall_s)
        return delay_s

    def pieces(self, data: bytes) -> tuple[bytes, ...]:
        """Cut one write into the pieces it arrives in."""
        if len(data) < 2 or self._draw.random() >= self.climate.split_chance:
            return (data,)
        at = self._draw.randrange(1, len(data))
        return (data[:at], *self.pieces(data[at:]))

    def choose(self, count: int) -> int:
        """An integer in [0, count)."""
        return self._draw.randrange(count)
