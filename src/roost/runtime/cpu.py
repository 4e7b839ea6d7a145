"""The CPU seam: functions that compute run in worker processes of the operating system, beside the loop.

A worker is a new interpreter with one socket to its node. Nothing is forked, so neither the loop nor a thread of the
node can be caught halfway; nothing is shared between workers, so one that is killed in the middle of a message harms
only the job that it had. A job that is cancelled, or takes too long, is ended by killing its worker.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar
from typing import cast as typed

from roost.errors import (
    BadMessage,
    CallTimeout,
    ConfigError,
    CpuFailed,
    Overloaded,
    RoostError,
    TooLarge,
    WorkerLost,
)
from roost.limits import CPU_JOBS_WAITING_MAX, CPU_PAYLOAD_BYTES_MAX
from roost.runtime.worker import Worker
from roost.runtime.worker_main import DECLARED, VALUE, Place, Setup, is_worker
from roost.wire.cargo import Cargo

R = TypeVar("R")

RETRY_AFTER_S: Final = 0.1
"""When whoever met a full queue of jobs may come back."""


class Cpu(Protocol):
    """A node's way to other cores."""

    @property
    def workers(self) -> int:
        """How many functions can run at the same time."""

    def prepare(self, function: Callable[..., R], args: tuple[object, ...] = ()) -> Job[R]:
        """A call that is ready to travel: what happens to the arguments from now on does not change it.

        Args:
            function: defined at the top of a module, not `async def`; it travels by its name.
            args: what may cross between processes, except handles.

        Raises:
            NotSendable: an argument cannot cross.
            TooLarge: the arguments are over CPU_PAYLOAD_BYTES_MAX.
            ConfigError: the function is async, or not at the top of a module.
        """

    async def perform(self, job: Job[R], timeout_s: float | None = None) -> R:
        """Run a call elsewhere and give what it returns. Cancelling this ends the function, wherever it is.

        Args:
            job: from `prepare`.
            timeout_s: seconds for waiting and running; None waits for ever.

        Raises:
            RoostError: a declared error, such as a Refusal of the application, that the function has raised.
            CpuFailed: it has raised something else; `traceback` is the text of where.
            WorkerLost: its worker has ended while it ran.
            CallTimeout: after `timeout_s` seconds; it has been ended.
            Overloaded: too many jobs wait.
            NotSendable: the result cannot cross.
            TooLarge: the result is over CPU_PAYLOAD_BYTES_MAX.
            ConfigError: this code runs in a worker itself.
        """

    async def run(self, function: Callable[..., R], args: tuple[object, ...] = (), timeout_s: float | None = None) -> R:
        """`prepare`, then `perform`."""

    async def close(self) -> None:
        """End the workers, and the jobs that still run or wait; on return their processes are gone."""


@dataclass(frozen=True, slots=True)
class Job(Generic[R]):
    """A call of a function, packed."""

    name: str
    body: bytes


class Order(Generic[R]):
    """A job, and who waits for its outcome."""

    __slots__ = ("future", "job")

    def __init__(self, job: Job[R]) -> None:
        self.job = job
        self.future: asyncio.Future[R] = asyncio.get_running_loop().create_future()

    def fail(self, error: RoostError) -> None:
        """Let it fail, unless it has an outcome."""
        if not self.future.done():
            self.future.set_exception(error)


