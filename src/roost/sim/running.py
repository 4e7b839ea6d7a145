"""Runs one story in a world of virtual time."""

from __future__ import annotations

import gc
from collections.abc import Coroutine
from typing import TypeVar

from roost.errors import SimulationUnclean
from roost.otp import Scheduler
from roost.runtime import Runtime
from roost.runtime.net import TcpNet
from roost.sim.clock import SimClock
from roost.sim.cpu import SimCpu
from roost.sim.entropy import SimEntropy
from roost.sim.leak import LeakGuard
from roost.sim.loop import DRAIN_ROUNDS_MAX, LIMIT_S, TURNS_TO_SETTLE, SimLoop, cancel, tasks, turns

T = TypeVar("T")


def run(
    seed: int,
    main: Coroutine[object, object, T],
    *,
    shuffle: bool | None = None,
    limit_s: float = LIMIT_S,
) -> T:
    """Run `main` in a new world of virtual time and return what it returns. Same seed, same course.

    Reading a real clock, drawing real randomness or sleeping for real inside any module of Roost is an error there.
    Whatever still runs when `main` has ended is cancelled. Processes that the story starts outside of a node live in a
    process world of virtual time, too.

    Args:
        seed: decides everything that is left open.
        main: the story to run.
        shuffle: whether ready task steps may overtake each other; None lets the seed decide.
        limit_s: virtual seconds after which the run counts as stuck.

    Raises:
        SimulationStuck: the story waits for something that cannot happen.
        SimulationUnclean: the story ended well, but callbacks or tasks failed unseen, or would not end.
    """
    collecting = gc.isenabled()
    gc.disable()
    loop = SimLoop(seed, shuffle=shuffle, limit_s=limit_s)
    clock = SimClock(loop)
    Scheduler.adopt(loop, Runtime(clock, SimEntropy(seed, "entropy"), TcpNet(), cpu=SimCpu(clock)))
    try:
        with LeakGuard(loop.problems):
            try:
                result = loop.run_until_complete(main)
            finally:
                _drain(loop)
        if loop.problems:
            raise SimulationUnclean(tuple(loop.problems))
        return result
    finally:
        loop.close()
        if collecting:
            gc.enable()


def _drain(loop: SimLoop) -> None:
    for _ in range(DRAIN_ROUNDS_MAX):
        left = tasks(loop)
        cancel(left)
        loop.run_until_complete(turns(TURNS_TO_SETTLE))
        if not left and not tasks(loop):
            break
    else:
        loop.problems.extend(f"would not end: {task.get_name()} {task.get_coro()!r}" for task in tasks(loop))
    loop.run_until_complete(loop.shutdown_asyncgens())
