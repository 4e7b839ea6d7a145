"""How mail is handled when a handler does what nobody expects: to its caller, to itself, to its task."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import CallTimeout, ProcessDown
from roost.otp import Caller, GenServer, NoReply, Reason, Scheduler, Stop, call
from roost.sim.loop import turns


class Desk(GenServer):
    """Serves, and may end whom it serves."""

    def init(self) -> None:
        self.gate = asyncio.Event()

    @call
    async def close(self) -> None:
        await self.gate.wait()

    @call
    def ask(self, number: int) -> int:
        return number

    @call
    def end_caller(self, caller: Client) -> str:
        caller.exit("kill")
        return "too late"


class Client(GenServer):
    @call
    async def visit(self, desk: Desk) -> str:
        return await desk.end_caller(self.handle)


def gate(desk: Desk) -> asyncio.Event:
    """What a desk that is closed waits for."""
    server = desk._process.server
    assert isinstance(server, Desk)
    return server.gate


@pytest.mark.virtual_time
async def test_a_handler_that_ends_its_own_caller_goes_on_with_its_mail() -> None:
    desk, client = await Desk.start(), await Client.start()
    closed = asyncio.ensure_future(desk.close())
    await turns(5)
    # All of these wait, and are served in one turn.
    before = asyncio.ensure_future(desk.ask(1))
    visit = asyncio.ensure_future(client.visit(desk))
    await turns(5)
    after = asyncio.ensure_future(desk.ask(2))
    gate(desk).set()
    await closed
    assert [await before, await after] == [1, 2]
    with pytest.raises(ProcessDown, match="killed"):
        await visit
    assert await desk.ask(3) == 3
    await desk.stop()


class Slow(GenServer):
    """Takes a hundred seconds to end, whatever for."""

    def init(self) -> None:
        self.waiting: list[Caller[int]] = []

    @call
    async def nap(self) -> None:
        await asyncio.sleep(3.0)

    @call
    def crash(self) -> int:
        raise ValueError("bug")

    @call
    async def crash_async(self) -> int:
        raise ValueError("bug")

    @call
    def stop_here(self) -> int:
        raise Stop("normal", reply=1)

    @call
    async def stop_async(self) -> int:
        raise Stop("normal", reply=1)

    @call
    def defer(self) -> int:
        self.waiting.append(self.caller())
        raise NoReply

    @call
    async def left(self) -> float | None:
        return self.time_left_s()

    @call
    def waits(self) -> list[bool]:
        return [caller.waits() for caller in self.waiting]

    async def terminate(self, reason: Reason) -> None:
        await asyncio.sleep(100.0)


@pytest.mark.parametrize("method", ["crash", "crash_async", "stop_here", "stop_async"])
@pytest.mark.virtual_time
async def test_nobody_waits_longer_than_his_timeout_for_a_process_that_takes_its_time_to_end(method: str) -> None:
    slow = await Slow.start()
    napping = asyncio.ensure_future(slow.nap())
    await turns(3)
    began = asyncio.get_running_loop().time()
    with pytest.raises(CallTimeout, match="within 5 s"):
        await getattr(slow, method)()
    assert asyncio.get_running_loop().time() - began == 5.0
    await napping
    await slow.down()


@pytest.mark.parametrize("end", ["kill", "shutdown", "time"])
@pytest.mark.virtual_time
async def test_nothing_is_kept_of_the_calls_of_the_dead_and_of_those_that_were_given_up(end: str) -> None:
    slow, scheduler = await Slow.start(), Scheduler.current()
    patient = slow.with_timeout(3600.0)
    calls = [asyncio.ensure_future(patient.nap()), *(asyncio.ensure_future(patient.left()) for _ in range(5))]
    calls += [asyncio.ensure_future(patient.defer()) for _ in range(5)]
    await turns(3)
    calls[2].cancel()
    deadlines = scheduler.deadlines(3600.0)
    if end == "time":
        await asyncio.sleep(4.0)
        assert len(deadlines._waiting) == 5, "those whose replies come later"
        slow.exit("kill")
    else:
        slow.exit(end)
    await asyncio.gather(*calls, return_exceptions=True)
    await turns(3)
    assert not deadlines._waiting


@pytest.mark.virtual_time
async def test_a_traced_process_inherits_deadlines_and_forgets_calls_as_any_other() -> None:
    slow, scheduler = await Slow.start(), Scheduler.current()
    slow._process.trace(lambda what, spec, value: None)
    assert await slow.with_timeout(7.0).left() == 7.0
    deadlines = scheduler.deadlines(7.0)
    assert not deadlines._waiting
    with pytest.raises(CallTimeout):
        await slow.with_timeout(7.0).defer()
    assert not deadlines._waiting
    await turns(3)
    assert not slow._process.moded.callers
    slow.exit("kill")


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.virtual_time
async def test_a_caller_from_outside_is_gone_by_his_deadline(queued: bool) -> None:
    slow, outcomes = await Slow.start(), list[object]()
    process = slow._process
    napping = asyncio.ensure_future(slow.nap() if queued else asyncio.sleep(0))
    await turns(3)

    def on_reply(value: object, error: Exception | None) -> None:
        outcomes.append(error)

    process.scheduler.deliver_call(process, process.calls["defer"], (), {}, on_reply, 4.0)
    await napping
    assert await slow.waits() == [True]
    await asyncio.sleep(5.0)
    assert await slow.waits() == [False]
    assert [type(error) for error in outcomes] == [CallTimeout]
    assert not process.moded.callers
    slow.exit("kill")
