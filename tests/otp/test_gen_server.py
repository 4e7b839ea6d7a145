"""The story of one process: started, asked, told, timed, ended."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from roost.errors import (
    CallTimeout,
    NameTaken,
    NoSuchProcess,
    NotSendable,
    Overloaded,
    ProcessDown,
    Refusal,
    StartFailed,
)
from roost.limits import MAILBOX_MESSAGES_MAX, REDUCTIONS_PER_TURN
from roost.otp import Exit, GenServer, Scheduler, call, cast, info, send
from roost.otp.reply import Reply


class SoldOut(Refusal):
    def __init__(self, left: int) -> None:
        super().__init__(left)
        self.left = left


class Tick(msgspec.Struct, frozen=True):
    by: int = 1


class LongTick(Tick, frozen=True):
    pass


class Stray(msgspec.Struct, frozen=True):
    pass


class Counter(GenServer):
    unit = "clicks"

    def init(self, start: int = 0) -> None:
        self.n = start
        self.seen: list[str] = []
        self.gate, self.began = asyncio.Event(), asyncio.Event()

    @call
    def increment(self, by: int = 1) -> int:
        self.n += by
        return self.n

    @call
    async def wait(self, label: str) -> str:
        self.seen.append(f"{label} begins")
        self.began.set()
        await self.gate.wait()
        self.seen.append(f"{label} ends")
        return label

    @call
    def note(self, label: str) -> None:
        self.seen.append(label)

    @call
    def history(self) -> list[str]:
        return self.seen

    @call
    def take(self, quantity: int) -> int:
        if quantity > self.n:
            raise SoldOut(self.n)
        self.n -= quantity
        return self.n

    @call
    def crash(self) -> None:
        raise ValueError("a bug")

    @call
    async def crash_later(self) -> None:
        await asyncio.sleep(0)
        raise ValueError("a later bug")

    @call
    def leak(self) -> object:
        return object()

    @call
    def finish(self) -> str:
        self.exit("normal")
        return "done"

    @call
    def remind(self, by: int, delay_s: float) -> None:
        self.timer = self.send_after(delay_s, Tick(by))

    @call
    def forget(self) -> None:
        self.timer.cancel()

    @call
    def me(self) -> Counter:
        return self.handle

    @cast
    def reset(self, to: int = 0) -> None:
        self.n = to

    @cast
    async def open_gate(self) -> None:
        self.gate.set()

    @cast
    def crash_quietly(self) -> None:
        raise ValueError("nobody asked")

    @info
    def tick(self, message: Tick) -> None:
        self.n += message.by
        self.gate.set()

    def plain(self) -> int:
        return self.n


def open_gate(counter: Counter) -> None:
    """Let the waiting handler go on, from outside of its mailbox."""
    counter._process.server.gate.set()  # type: ignore[attr-defined]  # the test reaches into the state


async def begun(counter: Counter) -> None:
    """Until a `wait` has begun."""
    await counter._process.server.began.wait()  # type: ignore[attr-defined]  # the test reaches into the state


async def test_a_call_answers() -> None:
    counter = await Counter.start_link(5)
    assert await counter.increment(2) == 7
    assert await counter.increment(by=3) == 10
    await counter.stop()


async def test_an_idle_process_serves_a_sync_call_in_the_turn_of_the_caller() -> None:
    counter = await Counter.start_link()
    reply = counter.increment()
    assert isinstance(reply, Reply)
    assert reply.value == 1


async def test_calls_and_casts_are_served_in_the_order_in_which_they_were_made() -> None:
    counter = await Counter.start_link()
    replies = []
    for _ in range(3 * REDUCTIONS_PER_TURN):
        counter.reset(10)
        replies.append(counter.increment())
        replies.append(counter.increment())
    values = await asyncio.gather(*replies)
    assert values == [11, 12] * (3 * REDUCTIONS_PER_TURN)


async def test_an_async_handler_runs_alone() -> None:
    counter = await Counter.start_link()
    waiting = asyncio.gather(counter.wait("first"), counter.wait("second"), counter.note("third"))
    await asyncio.sleep(0)
    open_gate(counter)
    await waiting
    assert await counter.history() == ["first begins", "first ends", "second begins", "second ends", "third"]


async def test_an_info_message_finds_the_handler_of_its_type_or_of_a_base() -> None:
    counter = await Counter.start_link()
    send(counter, Tick(2))
    send(counter, LongTick(40))
    assert await counter.increment(0) == 42


async def test_a_stray_message_is_logged_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    counter = await Counter.start_link(1)
    with caplog.at_level(logging.WARNING, "roost.otp"):
        send(counter, Stray())
    assert "no @info handler takes a Stray" in caplog.text
    assert await counter.increment() == 2


async def test_a_refusal_reaches_the_caller_and_the_process_lives() -> None:
    counter = await Counter.start_link(3)
    with pytest.raises(SoldOut) as refused:
        await counter.take(4)
    assert refused.value.left == 3
    assert await counter.take(3) == 0


async def test_a_refusal_of_a_queued_call_reaches_the_caller_too() -> None:
    counter = await Counter.start_link(3)
    counter.reset(1)
    with pytest.raises(SoldOut) as refused:
        await counter.take(2)
    assert refused.value.left == 1
    assert await counter.take(1) == 0


@pytest.mark.parametrize("queued", [False, True])
async def test_a_crash_ends_the_process_and_its_caller_hears_why(
    queued: bool, caplog: pytest.LogCaptureFixture
) -> None:
    counter = await Counter.start(3, name="fragile")
    if queued:
        counter.reset(4)
    with pytest.raises(ProcessDown, match="Counter 'fragile' is down: ValueError: a bug") as crashed:
        await counter.crash()
    assert isinstance(crashed.value.__cause__, ValueError)
    assert not counter.is_alive()
    records = [record for record in caplog.records if record.name == "roost.otp"]
    assert len(records) == 1
    assert "Counter 'fragile' crashed in crash(): ValueError: a bug" in records[0].getMessage()
    assert "'n': 4" in records[0].getMessage() if queued else "'n': 3" in records[0].getMessage()
    assert records[0].exc_info


async def test_a_crash_of_an_async_handler_is_the_same() -> None:
    counter = await Counter.start()
    behind = counter.increment
    crashing, waiting = counter.crash_later(), behind()
    with pytest.raises(ProcessDown, match="a later bug"):
        await crashing
    with pytest.raises(ProcessDown, match="a later bug"):
        await waiting
    assert not counter.is_alive()


async def test_a_crash_of_a_cast_fails_the_calls_behind_it() -> None:
    counter = await Counter.start()
    counter.crash_quietly()
    waiting = [counter.increment(), counter.wait("never")]
    for reply in waiting:
        with pytest.raises(ProcessDown, match="nobody asked"):
            await reply


async def test_a_call_to_a_dead_process_fails_at_once_and_a_cast_is_lost() -> None:
    counter = await Counter.start()
    await counter.stop()
    with pytest.raises(ProcessDown, match="normal"):
        await counter.increment()
    with pytest.raises(ProcessDown):
        await counter.wait("x")
    counter.reset()
    send(counter, Tick())
    await counter.stop()


async def test_arguments_that_do_not_fit_are_the_mistake_of_the_caller() -> None:
    counter = await Counter.start_link(1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        await counter.increment(wrong=1)  # type: ignore[call-arg]  # the mistake under test
    counter.reset(9)
    with pytest.raises(TypeError, match="positional"):
        await counter.increment(1, 2, 3)  # type: ignore[call-arg]  # the mistake under test
    with pytest.raises(TypeError, match="positional"):
        await counter.wait()  # type: ignore[call-arg]  # the mistake under test
    assert await counter.increment() == 10


async def test_what_cannot_cross_is_refused_both_ways() -> None:
    counter = await Counter.start_link(1)
    with pytest.raises(NotSendable, match=r"argument 1 of Counter.increment"):
        await counter.increment(object())  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(NotSendable, match=r"argument 'by' of Counter.increment"):
        await counter.increment(by=object())  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(NotSendable, match=r"argument 1 of Counter.reset"):
        counter.reset(object())  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(NotSendable, match=r"reply of Counter.leak"):
        await counter.leak()
    with pytest.raises(NotSendable, match="a message to"):
        send(counter, object())
    assert await counter.increment() == 2


async def test_the_state_is_not_shared_through_a_reply() -> None:
    counter = await Counter.start_link()
    await counter.note("kept")
    (await counter.history()).append("forged")
    assert await counter.history() == ["kept"]


async def test_a_handle_shows_declared_messages_only() -> None:
    counter = await Counter.start_link(5)
    for name in ("n", "plain", "unit", "init", "tick", "send_after"):
        with pytest.raises(AttributeError, match="the state of a process is private"):
            getattr(counter, name)
    with pytest.raises(AttributeError, match="private"):
        counter.n = 4
    with pytest.raises(AttributeError):
        counter.unheard_of  # type: ignore[attr-defined]  # noqa: B018  # the mistake under test
    with pytest.raises(AttributeError, match="private"):
        counter.unheard_of = 1  # type: ignore[attr-defined]  # the mistake under test
    assert isinstance(counter, Counter)
    assert Counter.unit == "clicks"


async def test_handles_are_equal_by_process() -> None:
    one, other = await Counter.start_link(), await Counter.start_link(name="other")
    assert one == one.with_timeout(1.0) == await one.me()
    assert one != other
    assert len({one, other, one.with_timeout(2.0)}) == 2
    assert repr(other) == "<Counter 'other'>"


async def test_a_name_is_unique_while_its_process_lives() -> None:
    first = await Counter.start_link(1, name="hits")
    with pytest.raises(NameTaken):
        await Counter.start_link(2, name="hits")
    assert Counter.whereis("hits") == first
    await first.stop()
    with pytest.raises(NoSuchProcess):
        Counter.whereis("hits")
    await Counter.start_link(3, name="hits")
    assert await Counter.whereis("hits").increment() == 4


async def test_a_name_of_another_class_is_not_found() -> None:
    await Failing.start(name="other kind", fail=False)
    with pytest.raises(NoSuchProcess):
        Counter.whereis("other kind")
    assert GenServer.whereis("other kind").is_alive()


async def test_a_call_times_out_and_its_late_reply_is_dropped() -> None:
    counter = await Counter.start_link()
    slow = counter.with_timeout(0.005)
    with pytest.raises(CallTimeout, match=r"no reply from Counter #\d+ within 0.005 s"):
        await slow.wait("late")
    skipped = slow.note("skipped, for nobody waits any more")
    with pytest.raises(CallTimeout):
        await skipped
    open_gate(counter)
    assert await counter.history() == ["late begins", "late ends"]


async def test_timeouts_of_several_lengths_expire_each_in_its_time() -> None:
    counter = await Counter.start_link()
    order: list[float] = []

    async def ask(timeout_s: float) -> None:
        with pytest.raises(CallTimeout):
            await counter.with_timeout(timeout_s).wait("x")
        order.append(timeout_s)

    await asyncio.gather(ask(0.03), ask(0.01), ask(0.02), ask(0.01))
    assert order == [0.01, 0.01, 0.02, 0.03]
    open_gate(counter)
    await counter.stop()


async def test_a_caller_that_gives_up_does_not_disturb_the_process() -> None:
    counter = await Counter.start_link(1)
    task = asyncio.ensure_future(counter.wait("given up"))
    await begun(counter)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    open_gate(counter)
    assert await counter.history() == ["given up begins", "given up ends"]


async def test_a_full_mailbox_refuses() -> None:
    counter = await Counter.start_link()
    blocked = asyncio.ensure_future(counter.wait("x"))
    await begun(counter)
    for _ in range(MAILBOX_MESSAGES_MAX):
        counter.reset()
    with pytest.raises(Overloaded, match="mailbox of Counter"):
        counter.reset()
    with pytest.raises(Overloaded):
        await counter.increment()
    with pytest.raises(Overloaded):
        send(counter, Tick())
    open_gate(counter)
    await blocked
    await counter.stop()


async def test_exit_in_a_handler_comes_after_its_reply() -> None:
    counter = await Counter.start()
    down = counter.down()
    assert await counter.finish() == "done"
    assert (await down).reason == "normal"


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
    await counter.stop()
    handle = timer._timer
    assert isinstance(handle, asyncio.TimerHandle)
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


class Trapper(GenServer):
    def init(self) -> None:
        self.trap_exits()
        self.exits: list[Exit] = []

    @info
    def gone(self, exit: Exit) -> None:
        self.exits.append(exit)

    @call
    def seen(self) -> list[str]:
        return [str(exit.reason) for exit in self.exits]


class Derived(Counter):
    @call
    def increment(self, by: int = 1) -> int:
        self.n += 100 * by
        return self.n

    def note(self, label: str) -> None:  # type: ignore[override]  # no longer declared, so no longer callable
        pass


async def test_a_subclass_inherits_and_overrides_messages() -> None:
    derived = await Derived.start_link(1)
    assert await derived.increment() == 101
    derived.reset(7)
    send(derived, Tick(1))
    assert await derived.take(1) == 7
    with pytest.raises(AttributeError, match="private"):
        derived.note("x")
    assert set(Derived.__calls__) == set(Counter.__calls__) - {"note"}
