"""Writes to a store of three copies, n=3 w=2, on three nodes."""

from __future__ import annotations

from benchmarks.line import Bound, Line
from benchmarks.rounds import Plan
from benchmarks.store import bench, measure

ELSEWHERE = "measured elsewhere, on two cores, 50 callers: riak_core (Erlang) 19.9 k/s, p99 6.8 ms; 1 caller p50 103 us"


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    async with bench() as store:
        loads = (
            (100, "kv_put", [Bound("ours", ">=", 30_000), Bound("p99_us", "<=", 5_000)]),
            (1, "kv_put_1", [Bound("p50_us", "<=", 150)]),
        )
        return await measure(plan, store, store.put, loads, f"put n=3 w=2 of new keys ({ELSEWHERE})")
