"""What a process can be for a while: waiting with a timeout, suspended, traced."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from roost.errors import CallCycle, CallTimeout, ProcessDown
from roost.otp import GenServer, Scheduler, Timeout, call, cast, info, send
from roost.otp.declare import Spec
from roost.otp.ending import ORDER
from roost.otp.process import hold
from tests.otp.counter import Tick
from tests.otp.virtual import pass_time


class Patient(GenServer):
    def init(self, timeout_s: float | None = None) -> None:
        self.events: list[str] = []
        self.gate = asyncio.Event()
        if timeout_s is not None:
            self.receive_timeout(timeout_s)

    @call
    def wait(self, *timeouts_s: float) -> None:
        for timeout_s in timeouts_s:
            self.receive_timeout(timeout_s)

    @call
    async def wait_async(self, timeout_s: float) -> None:
        await asyncio.sleep(0)
        self.receive_timeout(timeout_s)

    @cast
    def note(self, word: str) -> None:
        self.events.append(word)

    @cast
    def note_and_wait(self, word: str, timeout_s: float) -> None:
        self.events.append(word)
        self.receive_timeout(timeout_s)

    @call
    async def block(self) -> None:
        await self.gate.wait()

    @call
    async def suspend_itself(self) -> str:
        try:
            await self._process.suspend()
        except CallCycle as cycle:
            return str(cycle)
        return "suspended"

    @info
    def tick(self, message: Tick) -> None:
        self.events.append(f"tick {message.by}")

    @info
    def timeout(self, message: Timeout) -> None:
        self.events.append(f"timeout {self.scheduler.runtime.clock.now():g}")


def events(patient: Patient) -> list[str]:
    """Read without a message, which would end a timeout."""
    server = patient._process.server
    assert isinstance(server, Patient)
    return server.events


@pytest.mark.virtual_time
async def test_a_timeout_comes_when_nothing_else_does() -> None:
    patient = await Patient.start(2.0)
    await pass_time(10.0)
    assert events(patient) == ["timeout 2"]
    await patient.wait(7.0, 3.0)
    await pass_time(10.0)
    assert events(patient) == ["timeout 2", "timeout 13"], "the last word counts"
    await patient.wait_async(5.0)
    await pass_time(10.0)
    assert events(patient)[2:] == ["timeout 25"]
    await patient.wait()
    await pass_time(100.0)
    assert len(events(patient)) == 3, "once"
    await patient.stop()


@pytest.mark.virtual_time
async def test_any_message_ends_the_timeout() -> None:
    for message in ("call", "cast", "info", "order"):
        patient = await Patient.start(2.0)
        await pass_time(1.0)
        match message:
            case "call":
                await patient.wait()
            case "cast":
                patient.note("cast")
            case "info":
                send(patient, Tick())
            case _:
                assert await patient._process.order(str) == str(patient._process)
        await pass_time(5.0)
        heard = [event for event in events(patient) if event.startswith("timeout")]
        assert len(heard) == (1 if message == "order" else 0), "looking after a process is no message"
        await patient.stop()


@pytest.mark.virtual_time
async def test_mail_that_waits_ends_it_before_it_begins() -> None:
    patient = await Patient.start()
    patient.note_and_wait("first", 1.0)
    patient.note("second")
    await pass_time(5.0)
    assert events(patient) == ["first", "second"]
    patient.note_and_wait("third", 0.0)
    await pass_time(0.001)
    assert events(patient)[2:] == ["third", "timeout 5"]
    await patient.stop()


@pytest.mark.virtual_time
async def test_a_process_that_waits_with_a_timeout_still_answers_and_ends() -> None:
    patient = await Patient.start(60.0)
    await asyncio.gather(patient.wait(), patient.wait())
    await patient.wait(60.0)
    down = patient.down()
    patient.exit("shutdown")
    assert (await down).reason == "shutdown"
    patient = await Patient.start(60.0)
    await patient.stop()
    assert Scheduler.current().runtime.clock.now() == 0.0


async def test_the_mail_of_a_suspended_process_waits() -> None:
    patient = await Patient.start()
    process = patient._process
    await process.suspend()
    await process.suspend()
    assert await process.order(lambda process: process.suspended)
    patient.note("one")
    send(patient, Tick(2))
    asked = asyncio.ensure_future(patient.wait())
    for _ in range(5):
        await asyncio.sleep(0)
    assert events(patient) == []
    assert await process.order(lambda process: len(process.mail or ()) // 2) == 3
    process.resume()
    process.resume()
    await asked
    assert events(patient) == ["one", "tick 2"]
    assert not process.suspended
    await patient.stop()


async def test_suspension_waits_for_the_mail_before_it() -> None:
    patient = await Patient.start()
    blocked = asyncio.ensure_future(patient.block())
    await asyncio.sleep(0)
    patient.note("before")
    suspending = asyncio.ensure_future(patient._process.suspend())
    await asyncio.sleep(0)
    patient.note("after")
    assert not suspending.done()
    gate = patient._process.server
    assert isinstance(gate, Patient)
    gate.gate.set()
    await suspending
    await blocked
    assert events(patient) == ["before"]
    patient._process.resume()
    await patient.wait()
    assert events(patient) == ["before", "after"]
    await patient.stop()


@pytest.mark.parametrize("end", ["stop", "exit", "kill"])
async def test_a_suspended_process_can_be_ended(end: str) -> None:
    patient = await Patient.start()
    asked = asyncio.ensure_future(_suspended_then_asked(patient))
    for _ in range(3):
        await asyncio.sleep(0)
    down = patient.down()
    match end:
        case "stop":
            await patient.stop()
        case "exit":
            patient.exit("shutdown")
        case _:
            patient.exit("kill")
    assert (await down).reason == {"stop": "normal", "exit": "shutdown", "kill": "killed"}[end]
    with pytest.raises(ProcessDown):
        await asked
    with pytest.raises(ProcessDown):
        await patient._process.suspend()
    patient._process.resume()


async def _suspended_then_asked(patient: Patient) -> None:
    await patient._process.suspend()
    await patient.wait()


async def test_a_process_cannot_wait_for_its_own_suspension() -> None:
    patient = await Patient.start()
    assert "a call that waits for itself" in await patient.suspend_itself()
    await patient.stop()


async def test_the_end_of_a_process_is_told_to_whoever_gave_it_an_order() -> None:
    patient = await Patient.start()
    blocked = asyncio.ensure_future(patient.block())
    await asyncio.sleep(0)
    order = asyncio.ensure_future(patient._process.suspend())
    await asyncio.sleep(0)
    patient.exit("kill")
    for waiting in (blocked, order):
        with pytest.raises(ProcessDown):
            await waiting


async def test_an_order_that_fails_is_told_to_whoever_gave_it() -> None:
    patient = await Patient.start()
    with pytest.raises(ZeroDivisionError):
        await patient._process.order(lambda process: 1 // 0)
    patient.note("busy")
    with pytest.raises(ZeroDivisionError):
        await patient._process.order(lambda process: 1 // 0)
    assert patient.is_alive()
    await patient.stop()


async def test_a_traced_process_tells_what_comes_in_and_goes_out() -> None:
    seen: list[str] = []

    def tracer(what: str, spec: object, about: object) -> None:
        name = spec.name if isinstance(spec, Spec) else "-"
        seen.append(f"{what} {name} {about}")

    patient = await Patient.start()
    patient._process.trace(tracer)
    patient.note("one")
    send(patient, Tick(2))
    await asyncio.gather(patient.wait(), patient.wait_async(9.0), patient.wait_async(timeout_s=9.0))
    assert seen == [
        "in note (('one',), {})",
        "in tick ((Tick(by=2),), {})",
        "in wait ((), {})",
        "out wait None",
        "in wait_async ((9.0,), {})",
        "out wait_async None",
        "in wait_async ((), {'timeout_s': 9.0})",
        "out wait_async None",
    ]
    patient._process.trace(None)
    seen.clear()
    await patient.wait()
    assert events(patient) == ["one", "tick 2"]
    patient._process.trace(tracer)
    await patient.stop("shutdown")
    assert seen == ["end - shutdown"]


async def test_tracing_can_begin_and_end_while_the_process_is_busy() -> None:
    seen: list[str] = []
    patient = await Patient.start()
    blocked = asyncio.ensure_future(patient.block())
    await asyncio.sleep(0)
    patient._process.trace(lambda what, spec, about: seen.append(what))
    server = patient._process.server
    assert isinstance(server, Patient)
    server.gate.set()
    await blocked
    await patient.wait()
    assert seen == ["in", "out"]
    patient._process.trace(None)
    assert patient._process.open
    await patient.stop()


@pytest.mark.virtual_time
async def test_who_looks_into_a_process_does_not_end_its_timeout() -> None:
    patient = await Patient.start()
    process = patient._process
    looks: list[str] = []
    process.trace(lambda what, spec, value: process.post_control(ORDER, looks.append, future()) if spec else None)
    await patient.wait(2.0)
    await pass_time(1.0)
    process.post_control(ORDER, looks.append, future(), first=True)
    await pass_time(5.0)
    assert looks
    assert events(patient) == ["timeout 2"]
    process.trace(None)
    await patient.wait(2.0)
    await pass_time(1.0)
    process.post_control(ORDER, hold, future(), first=True)
    await pass_time(0.0)
    assert process.suspended
    process.resume()
    await pass_time(5.0)
    assert events(patient)[1:] == ["timeout 8"]
    await patient.stop()


@pytest.mark.parametrize("message", [False, True])
@pytest.mark.virtual_time
async def test_a_message_ends_the_timeout_of_a_suspended_process_too(message: bool) -> None:
    patient = await Patient.start(2.0)
    await pass_time(1.0)
    await patient._process.suspend()
    if message:
        patient.note("before")
    await pass_time(5.0)
    patient.note("after")
    patient._process.resume()
    await pass_time(5.0)
    assert events(patient) == (["before", "after"] if message else ["timeout 6", "after"])
    await patient.stop()


def future() -> asyncio.Future[object]:
    """Who waits for an order."""
    return asyncio.get_running_loop().create_future()


@pytest.mark.virtual_time
async def test_no_order_waits_behind_a_suspension() -> None:
    patient = await Patient.start()
    process = patient._process
    blocked = asyncio.ensure_future(patient.block())
    await pass_time(0.0)
    orders = [asyncio.ensure_future(process.suspend()) for _ in range(2)]
    patient.note("waits")
    looking = asyncio.ensure_future(future_of(process.order(lambda seen: seen.pid)))
    await pass_time(0.0)
    gate(patient).set()
    await asyncio.gather(blocked, *orders)
    assert await looking == patient.pid
    process.resume()
    await pass_time(0.0)
    assert events(patient) == ["waits"], "and the second suspension was over with the first"
    await process.suspend()
    process.resume()
    blocked = asyncio.ensure_future(patient.block())
    await pass_time(0.0)
    suspending = asyncio.ensure_future(process.suspend())
    stopping = asyncio.ensure_future(patient.stop())
    patient.note("never heard")
    gate(patient).set()
    await asyncio.gather(blocked, suspending, stopping)


@pytest.mark.virtual_time
async def test_a_call_that_nobody_waits_for_any_more_ends_no_timeout() -> None:
    patient = await Patient.start(2.0)
    await pass_time(1.0)
    given_up = asyncio.ensure_future(patient.wait_async(9.0))
    await asyncio.sleep(0)
    given_up.cancel()
    await pass_time(9.0)
    assert events(patient) == ["timeout 2"]
    await patient.wait(2.0)
    await pass_time(1.0)
    await patient._process.suspend()
    with pytest.raises(CallTimeout):
        await patient.with_timeout(3.0).wait()
    patient._process.resume()
    await pass_time(9.0)
    assert events(patient)[1:] == ["timeout 14"]
    await patient.stop()


async def test_ending_a_trace_that_never_began_changes_nothing() -> None:
    patient = await Patient.start()
    patient._process.trace(None)
    assert patient._process.open
    await patient.stop()


async def future_of(awaitable: Awaitable[object]) -> object:
    """An awaitable as a coroutine."""
    return await awaitable


def gate(patient: Patient) -> asyncio.Event:
    """What `block` waits for."""
    server = patient._process.server
    assert isinstance(server, Patient)
    return server.gate
