"""How fast clients come in: sockets that connect, and channels that are joined, against the other servers for sockets.

A deploy sends everybody away at once, so this is how long they wait to be back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from time import perf_counter

from benchmarks.callers import Sample, rates
from benchmarks.crowd import Crowd
from benchmarks.dialect import Dialect, Phoenix
from benchmarks.line import Line
from benchmarks.nodes import nodes
from benchmarks.peers import Server, picows_room, socket_servers
from benchmarks.rounds import Plan, alternate
from benchmarks.sides import beside

SOCKETS = 1_000


async def come_in(server: Server, dialect: Dialect, size: int) -> tuple[Sample, Sample]:
    """Connect all, join all, and leave: how many connect, and join, in a second."""
    crowd = Crowd(server.port, dialect, size)
    try:
        start = perf_counter()
        await crowd.connect()
        connected = perf_counter()
        await crowd.join()
        joined = perf_counter()
    finally:
        crowd.leave()
    await asyncio.sleep(0.2)  # so that their going does not count as the next side's coming
    return Sample(size / (connected - start)), Sample(size / (joined - connected))


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    size = plan.count(SOCKETS)
    async with nodes(1) as (ours,), picows_room() as bare, socket_servers() as others:
        sides: list[tuple[Server, Dialect]] = [(ours, Phoenix()), (bare, Phoenix()), *others.values()]
        turns = await alternate(plan, *(partial(come_in, server, dialect, size) for server, dialect in sides))
    connects = [[sample for sample, _ in side] for side in turns]
    joins = [[sample for _, sample in side] for side in turns]
    return [
        _line("connects", "sockets/s", connects, list(others), f"{size} sockets connect, 64 at a time"),
        _line("joins", "joins/s", joins, list(others), f"{size} connected sockets join one topic at once"),
    ]


def _line(name: str, unit: str, turns: Sequence[Sequence[Sample]], others: Sequence[str], what: str) -> Line:
    note = f"{what}; reference: a bare picows server; generator: picows, one process, and busier than that"
    return Line(name, unit, [], note, [rates(side) for side in turns[:2]], beside(others, turns[0], turns[2:]))
