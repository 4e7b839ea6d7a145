"""Reads from a store of three copies, n=3 r=2, while one of the three nodes stands still half of the time.

Both sides are ours: hedged reads, which ask two nodes and a third when one is late, and plain ones, which ask all three
at once. The first line is with a node that stands still, the second without: what a hedged read saves otherwise.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from benchmarks.bench_app import store
from benchmarks.callers import Sample, closed_loop, latencies, rates
from benchmarks.child import Failed
from benchmarks.cluster import cluster_and_peers
from benchmarks.line import Bound, Line
from benchmarks.peers import Server
from benchmarks.rounds import Plan, alternate
from benchmarks.store import KEYS, NODES, VALUE, WINDOW_S, fill

CALLERS = 50
STILL_S = 0.2
"""How long the node stands still, and how long it runs again: less than it takes to be seen as down."""


async def get(hedge: bool) -> None:
    """Read one of the keys that were written before from two of three nodes."""
    found = await store.get(f"read-{random.randrange(KEYS)}", n=NODES, r=2, hedge=hedge)
    if found is None or found.value != VALUE:
        raise Failed(f"a value was lost: {found}")


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    async with cluster_and_peers(NODES) as (_, servers):
        await fill()
        slow = await _turns(plan, partial(_while_slow, servers[0]))
        fine = await _turns(plan, closed_loop)
    return [
        _line("kv_get_slow_replica", slow, f"one node stands still for {STILL_S} s and runs for {STILL_S} s, by turns"),
        _line("kv_get_hedged", fine, "all nodes run"),
    ]


Loop = Callable[[int, float, Callable[[], Awaitable[object]]], Awaitable[Sample]]


async def _turns(plan: Plan, loop: Loop) -> tuple[list[Sample], ...]:
    window_s = plan.window_s(WINDOW_S)
    return await alternate(plan, *[partial(loop, CALLERS, window_s, partial(get, hedge)) for hedge in (True, False)])


def _line(name: str, turns: Sequence[Sequence[Sample]], note: str) -> Line:
    return Line(
        name,
        "operations/s",
        [Bound("p99_us", "<=", 20_000)],
        f"get n=3 r=2, hedged; {note}; {NODES} nodes, each a process, {CALLERS} callers in one; reference: the same "
        "reads, not hedged",
        [rates(side) for side in turns],
        latencies(*turns),
    )


async def _while_slow(
    server: Server, callers: int, window_s: float, operation: Callable[[], Awaitable[object]]
) -> Sample:
    async with _standing_still(server):
        return await closed_loop(callers, window_s, operation)


@asynccontextmanager
async def _standing_still(server: Server) -> AsyncIterator[None]:
    """Let a node stand still and run, by turns; when the block ends it runs."""

    async def by_turns() -> None:
        while True:
            server.process.facts.suspend()
            await asyncio.sleep(STILL_S)
            server.process.facts.resume()
            await asyncio.sleep(STILL_S)

    task = asyncio.create_task(by_turns())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        server.process.facts.resume()
