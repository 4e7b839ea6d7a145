"""How long a node takes from the start of its process to its first HTTP answer, beside a FastAPI application."""

from __future__ import annotations

from time import perf_counter

from benchmarks.child import child, free_port, listening
from benchmarks.http_load import connections
from benchmarks.line import Bound, Line
from benchmarks.nodes import DEMO, processes, serving, settings
from benchmarks.peers import uvicorn
from benchmarks.rounds import Plan, alternate


async def ours() -> float:
    """Seconds until a node alone answers a write to its store."""
    (config,) = settings(1)
    before = perf_counter()
    async with processes([config], DEMO) as (server,):
        await serving([server])
        async with connections([server.port], 1) as (connection,):
            await connection.ask("PUT", "/api/store/first?n=1&w=1", b"{}")
        return perf_counter() - before


async def reference() -> float:
    """Seconds until FastAPI answers from its own document of itself, which needs no Redis."""
    port = free_port()
    before = perf_counter()
    async with child(uvicorn("benchmarks.redis_app:app", port)) as process:
        await listening(port, process)
        async with connections([port], 1) as (connection,):
            await connection.ask("GET", "/openapi.json")
        return perf_counter() - before


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    turns = await alternate(plan, ours, reference)
    note = "from the start of the process to the first answer; reference: FastAPI with pydantic and redis-py, uvicorn"
    return [Line("node_start", "s", [Bound("ours", "<=", 0.5)], note, turns)]
