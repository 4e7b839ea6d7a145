"""A closed loop of callers: each waits for its answer before it asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from benchmarks.line import middle, percentile


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of one side."""

    per_s: float
    p50_us: float = 0.0
    p99_us: float = 0.0
    cpu_us: float | None = None
    """CPU that the measured side used per operation, where that can be told apart."""


async def closed_loop(callers: int, window_s: float, operation: Callable[[], Awaitable[object]]) -> Sample:
    """Let `callers` repeat `operation` for `window_s` seconds. An operation that raises ends the benchmark."""
    latencies: list[float] = []
    record = latencies.append
    start = perf_counter()
    end = start + window_s

    async def caller() -> None:
        before = perf_counter()
        while before < end:
            await operation()
            after = perf_counter()
            record(after - before)
            before = after

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    elapsed_s = perf_counter() - start
    latencies.sort()
    return Sample(len(latencies) / elapsed_s, percentile(latencies, 0.5) * 1e6, percentile(latencies, 0.99) * 1e6)


def rates(samples: Sequence[Sample]) -> list[float]:
    """Operations per second of each turn."""
    return [sample.per_s for sample in samples]


def latencies(ours: Sequence[Sample], reference: Sequence[Sample]) -> dict[str, object]:
    """The medians over the rounds of both sides' percentiles, in microseconds."""
    return {
        "p50_us": middle([sample.p50_us for sample in ours]),
        "p99_us": middle([sample.p99_us for sample in ours]),
        "reference_p50_us": middle([sample.p50_us for sample in reference]),
        "reference_p99_us": middle([sample.p99_us for sample in reference]),
    }
