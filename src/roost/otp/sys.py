"""Looking into a running process, and holding it: for the console, for tests, and for who hunts a bug at night.

After the module `sys` of OTP. Everything happens between two messages of the process, so its state is never seen
half changed; a process that is busy is waited for, up to `timeout_s`. Only processes of this node can be looked into::

    from roost.otp import sys

    await sys.get_state(counter)          # {'n': 7}
    stop = sys.trace(counter)             # every message, reply and new state goes to the log
    await sys.suspend(counter)            # its mail waits
    sys.resume(counter)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from roost.errors import CallTimeout, NotLocal, Overloaded
from roost.limits import CALL_TIMEOUT_S, TRACERS_MAX
from roost.otp.crash import explain, report_bug, show_message
from roost.otp.declare import Spec
from roost.otp.display import display
from roost.otp.ending import ORDER
from roost.otp.handle import OWN
from roost.otp.isolation import hand_over
from roost.otp.process import Process
from roost.otp.process_info import ProcessInfo, describe
from roost.otp.state import read_state, write_state

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer

T = TypeVar("T")

_log = logging.getLogger("roost.otp")


class Status(msgspec.Struct, frozen=True):
    """What `get_status` tells: the facts about the process, its state as text, and who looks into it.

    `state` is what `show_state` gives, without what the class says is secret. `traced` is whether somebody traces it,
    `counted` whether statistics are on.
    """

    info: ProcessInfo
    state: str
    traced: bool
    counted: bool


class Statistics(msgspec.Struct, frozen=True):
    """What a process did since its statistics were switched on.

    Attributes:
        since: when that was, in seconds since the epoch.
        messages_in: the calls, casts and infos that it began to handle.
        replies: the calls that it answered with a value.
        errors: the calls that it answered with an error, refusals among them.
    """

    since: float
    messages_in: int
    replies: int
    errors: int


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One step of a traced process.

    Attributes:
        process: who, as text.
        pid: its number.
        what: "in": it begins to handle a message; "out": it has answered a call; "state": it has handled the message,
            and this is its state now; "end": it has ended.
        message: the name of the handler; empty for "state" and "end".
        value: the arguments and keyword arguments, the reply or the error, a copy of the state, or the reason.
        text: the same for people: bounded, and without what the class says is secret.
    """

    process: str
    pid: int
    what: Literal["in", "out", "state", "end"]
    message: str
    value: object
    text: str

    def __str__(self) -> str:
        sign = {"in": "got", "out": f"{self.message} ->", "state": "state", "end": "ended"}[self.what]
        return f"{self.process} {sign} {self.text}"


async def get_state(handle: GenServer, timeout_s: float | None = CALL_TIMEOUT_S) -> dict[str, object]:
    """The attributes of the process by name.

    Lists, dicts and sets are copies; other objects are those that the process uses, so leave them alone.

    Raises:
        CallTimeout: when the process is busy for longer than `timeout_s` seconds.
        ProcessDown: when it has ended.
        CallCycle: when it waits for whoever asks.
        NotLocal: when it is of another node.
    """
    return await _between(handle, timeout_s, _copy_state)


async def replace_state(
    handle: GenServer,
    change: Callable[[dict[str, object]], Mapping[str, object]],
    timeout_s: float | None = CALL_TIMEOUT_S,
) -> dict[str, object]:
    """Give the process the state that `change` makes of its state, and return it.

    Args:
        handle: whose state.
        change: gets what `get_state` returns, and returns all attributes by name. What it raises is raised here, and
            the process keeps the state that it had.
        timeout_s: as for `get_state`.

    Raises:
        TypeError: when `change` returns no dict of attributes.
        AttributeError: when the class has no place for one of them; the process keeps the state that it had.
        CallTimeout, ProcessDown, CallCycle, NotLocal: as for `get_state`.
    """

    def replace(process: Process) -> dict[str, object]:
        state: object = change(_copy_state(process))
        if not isinstance(state, Mapping) or not all(isinstance(name, str) and name not in OWN for name in state):
            raise TypeError(f"a state is a dict of attributes by name, not {display(state)}")
        write_state(process.server, {name: hand_over(value) for name, value in state.items()})
        return _copy_state(process)

    return await _between(handle, timeout_s, replace)


