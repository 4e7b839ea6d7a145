"""Functions in worker processes: real ones, that are killed, crash, and are cancelled."""

from __future__ import annotations

import asyncio
import functools
import math
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from roost.errors import (
    CallTimeout,
    ConfigError,
    CpuFailed,
    NotSendable,
    Overloaded,
    RoostError,
    TooLarge,
    WorkerLost,
)
from roost.limits import CPU_PAYLOAD_BYTES_MAX
from roost.runtime.cpu import CpuWorkers
from tests.runtime import jobs
from tests.runtime.news import NumberPipe, ended, is_gone


@asynccontextmanager
async def crew(
    workers: int = 1, waiting_max: int = 100, jobs_max: int | None = None, memory_bytes_max: int | None = None
) -> AsyncIterator[CpuWorkers]:
    """Workers, of which nothing is left afterwards."""
    cpu = CpuWorkers(workers, waiting_max, jobs_max, memory_bytes_max)
    try:
        yield cpu
    finally:
        pids = [worker.pid for worker in (*cpu._busy, *cpu._idle, *cpu._ending)]
        await cpu.close()
        assert all(is_gone(pid) for pid in pids)


async def test_a_function_runs_elsewhere() -> None:
    async with crew() as cpu:
        assert await cpu.run(jobs.add, (1, 2)) == 3
        assert await cpu.run(jobs.add, (1,)) == 2
        assert await cpu.run(math.factorial, (30,)) == math.factorial(30)
        assert await cpu.run(jobs.mirror, (jobs.Point(1, 2),)) == jobs.Point(2, 1)
        assert await cpu.run(jobs.pid) != os.getpid()


async def test_workers_are_kept_and_started_only_when_needed() -> None:
    async with crew(4) as cpu:
        pids = {await cpu.run(jobs.pid) for _ in range(5)}
        assert len(pids) == 1
        together = await asyncio.gather(*[cpu.run(jobs.add, (n,)) for n in range(50)])
        assert together == list(range(1, 51))
        assert len(cpu._idle) == 4 == cpu.workers


async def test_two_run_at_the_same_time(tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    os.mkfifo(one)
    os.mkfifo(other)
    async with crew(2) as cpu:
        pids = await asyncio.gather(cpu.run(jobs.meet, (one, other)), cpu.run(_meet_first, (one, other)))
        assert len(set(pids)) == 2


def _meet_first(one: str, other: str) -> int:
    """The other side of `jobs.meet`, which opens the pipes in the same order."""
    with Path(one).open("rb") as file:
        number = int(file.read())
    jobs.tell(other, os.getpid())
    return number


async def test_an_exception_arrives_as_text() -> None:
    async with crew() as cpu:
        with pytest.raises(CpuFailed, match=r"tests\.runtime\.jobs:fail failed: ValueError: a bug") as failure:
            await cpu.run(jobs.fail)
        assert 'raise ValueError("a bug")' in failure.value.traceback
        with pytest.raises(CpuFailed, match="SystemExit: 3"):
            await cpu.run(jobs.give_up)
        assert await cpu.run(jobs.add, (1,)) == 2


async def test_a_declared_error_arrives_as_itself() -> None:
    async with crew() as cpu:
        with pytest.raises(jobs.SoldOut) as refusal:
            await cpu.run(jobs.refuse, (3,))
        assert refusal.value.left == 3
        assert "in a worker process" in refusal.value.__notes__[0]
        with pytest.raises(CallTimeout, match=r"somebody within 1\.5 s"):
            await cpu.run(jobs.be_late)
        with pytest.raises(CpuFailed, match="which cannot be made again"):
            await cpu.run(jobs.refuse_oddly)


@pytest.mark.parametrize(
    ("job", "args", "reason"),
    [
        (jobs.leave, (3,), "exit status 3"),
        (jobs.leave_a_fork_behind, (), "exit status 3"),
        (jobs.kill_itself, (), "SIGKILL"),
        (jobs.break_memory, (), "SIGSEGV"),
        (jobs.die_in_the_answer, (60_000_000,), "SIGKILL"),
    ],
)
async def test_a_worker_that_dies_harms_its_own_job_only(
    job: Callable[..., object], args: tuple[object, ...], reason: str
) -> None:
    async with crew(2) as cpu:
        other = asyncio.ensure_future(cpu.run(jobs.echo, (bytes(10_000_000),)))
        with pytest.raises(WorkerLost, match=reason):
            await cpu.run(job, args)
        assert await other == bytes(10_000_000)
        assert await asyncio.gather(*[cpu.run(jobs.add, (n,)) for n in range(4)]) == [1, 2, 3, 4]


async def test_a_worker_that_is_killed_from_outside(tmp_path: Path) -> None:
    async with crew() as cpu:
        pipe = NumberPipe(tmp_path)
        spinning = asyncio.ensure_future(cpu.run(jobs.spin, (pipe.path,)))
        os.kill(await pipe.number(), signal.SIGKILL)
        with pytest.raises(WorkerLost, match="SIGKILL"):
            await spinning
        first = await cpu.run(jobs.pid)
        [idle] = cpu._idle
        os.kill(first, signal.SIGKILL)
        assert await idle.gone == "it was killed by SIGKILL"
        assert await cpu.run(jobs.pid) != first


async def test_signals_that_mean_the_node_do_not_end_a_worker(tmp_path: Path) -> None:
    async with crew() as cpu:
        told, gate = NumberPipe(tmp_path, "told"), tmp_path / "gate"
        os.mkfifo(gate)
        waiting = asyncio.ensure_future(cpu.run(jobs.meet, (told.path, str(gate))))
        worker = await told.number()
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker, number)
        await asyncio.to_thread(jobs.tell, str(gate), 7)
        assert await waiting == 7


