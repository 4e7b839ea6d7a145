"""Tasks in worker processes: their ends are those of any task, and reach the worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.errors import CallTimeout, ConfigError, CpuFailed, NotSendable, ProcessDown, WorkerLost
from roost.otp import GenServer, call
from roost.otp.tasks.process import Exited, Ok
from roost.otp.tasks.task import Task
from tests.runtime import jobs
from tests.runtime.news import NumberPipe, ended


class Owner(GenServer):
    """Lets a worker process compute."""

    @call
    async def add(self, one: int, other: int) -> int:
        return await Task.cpu(jobs.add, one, other)

    @call
    async def fail(self) -> None:
        await Task.cpu(jobs.fail)

    @call
    async def take(self, left: int) -> int:
        try:
            await Task.cpu(jobs.refuse, left)
        except jobs.SoldOut as refusal:
            return refusal.left
        return -1

    @call
    async def spin(self, told: str) -> None:
        await Task.cpu(jobs.spin, told)


async def test_the_value() -> None:
    task = Task.cpu(jobs.add, 1, 2)
    assert (await task, await task.yield_()) == (3, Ok(3))
    owner = await Owner.start()
    assert await owner.add(2, 3) == 5
    assert await owner.take(3) == 3
    await owner.stop()


async def test_a_batch_is_packed_when_the_task_is_started() -> None:
    batch = ["tea"]
    task = Task.cpu(len, batch)
    batch.append("milk")
    assert await task == 1
    with pytest.raises(NotSendable):
        Task.cpu(jobs.echo, object())
    with pytest.raises(ConfigError):
        Task.cpu(jobs.run_async)


async def test_failures(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CpuFailed, match="ValueError: a bug"):
        await Task.cpu(jobs.fail)
    assert "in fail" in caplog.text, "the log tells where in the worker"
    with pytest.raises(WorkerLost):
        await Task.cpu(jobs.kill_itself)
    owner = await Owner.start()
    with pytest.raises(ProcessDown, match="CpuFailed"):
        await owner.fail()
    assert not owner.is_alive()


async def test_a_time_limit_of_the_job(tmp_path: Path) -> None:
    with pytest.raises(CallTimeout, match="jobs:spin"):
        await Task.cpu(jobs.spin, "/dev/null", timeout_s=0.5)


async def test_whatever_ends_the_task_kills_the_worker(tmp_path: Path) -> None:
    pipe = NumberPipe(tmp_path, "shutdown")
    task = Task.cpu(jobs.spin, pipe.path)
    worker = await pipe.number()
    assert await task.shutdown() is None
    await ended(worker)

    pipe = NumberPipe(tmp_path, "owner")
    owner = await Owner.start()
    asked = asyncio.ensure_future(owner.with_timeout(None).spin(pipe.path))
    worker = await pipe.number()
    owner.exit("shutdown")
    with pytest.raises(ProcessDown):
        await asked
    await ended(worker)

    pipe = NumberPipe(tmp_path, "cancelled")

    async def compute() -> None:
        await Task.cpu(jobs.spin, pipe.path)

    computing = asyncio.ensure_future(compute())
    worker = await pipe.number()
    computing.cancel()
    await ended(worker)

    pipe = NumberPipe(tmp_path, "late")
    late = Task.cpu(jobs.spin, pipe.path)
    worker = await pipe.number()
    with pytest.raises(CallTimeout):
        await late.with_timeout(0.05)
    await ended(worker)
    outcome = await late.yield_()
    assert isinstance(outcome, Exited)
    assert outcome.reason == "shutdown"