async def get_status(handle: GenServer, timeout_s: float | None = CALL_TIMEOUT_S) -> Status:
    """Everything about the process that is fit for other eyes.

    Raises:
        CallTimeout, ProcessDown, CallCycle, NotLocal: as for `get_state`.
    """

    def status(process: Process) -> Status:
        debug = _debug_of(process)
        server = process.server
        return Status(
            describe(process, with_memory=True),
            display(server.show_state(), type(server).redacted),
            debug is not None and bool(debug.tracers),
            debug is not None and debug.counts is not None,
        )

    return await _between(handle, timeout_s, status)


async def suspend(handle: GenServer, timeout_s: float | None = CALL_TIMEOUT_S) -> None:
    """Let calls, casts and infos wait from now on, once the handler that runs has ended.

    The process can still be looked into, stopped and killed. Its mailbox has the same bound as always, and the
    timeouts of those who call it run on. Harmless when it is suspended.

    Raises:
        CallTimeout: when its handler did not end within `timeout_s` seconds; it is not suspended then.
        ProcessDown, CallCycle, NotLocal: as for `get_state`.
    """
    process = _local(handle)
    await _in_time(process, timeout_s, process.suspend())


def resume(handle: GenServer) -> None:
    """Go on with the mail that has waited. Harmless when the process is not suspended, or has ended.

    Raises:
        NotLocal: when it is of another node.
    """
    _local(handle).resume()


async def terminate(handle: GenServer, reason: str = "shutdown", timeout_s: float | None = CALL_TIMEOUT_S) -> None:
    """End the process with `terminate`, after the mail that waits; at once when it is suspended. Wait for its end.

    Raises:
        CallTimeout: when it has not ended within `timeout_s` seconds; it goes on ending.
        CallCycle, NotLocal: as for `get_state`.
    """
    _local(handle)
    await handle.stop(reason, timeout_s)


def trace(handle: GenServer, tracer: Callable[[TraceEvent], object] | None = None) -> Callable[[], None]:
    """Hear of every message, reply, new state and of the end of a process, from its next message on.

    A traced process is slower: all its mail takes the way through the mailbox, one message in a turn.

    Args:
        handle: whom.
        tracer: called with each event, on the loop, while the process stands still. One that raises is logged and
            hears no more. Without it, the log gets the events.

    Returns: what ends it.

    Raises:
        ProcessDown: when the process has ended.
        NotLocal: when it is of another node.
        Overloaded: when too many trace it already.
    """
    debug = _debug(_local(handle))
    return debug.add(_write if tracer is None else tracer)


def start_statistics(handle: GenServer) -> None:
    """Count what the process does, from zero. It is as slow as a traced one.

    Raises:
        ProcessDown, NotLocal: as for `trace`.
    """
    process = _local(handle)
    _debug(process).counts = _Counts(process.scheduler.runtime.clock.wall())


def statistics(handle: GenServer) -> Statistics | None:
    """What was counted; None when nothing is.

    Raises:
        NotLocal: when the process is of another node.
    """
    debug = _debug_of(_local(handle))
    if debug is None or debug.counts is None:
        return None
    counts = debug.counts
    return Statistics(counts.since, counts.messages_in, counts.replies, counts.errors)


def stop_statistics(handle: GenServer) -> None:
    """Count no more, and forget what was counted.

    Raises:
        NotLocal: when the process is of another node.
    """
    debug = _debug_of(_local(handle))
    if debug is not None:
        debug.counts = None
        debug.tidy()


