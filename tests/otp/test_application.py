"""Applications: a tree as a program, from its start to its exit code."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from roost.errors import CallTimeout, ConfigError, NameTaken, ProcessDown, StartFailed
from roost.otp import Application, Scheduler, Supervisor, SystemMonitor
from tests.otp.nursery import Diary, alive, pass_time, settle

# In a loop that is there already


@pytest.mark.virtual_time
async def test_it_starts_in_order_and_stops_in_reverse() -> None:
    diary = Diary()
    app = Application("shop", diary.children("a b"))
    await app.start()
    assert Supervisor.whereis("shop").is_alive()
    assert diary.take() == ["start a", "start b"]
    await app.stop()
    await app.stop()
    await app.wait()
    assert diary.take() == ["stop b: shutdown", "stop a: shutdown"]
    assert alive() == []


@pytest.mark.virtual_time
async def test_it_is_a_context() -> None:
    diary = Diary()
    with suppress(ZeroDivisionError):
        async with Application("shop", diary.children("a")) as app:
            assert app.name == "shop"
            assert diary.now["a"].is_alive()
            _ = 1 // 0
    assert diary.take() == ["start a", "stop a: shutdown"]
    assert alive() == []


@pytest.mark.virtual_time
async def test_it_may_be_started_again_but_not_twice() -> None:
    diary = Diary()
    app = Application("shop", diary.children("a"))
    async with app:
        with pytest.raises(ConfigError, match="'shop' runs already"):
            await app.start()
        with pytest.raises(NameTaken):
            await Application("shop").start()
    async with app:
        assert diary.now["a"].is_alive()
    assert alive() == []


@pytest.mark.virtual_time
async def test_a_start_that_fails_is_taken_back() -> None:
    diary = Diary(b="fail")
    app = Application("shop", diary.children("a b"))
    with pytest.raises(StartFailed, match="its child 'b'"):
        await app.start()
    assert diary.take() == ["start a", "start b fail", "stop a: shutdown"]
    await app.stop()
    async with app:
        assert diary.take() == ["start a", "start b"]


@pytest.mark.virtual_time
async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    diary = Diary()
    starting = asyncio.ensure_future(Application("shop", [diary.child("a"), diary.child("b", late=True)]).start())
    await pass_time(0.5)
    starting.cancel()
    await asyncio.wait([starting])
    await settle()
    assert starting.cancelled()
    assert alive() == []


@pytest.mark.virtual_time
async def test_the_strategy_is_that_of_its_root() -> None:
    diary = Diary()
    async with Application("shop", diary.children("a b"), strategy="rest_for_one", max_restarts=1):
        await diary.end("a")
        assert diary.take()[2:] == ["stop a: broken", "stop b: shutdown", "start a", "start b"]


@pytest.mark.virtual_time
async def test_the_system_monitor_is_its_first_child() -> None:
    diary = Diary()
    async with Application("shop", diary.children("a b")):
        children = await Supervisor.whereis("shop").which_children()
        assert [child.id for child in children] == ["SystemMonitor", "a", "b"]
        assert isinstance(children[0].process, SystemMonitor)
        async with Application("market", diary.children("c")):
            children = await Supervisor.whereis("market").which_children()
            assert [(child.id, child.process is None) for child in children] == [("SystemMonitor", True), ("c", False)]
    async with Application("shop", diary.children("a"), monitored=False):
        assert [child.id for child in await Supervisor.whereis("shop").which_children()] == ["a"]
        assert len(alive()) == 2
    assert alive() == []


@pytest.mark.virtual_time
async def test_the_worker_processes_end_after_the_tree_of_the_last_application(monkeypatch: pytest.MonkeyPatch) -> None:
    diary = Diary()
    cpu = Scheduler.current().runtime.cpu

    async def close() -> None:
        diary.events.append("close")

    monkeypatch.setattr(cpu, "close", close)
    async with Application("shop", diary.children("a")):
        async with Application("market", diary.children("b")):
            diary.take()
        assert diary.take() == ["stop b: shutdown"]
    assert diary.take() == ["stop a: shutdown", "close"]
    app = Application("shop", diary.children("a"), stop_s=3.0)
    diary.stop_s = {"a": 100.0}
    await app.start()
    with pytest.raises(CallTimeout):
        await app.stop()
    assert diary.take() == ["start a", "stop a: shutdown", "close"]
    await settle()


@pytest.mark.virtual_time
async def test_whoever_waits_hears_that_it_gave_up(caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary()
    app = Application("shop", diary.children("a b"), max_restarts=0)
    await app.start()
    waiting = asyncio.ensure_future(app.wait())
    await diary.end("a")
    with pytest.raises(ProcessDown, match="shop is down: more than 0 restarts in 5 s, the last of 'a'"):
        await waiting
    assert diary.take()[-1] == "stop b: shutdown"
    assert [record.getMessage() for record in caplog.records if "gives up" in record.getMessage()] == [
        "Root 'shop': gives up: more than 0 restarts in 5 s, the last of 'a'"
    ]
    await app.stop()


@pytest.mark.virtual_time
async def test_whoever_waits_hears_that_its_root_was_killed() -> None:
    app = Application("shop", Diary().children("a"))
    await app.start()
    waiting = asyncio.ensure_future(app.wait())
    await settle()
    Supervisor.whereis("shop").exit("kill")
    with pytest.raises(ProcessDown, match="its root has ended: killed"):
        await waiting


@pytest.mark.virtual_time
async def test_whoever_waits_does_so_until_it_is_stopped_or_done() -> None:
    diary = Diary()
    plans = [diary.child("a", "transient", significant=True)]
    app = Application("shop", plans, auto_shutdown="any_significant")
    await app.start()
    waiting = asyncio.ensure_future(app.wait())
    await pass_time(100.0)
    assert not waiting.done()
    await diary.end("a", "normal")
    await waiting
    await app.start()
    waiting = asyncio.ensure_future(app.wait())
    await settle()
    await app.stop()
    await waiting


@pytest.mark.virtual_time
async def test_what_does_not_stop_in_time_is_killed_however_deep_it_is() -> None:
    diary = Diary()
    diary.stop_s = {"b": 100.0}
    inner = Supervisor.child([diary.child("b", shutdown_s=None), diary.child("c", traps=False)], id="inner")
    app = Application("shop", [diary.child("a"), inner], stop_s=3.0)
    await app.start()
    before = asyncio.get_running_loop().time()
    with pytest.raises(CallTimeout):
        await app.stop()
    assert asyncio.get_running_loop().time() == before + 3.0
    assert alive() == []
    await settle()


# As a program of its own


class Program:
    """A script that runs, and what it has printed so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, line: str) -> None:
        """Read on to this line."""
        assert self.process.stdout is not None
        while not self.lines or self.lines[-1] != line:
            read = await self.process.stdout.readline()
            assert read, f"{line!r} has not come: {self.lines}"
            self.lines.append(read.decode().rstrip())

    async def end(self) -> int:
        """Read to its end; its exit code."""
        out, err = await self.process.communicate()
        self.lines += out.decode().splitlines()
        self.errors = err.decode().splitlines()
        code = self.process.returncode
        assert code is not None
        return code


