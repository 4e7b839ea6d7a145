"""What `kv_put` and `kv_get` share: three nodes, callers in one of them, and the bare echo beside them."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.bench_app import store
from benchmarks.callers import closed_loop, latencies, rates
from benchmarks.child import Failed
from benchmarks.cluster import cluster
from benchmarks.echo import EchoClient, echo
from benchmarks.line import Bound, Line
from benchmarks.rounds import Plan, alternate

NODES = 3
KEYS = 10_000
VALUE = "x" * 100
WINDOW_S = 1.5


@dataclass(frozen=True, slots=True)
class Bench:
    """The bucket of `bench_app`, and an echo to compare it with."""

    echo: EchoClient
    fresh: itertools.count[int]

    async def put(self) -> None:
        """Write a key that is new to two of three nodes, or more."""
        await store.put(f"write-{next(self.fresh)}", VALUE, n=NODES, w=2)

    async def get(self) -> None:
        """Read one of the keys that were written before from two of three nodes, or more."""
        found = await store.get(f"read-{random.randrange(KEYS)}", n=NODES, r=2)
        if found is None or found.value != VALUE:
            raise Failed(f"a value was lost: {found}")


async def fill() -> None:
    """Write the keys that will be read, on all nodes."""
    numbers = iter(range(KEYS))

    async def writer() -> None:
        for number in numbers:
            await store.put(f"read-{number}", VALUE, n=NODES, w=NODES)

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(writer())


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Three nodes of three processes, the first one here, and the echo."""
    async with cluster(NODES), echo() as client:
        yield Bench(client, itertools.count())


async def measure(
    plan: Plan,
    bench: Bench,
    operation: Callable[[], Awaitable[object]],
    loads: Sequence[tuple[int, str, Sequence[Bound]]],
    note: str,
) -> list[Line]:
    """A line for each load: so many callers, under that name, with that target."""
    window_s = plan.window_s(WINDOW_S)
    lines: list[Line] = []
    for callers, name, target in loads:
        turns = await alternate(
            plan,
            partial(closed_loop, callers, window_s, operation),
            partial(closed_loop, callers, window_s, partial(bench.echo.call, VALUE.encode())),
        )
        lines.append(
            Line(
                name,
                "operations/s",
                target,
                f"{note}; values of {len(VALUE)} bytes, in memory; {NODES} nodes, each a process, {callers} caller(s) "
                "in one; reference: a bare batched MessagePack echo over TCP to one process",
                [rates(side) for side in turns],
                latencies(*turns),
            )
        )
    return lines