class Packing:
    """How jobs and replies are written and read; shared with the stand-in of the simulator."""

    def __init__(self) -> None:
        self._place = Place()
        self._cargo = Cargo(self._place.name_of, self._place.find)

    def pack(self, function: Callable[..., R], args: tuple[object, ...]) -> Job[R]:
        """See `Cpu.prepare`."""
        if asyncio.iscoroutinefunction(function):
            raise ConfigError("function", f"{function!r} is async; a worker process runs plain functions")
        try:
            name = self._place.name_of(function)
        except LookupError:
            raise ConfigError("function", f"{function!r} is not defined at the top of a module") from None
        if name.startswith("__main__:") and not script()[0]:
            raise ConfigError("function", f"{name} was defined at a prompt; a worker cannot import it")
        body = self._cargo.pack([name, *args], f"an argument of {name}")
        if len(body) > CPU_PAYLOAD_BYTES_MAX:
            raise TooLarge("CPU_PAYLOAD_BYTES_MAX", len(body), CPU_PAYLOAD_BYTES_MAX)
        return Job(name, body)

    def settle(self, order: Order[R], reply: memoryview) -> None:
        """Give a job its outcome."""
        if order.future.done():
            return
        name = order.job.name
        try:
            content = self._cargo.unpack(reply[1:])
        except Exception as error:
            order.fail(BadMessage(f"the reply of {name}: {error}"))
            return
        kind = bytes(reply[:1])
        if kind == VALUE:
            order.future.set_result(typed("R", content))
        else:
            order.fail(self._failure(name, kind == DECLARED, typed("list[str]", content)))

    def _failure(self, name: str, declared: bool, content: list[str]) -> RoostError:
        story = content[-1]
        if declared:
            kind, args = self._place.find(content[0]), typed("tuple[object, ...]", content[1])
            if isinstance(kind, type) and issubclass(kind, RoostError):
                try:
                    error = kind(*args)
                except Exception as problem:  # what a constructor does with its own arguments is the application's
                    return CpuFailed(name, f"{kind.__name__}{args!r}, which cannot be made again: {problem}", story)
                error.add_note(f"in a worker process:\n{story}")
                return error
        return CpuFailed(name, content[0], story)


