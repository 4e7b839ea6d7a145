"""Deadlines: each call expires at its own time, and those that were answered are forgotten."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import CallTimeout
from roost.otp import GenServer, call
from roost.otp.reply import Deadlines, Failed, Reply
from roost.otp.scheduler import TIMEOUTS_SHARED
from roost.sim.clock import SimClock
from roost.sim.loop import running_loop


@pytest.mark.virtual_time
async def test_calls_of_one_timeout_expire_one_by_one() -> None:
    loop = running_loop()
    deadlines = Deadlines(SimClock(loop), 1.0)
    expired: list[tuple[str, float]] = []

    async def ask(name: str, at_s: float) -> None:
        await asyncio.sleep(at_s)
        future: asyncio.Future[object] = loop.create_future()
        deadlines.add(future, name)
        with pytest.raises(CallTimeout, match=f"no reply from {name} within 1 s"):
            await future
        expired.append((name, loop.time()))

    await asyncio.gather(ask("first", 0.0), ask("second", 0.5), ask("third", 0.75), ask("fourth", 3.0))
    assert expired == [("first", 1.0), ("second", 1.5), ("third", 1.75), ("fourth", 4.0)]
    assert deadlines.idle


@pytest.mark.virtual_time
async def test_what_was_answered_is_forgotten() -> None:
    loop = running_loop()
    deadlines = Deadlines(SimClock(loop), 1.0)
    answered: asyncio.Future[object] = loop.create_future()
    given_up: asyncio.Future[object] = loop.create_future()
    for future in (answered, given_up):
        deadlines.add(future, "somebody")
    answered.set_result(1)
    deadlines.forget(answered)
    assert list(deadlines._waiting) == [given_up]
    given_up.cancel()
    await asyncio.sleep(2.0)
    assert deadlines.idle
    assert answered.result() == 1


async def test_what_is_here_already_does_not_give_up_the_turn() -> None:
    turned: list[bool] = []
    asyncio.get_running_loop().call_soon(turned.append, True)
    assert await Reply(7) == 7
    with pytest.raises(ValueError, match="x"):
        await Failed(ValueError("x"))
    assert not turned
    await asyncio.sleep(0)
    assert turned


class Sleeper(GenServer):
    @call
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.mark.virtual_time
async def test_each_call_may_have_a_timeout_of_its_own() -> None:
    sleeper, loop = await Sleeper.start(), asyncio.get_running_loop()
    scheduler = sleeper._process.scheduler
    asleep = asyncio.ensure_future(sleeper.with_timeout(None).sleep(1000.0))
    timeouts = [1.0 + number / 1000 for number in range(500)]

    async def ask(timeout_s: float) -> float:
        with pytest.raises(CallTimeout) as timeout:
            await sleeper.with_timeout(timeout_s).sleep(0.0)
        assert timeout.value.timeout_s == timeout_s
        return loop.time()

    ended = await asyncio.gather(*(ask(timeout_s) for timeout_s in timeouts))
    assert ended == pytest.approx(timeouts)
    assert len(scheduler._deadlines) == TIMEOUTS_SHARED
    await asleep
    await sleeper.with_timeout(7.0).sleep(0.0)
    assert len(scheduler._deadlines) == 1, "those that nobody waits in are forgotten"
    await sleeper.stop()
