"""Waiting for tasks to end, and what their outcomes mean to whoever waited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from roost.errors import ProcessDown, RoostError
from roost.otp.display import explain
from roost.otp.tasks.process import Exited, Ok

if TYPE_CHECKING:
    from roost.otp.process import Process
    from roost.otp.tasks.task import Task
    from roost.runtime.clock import Timer

R = TypeVar("R")


async def settled(
    tasks: Iterable[Task[R]],
    timeout_s: float | None,
    *,
    limit: int | None = None,
    until_failure: bool = False,
    caller: Process | None = None,
) -> None:
    """Wait until all of `tasks` have ended, or enough of them, or the time is up.

    Args:
        tasks: whose ends.
        timeout_s: seconds; None waits for ever.
        limit: how many of those that run now are enough.
        until_failure: whether one that has failed is enough.
        caller: the process that cannot go on meanwhile, when it waits for a single task.
    """
    running = [task for task in tasks if not task.done()]
    if not running:
        return
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = len(running) if limit is None else min(limit, len(running))

    def one_ended(task: Task[R]) -> None:
        nonlocal left
        left -= 1
        if (left <= 0 or (until_failure and task.failed())) and not future.done():
            future.set_result(None)

    listeners = [(task, partial(one_ended, task)) for task in running]
    for task, listener in listeners:
        task.on_end(listener)
    if caller is not None:
        caller.wait_for(future, running[0].process._process)
    timer: Timer | None = None
    if timeout_s is not None:
        clock = running[0].process._process.scheduler.runtime.clock
        timer = clock.call_later(timeout_s, lambda: None if future.done() else future.set_result(None))
    try:
        await future
    finally:
        if timer is not None:
            timer.cancel()
        for task, listener in listeners:
            task.off_end(listener)


def value_of(task: Task[R], outcome: Ok[R] | Exited) -> R:
    """The value of an outcome. Raises what `await` of a failed task raises."""
    if isinstance(outcome, Ok):
        return outcome.value
    reason = outcome.reason
    if isinstance(reason, RoostError):
        raise reason
    raise ProcessDown(str(task), explain(reason)) from (reason if isinstance(reason, BaseException) else None)
