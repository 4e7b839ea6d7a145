"""The store over HTTP: three of our nodes with three copies of everything, against FastAPI with Redis, one copy.

The same load for both: wrk, with as many connections, over many keys. Ours is spread over the web ports of its three
nodes, as a load balancer would do; the other side is one uvicorn process and one Redis. Neither keeps anything on
disk. A PUT writes a key that is new, a GET reads a random one of those that were written before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

from benchmarks.callers import Sample, latencies, rates
from benchmarks.http_load import CONNECTIONS, Load, fill, generator, press
from benchmarks.line import Bound, Line, middle
from benchmarks.nodes import DEMO, nodes
from benchmarks.peers import fastapi_redis
from benchmarks.rounds import Plan, alternate

KEYS = 5_000
WINDOW_S = 2.0
RATIO = 3.0
WORKERS = 3
"""Processes of the FastAPI that is measured beside the reference: as many as we have nodes."""


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    lines: list[Line] = []
    window_s = plan.window_s(WINDOW_S)
    async with nodes(3, DEMO) as servers, fastapi_redis(WORKERS) as (port, shared_port):
        our_ports = [server.port for server in servers]
        await fill(our_ports, "read-", KEYS)
        await fill([port], "read-", KEYS)
        for method in ("PUT", "GET"):
            turn = itertools.count()

            def load(ports: list[int], method: str = method, turn: itertools.count[int] = turn) -> Load:
                return Load(method, ports, f"write-{next(turn)}-" if method == "PUT" else "read-", KEYS)

            async def turn_of(ports: list[int], load: Callable[[list[int]], Load] = load) -> Sample:
                return await press(load(ports), window_s)

            ours, reference, several = await alternate(
                plan, *(partial(turn_of, ports) for ports in (our_ports, [port], [shared_port]))
            )
            worst = middle([sample.p99_us for sample in reference]) or 0.0
            lines.append(
                Line(
                    f"http_kv_{method.lower()}",
                    "requests/s",
                    [Bound("ratio", ">=", RATIO), Bound("p99_us", "<=", worst)],
                    f"{method}, n=3 w=2 r=2 on three nodes, {CONNECTIONS} connections by {generator()}; reference: "
                    "FastAPI (pydantic in and out) + redis-py with hiredis in one uvicorn process, and redis-server; "
                    "p99 may be no worse than the reference's",
                    (rates(ours), rates(reference)),
                    {**latencies(ours, reference), f"reference_{WORKERS}_workers": middle(rates(several))},
                )
            )
    return lines
