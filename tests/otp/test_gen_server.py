"""The story of one process that is asked and told."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from roost.errors import (
    CallTimeout,
    ConfigError,
    NameTaken,
    NoSuchProcess,
    NotSendable,
    Overloaded,
    ProcessDown,
    Refusal,
)
from roost.limits import MAILBOX_MESSAGES_MAX, REDUCTIONS_PER_TURN
from roost.otp import Caller, GenServer, NoReply, call, info, send
from roost.otp.reply import Reply
from tests.otp.counter import Counter, LongTick, SoldOut, Stray, Tick, begun, open_gate


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


class Sparse(Refusal):
    def __init__(self, left: list[str]) -> None:
        super().__init__(left)
        self.left = left


async def test_the_state_is_not_shared_through_a_refusal() -> None:
    class Shelf(GenServer):
        def init(self) -> None:
            self.left = ["tea"]
            self.waiting: list[Caller[None]] = []

        @call
        def take(self) -> None:
            raise Sparse(self.left)

        @call
        async def take_async(self) -> None:
            raise Sparse(self.left)

        @call
        def take_later(self) -> None:
            self.caller().refuse(Sparse(self.left))
            raise NoReply

        @call
        def count(self) -> int:
            return len(self.left)

    shelf = await Shelf.start()
    for take in (shelf.take, shelf.take_async, shelf.take_later):
        with pytest.raises(Sparse) as refused:
            await take()
        assert refused.value.left == ["tea"]
        refused.value.left.append("not on the shelf")
        refused.value.args[0].append("nor this")
    assert await shelf.count() == 1
    await shelf.stop()


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
    await Other.start(name="other kind")
    with pytest.raises(NoSuchProcess, match="no Counter is registered as 'other kind'"):
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


async def test_annotations_may_name_what_is_local_to_a_function() -> None:
    class Local(msgspec.Struct, frozen=True):
        by: int

    class Here(GenServer):
        def init(self) -> None:
            self.n = 0

        @info
        def got(self, message: Local) -> None:
            self.n += message.by

        @call
        def echo(self, message: Local) -> Local:
            self.n += 1
            return message

    here = await Here.start_link()
    send(here, Local(4))
    assert await here.echo(Local(2)) == Local(2)
    assert Here.__calls__["echo"].convert([{"by": 7}], {}) == ((Local(7),), {})
    assert Here.__calls__["echo"].returns is Local


async def test_an_info_handler_that_names_no_class_shows_at_the_start() -> None:
    class Vague(GenServer):
        @info
        def got(self, message: object) -> None:
            pass

    with pytest.raises(TypeError, match=r"@info Vague.got must take one argument, annotated with the class"):
        await Vague.start()


def test_a_class_with_an_init_of_pythons_own_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigError, match="__init__: nobody would call that of Habit: set up its state in `init`"):

        class Habit(GenServer):
            def __init__(self, start: int) -> None:
                self.n = start


class Other(GenServer):
    """A process of another class."""


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
