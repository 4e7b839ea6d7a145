"""How a process ends: by its own will, by a signal, by a crash, by a kill.

Whatever the way, it leads to `finish`, once: nothing of the process is left, whoever waits for a reply gets one, and
whoever is linked or watches is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from roost.errors import ProcessDown
from roost.otp.crash import report_crash
from roost.otp.declare import ASKED, ASYNC, CONTROL, Spec
from roost.otp.mailbox import CLOSED
from roost.otp.ties import Down, Exit, Reason, Ties

if TYPE_CHECKING:
    from roost.otp.process import Process

BUGS: Final = (Exception, asyncio.CancelledError)
"""What is the affair of the one process that raises it. What else there is ends the whole program.

A sync function that raises CancelledError has asked for the result of something that was cancelled. Whoever called it
is not cancelled.
"""


def crash(process: Process, error: BaseException, during: str) -> ProcessDown:
    """A handler has raised what is not a refusal: tell the log, then end. Returns what the caller gets."""
    report_crash(process, error, during)
    process.reason = error
    down = process.down()
    close(process, error, True)
    return down


def signal(process: Process, sender: Process, reason: Reason) -> None:
    """A linked process has ended with `reason`: the table of OTP's exit signals."""
    ties = process.ties
    if not process.alive:
        return
    if ties is None or not ties.trapping:
        if reason != "normal":
            leave(process, reason, False)
    elif sender is ties.parent:
        process.post_control(STOP, reason)
    else:
        process.inform(Exit(sender.handle, reason), bounded=False)


def exit(process: Process, reason: Reason) -> None:
    """Somebody wants this process to end: an exit signal that did not come over a link."""
    if not process.alive:
        return
    if reason == "kill":
        kill(process)
    elif process.ties is not None and process.ties.trapping:
        process.inform(Exit(process.handle, reason), bounded=False)
    elif reason != "normal" or process.scheduler.is_running(process) or process.scheduler.caller() is process:
        leave(process, reason, False)


def kill(process: Process) -> None:
    """End now, without `terminate`. An async handler is cancelled and not waited for."""
    if process.alive and process.scheduler.is_running(process):
        process.post_control(LEAVE, "killed", False, first=True)
    elif process.alive:
        task = process.task
        finish(process, _sentence(process) or "killed")
        if task is not None:
            task.cancel()


def leave(process: Process, reason: Reason, terminating: bool) -> None:
    """End as soon as what runs has been stopped. The first signal counts."""
    if process.leaving is not None or _sentence(process) is not None:
        return
    if process.scheduler.is_running(process):
        process.post_control(LEAVE, reason, terminating, first=True)
    elif process.task is not None:
        process.leaving = (reason, terminating)
        process.reason = reason
        process.task.add_done_callback(lambda task: _stopped(process, task))
        process.task.cancel()
    else:
        close(process, reason, terminating)


def _sentence(process: Process) -> Reason | None:
    """The reason of a signal that has come while a sync handler ran: nothing comes before that end."""
    mail = process.mail
    if not mail or mail[0] is not LEAVE:
        return None
    reason: Reason = mail[1][0]
    return reason


