"""Stories of state machines: states, postponed events, timeouts, replies, ends. Time is virtual."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import assert_type

import pytest

from roost import StateMachine, Supervisor, call, send
from roost.errors import (
    BadMessage,
    CallTimeout,
    ConfigError,
    Overloaded,
    ProcessDown,
    StartFailed,
    StartIgnored,
    TooLarge,
)
from roost.limits import STATE_POSTPONED_MAX, STATE_TIMEOUTS_MAX, TIMER_S_MAX
from roost.otp import GenServer, Ignore, Postpone, Scheduler, Stop
from roost.sim import turns
from tests.otp.machines import (
    Break,
    Desk,
    Diary,
    Door,
    Jammed,
    Light,
    Locked,
    Note,
    Open,
    Press,
    Repaired,
    Slow,
    TrafficLight,
    inside,
    soon,
)
from tests.otp.virtual import virtual_scheduler

virtual = pytest.mark.virtual_time


# States


@virtual
async def test_what_a_call_does_depends_on_the_state() -> None:
    with virtual_scheduler().entered():
        door = assert_type(await Door.start("1234"), Door)
        assert assert_type(await door.unlock("0000"), bool) is False
        assert isinstance(inside(door), Locked)
        assert await door.unlock("1234") is True
        assert isinstance(inside(door), Open)
        assert await door.unlock("0000") is True
        await asyncio.sleep(10.5)
        assert await door.unlock("0000") is False
        assert await door.history() == ["Open: opened at 0", "Open: locks at 10"]


@virtual
async def test_states_may_be_values_and_messages_may_be_matched() -> None:
    with virtual_scheduler().entered():
        light = await TrafficLight.start()
        assert assert_type(await light.call(Press()), str) == "wait"
        await asyncio.sleep(3.5)
        assert await light.call(Press()) == "go"
        light.cast(Break())
        pressed = await soon(light.call(Press()))
        await asyncio.sleep(1.0)
        assert not pressed.done()
        send(light, Repaired("Ada"))
        assert await pressed == "wait"
        assert vars(inside(light))["entered"] == (Light.BLINKING, Light.RED)


@virtual
async def test_a_machine_is_its_own_first_state_until_it_goes_elsewhere() -> None:
    class Switch(StateMachine):
        @call
        def press(self) -> str:
            assert self.state is Switch
            self.goto(On)
            return "on"

    class On(Switch):
        @call
        def press(self) -> str:
            assert (self.previous, self.state) == (Switch, On)
            self.goto(Switch)
            return "off"

    with virtual_scheduler().entered():
        switch = await Switch.start()
        assert [await switch.press() for _ in range(3)] == ["on", "off", "on"]


@virtual
async def test_a_supervisor_starts_a_machine_anew_in_its_first_state(caplog: pytest.LogCaptureFixture) -> None:
    with virtual_scheduler().entered():
        top = await Supervisor.start([Door.child("1234", name="front")])
        await Door.whereis("front").unlock("1234")
        Door.whereis("front").exit("hit by a car")
        await turns(5)
        assert await Door.whereis("front").unlock("0000") is False
        await top.stop()


async def test_init_may_refuse_or_have_nothing_to_do() -> None:
    class Choosy(StateMachine):
        def init(self, mood: str) -> None:
            self.goto("never")
            raise Ignore if mood == "lazy" else Stop("no licence")

    with pytest.raises(StartIgnored):
        await Choosy.start("lazy")
    with pytest.raises(StartFailed, match="no licence"):
        await Choosy.start("honest")
    assert not Scheduler.current().processes


# Order


@virtual
async def test_the_order_after_a_transition() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        for text in ("later 1", "later 2"):
            send(diary, Note(text))
        await turns(3)
        done = diary.everything()
        send(diary, Note("from the mailbox"))
        await done
        assert [text for text, _ in await diary.history()] == [
            "enter calm from calm",
            "enter wild from calm",
            "inserted 1",
            "inserted 2",
            "later 1",
            "later 2",
            "zero is due",
            "from the mailbox",
        ]


@virtual
async def test_the_same_state_is_not_entered_again_and_repeat_is() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        send(diary, Note("later"))
        await diary.go("calm")
        await diary.again()
        assert [text for text, _ in await diary.history()] == ["enter calm from calm", "enter calm from calm"]
        await diary.go("wild")
        assert [text for text, _ in await diary.history()][2:] == ["enter wild from calm", "later"]


@virtual
async def test_the_reply_is_sent_before_the_new_state_is_entered(caplog: pytest.LogCaptureFixture) -> None:
    for queued in (False, True):
        with virtual_scheduler().entered():
            diary = await Diary.start()
            down = diary.down()
            await turns(3)
            if queued:
                send(diary, Note("busy"))
            await diary.go("crash")
            assert isinstance((await down).reason, RuntimeError)
    assert "crashed in enter(): RuntimeError: cannot be here" in caplog.text


# Postponed events


@virtual
async def test_postponed_calls_casts_and_messages_come_back_in_order_when_the_state_changes() -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        first = await soon(door.walk("Ada"))
        door.ring("Bob", loud=True)
        second = await soon(door.walk(who="Cyd"))
        door.ring("Dan")
        assert await door.unlock("0000") is False
        assert not first.done()
        assert await door.unlock("1234")
        assert (await first, await second) == ("welcome Ada", "welcome Cyd")
        history = await door.history()
        assert [line.split(" at ")[0] for line in history] == [
            "Open: opened",
            "Open: Ada walks",
            "Open: Bob BANGS",
            "Open: Cyd walks",
            "Open: Dan rings",
        ]


@virtual
async def test_a_postponed_call_waits_no_longer_than_its_caller_does() -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        with pytest.raises(CallTimeout):
            await door.walk("Ada")
        assert running_time() == 5.0
        patient = await soon(door.with_timeout(None).walk("Bob"))
        await asyncio.sleep(60.0)
        await door.unlock("1234")
        assert await patient == "welcome Bob"
        assert await door.history() == ["Open: opened at 65", "Open: Bob walks at 65"]


def running_time() -> float:
    """Virtual seconds since the start."""
    return asyncio.get_running_loop().time()


@virtual
@pytest.mark.parametrize("way", ["crash", "kill", "stop", "exit"])
async def test_callers_of_postponed_calls_hear_of_the_end(way: str) -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        waiting = await soon(door.walk("Ada"))
        await door.unlock("0000")
        if way == "stop":
            await door.stop()
        else:
            door.exit(way)
        with pytest.raises(ProcessDown, match=r"normal|killed|crash|exit"):
            await waiting


@virtual
async def test_a_handler_may_change_the_state_and_postpone_its_event_into_it() -> None:
    class Lazy(StateMachine):
        @call
        def read(self) -> str:
            self.goto("loaded")
            if self.state != "loaded":
                raise Postpone
            return "data"

    with virtual_scheduler().entered():
        lazy = await Lazy.start()
        assert await lazy.read() == "data"
        assert await lazy.read() == "data"


@virtual
async def test_more_than_the_limit_is_refused_and_what_is_lost_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        gone = [await soon(door.with_timeout(1.0).walk("nobody"))]
        for _ in range(STATE_POSTPONED_MAX - 1):
            door.ring("Bob")
        await turns(30)
        with pytest.raises(Overloaded, match="what Door #1 has postponed is full"):
            await door.walk("Ada")
        door.ring("Cyd")
        await turns(3)
        assert f"{STATE_POSTPONED_MAX} events are postponed, so ring is lost" in caplog.text
        await asyncio.sleep(2.0)
        assert isinstance((await asyncio.gather(*gone, return_exceptions=True))[0], CallTimeout)
        welcome = await soon(door.walk("Eve"))
        await door.unlock("1234")
        assert await welcome == "welcome Eve"
        assert len(await door.history()) == STATE_POSTPONED_MAX + 1


# Timeouts


@virtual
async def test_a_state_timeout_ends_with_its_state() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        await diary.begin(state=5.0)
        await asyncio.sleep(4.0)
        await diary.go("calm")
        await asyncio.sleep(2.0)
        await diary.begin(state=5.0)
        await asyncio.sleep(4.0)
        await diary.go("wild")
        await asyncio.sleep(20.0)
        assert (await diary.history())[1:] == [("still calm", 5.0), ("enter wild from calm", 10.0)]


@virtual
async def test_an_event_timeout_ends_with_any_event() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        await diary.begin(event=5.0, tea=3.0)
        await asyncio.sleep(10.0)
        await diary.begin(event=5.0)
        await asyncio.sleep(4.0)
        send(diary, Note("anything"))
        await asyncio.sleep(10.0)
        await diary.hush(5.0)
        await asyncio.sleep(10.0)
        assert (await diary.history())[1:] == [("tea is due", 3.0), ("anything", 14.0), ("quiet", 29.0)]


@virtual
async def test_named_timeouts_are_set_again_renamed_cancelled_and_absolute() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        await diary.begin(tea=3.0, rice=4.0, soup=5.0)
        await diary.at("bread", 6.5)
        await diary.go("wild")
        await diary.begin(tea=8.0, rice=None)
        await diary.rename("soup", "onions")
        await diary.rename("salt", "at once")
        await asyncio.sleep(10.0)
        await diary.at("bread", 7.0)
        await asyncio.sleep(1.0)
        assert (await diary.history())[2:] == [
            ("at once", 0.0),
            ("onions", 5.0),
            ("bread is due", 6.5),
            ("tea is due", 8.0),
            ("bread is due", 10.0),
        ]


@virtual
async def test_timeouts_that_cannot_be_are_refused() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        for seconds in (-1.0, float("nan"), TIMER_S_MAX + 1.0):
            with pytest.raises(ConfigError, match="delay_s"):
                await diary.begin(tea=seconds)
        with pytest.raises(ConfigError, match=r"delay_s: datetime.timedelta\(seconds=5\) is not a number of seconds"):
            await diary.begin(tea=timedelta(seconds=5))  # type: ignore[arg-type]  # the mistake that is meant
        for moment in (1_700_000_000.0, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match="is no moment of the clock, which says 0 now"):
                await diary.at("bread", moment)
        assert not inside(diary)._process.tied.timers
        many = {f"n{number}": 1.0 for number in range(STATE_TIMEOUTS_MAX)}
        await diary.begin(**many)
        await diary.begin(n7=2.0, n8=None)
        await diary.begin(n8=2.0)
        with pytest.raises(TooLarge, match="STATE_TIMEOUTS_MAX"):
            await diary.begin(one_more=1.0)


@virtual
async def test_nothing_is_kept_of_timeouts_that_have_come() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        await diary.begin(**{f"n{number}": 1.0 for number in range(10)})
        await diary.begin(n0=2.0, n1=None)
        await asyncio.sleep(3.0)
        machine = inside(diary)
        assert isinstance(machine, Diary)
        assert not machine._engine.timers
        assert not machine._process.tied.timers


@virtual
async def test_the_end_of_a_machine_is_the_end_of_its_timeouts() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        await diary.begin(state=5.0, tea=6.0)
        log = vars(inside(diary))["log"]
        await diary.stop()
        await asyncio.sleep(10.0)
        assert log == [("enter calm from calm", 0.0)]


# Replies and ends


@virtual
async def test_replies_may_come_later_and_several_at_once() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        waiting = [await soon(diary.wait()) for _ in range(3)]
        assert await diary.answer_all() == 3
        assert await asyncio.gather(*waiting) == [0, 1, 2]


@virtual
@pytest.mark.parametrize("queued", [False, True])
async def test_a_handler_may_end_the_machine_with_a_reply(queued: bool) -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        down = diary.down()
        if not queued:
            await turns(3)
        assert await diary.end("shutdown", 42) == 42
        assert (await down).reason == "shutdown"


@virtual
async def test_a_machine_that_exits_enters_no_other_state() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        down = diary.down()
        log = vars(inside(diary))["log"]
        assert await diary.leave() == "bye"
        assert (await down).reason == "bored"
        assert log == [("enter calm from calm", 0.0)]


@virtual
@pytest.mark.parametrize("ending", ["stop", "parent"])
async def test_a_stop_comes_after_what_the_machine_has_before_its_mailbox(ending: str) -> None:
    class Nest(GenServer):
        async def init(self) -> None:
            self.diary = await Diary.start_link(trapping=True)

        @call
        def hatched(self) -> Diary:
            return self.diary

    with virtual_scheduler().entered():
        nest = await Nest.start()
        diary = await nest.hatched()
        await turns(3)
        log, down = vars(inside(diary))["log"], diary.down()
        done = diary.everything()
        if ending == "stop":
            await diary.stop()
        else:
            nest.exit("shutdown")
            await down
        await done
        assert [text for text, _ in log[1:]] == ["enter wild from calm", "inserted 1", "inserted 2", "zero is due"]


@virtual
async def test_an_enter_call_may_stop_the_machine() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        down = diary.down()
        await diary.go("stop")
        late = await soon(diary.history())
        assert (await down).reason == "shutdown"
        with pytest.raises(ProcessDown, match="shutdown"):
            await late


@virtual
async def test_what_a_handler_wants_counts_when_it_refuses() -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        await door.unlock("1234")
        with pytest.raises(Jammed, match="bent"):
            await door.slam()
        assert await door.unlock("0000") is False


@virtual
async def test_arguments_that_do_not_fit_are_refused() -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        with pytest.raises(BadMessage, match="missing 1 required positional argument: 'code'"):
            await door.unlock()  # type: ignore[call-arg]  # what mypy would find is tested here
        assert await door.unlock("1234")


# Async handlers


@virtual
async def test_async_handlers_run_alone_and_keep_the_order() -> None:
    with virtual_scheduler().entered():
        slow = await Slow.start(await Desk.start())
        asked = await soon(slow.with_timeout(10.0).ask())
        slow.tell("twice", twice=True)
        await asyncio.sleep(1.0)
        assert await slow.start_up() == "starting"
        slow.tell("from the mailbox")
        assert await asked == pytest.approx(6.0)
        assert await slow.history() == ["enter begins", "enter ends", "twice", "twice", "from the mailbox"]
        await asyncio.sleep(3.5)
        assert await slow.history() == ["enter begins", "enter ends", "twice", "twice", "from the mailbox"]
        await asyncio.sleep(1.0)
        assert (await slow.history())[-1] == "tired"


@virtual
async def test_an_async_enter_call_can_be_interrupted() -> None:
    with virtual_scheduler().entered():
        slow = await Slow.start(await Desk.start())
        await slow.start_up()
        waiting = await soon(slow.ask())
        log = vars(inside(slow))["log"]
        await asyncio.sleep(1.0)
        slow.exit("bored")
        with pytest.raises(ProcessDown, match="bored"):
            await waiting
        await asyncio.sleep(3.0)  # the desk goes on working
        assert log == ["enter begins"]


# From the network


@virtual
async def test_other_nodes_may_ask_what_a_machine_declares() -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        process = door._process
        spec = process.calls["unlock"]
        assert (spec.returns, sorted(process.calls)) == (bool, ["history", "slam", "unlock", "walk"])
        args, kwargs = spec.convert(["1234"], {})
        answers: list[tuple[object, Exception | None]] = []
        walk = process.calls["walk"]
        scheduler = Scheduler.current()
        scheduler.deliver_call(process, walk, ("Ada",), {}, lambda value, error: answers.append((value, error)))
        scheduler.deliver_call(process, spec, args, kwargs, lambda value, error: answers.append((value, error)))
        await turns(3)
        assert answers == [(True, None), ("welcome Ada", None)]
        with pytest.raises(BadMessage):
            spec.convert([5], {})
