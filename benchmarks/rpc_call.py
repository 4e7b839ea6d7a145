"""Calls of an exported function on another node, and of nothing at all: each call is a process there.

The reference is a bare echo between two processes: what the wire alone could do.
"""

from __future__ import annotations

from functools import partial

from benchmarks.bench_app import double
from benchmarks.callers import closed_loop, latencies, rates
from benchmarks.cluster import cluster
from benchmarks.echo import echo
from benchmarks.line import Line
from benchmarks.node_call import BODY
from benchmarks.rounds import Plan, alternate
from roost.cluster import rpc

WINDOW_S = 1.5


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    window_s = plan.window_s(WINDOW_S)
    lines: list[Line] = []
    async with cluster(2) as node, echo() as client:
        (peer,) = (name for name in node.membership.up() if name != node.name)
        with node.entered():
            for callers, name in ((1, "rpc_call"), (100, "rpc_call_100")):
                turns = await alternate(
                    plan,
                    partial(closed_loop, callers, window_s, partial(rpc.call, peer, double, 1)),
                    partial(closed_loop, callers, window_s, partial(client.call, BODY)),
                )
                lines.append(
                    Line(
                        name,
                        "calls/s",
                        [],
                        f"{callers} caller(s), an exported function in another process; reference: a bare batched "
                        "MessagePack echo over TCP, both on uvloop",
                        [rates(side) for side in turns],
                        latencies(*turns),
                    )
                )
    return lines
