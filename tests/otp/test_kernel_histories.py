"""Thousands of random programs for a few processes, each in its own interleaving: every promise of the kernel holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

import pytest

from roost.errors import RoostError, SimulationError
from roost.otp import Down, Monitor, Process, Reason, ending, serving
from roost.otp.declare import Spec
from roost.otp.modes import Modes
from roost.otp.reply import Deadlines
from roost.runtime import Runtime
from roost.runtime.net import TcpNet
from roost.sim import run, turns
from roost.sim.clock import SimClock
from roost.sim.entropy import SimEntropy
from roost.sim.loop import running_loop
from tests.otp.kernel_diary import Diary, WatchedScheduler
from tests.otp.kernel_programs import DRIVER, Program, Step, draw_program
from tests.otp.kernel_puppets import Forgetful, Puppet, Reluctant
from tests.otp.virtual import pass_time

HISTORIES = 1_000
"""In each of eight runs."""


class Play:
    """One program, carried out."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary
        self._tasks: list[asyncio.Task[object]] = []

    async def begin(self) -> None:
        """The puppets begin."""
        self._diary.puppets.append(await Puppet.start(self._diary, 0))
        self._diary.puppets.append(await Forgetful.start(self._diary, 1))
        await Reluctant.start(self._diary, 2)

    def act(self, step: Step) -> None:
        """Do one thing, and wait for nothing."""
        diary, target = self._diary, step.target
        process = diary.process(target)
        match step.act:
            case "request":
                self._request(step)
            case "exit":
                diary.exit(target, step.reason, by=DRIVER)
            case "kill":
                diary.exit(target, "kill", by=DRIVER)
            case "stop":
                self._spawn(self._stop(target, step.reason))
            case "suspend":
                self._spawn(_unless_down(process.suspend()))
            case "resume":
                process.resume()
            case "look":
                self._spawn(_unless_down(_look(process)))
            case "trace" if process.alive:
                is_traced = process.modes is not None and process.modes.tracer is not None
                process.trace(None if is_traced else _tell_nobody)

    async def end(self) -> None:
        """Let everything come to rest, and judge; then stop all puppets that live."""
        diary = self._diary
        await pass_time(10.0)
        for puppet in diary.puppets:
            puppet._process.resume()
            if puppet.is_alive():
                puppet._process.trace(None)
        await pass_time(20.0)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        diary.judge()
        for who, puppet in enumerate(diary.puppets):
            if puppet.is_alive():
                await self._stop(who, "shutdown")
        await turns(5)
        scheduler = diary.scheduler
        if scheduler.processes or scheduler._queue:
            diary.wrong(f"left in the scheduler: {scheduler.processes} {scheduler._queue}")
        if any(deadlines._waiting for deadlines in scheduler._deadlines.values()):
            diary.wrong("deadlines of calls that are over are kept")
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            diary.wrong(f"these run on: {left}")

    def _request(self, step: Step) -> None:
        asked = self._diary.request(DRIVER, step.target, step.request, 1e9)
        task = self._spawn(self._diary.outcome(asked))

        def is_over(_: object) -> None:
            if asked.outcome is None and task.cancelled():
                asked.outcome = "never awaited"

        task.add_done_callback(is_over)
        if step.request.cancel_s is not None:
            asyncio.get_running_loop().call_later(step.request.cancel_s, task.cancel)

    async def _stop(self, target: int, reason: str) -> None:
        self._diary.wish(target, reason)
        await _unless_down(self._diary.puppets[target].stop(reason, 3.0))

    def _spawn(self, awaitable: Coroutine[object, object, object]) -> asyncio.Task[object]:
        task: asyncio.Task[object] = asyncio.ensure_future(awaitable)
        self._tasks.append(task)
        return task


async def _look(process: Process) -> None:
    assert await process.order(lambda seen: seen.pid) == process.pid


async def _unless_down(coroutine: Coroutine[object, object, object]) -> None:
    try:
        await coroutine
    except RoostError:
        return


def _tell_nobody(what: str, spec: object, value: object) -> None:
    """A tracer."""


async def play(program: Program) -> list[str]:
    """Carry a program out; returns what is wrong."""
    scheduler = WatchedScheduler(Runtime(SimClock(running_loop()), SimEntropy(program.seed, "entropy"), TcpNet()))
    with scheduler.entered():
        diary = Diary(scheduler)
        performance = Play(diary)
        await performance.begin()
        for step in program.steps:
            if step.pause_s is not None:
                await pass_time(step.pause_s)
            performance.act(step)
        await performance.end()
    return diary.problems


@pytest.fixture(autouse=True)
def quiet_crashes(caplog: pytest.LogCaptureFixture) -> None:
    """Puppets crash on purpose."""
    caplog.set_level(logging.CRITICAL, "roost.otp")


def found(seed: int) -> list[str]:
    """What is wrong in the history of a seed."""
    program = draw_program(seed)
    try:
        return run(seed, play(program))
    except SimulationError as error:
        return [str(error)]


@pytest.mark.parametrize("first", range(0, 8 * HISTORIES, HISTORIES))
def test_whatever_happens_every_promise_is_kept(first: int) -> None:
    for seed in range(first, first + HISTORIES):
        problems = found(seed)
        assert not problems, (seed, problems, draw_program(seed))


def overtaking(process: Process, spec: Spec, content: tuple[object, ...], *, first: bool = False) -> None:
    """A fault: one kind of message comes before the others."""
    PUT(process, spec, content, first=first or spec.name == "said")


def waiting_its_turn(process: Process, spec: Spec, content: tuple[object, ...], *, first: bool = False) -> None:
    """A fault: what a process goes on with comes when everything else has come."""
    PUT(process, spec, content, first=first and spec.name != "went_on")


def deaf(process: Process, message: object, **how: bool) -> None:
    """A fault: nobody hears that a process is down."""
    if not isinstance(message, Down):
        INFORM(process, message, **how)


def contagious(process: Process, sender: Process, reason: Reason) -> None:
    """A fault: a clean end ends those that are linked, too."""
    ending.leave(process, reason, False)


def gentle(process: Process) -> None:
    """A fault: a kill lets `terminate` run."""
    ending.leave(process, "killed", True)


def forgetful(modes: Modes) -> None:
    """A fault: the timer of a receive timeout runs on when a message has come."""
    modes.timeout, modes.overdue = None, False


def nothing(*args: object) -> None:
    """A fault: what should be done is not."""


PUT, INFORM = Process._put, Process.inform


@pytest.mark.parametrize(
    ("place", "name", "fault"),
    [
        (Process, "_put", overtaking),
        (Process, "_put", waiting_its_turn),
        (Process, "inform", deaf),
        (Process, "_wake", nothing),
        (ending, "signal", contagious),
        (ending, "kill", gentle),
        (Deadlines, "_expire", nothing),
        (serving, "time_out", nothing),
        (Modes, "disarm", forgetful),
        (Monitor, "cancel", nothing),
    ],
)
def test_a_planted_fault_is_found(
    place: object, name: str, fault: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, fault)
    assert any(found(seed) for seed in range(1_500))
