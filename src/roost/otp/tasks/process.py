"""The process of a task: it runs one function, and ends with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from typing import ClassVar, Generic, TypeVar

import msgspec

from roost.errors import Refusal
from roost.otp.declare import info
from roost.otp.display import display_call
from roost.otp.ending import crash
from roost.otp.gen_server import GenServer
from roost.otp.isolation import ATOMS, isolate
from roost.otp.process import Process
from roost.otp.scheduler import Scheduler
from roost.otp.ties import Monitor, Reason

R = TypeVar("R")


class Ok(msgspec.Struct, Generic[R], frozen=True):
    """A task has returned `value`."""

    value: R


class Exited(msgspec.Struct, frozen=True):
    """A task has ended without a value: `reason` is what it raised, or the word with which it was ended.

    In a stream `input` is the item that it was for.
    """

    __sendable__: ClassVar[bool] = True

    reason: Reason
    input: object = None


class Work(Generic[R]):
    """What a task is to do, and what has become of it.

    Args:
        function: what to run, a `def` or an `async def`.
        label: what it is called in errors.
        answers: whether somebody awaits the outcome. A Refusal is then an answer, and no crash.
    """

    __slots__ = ("answers", "context", "function", "label", "linked", "outcome")

    def __init__(self, function: Callable[..., object], label: str, *, answers: bool) -> None:
        self.function, self.label, self.answers = function, label, answers
        self.outcome: Ok[R] | Exited | None = None
        self.linked: Process | None = None
        """The owner, when that is a process that the task is linked to."""
        # As asyncio does: whoever logs a request id finds it in the tasks of the request, too.
        self.context: list[tuple[ContextVar[object], object]] = [
            (variable, value) for variable, value in copy_context().items() if not variable.name.startswith("roost")
        ]


class _Begin(msgspec.Struct, frozen=True):
    """The process is ready."""


class TaskProcess(GenServer):
    """Runs one function and ends: "normal" when it has returned, else with what it has raised."""

    def init(self, work: Work[object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Get ready; the function begins in a later turn."""
        self._work, self._args, self._kwargs = work, args, kwargs
        self._process.inform(_Begin(), bounded=False)

    def show_state(self) -> object:
        """What reports show: what it is doing."""
        return {"function": self._work.label, "args": self._args, "kwargs": self._kwargs}

    @info
    async def _run(self, message: _Begin) -> None:
        work, process = self._work, self._process
        for variable, value in work.context:
            variable.set(value)
        try:
            value = work.function(*self._args, **self._kwargs)
            if inspect.isawaitable(value):
                value = await value
            if type(value) not in ATOMS:
                value = isolate(value, f"the result of {work.label}")
            work.outcome = Ok(value)
        except Exception as error:
            if isinstance(error, Refusal) and work.answers:
                work.outcome = Exited(error)
            elif process.leaving is not None or not process.alive:
                raise
            else:
                crash(process, error, display_call(work.function, self._args, self._kwargs))
                return
        if work.linked is not None:
            unlink(process, work.linked)  # he gets the outcome; that the process ends too is no news
        self.exit("normal")


def launch(
    scheduler: Scheduler,
    work: Work[object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    parent: Process | None,
) -> Process:
    """Start the process of a task. `parent` is who starts it, for reports; nothing is linked.

    Lists, dicts and sets among the arguments are copied, as for every process that is started.
    """
    handle = scheduler.start_now(TaskProcess, (work, args, dict(kwargs)), {}, None, link=False)
    process = handle._process
    if parent is not None:
        process.tied.parent = parent
    return process


def link(one: Process, other: Process) -> None:
    """Tie the ends of two processes together, as `GenServer.link` does."""
    one.tied.links[other] = other.tied.links[one] = None


def unlink(one: Process, other: Process) -> None:
    """Untie what `link` has tied."""
    for mine, theirs in ((one, other), (other, one)):
        if mine.ties is not None:
            mine.ties.links.pop(theirs, None)


def follow(target: Process, process: Process) -> None:
    """End `process` when `target` has ended, in whatever way."""
    monitor = Monitor(target, process, lambda down: process.exit("shutdown"))
    target.tied.monitors[monitor] = process.tied.monitoring[monitor] = None