async def test_cancelling_kills_what_runs_and_what_it_has_started(tmp_path: Path) -> None:
    async with crew() as cpu:
        pipe = NumberPipe(tmp_path)
        spinning = asyncio.ensure_future(cpu.run(jobs.spin_with_a_program, (pipe.path,)))
        program = await pipe.number()
        waiting = asyncio.ensure_future(cpu.run(jobs.add, (1,)))
        spinning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spinning
        await ended(program)
        assert await waiting == 2, "the next one gets a new worker"


async def test_cancelling_a_job_that_waits_harms_nobody(tmp_path: Path) -> None:
    async with crew() as cpu:
        pipe = NumberPipe(tmp_path)
        spinning = asyncio.ensure_future(cpu.run(jobs.spin, (pipe.path,)))
        waiting = asyncio.ensure_future(cpu.run(jobs.add, (1,)))
        worker = await pipe.number()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not is_gone(worker)
        assert not spinning.done()
        spinning.cancel()
        await asyncio.wait([spinning])


async def test_a_job_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    async with crew() as cpu:
        await cpu.run(jobs.pid)  # so that the start of a worker is not in the time
        pipe = NumberPipe(tmp_path)
        spinning = asyncio.ensure_future(cpu.run(jobs.spin, (pipe.path,), timeout_s=1.0))
        worker = await pipe.number()
        with pytest.raises(CallTimeout) as failure:
            await cpu.run(jobs.add, (1,), timeout_s=0.01)
        assert failure.value.facts() == {"target": "tests.runtime.jobs:add", "timeout_s": 0.01}
        with pytest.raises(CallTimeout):
            await spinning
        await ended(worker)
        assert await cpu.run(jobs.add, (1,), timeout_s=30.0) == 2


