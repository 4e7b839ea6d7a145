"""Reads from a store of three copies, n=3 r=2, on three nodes."""

from __future__ import annotations

from benchmarks.line import Bound, Line
from benchmarks.rounds import Plan
from benchmarks.store import bench, fill, measure

ELSEWHERE = "measured elsewhere, on two cores, 50 callers: riak_core (Erlang) 23.4 k/s, p99 5.1 ms; 1 caller p50 116 us"


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    async with bench() as store:
        await fill()
        loads = (
            (100, "kv_get", [Bound("ours", ">=", 35_000), Bound("p99_us", "<=", 5_000)]),
            (1, "kv_get_1", [Bound("p50_us", "<=", 150)]),
        )
        return await measure(plan, store, store.get, loads, f"get n=3 r=2 ({ELSEWHERE})")