class _Counts:
    """The numbers of one process."""

    __slots__ = ("errors", "messages_in", "replies", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.messages_in = self.replies = self.errors = 0


class _Debug:
    """What stands behind the one tracer that a process can have: any number of them, and the statistics."""

    def __init__(self, process: Process) -> None:
        self.counts: _Counts | None = None
        self.tracers: dict[int, Callable[[TraceEvent], object]] = {}
        self._process = process
        self._numbers = 0

    def add(self, tracer: Callable[[TraceEvent], object]) -> Callable[[], None]:
        """One more tracer; returns what takes it away."""
        if len(self.tracers) >= TRACERS_MAX:
            self.tidy()
            raise Overloaded(f"the list of tracers of {self._process}", CALL_TIMEOUT_S)
        self._numbers = number = self._numbers + 1
        self.tracers[number] = tracer

        def stop() -> None:
            if self.tracers.pop(number, None) is not None:
                self.tidy()

        return stop

    def tidy(self) -> None:
        """Let the process be as fast as before when nobody looks any more."""
        if not self.tracers and self.counts is None and self._process.alive:
            self._process.trace(None)

    def __call__(self, what: str, spec: object, value: object) -> None:
        """The kernel tells of a step. It is in the middle of handling mail, so this never raises."""
        try:
            self._step(what, spec, value)
        except Exception as error:  # a value that cannot be copied, as it is nested too deeply
            report_bug(f"the trace of {self._process}", error)

    def _step(self, what: str, spec: object, value: object) -> None:
        counts = self.counts
        if counts is not None:
            counts.messages_in += what == "in"
            counts.errors += what == "out" and isinstance(value, BaseException)
            counts.replies += what == "out" and not isinstance(value, BaseException)
        if not self.tracers:
            return
        process = self._process
        match what:
            case "in":
                assert isinstance(spec, Spec)
                assert isinstance(value, tuple)
                args, kwargs = value
                self._tell("in", spec.name, value, show_message(process, spec, args, kwargs))
                # An order at the head of the mailbox: it comes after this message and before the next one.
                process.post_control(ORDER, self._tell_state, _Nobody(process), first=True)
            case "out":
                assert isinstance(spec, Spec)
                self._tell("out", spec.name, value, self._show(value))
            case _:
                self._tell("end", "", value, explain(value))

    def _tell_state(self, process: Process) -> None:
        if self.tracers:
            server = process.server
            try:
                text = display(server.show_state(), type(server).redacted)
            except Exception as error:
                text = f"<not shown: {type(error).__name__}>"
            self._tell("state", "", _copy_state(process), text)

    def _show(self, value: object) -> str:
        return display(value, type(self._process.handle).redacted)

    def _tell(self, what: Literal["in", "out", "state", "end"], message: str, value: object, text: str) -> None:
        event = TraceEvent(str(self._process), self._process.pid, what, message, hand_over(value), text)
        for number, tracer in list(self.tracers.items()):
            try:
                tracer(event)
            except Exception as error:
                report_bug(f"a tracer of {self._process}", error)
                self.tracers.pop(number, None)


class _Nobody:
    """Stands for who waits for an order, when nobody does."""

    __slots__ = ("_process",)

    def __init__(self, process: Process) -> None:
        self._process = process

    def done(self) -> bool:
        """The order is still wanted."""
        return False

    def set_result(self, result: object, /) -> None:
        """Nobody wants to know."""

    def set_exception(self, exception: BaseException, /) -> None:
        """The process has ended before it came to it; or its state cannot be copied."""
        if self._process.alive:
            report_bug(f"the trace of {self._process}", exception)


def _debug_of(process: Process) -> _Debug | None:
    tracer = process.modes.tracer if process.modes is not None else None
    return tracer if isinstance(tracer, _Debug) else None


def _debug(process: Process) -> _Debug:
    if not process.alive:
        raise process.down()
    debug = _debug_of(process)
    if debug is None:
        debug = _Debug(process)
        process.trace(debug)
    return debug


def _write(event: TraceEvent) -> None:
    _log.info("%s", event)


def _copy_state(process: Process) -> dict[str, object]:
    return {name: hand_over(value) for name, value in read_state(process.server).items()}


def _local(handle: GenServer) -> Process:
    process: object = handle._process
    if not isinstance(process, Process):
        raise NotLocal(str(process))
    return process


async def _between(handle: GenServer, timeout_s: float | None, action: Callable[[Process], T]) -> T:
    process = _local(handle)
    return await _in_time(process, timeout_s, process.order(action))


async def _in_time(process: Process, timeout_s: float | None, work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError:
        raise CallTimeout(str(process), timeout_s or 0.0) from None