async def test_the_queue_has_a_bound(tmp_path: Path) -> None:
    async with crew(1, waiting_max=2) as cpu:
        pipe = NumberPipe(tmp_path)
        spinning = asyncio.ensure_future(cpu.run(jobs.spin, (pipe.path,)))
        await pipe.number()
        waiting = [asyncio.ensure_future(cpu.run(jobs.add, (n,))) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await cpu.run(jobs.add, (3,))
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        waiting[0] = asyncio.ensure_future(cpu.run(jobs.add, (4,)))
        await asyncio.sleep(0)
        spinning.cancel()
        assert await asyncio.gather(*waiting) == [5, 2]


async def test_workers_are_replaced_after_so_many_jobs() -> None:
    async with crew(1, jobs_max=2) as cpu:
        pids = [await cpu.run(jobs.pid) for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]


async def test_memory_has_a_bound() -> None:
    async with crew(1, memory_bytes_max=1_000_000_000) as cpu:
        assert await cpu.run(jobs.allocate, (10_000_000,)) == 10_000_000
        with pytest.raises(CpuFailed, match="MemoryError"):
            await cpu.run(jobs.allocate, (2_000_000_000,))
        assert await cpu.run(jobs.allocate, (10_000_000,)) == 10_000_000


async def test_closing_ends_what_runs_and_what_waits(tmp_path: Path) -> None:
    cpu = CpuWorkers(1)
    pipe = NumberPipe(tmp_path)
    both = [asyncio.ensure_future(cpu.run(jobs.spin, (pipe.path,))), asyncio.ensure_future(cpu.run(jobs.pid))]
    worker = await pipe.number()
    await cpu.close()
    assert is_gone(worker)
    for one in both:
        with pytest.raises(WorkerLost, match="closed"):
            await one
    assert await cpu.run(jobs.add, (1,)) == 2, "workers are started again when they are needed"
    await cpu.close()
    await cpu.close()


async def test_payloads() -> None:
    text = ["a line of text"] * 100_000
    async with crew() as cpu:
        assert await cpu.run(jobs.echo, (text,)) == text
        assert await cpu.run(len, (bytes(20_000_000),)) == 20_000_000
        with pytest.raises(TooLarge):
            await cpu.run(len, (bytes(CPU_PAYLOAD_BYTES_MAX),))
        with pytest.raises(TooLarge):
            await cpu.run(bytes, (CPU_PAYLOAD_BYTES_MAX,))
        with pytest.raises(NotSendable, match="the result of builtins:object"):
            await cpu.run(object)
        with pytest.raises(NotSendable, match="an argument of builtins:repr"):
            await cpu.run(repr, (object(),))


async def test_what_is_printed_harms_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    async with crew() as cpu:
        await cpu.run(jobs.say, ("hello from there",))
        assert capfd.readouterr().out == "hello from there\n"


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda: None, "not defined at the top of a module"),
        (functools.partial(jobs.add, 1), "not defined at the top of a module"),
        (functools.partial(asyncio.sleep, 1), "is async"),
        (random.Random().random, "not defined at the top of a module"),
        (jobs.run_async, "async"),
    ],
)
async def test_functions_that_cannot_travel(function: Callable[[], object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        CpuWorkers(1).prepare(function)


async def test_a_worker_starts_no_workers() -> None:
    async with crew() as cpu:
        with pytest.raises(ConfigError, match="this is a worker process"):
            await cpu.run(jobs.start_more)


@pytest.mark.parametrize("setting", ["workers", "jobs_max", "memory_bytes_max"])
def test_settings_that_make_no_sense(setting: str) -> None:
    with pytest.raises(ConfigError, match=setting):
        CpuWorkers(**{setting: 0})


async def test_a_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async with crew() as cpu:
        with monkeypatch.context() as patch:
            patch.setattr("sys.executable", "/no/such/python")
            with pytest.raises(WorkerLost, match="could not be started"):
                await cpu.run(jobs.add, (1,))
        assert await cpu.run(jobs.add, (1,)) == 2


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_workers_end_with_the_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    cpu = CpuWorkers(2)

    async def story() -> list[int]:
        assert await cpu.run(jobs.add, (1,)) == 2
        spinning = asyncio.ensure_future(cpu.run(jobs.meet, ("/dev/null", "/dev/full")))
        await asyncio.sleep(0)
        pids = [worker.pid for worker in (*cpu._busy, *cpu._idle)]
        spinning.cancel()
        return pids

    for _ in range(2):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            pids = runner.run(story())
        assert pids
        assert all(is_gone(pid) for pid in pids)


def test_workers_of_a_loop_that_was_just_dropped_are_buried_by_the_next_one() -> None:
    cpu = CpuWorkers(1)
    dropped = asyncio.new_event_loop()
    first = dropped.run_until_complete(cpu.run(jobs.pid))
    dropped.close()
    with asyncio.Runner() as runner:
        assert runner.run(cpu.run(jobs.pid)) != first
    assert is_gone(first)


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_every_job_gets_its_own_outcome(seed: int) -> None:
    draw = random.Random(seed)
    async with crew(2, waiting_max=1000, jobs_max=20) as cpu:

        async def one(number: int) -> tuple[str, str]:
            kind = draw.choice([*["value"] * 6, "large", "SoldOut", "CpuFailed", "WorkerLost", "CallTimeout", "cancel"])
            try:
                outcome = await _outcome(cpu, kind, number, draw)
            except RoostError as error:
                outcome = type(error).__name__
            except asyncio.CancelledError:
                outcome = "cancel"
            return kind, outcome

        outcomes = await asyncio.gather(*[one(number) for number in range(150)])
        assert [outcome for _, outcome in outcomes] == [kind for kind, _ in outcomes]
        assert len({kind for kind, _ in outcomes}) == 7


async def _outcome(cpu: CpuWorkers, kind: str, number: int, draw: random.Random) -> str:
    """Let a job of some kind run; returns the kind that it turned out to be."""
    match kind:
        case "value":
            return kind if await cpu.run(jobs.add, (number,)) == number + 1 else "another value"
        case "large":
            return kind if await cpu.run(jobs.echo, (bytes(1_000_000),)) == bytes(1_000_000) else "another value"
        case "SoldOut":
            await cpu.run(jobs.refuse, (number,))
        case "CpuFailed":
            await cpu.run(jobs.fail)
        case "WorkerLost":
            await cpu.run(jobs.leave, (1,))
        case "CallTimeout":
            await cpu.run(jobs.spin, ("/dev/null",), timeout_s=0.02)
        case "cancel":
            task = asyncio.ensure_future(cpu.run(jobs.spin, ("/dev/null",)))
            for _ in range(draw.randrange(30)):
                await asyncio.sleep(0)
            task.cancel()
            await task
    return "no error"
