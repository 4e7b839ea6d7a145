"""The story of one process from its first moment to its last."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import (
    CallTimeout,
    NoSuchProcess,
    ProcessDown,
    StartFailed,
)
from roost.otp import GenServer, Scheduler, call
from tests.otp.counter import Counter, begun, open_gate


async def test_exit_in_a_handler_comes_after_its_reply() -> None:
    counter = await Counter.start()
    down = counter.down()
    assert await counter.finish() == "done"
    assert (await down).reason == "normal"


async def test_exit_in_a_handler_comes_before_the_mail_that_waits() -> None:
    counter = await Counter.start()
    counter.reset()
    last, late = counter.finish(), counter.increment()
    assert await last == "done"
    with pytest.raises(ProcessDown, match="normal"):
        await late


@pytest.mark.parametrize(("reason", "seen"), [("bored", "bored"), ("kill", "killed")])
@pytest.mark.parametrize("queued", [False, True])
async def test_a_signal_to_itself_comes_after_the_reply(reason: str, seen: str, queued: bool) -> None:
    counter = await Counter.start()
    down = counter.down()
    if queued:
        counter.reset()
    assert await counter.signal_itself(reason) == "still here"
    assert (await down).reason == seen


async def test_a_handler_that_ignores_its_cancellation_is_the_last_one() -> None:
    counter = await Counter.start()
    state = counter._process.server
    assert isinstance(state, Counter)
    stubborn = asyncio.ensure_future(counter.ignore_cancellation())
    late = asyncio.ensure_future(counter.wait("late"))
    await begun(counter)
    counter.exit("bored")
    await stubborn
    with pytest.raises(ProcessDown, match="bored"):
        await late
    assert state.seen == ["ignored"]


async def test_nobody_watches_for_a_down_that_is_no_longer_awaited() -> None:
    counter = await Counter.start()
    down = counter.down()
    ties = counter._process.ties
    assert ties is not None
    assert len(ties.monitors) == 1
    down.cancel()
    await asyncio.sleep(0)
    assert not ties.monitors


async def test_stop_does_not_wait_for_ever() -> None:
    counter = await Counter.start()
    blocked = asyncio.ensure_future(counter.wait("x"))
    await begun(counter)
    with pytest.raises(CallTimeout, match=r"within 0.01 s"):
        await counter.stop(timeout_s=0.01)
    open_gate(counter)
    assert await blocked == "x"
    assert (await counter.down()).reason in ("normal", "noproc")


async def test_down_of_a_dead_process_says_noproc() -> None:
    counter = await Counter.start()
    first = counter.down()
    await counter.stop("shutdown")
    assert (await first).reason == "shutdown"
    down = await counter.down()
    assert (down.process, down.reason) == (counter, "noproc")


class Failing(GenServer):
    def init(self, fail: bool = True) -> None:
        if fail:
            raise OSError("no disk")


class FailingLater(GenServer):
    async def init(self) -> None:
        await asyncio.sleep(0)
        raise OSError("no disk")


@pytest.mark.parametrize("kind", [Failing, FailingLater])
async def test_an_init_that_raises_fails_the_start(kind: type[GenServer]) -> None:
    with pytest.raises(StartFailed, match="did not start: OSError: no disk") as failed:
        await kind.start_link(name="stillborn")
    assert isinstance(failed.value.__cause__, OSError)
    with pytest.raises(NoSuchProcess):
        kind.whereis("stillborn")
    assert not Scheduler.current().processes


class Slow(GenServer):
    async def init(self, gate: asyncio.Event) -> None:
        await gate.wait()
        self.ready = True

    @call
    def is_ready(self) -> bool:
        return self.ready


async def test_mail_that_arrives_during_init_waits_for_its_end() -> None:
    gate = asyncio.Event()
    starting = asyncio.ensure_future(Slow.start(gate, name="slow"))
    await asyncio.sleep(0)
    asking = asyncio.ensure_future(Slow.whereis("slow").is_ready())
    await asyncio.sleep(0)
    assert not asking.done()
    gate.set()
    await starting
    assert await asking


async def test_a_start_that_is_given_up_leaves_nothing() -> None:
    starting = asyncio.ensure_future(Slow.start(asyncio.Event(), name="slow"))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not Scheduler.current().processes
    await asyncio.sleep(0)


async def test_a_process_killed_in_init_fails_the_start() -> None:
    starting = asyncio.ensure_future(Slow.start(asyncio.Event(), name="slow"))
    await asyncio.sleep(0)
    Slow.whereis("slow").exit("kill")
    with pytest.raises(StartFailed, match="killed"):
        await starting


async def test_a_timer_sends_to_its_process_and_dies_with_it() -> None:
    counter = await Counter.start()
    await counter.remind(5, 0.001)
    await counter._process.server.gate.wait()  # type: ignore[attr-defined]  # the tick opens it
    assert await counter.increment(0) == 5
    await counter.remind(7, 60.0)
    await counter.forget()
    await counter.remind(7, 60.0)
    process = counter._process
    assert process.ties is not None
    (timer,) = process.ties.timers
    handle = timer._timer
    assert isinstance(handle, asyncio.TimerHandle)
    await counter.stop()
    assert handle.cancelled()


class Worker(GenServer):
    def init(self) -> None:
        self.events: list[str] = []

    @call
    def begin(self, fail: bool = False) -> None:
        self.activity(self._work(fail), "working")

    async def _work(self, fail: bool) -> None:
        if fail:
            raise ValueError("work went wrong")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            FINISHED.append("work cancelled and finished")

    async def terminate(self, reason: object) -> None:
        await asyncio.sleep(0)
        FINISHED.append(f"terminate {reason}")


FINISHED: list[str] = []


async def test_an_activity_ends_before_its_process_has_ended() -> None:
    FINISHED.clear()
    worker = await Worker.start()
    await worker.begin()
    await asyncio.sleep(0)
    await worker.stop()
    assert FINISHED == ["work cancelled and finished", "terminate normal"]


async def test_a_crash_of_an_activity_is_a_crash_of_the_process(caplog: pytest.LogCaptureFixture) -> None:
    FINISHED.clear()
    worker = await Worker.start()
    down = worker.down()
    await worker.begin(fail=True)
    reason = (await down).reason
    assert isinstance(reason, ValueError)
    assert FINISHED == ["terminate work went wrong"]
    assert "crashed in working" in caplog.text
