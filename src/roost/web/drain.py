"""Draining: a node that stops sends its clients away, some at a time, so that they do not all come back at once.

Each connection ends its channels, which may say goodbye in `terminate`, and is closed with 1012 (Service Restart);
clients of Phoenix connect again by themselves, and find another node. It is Phoenix's socket drainer: a batch, a pause,
a batch; but all are told within half of the time there is, however many they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Final, Protocol

from roost.limits import SOCKETS_DRAIN_BATCH, SOCKETS_DRAIN_INTERVAL_S, SOCKETS_DRAIN_S
from roost.runtime.clock import Clock

POLL_S: Final = 0.01


class Drainable(Protocol):
    """A connection that can be told to go."""

    def drain(self) -> None:
        """End in order. Harmless when it is ending."""


async def drain(clients: Callable[[], Iterable[Drainable]], clock: Clock) -> int:
    """Send all clients away, and wait until they are gone.

    Args:
        clients: who is still there, asked again and again: somebody may come in meanwhile.
        clock: the node's.

    Returns: how many are still there after SOCKETS_DRAIN_S seconds; they have to be cut off.
    """
    begun_s = clock.now()
    told: set[Drainable] = set()
    batches = SOCKETS_DRAIN_S / 2 / SOCKETS_DRAIN_INTERVAL_S
    batch = max(SOCKETS_DRAIN_BATCH, ceil(len(list(clients())) / batches))
    next_s = begun_s
    while True:
        there = list(clients())
        now = clock.now()
        if not there or now >= begun_s + SOCKETS_DRAIN_S:
            return len(there)
        if now >= next_s:
            next_s = now + SOCKETS_DRAIN_INTERVAL_S
            for client in [each for each in there if each not in told][:batch]:
                told.add(client)
                client.drain()
        await clock.sleep(POLL_S)
