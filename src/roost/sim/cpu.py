"""The CPU seam of a simulated node: functions run inline, after a virtual delay.

What travels is packed and unpacked as for real workers, so a value that cannot cross is refused here too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from roost.errors import CallTimeout, Overloaded
from roost.limits import CPU_JOBS_WAITING_MAX, CPU_PAYLOAD_BYTES_MAX
from roost.runtime.clock import Clock
from roost.runtime.cpu import RETRY_AFTER_S, Job, Order, Packing
from roost.runtime.worker_main import Jobs, Place

R = TypeVar("R")

JOB_S: Final = 0.01
"""Virtual seconds that a function takes."""
WORKERS: Final = 2
"""Functions that run at the same time."""


class SimCpu:
    """Workers that are none.

    Args:
        clock: of the node.
        workers: how many functions run at the same time.
        job_s: virtual seconds that each takes.
    """

    def __init__(self, clock: Clock, workers: int = WORKERS, job_s: float = JOB_S) -> None:
        self._clock, self._workers, self._job_s = clock, workers, job_s
        self._packing, self._jobs = Packing(), Jobs(Place(), CPU_PAYLOAD_BYTES_MAX)
        self._places: asyncio.Semaphore = asyncio.Semaphore(workers)
        self._waiting = 0

    @property
    def workers(self) -> int:
        """How many functions can run at the same time."""
        return self._workers

    async def run(self, function: Callable[..., R], args: tuple[object, ...] = (), timeout_s: float | None = None) -> R:
        """Run a function when its time has passed: see `Cpu.prepare` and `Cpu.perform`."""
        return await self.perform(self.prepare(function, args), timeout_s)

    def prepare(self, function: Callable[..., R], args: tuple[object, ...] = ()) -> Job[R]:
        """A call that is ready to travel: see `Cpu.prepare`."""
        return self._packing.pack(function, args)

    async def perform(self, job: Job[R], timeout_s: float | None = None) -> R:
        """Run a call when its time has passed: see `Cpu.perform`."""
        if self._waiting >= CPU_JOBS_WAITING_MAX:
            raise Overloaded("the queue of jobs for worker processes", RETRY_AFTER_S)
        try:
            async with asyncio.timeout(timeout_s):
                self._waiting += 1
                try:
                    await self._places.acquire()
                finally:
                    self._waiting -= 1
                try:
                    await self._clock.sleep(self._job_s)
                finally:
                    self._places.release()
        except TimeoutError:
            raise CallTimeout(job.name, timeout_s or 0.0) from None
        order = Order(job)
        self._packing.settle(order, memoryview(b"".join(self._jobs.run(job.body))))
        return await order.future

    async def close(self) -> None:
        """Nothing to end: no process was started."""
