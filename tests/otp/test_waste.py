"""Nothing of a process is kept when it has ended and nobody holds it any more."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Awaitable, Callable

import pytest

from roost.errors import CallTimeout, ProcessDown
from roost.otp import Caller, GenServer, NoReply, Stop, call
from roost.sim.loop import turns


class Load:
    """What a state is made of."""


class Laden(GenServer):
    def init(self, load: Load) -> None:
        self.load = load
        self.waiting: list[Caller[None]] = []

    @call
    def crash(self) -> None:
        raise ValueError("bug")

    @call
    async def crash_async(self) -> None:
        raise ValueError("bug")

    @call
    async def sleep(self) -> None:
        await asyncio.sleep(86_400.0)

    @call
    def defer(self) -> None:
        self.waiting.append(self.caller())
        raise NoReply

    @call
    def leave(self) -> None:
        raise Stop

    @call
    async def do_beside(self) -> None:
        self.activity(asyncio.sleep(86_400.0))
        self.send_after(86_400.0, "later")
        self.receive_timeout(86_400.0)


async def kill_asleep(laden: Laden) -> None:
    asleep = asyncio.ensure_future(laden.with_timeout(None).sleep())
    await turns(3)
    laden.exit("kill")
    await asleep


async def exit_asleep(laden: Laden) -> None:
    asleep = asyncio.ensure_future(laden.with_timeout(None).sleep())
    await turns(3)
    laden.exit("bored")
    await asleep


async def give_up(laden: Laden) -> None:
    with pytest.raises(CallTimeout):
        await laden.with_timeout(0.0).defer()
    await laden.stop()


async def stop_beside(laden: Laden) -> None:
    await laden.do_beside()
    await laden.stop()


@pytest.mark.parametrize(
    "end", [Laden.crash, Laden.crash_async, Laden.leave, kill_asleep, exit_asleep, give_up, stop_beside]
)
async def test_nothing_is_kept_of_the_dead(
    end: Callable[[Laden], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "roost.otp")
    soon = asyncio.get_running_loop().call_later(3600.0, print)  # a cancelled timer behind it stays for long
    loads = [await end_one(end) for _ in range(3)]
    await turns(5)
    gc.collect()
    assert [load() for load in loads] == [None] * 3
    soon.cancel()


async def end_one(end: Callable[[Laden], Awaitable[None]]) -> weakref.ref[Load]:
    """Start one, end it, and forget it."""
    load = Load()
    laden = await Laden.start(load)
    try:
        await end(laden)
    except ProcessDown:
        assert not laden.is_alive()
    return weakref.ref(load)
