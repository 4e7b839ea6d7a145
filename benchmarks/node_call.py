"""Calls of a GenServer in another operating-system process, through the link between two nodes.

The reference is a bare echo between two processes: what the wire alone could do.
"""

from __future__ import annotations

from functools import partial

from benchmarks.bench_app import COUNTER
from benchmarks.callers import closed_loop, latencies, rates
from benchmarks.cluster import cluster
from benchmarks.echo import echo
from benchmarks.line import Bound, Line
from benchmarks.local_call import Counter
from benchmarks.rounds import Plan, alternate

WINDOW_S = 1.5
BODY = b"\x93\xa7counter\xa9increment\x91\x01"
"""About what a call of ours carries, so that the echo moves as many bytes."""


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    window_s = plan.window_s(WINDOW_S)
    lines: list[Line] = []
    async with cluster(2) as node, echo() as client:
        (peer,) = (name for name in node.membership.up() if name != node.name)
        counter = Counter.whereis(COUNTER, node=peer)
        for callers, name, target in (
            (1, "node_call", Bound("p50_us", "<=", 110)),
            (100, "node_call_100", Bound("ours", ">=", 200_000)),
        ):
            turns = await alternate(
                plan,
                partial(closed_loop, callers, window_s, partial(counter.increment, 1)),
                partial(closed_loop, callers, window_s, partial(client.call, BODY)),
            )
            lines.append(
                Line(
                    name,
                    "calls/s",
                    [target],
                    f"{callers} caller(s), a sync handler in another process; reference: a bare batched MessagePack "
                    "echo over TCP, both on uvloop",
                    [rates(side) for side in turns],
                    latencies(*turns),
                )
            )
    return lines
