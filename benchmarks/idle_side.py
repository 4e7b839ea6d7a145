"""Python's side of `idle_process`: an interpreter that makes processes when it is told to, and keeps them.

Run by `python -m benchmarks.idle_side`.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from time import perf_counter

import uvloop

from benchmarks.callers import Sample
from benchmarks.local_call import Counter
from benchmarks.queue_actor import QueueActor
from benchmarks.standby import stand_by
from roost.otp.dynamic_supervisor import DynamicSupervisor


async def bare(count: int) -> object:
    """Processes with nobody above them. The scheduler keeps them, no handle does."""
    for _ in range(count):
        await Counter.start()
    return None


async def supervised(count: int) -> object:
    """Children of one supervisor, all by the same plan."""
    supervisor = await DynamicSupervisor.start()
    plan = Counter.child()
    for _ in range(count):
        await supervisor.start_child(plan)
    return supervisor


async def actors(count: int) -> object:
    """Actors that wait for mail."""
    kept = [QueueActor() for _ in range(count)]
    await asyncio.sleep(0)
    return kept


def main() -> None:
    """Stand by."""
    kept: list[object] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        def side(keep: Callable[[int], Awaitable[object]]) -> Callable[[int], Sample]:
            async def measured(count: int) -> Sample:
                start = perf_counter()
                kept.append(await keep(count))
                per_s = count / (perf_counter() - start)
                gc.collect()
                return Sample(per_s)

            return lambda count: runner.run(measured(count))

        stand_by("Python", {"keep_bare": side(bare), "keep_supervised": side(supervised), "keep_actors": side(actors)})


if __name__ == "__main__":
    main()
