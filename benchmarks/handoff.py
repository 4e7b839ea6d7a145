"""A node joins a cluster that holds many keys and is under load: how soon it has its share, and what callers feel.

Each round is a cluster of its own, since a join cannot be taken back. The reference is the same load before the join.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from time import perf_counter

from benchmarks.bench_app import app, store
from benchmarks.callers import Sample, closed_loop, latencies
from benchmarks.child import READY_S, Failed
from benchmarks.line import Bound, Line, percentile
from benchmarks.nodes import processes, serving, settings
from benchmarks.rounds import Plan, say
from benchmarks.waiting import until
from roost.cluster.node import Node
from roost.config import Config
from roost.runtime import Runtime

KEYS = 100_000
VALUE = "x" * 100
BEFORE_S = 2.0
CALLERS = 10
JOIN_S = 60.0
ROUNDS_MAX = 3


@dataclass(frozen=True, slots=True)
class Round:
    """One join."""

    seconds: float
    before: Sample
    during: Sample


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    rounds: list[Round] = []
    keys = plan.count(KEYS)
    for number in range(min(plan.rounds, ROUNDS_MAX)):
        rounds.append(await _join(keys, plan.window_s(BEFORE_S)))
        say(f"  round {number + 1}: {rounds[-1].seconds:.1f} s")
    return [_line(rounds, keys)]


def _line(rounds: Sequence[Round], keys: int) -> Line:
    during, before = [one.during for one in rounds], [one.before for one in rounds]
    facts = latencies(during, before)
    p99, p99_before = facts["p99_us"], facts["reference_p99_us"]
    assert isinstance(p99, float)
    assert isinstance(p99_before, float)
    facts["p99_ratio"] = p99 / p99_before
    facts["per_s_during"] = sum(one.per_s for one in during) / len(during)
    facts["per_s_before"] = sum(one.per_s for one in before) / len(before)
    return Line(
        "handoff_join",
        "s",
        [Bound("ours", "<=", 10.0), Bound("p99_ratio", "<=", 3.0)],
        f"a fourth node joins three that hold {keys} keys of {len(VALUE)} bytes, three copies each in memory, while "
        f"{CALLERS} callers read and write; the time from the commit until every partition has arrived; p99 of the "
        "callers during that time beside p99 before it. Measured elsewhere: riak 3 (Erlang), defaults, 76-98 s",
        [[one.seconds for one in rounds], []],
        facts,
    )


async def _join(keys: int, before_s: float) -> Round:
    *born, newcomer = settings(4)
    seeds = tuple(seed for seed in newcomer.seeds if seed.name != newcomer.name)
    mine, *others = [replace(config, seeds=seeds) for config in born]
    assert mine.listen is not None
    late = replace(newcomer, seeds=(), join=(mine.listen,))
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(processes(others))
        running = await app.boot(replace(mine, web=None), Runtime.real())
        stack.push_async_callback(running.stop)
        await serving(servers)
        node = running.node
        with node.entered():
            await until(lambda: len(node.membership.up()) == 3, READY_S, "three nodes")
            await _fill(keys)
            before = await closed_loop(CALLERS, before_s, lambda: _operation(keys))
            await stack.enter_async_context(processes([late]))
            await until(lambda: late.name in node.membership.up(), READY_S, "the newcomer")
            await node.membership.plan()
            start = perf_counter()
            await node.membership.commit()
            seconds, during = await _while_moving(node, late, keys, start)
            return Round(seconds, before, during)


async def _while_moving(node: Node, late: Config, keys: int, start: float) -> tuple[float, Sample]:
    times: list[float] = []

    async def caller() -> None:
        while not node.placement.layout.is_settled:
            before = perf_counter()
            if before - start > JOIN_S:
                raise Failed(f"{len(node.placement.layout.moving())} partitions have not arrived in {JOIN_S:g} s")
            await _operation(keys)
            times.append(perf_counter() - before)

    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())
    seconds = perf_counter() - start
    if node.placement.layout.counts().get(late.name, 0) < node.placement.size // 4:
        raise Failed("the newcomer has not got its share")
    times.sort()
    return seconds, Sample(len(times) / seconds, percentile(times, 0.5) * 1e6, percentile(times, 0.99) * 1e6)


async def _operation(keys: int) -> None:
    if random.random() < 0.5:
        await store.put(f"key-{random.randrange(keys)}", VALUE)
    elif (found := await store.get(f"key-{random.randrange(keys)}")) is None or found.value != VALUE:
        raise Failed(f"a value was lost: {found}")


async def _fill(keys: int) -> None:
    numbers = iter(range(keys))

    async def writer() -> None:
        for number in numbers:
            await store.put(f"key-{number}", VALUE)

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(writer())
