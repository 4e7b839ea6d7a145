"""xoscar's side of the benchmarks of calls: one actor in the pool of its own process, asked from that process.

It uses uvloop, as ours does. Run by `python -m benchmarks.xoscar_counter`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from time import perf_counter
from typing import Any

import uvloop
import xoscar  # type: ignore[import-untyped]  # xoscar ships no types

from benchmarks.callers import Sample
from benchmarks.child import free_port
from benchmarks.line import percentile
from benchmarks.standby import stand_by

CALLERS = 100


class XoscarCounter(xoscar.StatelessActor):  # type: ignore[misc]  # for the same reason
    """Counts. A stateless actor takes no lock around each message, which is the faster of the two kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def increment(self, by: int) -> int:
        """Add, and tell the sum."""
        self.count += by
        return self.count


# Any: a reference of xoscar has the methods of its actor, and no types for them.
async def call(counter: Any, count: int) -> Sample:
    """One caller at full speed, then a shorter pass with a clock around each call."""
    start = perf_counter()
    for _ in range(count):
        await counter.increment(1)
    per_s = count / (perf_counter() - start)
    times: list[float] = []
    for _ in range(count // 10):
        before = perf_counter()
        await counter.increment(1)
        times.append(perf_counter() - before)
    times.sort()
    return Sample(per_s, percentile(times, 0.5) * 1e6, percentile(times, 0.99) * 1e6)


async def call_100(counter: Any, count: int) -> Sample:
    """A hundred callers."""

    async def caller() -> None:
        for _ in range(count // CALLERS):
            await counter.increment(1)

    start = perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CALLERS):
            group.create_task(caller())
    return Sample(count / (perf_counter() - start))


async def cast(counter: Any, count: int) -> Sample:
    """One producer, until the last one is handled."""
    handled = await counter.increment(0)
    last = handled + count
    start = perf_counter()
    for _ in range(count):
        await counter.increment.tell(1)
    while handled < last:
        handled = await counter.increment(0)
    return Sample(count / (perf_counter() - start))


def main() -> None:
    """Stand by."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        address = f"127.0.0.1:{free_port()}"
        pool = runner.run(xoscar.create_actor_pool(address, n_process=0))
        runner.run(pool.start())
        counter = runner.run(xoscar.create_actor(XoscarCounter, address=address))

        def side(turn: Callable[[Any, int], Awaitable[Sample]]) -> Callable[[int], Sample]:
            async def measured(count: int) -> Sample:
                return await turn(counter, count)

            return lambda count: runner.run(measured(count))

        try:
            stand_by(
                f"xoscar {version('xoscar')}", {"call": side(call), "call_100": side(call_100), "cast": side(cast)}
            )
        finally:
            runner.run(pool.stop())


if __name__ == "__main__":
    main()
