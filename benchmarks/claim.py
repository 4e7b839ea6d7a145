"""How long it takes to find the ring after a node has joined.

The reference is the ring of the same nodes at the birth of a cluster, which has only the shares to think of.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from benchmarks.line import Bound, Line
from benchmarks.rounds import Plan, alternate
from roost.core.claim import claim, moved, reclaim
from roost.core.layout import Layout
from roost.limits import REPLICAS

SHAPES = ((64, 5, 100.0), (512, 16, 1000.0))
"""Partitions, nodes, and the time in milliseconds that it may take."""


def names(count: int) -> tuple[str, ...]:
    """The nodes."""
    return tuple(f"n{number:02d}@10.0.0.1" for number in range(count))


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    return [await _shape(plan, *shape) for shape in SHAPES]


async def _shape(plan: Plan, size: int, count: int, limit_ms: float) -> Line:
    members = names(count)
    before = claim(members[:-1], size)
    alone = claim(members[:1], size)
    zones = tuple(f"z{number % 3}" for number in range(count))
    group_ms: list[float] = []
    zones_ms: list[float] = []

    async def ours() -> float:
        group_ms.append(_elapsed_ms(lambda: reclaim(alone, members)))
        zones_ms.append(_elapsed_ms(lambda: reclaim(alone, members, zones)))
        return _elapsed_ms(lambda: reclaim(before, members))

    async def reference() -> float:
        return _elapsed_ms(lambda: claim(members, size))

    turns = await alternate(plan, ours, reference)
    after = reclaim(before, members)
    layout = Layout.settled(before).aim(after, REPLICAS)
    facts: dict[str, object] = {
        "moved": sum(moved(before, after).values()),
        "transfers": sum(len(layout.transfers(partition, REPLICAS)) for partition in layout.moving()),
        "group_ms": max(group_ms),
        "zones_ms": max(zones_ms),
    }
    return Line(
        f"claim_{size}",
        "ms",
        [Bound("ours", "<=", limit_ms), Bound("group_ms", "<=", limit_ms), Bound("zones_ms", "<=", limit_ms)],
        f"node {count} joins a ring of {size} partitions; reference: the birth of the ring with {count} nodes",
        turns,
        facts,
    )


def _elapsed_ms(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return 1000 * (perf_counter() - start)