class CpuWorkers:
    """Worker processes on this machine. They start with the first jobs, and end with the loop at the latest.

    Args:
        workers: how many at most; the cores that this process may use when None.
        waiting_max: jobs that wait for a worker; the next caller gets Overloaded.
        jobs_max: jobs after which a worker is replaced by a fresh one; None keeps it.
        memory_bytes_max: address space of one worker; more raises MemoryError in the function. None has no bound.
    """

    def __init__(
        self,
        workers: int | None = None,
        waiting_max: int = CPU_JOBS_WAITING_MAX,
        jobs_max: int | None = None,
        memory_bytes_max: int | None = None,
    ) -> None:
        for setting, value in (("workers", workers), ("jobs_max", jobs_max), ("memory_bytes_max", memory_bytes_max)):
            if value is not None and value < 1:
                raise ConfigError(setting, f"{value} is less than 1")
        self._limit = workers or cores()
        self._waiting_max, self._jobs_max, self._memory_bytes_max = waiting_max, jobs_max, memory_bytes_max
        self._packing = Packing()
        self._waiting: OrderedDict[Order[object], None] = OrderedDict()
        self._busy: dict[Worker, Order[object]] = {}
        self._idle: list[Worker] = []
        self._ending: dict[Worker, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: AsyncGenerator[None, None] | None = None

    @property
    def workers(self) -> int:
        """How many functions can run at the same time."""
        return self._limit

    def prepare(self, function: Callable[..., R], args: tuple[object, ...] = ()) -> Job[R]:
        """A call that is ready to travel: see `Cpu.prepare`."""
        return self._packing.pack(function, args)

    async def run(self, function: Callable[..., R], args: tuple[object, ...] = (), timeout_s: float | None = None) -> R:
        """Run a function in a worker process: see `Cpu.prepare` and `Cpu.perform`."""
        return await self.perform(self.prepare(function, args), timeout_s)

    async def perform(self, job: Job[R], timeout_s: float | None = None) -> R:
        """Run a call in a worker process: see `Cpu.perform`."""
        if is_worker():
            raise ConfigError(
                "Task.cpu",
                "this is a worker process, which starts no others; a script that uses workers must do so below "
                'if __name__ == "__main__", because workers import it',
            )
        await self._settle_in()
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded("the queue of jobs for worker processes", RETRY_AFTER_S)
        order = Order(job)
        timer = None
        if timeout_s is not None:
            late = CallTimeout(job.name, timeout_s)
            timer = asyncio.get_running_loop().call_later(timeout_s, order.fail, late)
        self._waiting[typed("Order[object]", order)] = None
        try:
            self._dispatch()
            return await order.future
        finally:
            if timer is not None:
                timer.cancel()
            self._forget(typed("Order[object]", order))

    async def close(self) -> None:
        """End the workers and what they do; on return their processes are gone."""
        waiting, self._waiting = self._waiting, OrderedDict()
        for order in (*waiting, *self._busy.values()):
            order.fail(WorkerLost(order.job.name, "the workers were closed"))
        for worker in (*self._busy, *self._idle):
            self._end(worker, kill=worker in self._busy)
        while self._ending:
            worker = next(iter(self._ending))
            await worker.gone
            self._ending.pop(worker, None)

    # The crew

    async def _settle_in(self) -> None:
        """Belong to the running loop: workers of another one have ended with it."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._waiting.clear()
            for worker in (*self._busy, *self._idle, *self._ending):
                worker.abandon()
            self._busy.clear()
            self._idle.clear()
            self._ending.clear()
            self._keeper = None
        if self._keeper is None:
            # asyncio closes the generators of a loop before the loop: that is the only word of its end there is.
            keeper = self._keeper = self._keep()
            await anext(keeper)

    async def _keep(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._keeper = None
            await self.close()

    def _dispatch(self) -> None:
        """Give the oldest jobs to workers that do nothing, or to new ones."""
        while self._waiting and (self._idle or len(self._busy) < self._limit):
            order, _ = self._waiting.popitem(last=False)
            if order.future.done():
                continue
            worker = self._idle.pop() if self._idle else self._start(order)
            if worker is not None:
                self._busy[worker] = order
                worker.begin(order.job.body)

    def _start(self, order: Order[object]) -> Worker | None:
        path, is_module = script()
        setup = Setup(
            [entry or os.getcwd() for entry in sys.path],
            sys.argv,
            path,
            is_module,
            self._memory_bytes_max or 0,
            CPU_PAYLOAD_BYTES_MAX,
        )
        try:
            return Worker(asyncio.get_running_loop(), setup, self._replied, self._lost)
        except OSError as error:
            order.fail(WorkerLost(order.job.name, f"it could not be started: {error}"))
            return None

    def _replied(self, worker: Worker, reply: memoryview) -> None:
        order = self._busy.pop(worker, None)
        if order is None:
            return
        self._packing.settle(order, reply)
        if self._jobs_max is not None and worker.jobs >= self._jobs_max:
            self._end(worker, kill=False)
        else:
            self._idle.append(worker)
        self._dispatch()

    def _lost(self, worker: Worker) -> None:
        """A worker has ended by itself, or by somebody else."""
        order = self._busy.pop(worker, None)
        if worker in self._idle:
            self._idle.remove(worker)
        self._retire(worker)
        if order is not None:
            worker.gone.add_done_callback(lambda gone: order.fail(WorkerLost(order.job.name, gone.result())))
        self._dispatch()

    def _forget(self, order: Order[object]) -> None:
        """Nobody waits for this job any more: it leaves the queue, or its worker is killed."""
        self._waiting.pop(order, None)
        worker = next((worker for worker, its in self._busy.items() if its is order), None)
        if worker is not None:
            self._end(worker, kill=True)
            self._dispatch()

    def _end(self, worker: Worker, *, kill: bool) -> None:
        self._busy.pop(worker, None)
        if worker in self._idle:
            self._idle.remove(worker)
        self._retire(worker)
        worker.end(kill=kill)

    def _retire(self, worker: Worker) -> None:
        self._ending[worker] = None
        worker.gone.add_done_callback(lambda _: self._ending.pop(worker, None))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def script() -> tuple[str, bool]:
    """What this program was started from: a path, or with `-m` the name of a module; "" at a prompt."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and isinstance(spec.name, str):
        return spec.name, True
    path = getattr(main, "__file__", None)
    return (os.path.abspath(path), False) if isinstance(path, str) else ("", False)