@asynccontextmanager
async def program(manner: str) -> AsyncIterator[Program]:
    """Run the script; kill what is left of it."""
    command = [sys.executable, "-m", "tests.otp.app_script", manner]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_a_program_in_reverse_order(number: signal.Signals) -> None:
    async with program("plain") as script:
        await script.until("started last")
        script.process.send_signal(number)
        assert await script.end() == 0
        assert script.lines[-7:] == [
            *("stop last", "stopped last", "stop plain", "stopped plain", "stop first", "stopped first"),
            "after",
        ]
        assert script.errors == []


async def test_a_signal_during_the_start_takes_back_what_has_started() -> None:
    async with program("slow") as script:
        await script.until("start slow")
        script.process.send_signal(signal.SIGTERM)
        assert await script.end() == 0
        assert script.lines[-6:] == [
            "started slow",
            "stop slow",
            "stopped slow",
            "stop first",
            "stopped first",
            "after",
        ]


async def test_a_start_that_hangs_is_ended_when_the_time_is_up() -> None:
    async with program("hung") as script:
        await script.until("start hung")
        script.process.send_signal(signal.SIGTERM)
        assert await script.end() == 1
        assert script.errors == ["program has not stopped within 1 s: what is left is killed"]


async def test_what_does_not_stop_is_killed_when_the_time_is_up() -> None:
    async with program("stuck") as script:
        await script.until("started last")
        script.process.send_signal(signal.SIGTERM)
        assert await script.end() == 1
        assert script.lines[-1] == "stop stuck"
        assert script.errors == ["program has not stopped within 1 s: what is left is killed"]


async def test_a_second_signal_ends_it_at_once() -> None:
    async with program("blocking") as script:
        await script.until("started last")
        script.process.send_signal(signal.SIGTERM)
        await script.until("stop blocking")
        script.process.send_signal(signal.SIGINT)
        assert await script.end() == -signal.SIGINT
        assert script.errors == []


async def test_a_loop_that_stands_still_does_not_save_it() -> None:
    async with program("blocking") as script:
        await script.until("started last")
        script.process.send_signal(signal.SIGTERM)
        assert await script.end() == -signal.SIGALRM


async def test_a_program_that_does_not_start_says_why_in_one_line() -> None:
    async with program("bad") as script:
        assert await script.end() == 1
        assert script.lines == ["start first", "started first", "start bad", "stop first", "stopped first"]
        (line,) = script.errors
        assert line.startswith("program has not started: ")
        assert line.endswith("its child 'bad': Part #4 did not start: OSError: no disk")


async def test_a_thread_that_does_not_end_keeps_no_program_that_has_failed() -> None:
    async with program("threaded") as script:
        assert await script.end() == -signal.SIGALRM
        assert script.lines[-2:] == ["stop first", "stopped first"]
        assert len(script.errors) == 1


async def test_a_program_that_gives_up_says_so_in_one_line() -> None:
    async with program("broken") as script:
        assert await script.end() == 1
        told = [line for line in script.errors if "gives up" in line]
        assert told == ["Root 'program': gives up: more than 3 restarts in 5 s, the last of 'broken'"]
        assert script.lines[-2:] == ["stop first", "stopped first"]
        assert script.lines.count("start broken") == 4


async def test_a_program_whose_work_is_done_ends() -> None:
    async with program("done") as script:
        assert await script.end() == 0
        assert script.lines[-1] == "after"
        assert script.errors == []
