"""Runs a story again and again, and breaks into it at its first await, its second, and so on to the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator

from roost.errors import ProcessDown
from roost.limits import SHUTDOWN_S
from roost.otp import GenServer, Scheduler, call
from roost.sim.loop import turns

Story = Callable[[], Coroutine[object, object, object]]
STEPS_MAX = 500
"""A story that is longer than this does not end."""


class Interrupted:
    """A coroutine that is broken into while it waits at its await number `at`.

    Args:
        story: the coroutine.
        at: counted from 1.
        strike: what breaks in, called from the loop.
    """

    def __init__(self, story: Coroutine[object, object, object], at: int, strike: Callable[[], object]) -> None:
        self._story, self._at, self._strike = story, at, strike
        self.steps = 0

    def __await__(self) -> Generator[object, None, object]:
        inner = self._story.__await__()
        error: BaseException | None = None
        while True:
            try:
                waits_for = inner.send(None) if error is None else inner.throw(error)
            except StopIteration as end:
                return end.value
            self.steps += 1
            if self.steps == self._at:
                asyncio.get_running_loop().call_soon(self._strike)
            try:
                yield waits_for
                error = None
            except BaseException as thrown:
                error = thrown


class Actor(GenServer):
    """Lives through a story in a handler."""

    @call
    async def play(self, at: int, stories: tuple[Story, ...]) -> int:
        interrupted = Interrupted(stories[0](), at, lambda: self.handle.exit("struck"))
        await interrupted
        return interrupted.steps


async def cancel_everywhere(story: Story) -> int:
    """Cancel a plain coroutine at every await; returns how many there are.

    It must end cancelled each time, and leave nothing that runs.
    """
    for at in range(1, STEPS_MAX):
        steps = await _cancel_once(story, at)
        await _nothing_is_left(f"cancelled at await {at}")
        if steps < at:
            return steps
    raise AssertionError("the story does not end")


async def _cancel_once(story: Story, at: int) -> int:
    strikes: list[bool] = []
    interrupted = Interrupted(story(), at, lambda: strikes.append(task.cancel()))
    task = asyncio.get_running_loop().create_task(_await(interrupted))
    await asyncio.wait([task])
    if strikes == [True]:
        assert task.cancelled(), f"the cancellation at await {at} was swallowed"
    else:
        task.result()
    return interrupted.steps


async def cancel_at_times(story: Story, every_s: float, until_s: float) -> int:
    """Cancel a plain coroutine after 0, 1, 2 ... times `every_s` seconds; returns how often that hit it running."""
    hits = 0
    for number in range(int(until_s / every_s) + 1):
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(story())
        await asyncio.wait([task], timeout=number * every_s)
        await turns(number % 7)
        if task.cancel():
            hits += 1
            await asyncio.wait([task])
            assert task.cancelled(), f"the cancellation after {number * every_s:g} s was swallowed"
        await _nothing_is_left(f"cancelled after {number * every_s:g} s")
    return hits


async def strike_everywhere(story: Story) -> int:
    """The same inside of a process that gets an exit signal."""
    for at in range(1, STEPS_MAX):
        steps = await _strike_once(story, at)
        await _nothing_is_left(f"struck at await {at}")
        if steps is not None and steps < at:
            return steps
    raise AssertionError("the story does not end")


async def _strike_once(story: Story, at: int) -> int | None:
    actor = await Actor.start()
    try:
        steps = await actor.with_timeout(None).play(at, _Unseen((story,)))
    except ProcessDown as down:
        if down.reason != "struck":
            raise
        return None
    await actor.stop()
    return steps


class _Unseen(tuple[Story, ...]):
    """Crosses as it is: the test and the process are one."""

    __slots__ = ()
    __sendable__ = True


async def _await(awaitable: Awaitable[object]) -> object:
    return await awaitable


async def _nothing_is_left(when: str) -> None:
    await turns(10)
    await asyncio.sleep(SHUTDOWN_S + 1.0)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"{when}, these run on: {left}"
    processes = list(Scheduler.current().processes.values())
    assert not processes, f"{when}, these live on: {processes}"
