"""What the size of a ring costs: 512 partitions beside 64. Each turn is a cluster of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from benchmarks.bench_app import app, store
from benchmarks.callers import Sample, closed_loop, latencies, rates
from benchmarks.child import READY_S
from benchmarks.line import Bound, Line
from benchmarks.nodes import processes, serving, settings
from benchmarks.rounds import Plan, say
from benchmarks.waiting import until
from roost.cluster.record import encode_cluster
from roost.runtime import Runtime

PARTITIONS = (512, 64)
CALLERS = 50
WINDOW_S = 1.5
VALUE = "x" * 100


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    turns: list[list[Sample]] = [[], []]
    facts: dict[str, object] = {}
    window_s = plan.window_s(WINDOW_S)
    for number in range(plan.rounds):
        for side, size in enumerate(PARTITIONS):
            sample, cluster_bytes = await _turn(size, window_s)
            turns[side].append(sample)
            facts["cluster_bytes" if side == 0 else "reference_cluster_bytes"] = cluster_bytes
        say(f"  round {number + 1} of {plan.rounds}")
    line = Line(
        "ring_512",
        "operations/s",
        [Bound("ratio", ">=", 0.9)],
        f"put n=3 w=2 of new keys on three nodes, each a process, {CALLERS} callers in one; a ring of {PARTITIONS[0]} "
        f"partitions, reference: one of {PARTITIONS[1]}; cluster_bytes is what nodes tell each other of a change",
        [rates(side) for side in turns],
        {**latencies(*turns), **facts},
    )
    return [line]


async def _turn(size: int, window_s: float) -> tuple[Sample, int]:
    mine, *others = [replace(config, ring_size=size) for config in settings(3)]
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(processes(others))
        running = await app.boot(replace(mine, web=None), Runtime.real())
        stack.push_async_callback(running.stop)
        await serving(servers)
        node, fresh = running.node, iter(range(10**9))
        await until(lambda: len(node.membership.up()) == 3, READY_S, "three nodes")
        with node.entered():
            put = partial(_put, fresh)
            await closed_loop(CALLERS, window_s / 3, put)
            sample = await closed_loop(CALLERS, window_s, put)
        return sample, len(encode_cluster(node.membership.cluster))


async def _put(fresh: Iterator[int]) -> None:
    await store.put(f"large-{next(fresh)}", VALUE)
