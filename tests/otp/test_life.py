"""The story of one process from its first moment to its last."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import (
    CallTimeout,
    NoSuchProcess,
    ProcessDown,
    StartFailed,
    StartIgnored,
)
from roost.otp import GenServer, Ignore, Scheduler, Stop, call
from roost.otp.reply import Reply
from roost.sim.loop import turns
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


class Joining(GenServer):
    """Links itself to another one in its init, and then does not start."""

    def init(self, other: Counter, why: str) -> None:
        self.link(other)
        match why:
            case "ignore":
                raise Ignore
            case "stop":
                raise Stop("no disk")
            case "crash":
                raise OSError("no disk")


class JoiningLater(GenServer):
    async def init(self, other: Counter, how: str) -> None:
        self.link(other)
        if how == "crash":
            raise OSError("no disk")
        try:
            await asyncio.Event().wait()
        finally:
            if how == "fail":
                raise ValueError("in finally")


@pytest.mark.parametrize(
    ("kind", "why", "reason"),
    [
        (Joining, "ignore", None),
        (Joining, "stop", "no disk"),
        (Joining, "crash", "OSError: no disk"),
        (JoiningLater, "crash", "OSError: no disk"),
        (JoiningLater, "wait", "killed"),
        (JoiningLater, "fail", "killed"),
    ],
)
@pytest.mark.virtual_time
async def test_who_is_linked_to_a_process_that_does_not_start_hears_why(
    kind: type[GenServer], why: str, reason: str | None
) -> None:
    """Seen by a process that the failing one has linked itself to: as `gen_server:init_it` exits."""
    other = await Counter.start()
    with pytest.raises((StartFailed, StartIgnored)):
        await kind.start(other, why, start_timeout_s=1.0)
    if reason is None:
        assert await other.increment() == 1
        await other.stop()
    else:
        with pytest.raises(ProcessDown) as down:
            await other.increment()
        assert down.value.reason == reason
    await turns(3)


@pytest.mark.virtual_time
async def test_what_a_killed_init_raises_at_its_end_is_told() -> None:
    starting = asyncio.ensure_future(JoiningLater.start(await Counter.start(), "fail", name="later"))
    await turns(3)
    JoiningLater.whereis("later").exit("kill")
    with pytest.raises(StartFailed, match="killed") as failed:
        await starting
    await turns(3)
    assert isinstance(failed.value.__cause__, ValueError)


@pytest.mark.virtual_time
async def test_what_init_asks_and_does_not_await_is_no_wait() -> None:
    class Asking(GenServer):
        async def init(self, other: Other) -> None:
            self.answer = asyncio.ensure_future(other.nap(9.0))
            await asyncio.sleep(0)

        @call
        async def nap(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    class Other(GenServer):
        @call
        async def nap(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

        @call
        async def ask(self, asking: Asking) -> str:
            await asking.nap(0.0)
            return "no cycle"

    other = await Other.start()
    asking = await Asking.start(other)
    napping = asyncio.ensure_future(asking.with_timeout(None).nap(10.0))
    assert await other.with_timeout(None).ask(asking) == "no cycle"
    await napping


@pytest.mark.virtual_time
async def test_who_is_traced_while_it_starts_or_by_itself_is_never_open() -> None:
    class Shy(GenServer):
        async def init(self) -> None:
            await asyncio.sleep(1.0)

        @call
        def trace_itself(self) -> None:
            self._process.trace(lambda what, spec, value: None)

        @call
        def ask(self) -> None:
            """Answer nothing."""

    starting = asyncio.ensure_future(Shy.start(name="shy"))
    await turns(3)
    process, heard = Shy.whereis("shy")._process, list[str]()
    process.trace(lambda what, spec, value: heard.append(what))
    shy = await starting
    await shy.ask()
    assert heard == ["in", "out"]
    process.trace(None)
    await shy.ask()
    assert process.open
    await shy.trace_itself()
    await turns(3)
    reply = shy.ask()
    assert not isinstance(reply, Reply), "not served in the turn of its caller"
    await reply
    await shy.stop()
