"""Waiting for tasks to end, and what their outcomes mean to whoever waited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from roost.errors import ProcessDown, RoostError
from roost.otp.display import explain
from roost.otp.task_process import Exited, Ok

if TYPE_CHECKING:
    from roost.otp.process import Process
    from roost.otp.task import Task
    from roost.runtime.clock import Timer

R = TypeVar("R")


async def settled(
    tasks: Iterable[Task[R]],
    enough: Callable[[], bool],
    timeout_s: float | None,
    caller: Process | None = None,
) -> None:
    """Wait until all of `tasks` have ended, or `enough()` is true after the end of one, or the time is up.

    Args:
        tasks: whose ends.
        enough: looked at after each.
        timeout_s: seconds; None waits for ever.
        caller: the process that cannot go on meanwhile, when it waits for a single task.
    """
    running = [task for task in tasks if not task.done()]
    if not running:
        return
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = len(running)

    def one_ended() -> None:
        nonlocal left
        left -= 1
        if (left == 0 or enough()) and not future.done():
            future.set_result(None)

    for task in running:
        task.on_end(one_ended)
    if caller is not None:
        caller.wait_for(future, running[0]._process)
    timer: Timer | None = None
    if timeout_s is not None:
        clock = running[0]._process.scheduler.runtime.clock
        timer = clock.call_later(timeout_s, lambda: None if future.done() else future.set_result(None))
    try:
        await future
    finally:
        if timer is not None:
            timer.cancel()
        for task in running:
            task.off_end(one_ended)


def value_of(task: Task[R], outcome: Ok[R] | Exited) -> R:
    """The value of an outcome. Raises what `await` of a failed task raises."""
    if isinstance(outcome, Ok):
        return outcome.value
    reason = outcome.reason
    if isinstance(reason, RoostError):
        raise reason
    raise ProcessDown(str(task), explain(reason)) from (reason if isinstance(reason, BaseException) else None)
