"""Looking into a running process, and holding it, between two of its messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import ClassVar

import msgspec
import pytest

from roost.errors import CallCycle, CallTimeout, NotLocal, Overloaded, ProcessDown, Refusal
from roost.limits import TRACERS_MAX
from roost.otp import GenServer, Scheduler, call, cast, info, remote_handle, send, sys
from tests.otp.virtual import virtual_scheduler


class Tick(msgspec.Struct, frozen=True):
    """A message."""

    number: int


class Account(GenServer):
    """A process to look into."""

    redacted: ClassVar[frozenset[str]] = frozenset({"pin"})

    def init(self, balance: int = 0) -> None:
        self.balance = balance
        self.entries: list[int] = []
        self.pin = "1234"
        self._gate, self._began = asyncio.Event(), asyncio.Event()

    @call
    def deposit(self, amount: int, pin: str = "") -> int:
        if amount < 0:
            raise Refusal("negative")
        self.balance += amount
        self.entries.append(amount)
        return self.balance

    @call
    async def deposit_slowly(self, amount: int) -> int:
        self._began.set()
        before = self.balance
        self.balance = -1
        await self._gate.wait()
        self.balance = before + amount
        return self.balance

    @cast
    def note(self, amount: int) -> None:
        self.entries.append(amount)

    @cast
    def fail(self) -> None:
        raise ValueError("a bug")

    @info
    def tick(self, message: Tick) -> None:
        self.entries.append(message.number)

    @call
    async def look_at_itself(self) -> str:
        try:
            await sys.get_state(self.handle)
        except CallCycle as cycle:
            return str(cycle)
        return "looked"


def inside(account: Account) -> Account:
    """The state, without asking for it."""
    server = account._process.server
    assert isinstance(server, Account)
    return server


async def begun(account: Account) -> None:
    await inside(account)._began.wait()


async def test_the_state_is_a_copy() -> None:
    account = await Account.start(5)
    await account.deposit(2)
    state = await sys.get_state(account)
    assert {name: state[name] for name in ("balance", "entries", "pin")} == {
        "balance": 7,
        "entries": [2],
        "pin": "1234",
    }
    entries = state["entries"]
    assert isinstance(entries, list)
    entries.append(99)
    assert inside(account).entries == [2]
    assert account._process.open
    await account.stop()


async def test_the_state_is_seen_between_two_messages() -> None:
    account = await Account.start(5)
    slow = asyncio.ensure_future(account.deposit_slowly(1))
    await begun(account)
    looking = asyncio.ensure_future(sys.get_state(account))
    await asyncio.sleep(0)
    account.note(7)
    await asyncio.sleep(0)
    assert not looking.done()
    inside(account)._gate.set()
    state = await looking
    assert (state["balance"], state["entries"]) == (6, [])
    assert await slow == 6
    await account.stop()


@pytest.mark.virtual_time
async def test_a_busy_process_is_not_waited_for_for_ever() -> None:
    with virtual_scheduler().entered():
        account = await Account.start()
        slow = asyncio.ensure_future(account.with_timeout(None).deposit_slowly(1))
        await begun(account)
        loop = asyncio.get_running_loop()
        for look in (sys.get_state(account, 2.0), sys.get_status(account, 2.0), sys.suspend(account, 2.0)):
            before = loop.time()
            with pytest.raises(CallTimeout, match="Account #1 within 2 s"):
                await look
            assert loop.time() - before == 2.0
        inside(account)._gate.set()
        assert await slow == 1
        assert await account.deposit(1) == 2, "a suspension that was given up does not come later"
        await account.stop()


async def test_the_state_is_replaced_as_a_whole() -> None:
    account = await Account.start(5)
    entries = [1]

    def change(state: dict[str, object]) -> Mapping[str, object]:
        kept = {name: value for name, value in state.items() if name != "pin"}
        return {**kept, "balance": 100, "entries": entries, "new": True}

    after = await sys.replace_state(account, change)
    assert (after["balance"], after["entries"], after["new"], "pin" in after) == (100, [1], True, False)
    entries.append(2)
    assert await account.deposit(1) == 101
    assert inside(account).entries == [1, 1], "nothing is shared with whoever has replaced it"
    assert not hasattr(inside(account), "pin")
    await account.stop()


async def test_a_change_that_fails_changes_nothing() -> None:
    account = await Account.start(5)

    def fail(state: dict[str, object]) -> Mapping[str, object]:
        state["balance"] = 0
        state.clear()
        raise LookupError("a bug")

    before = await sys.get_state(account)
    with pytest.raises(LookupError, match="a bug"):
        await sys.replace_state(account, fail)
    for wrong in ([1], {1: 2}, {"_process": None}, None):
        with pytest.raises(TypeError, match="a state is a dict"):
            await sys.replace_state(account, lambda state, wrong=wrong: wrong)  # type: ignore[misc]  # a planted fault
    assert await sys.get_state(account) == before
    assert await account.deposit(1) == 6
    await account.stop()


async def test_a_state_that_has_no_place_changes_nothing() -> None:
    account = await Account.start(5)
    before = await sys.get_state(account)
    for wrong in ({"scheduler": None}, {"__class__": 1}):
        with pytest.raises((AttributeError, TypeError)):
            await sys.replace_state(account, lambda state, wrong=wrong: {"balance": 0, "new": 1, **wrong})  # type: ignore[misc]  # a planted fault
        assert await sys.get_state(account) == before
    assert await account.deposit(1) == 6
    await account.stop()


async def test_the_status_is_fit_for_other_eyes() -> None:
    account = await Account.start(5, name="mine")
    status = await sys.get_status(account)
    assert (status.info.name, status.info.status, status.traced, status.counted) == ("mine", "idle", False, False)
    assert "'balance': 5" in status.state
    assert "'pin': ***" in status.state
    assert "1234" not in status.state
    stop = sys.trace(account)
    sys.start_statistics(account)
    await sys.suspend(account)
    status = await sys.get_status(account)
    assert (status.info.status, status.traced, status.counted) == ("suspended", True, True)
    stop()
    await account.stop()


async def test_a_suspended_process_keeps_its_mail_and_can_be_looked_into() -> None:
    account = await Account.start()
    await sys.suspend(account)
    waiting = [asyncio.ensure_future(account.deposit(number)) for number in (1, 2)]
    account.note(9)
    await asyncio.sleep(0)
    assert (await sys.get_state(account))["balance"] == 0
    await sys.replace_state(account, lambda state: {**state, "balance": 10})
    assert not any(call.done() for call in waiting)
    sys.resume(account)
    sys.resume(account)
    assert await asyncio.gather(*waiting) == [11, 13]
    assert inside(account).entries == [1, 2, 9]
    await account.stop()


async def test_a_suspended_process_is_terminated_with_its_mail_unread() -> None:
    account = await Account.start()
    await sys.suspend(account)
    waiting = asyncio.ensure_future(account.deposit(1))
    await asyncio.sleep(0)
    down = account.down()
    await sys.terminate(account, "shutdown:moved")
    assert (await down).reason == "shutdown:moved"
    with pytest.raises(ProcessDown, match="shutdown:moved"):
        await waiting


async def test_a_running_process_is_terminated_after_its_mail() -> None:
    account = await Account.start()
    account.note(1)
    last = asyncio.ensure_future(account.deposit(1))
    await asyncio.sleep(0)
    await sys.terminate(account)
    assert await last == 1


@pytest.mark.parametrize("name", ["get_state", "get_status", "suspend"])
async def test_who_has_ended_is_down(name: str) -> None:
    account = await Account.start()
    await account.stop()
    with pytest.raises(ProcessDown, match="normal"):
        await getattr(sys, name)(account)
    with pytest.raises(ProcessDown, match="normal"):
        sys.trace(account)
    with pytest.raises(ProcessDown, match="normal"):
        sys.start_statistics(account)
    sys.resume(account)
    await sys.terminate(account)
    assert sys.statistics(account) is None


async def test_who_lives_elsewhere_is_not_local() -> None:
    far = remote_handle(Account, "mine", "b@127.0.0.1", None)  # type: ignore[arg-type]  # nothing is asked of it
    for look in (sys.get_state, sys.get_status, sys.suspend, sys.terminate):
        with pytest.raises(NotLocal, match=r"Account 'mine' at b@127\.0\.0\.1 is on another node"):
            await look(far)
    for act in (sys.resume, sys.trace, sys.start_statistics, sys.statistics, sys.stop_statistics):
        with pytest.raises(NotLocal):
            act(far)


async def test_a_process_cannot_wait_for_itself() -> None:
    account = await Account.start()
    assert "a call that waits for itself" in await account.look_at_itself()
    await account.stop()


async def test_a_trace_tells_of_messages_replies_states_and_the_end() -> None:
    account = await Account.start(name="mine")
    events: list[sys.TraceEvent] = []
    sys.trace(account, events.append)
    assert await account.deposit(5, "1234") == 5
    with pytest.raises(Refusal, match="negative"):
        await account.deposit(-1)
    send(account, Tick(3))
    await account.stop()
    assert [(event.what, event.message) for event in events] == [
        ("in", "deposit"),
        ("out", "deposit"),
        ("state", ""),
        ("in", "deposit"),
        ("out", "deposit"),
        ("state", ""),
        ("in", "tick"),
        ("state", ""),
        ("end", ""),
    ]
    assert (events[0].value, events[0].text) == (((5, "1234"), {}), "deposit(5, ***)")
    assert (events[1].value, events[1].text) == (5, "5")
    state = events[2].value
    assert isinstance(state, dict)
    assert (state["balance"], state["entries"]) == (5, [5])
    assert "'pin': ***" in events[2].text
    assert isinstance(events[4].value, Refusal)
    assert events[6].text == "tick(Tick(number=3))"
    last = events[7].value
    assert isinstance(last, dict)
    assert last["entries"] == [5, 3]
    assert (events[8].value, str(events[8])) == ("normal", "Account 'mine' ended normal")


async def test_a_trace_sees_async_handlers_and_mail_in_order() -> None:
    account = await Account.start()
    events: list[sys.TraceEvent] = []
    stop = sys.trace(account, events.append)
    slow = asyncio.ensure_future(account.deposit_slowly(1))
    await begun(account)
    account.note(2)
    inside(account)._gate.set()
    assert await slow == 1
    assert await account.deposit(1) == 2
    await sys.get_state(account)
    stop()
    stop()
    assert await account.deposit(1) == 3
    assert [event.what for event in events] == ["in", "out", "state", "in", "state", "in", "out", "state"]
    assert account._process.open, "as fast as before"
    await account.stop()


async def test_a_trace_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    account = await Account.start(name="mine")
    caplog.set_level(logging.INFO, "roost.otp")
    stop = sys.trace(account)
    await account.deposit(5, "1234")
    await sys.get_state(account)
    stop()
    texts = [record.getMessage() for record in caplog.records]
    assert texts[:2] == ["Account 'mine' got deposit(5, ***)", "Account 'mine' deposit -> 5"]
    assert texts[2].startswith("Account 'mine' state {'balance': 5")
    assert "1234" not in caplog.text
    await account.stop()


async def test_a_tracer_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    account = await Account.start()
    events: list[sys.TraceEvent] = []

    def broken(event: sys.TraceEvent) -> None:
        raise RuntimeError("a bug")

    sys.trace(account, broken)
    stop = sys.trace(account, events.append)
    assert await account.deposit(5) == 5
    assert await account.deposit(5) == 10
    assert caplog.text.count("RuntimeError: a bug") >= 1
    assert len([record for record in caplog.records if "a tracer of" in record.getMessage()]) == 1
    assert len([event for event in events if event.what == "in"]) == 2
    stop()
    await account.stop()


async def test_a_value_that_cannot_be_copied_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    account = await Account.start()
    sys.trace(account, lambda event: None)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    inside(account).entries = deep  # type: ignore[assignment]  # a planted fault
    assert await account.deposit(5) == 5
    await account.stop()
    assert f"the trace of Account #{account.pid} raised RecursionError" in caplog.text


async def test_a_crash_of_a_traced_process_is_its_end() -> None:
    account = await Account.start()
    events: list[sys.TraceEvent] = []
    sys.trace(account, events.append)
    account.fail()
    await account.down()
    assert [event.what for event in events] == ["in", "end"]
    assert events[1].text == "ValueError: a bug"


async def test_tracers_are_bounded() -> None:
    account = await Account.start()
    stops = [sys.trace(account, print) for _ in range(TRACERS_MAX)]
    with pytest.raises(Overloaded, match="the list of tracers"):
        sys.trace(account, print)
    stops.pop()()
    sys.trace(account, print)
    await sys.terminate(account)


async def test_statistics_count_from_zero_until_they_are_stopped() -> None:
    account = await Account.start()
    assert sys.statistics(account) is None
    await account.deposit(1)
    sys.start_statistics(account)
    await account.deposit(1)
    await account.deposit(1)
    with pytest.raises(Refusal):
        await account.deposit(-1)
    account.note(1)
    send(account, Tick(1))
    await sys.get_state(account)
    numbers = sys.statistics(account)
    assert numbers is not None
    assert (numbers.messages_in, numbers.replies, numbers.errors) == (5, 2, 1)
    assert numbers.since <= Scheduler.current().runtime.clock.wall()
    sys.start_statistics(account)
    again = sys.statistics(account)
    assert again is not None
    assert again.messages_in == 0
    sys.stop_statistics(account)
    assert sys.statistics(account) is None
    assert account._process.open, "as fast as before"
    await account.stop()


async def test_statistics_and_traces_do_not_end_each_other() -> None:
    account = await Account.start()
    events: list[sys.TraceEvent] = []
    stop = sys.trace(account, events.append)
    sys.start_statistics(account)
    stop()
    await account.deposit(1)
    numbers = sys.statistics(account)
    assert numbers is not None
    assert numbers.messages_in == 1
    assert events == []
    stop = sys.trace(account, events.append)
    sys.stop_statistics(account)
    await account.deposit(1)
    assert events
    stop()
    await account.stop()