def _stopped(process: Process, task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
    process.task = None
    if process.alive and process.leaving is not None:
        close(process, *process.leaving)


def close(process: Process, reason: Reason, terminating: bool) -> None:
    """End: stop the activities, run `terminate` when it is due, then tell everybody.

    As in OTP (gen_server:terminate/10), what `terminate` raises takes the place of the reason.
    """
    process.open = False
    process.leaving = (reason, terminating)
    process.reason = reason
    activities = process.ties is not None and bool(process.ties.activities)
    outcome: object = None
    if terminating and not activities:
        with process.scheduler.running_handler(process):
            outcome = _terminate(process, reason)
    if activities or isinstance(outcome, Coroutine):
        process.task = process.scheduler.spawn(_closing(process, reason, terminating, outcome), process, handling=True)
        if isinstance(outcome, Coroutine):
            # A kill may come before the first step of the task, which then never takes the coroutine up.
            unbegun: Coroutine[object, object, object] = outcome
            process.task.add_done_callback(lambda _: unbegun.close())
    else:
        finish(process, process.reason)


def _terminate(process: Process, reason: Reason) -> object:
    try:
        return process.server.terminate(reason)
    except BUGS as error:
        _terminate_failed(process, error)
        return None


def _terminate_failed(process: Process, error: BaseException) -> None:
    report_crash(process, error, "terminate")
    if process.alive:
        process.reason = error


async def _closing(process: Process, reason: Reason, terminating: bool, outcome: object) -> None:
    try:
        if process.ties is not None and process.ties.activities:
            activities = list(process.ties.activities)
            for activity in activities:
                activity.cancel()
            await asyncio.wait(activities)
        if terminating and outcome is None:
            outcome = _terminate(process, reason)
        if isinstance(outcome, Coroutine):
            try:
                await outcome
            except BUGS as error:
                if isinstance(error, asyncio.CancelledError) and is_cancelled():
                    raise
                _terminate_failed(process, error)
    finally:
        process.task = None
        finish(process, process.reason)


def is_cancelled() -> bool:
    """Whether somebody cancels the running task. If not, what it runs has raised its CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def finish(process: Process, reason: Reason) -> None:
    """The last step of every end: nothing of the process is left, and whoever should know is told."""
    if not process.alive:
        return
    process.alive = process.open = False
    process.reason, process.task = reason, None
    process.scheduler.forget(process)
    mail, process.mail = process.mail, CLOSED
    # Any: what belongs to a Spec depends on its kind; see roost.otp.declare
    entries: Iterator[Any] = iter(mail or ())
    waiting = [process.serving]
    for spec, content in zip(entries, entries, strict=True):
        if spec.kind in (ASKED, ASYNC):
            *_, reply, patience = content
            waiting.append(reply)
            if patience is not None:
                patience.forget(reply)
        elif spec is ORDER:
            waiting.append(content[1])
    process.serving = None
    modes, process.modes = process.modes, None
    if modes is not None:
        modes.disarm()
        waiting += [caller.owed() for caller in modes.callers]
    del process.server
    for reply in waiting:
        if reply is not None and not reply.done():
            reply.set_exception(process.down())
    if modes is not None and modes.tracer is not None:
        modes.tracer("end", None, reason)
    if process.ties is not None:
        ties, process.ties = process.ties, None
        _untie(process, ties, reason)


def _untie(process: Process, ties: Ties, reason: Reason) -> None:
    for timer in list(ties.timers):
        timer.cancel()
    for activity in ties.activities:
        activity.cancel()
    for monitor in list(ties.monitoring):
        monitor.cancel()
    for linked in ties.links:
        if linked.ties is not None and process in linked.ties.links:  # not when it was untied just now
            del linked.ties.links[process]
            process.scheduler.signal(linked, process, reason)
    down = Down(process.handle, reason)
    for monitor in ties.monitors:
        if monitor.watcher is not None and monitor.watcher.ties is not None:
            monitor.watcher.ties.monitoring.pop(monitor, None)
        monitor.deliver(down)


def _stop(process: Process, reason: Reason) -> None:
    close(process, reason, True)


def _leave(process: Process, reason: Reason, terminating: bool) -> None:
    close(process, reason, terminating)


def _obey(process: Process, action: object, future: asyncio.Future[object]) -> None:
    assert callable(action)
    if future.done():
        return
    try:
        future.set_result(action(process))
    except Exception as error:
        future.set_exception(error)


STOP: Final = Spec(_stop, CONTROL, "Process", {})
"""End in the order of the mailbox, with `terminate`."""
LEAVE: Final = Spec(_leave, CONTROL, "Process", {})
"""End before anything else in the mailbox."""
ORDER: Final = Spec(_obey, CONTROL, "Process", {})
"""Somebody who looks after processes, such as `roost.otp.sys`, wants something done between two messages."""
