"""State machines that are watched, full, or wrongly written."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from roost import StateMachine, call, info, send
from roost.errors import BadMessage, BadTransition, NotSendable, ProcessDown, TooLarge
from roost.limits import STATE_INSERTED_MAX
from roost.otp import Postpone, Request, sys
from roost.sim import turns
from tests.otp.machines import Diary, Door, Note, inside, soon
from tests.otp.virtual import virtual_scheduler

virtual = pytest.mark.virtual_time


@virtual
async def test_a_suspended_machine_waits_with_everything() -> None:
    with virtual_scheduler().entered():
        diary = await Diary.start()
        await diary.begin(tea=1.0)
        await diary._process.suspend()
        going = await soon(diary.go("wild"))
        await asyncio.sleep(3.0)
        assert not going.done()
        diary._process.resume()
        await going
        assert (await diary.history())[1:] == [("enter wild from calm", 3.0), ("tea is due", 3.0)]


@virtual
async def test_a_tracer_sees_enter_calls_and_events_that_come_again() -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        seen: list[str] = []
        await door.unlock("0000")
        door._process.trace(lambda way, spec, content: seen.append(f"{way} {getattr(spec, 'name', None)}"))
        walking = await soon(door.walk("Ada"))
        await door.unlock("1234")
        await walking
        assert seen == ["in walk", "in unlock", "out unlock", "in enter", "in walk", "out walk"]


# Mistakes


class Clumsy(StateMachine):
    """Does in its enter call what the enter call may not do."""

    def init(self, mistake: str) -> None:
        self.mistake = mistake

    def enter(self) -> None:
        match self.mistake:
            case "goto":
                self.goto("elsewhere")
            case "continue_with":
                self.continue_with(Note("x"))
            case "postpone":
                raise Postpone
            case "same":
                self.goto(Clumsy)

    @call
    def ping(self) -> str:
        return "pong"


@virtual
@pytest.mark.parametrize(
    ("mistake", "text"),
    [
        ("goto", "in state Clumsy: an enter call may not change the state (to elsewhere)"),
        ("continue_with", "in state Clumsy: an enter call may not insert events"),
        ("postpone", "in state Clumsy: an enter call cannot be postponed"),
    ],
)
async def test_an_enter_call_that_goes_too_far_crashes(
    mistake: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    with virtual_scheduler().entered():
        clumsy = await Clumsy.start(mistake)
        reason = (await clumsy.down()).reason
        assert isinstance(reason, BadTransition)
        assert str(reason) == text
    assert text in caplog.text


@virtual
async def test_an_enter_call_may_name_the_state_that_it_enters() -> None:
    with virtual_scheduler().entered():
        assert await (await Clumsy.start("same")).ping() == "pong"


class Stranger(StateMachine):
    pass


class Wrong(StateMachine):
    @call
    def become(self, state: str) -> None:
        states = (Stranger, Talker, Sleeper, Slotted, Forgetful, Deaf, Vague)
        self.goto(Talker() if state == "instance" else {kind.__name__: kind for kind in states}[state])

    @call
    def remember(self) -> None:
        self.activity(self.meddle())

    @info
    def noted(self, message: Note) -> None:
        pass

    async def meddle(self) -> None:
        await asyncio.sleep(1.0)
        self.goto("elsewhere")


class Talker(Wrong):
    @call
    def talk(self) -> None:
        pass


class Forgetful(Wrong):
    def become(self, state: str) -> None:  # type: ignore[override]  # the mistake that is meant
        pass


class Deaf(Wrong):
    def noted(self, message: Note) -> None:  # type: ignore[override]  # the mistake that is meant
        pass


class Vague(Wrong):
    @info
    def anything(self, message) -> None:  # type: ignore[no-untyped-def]  # the mistake that is meant
        pass


class Slotted(Wrong):
    __slots__ = ("wallet",)


class Sleeper(Wrong):
    @call
    async def become(self, state: str) -> None:
        pass


@virtual
@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("Stranger", "Stranger is not a subclass of Wrong"),
        ("Talker", "Talker.talk is not declared by Wrong, whose handle it would be on"),
        ("Sleeper", "Sleeper.become and Wrong.become must both be async, or neither"),
        ("Slotted", "Slotted has __slots__ of its own: declare them in Wrong"),
        ("Forgetful", "Forgetful.become is no handler: declare it as Wrong does"),
        ("Deaf", "Deaf.noted is no handler: declare it as Wrong does"),
        ("Vague", "@info Vague.anything must take one argument, annotated with the class of the message"),
        ("instance", "a state is the class Talker, not an instance of it"),
    ],
)
async def test_a_class_that_is_no_state_of_the_machine_crashes_it(state: str, text: str) -> None:
    with virtual_scheduler().entered():
        wrong = await Wrong.start()
        with pytest.raises(ProcessDown, match=text):
            await wrong.become(state)


@virtual
async def test_what_is_wanted_outside_of_a_handler_is_a_mistake() -> None:
    with virtual_scheduler().entered():
        wrong = await Wrong.start()
        down = wrong.down()
        await wrong.remember()
        assert "goto outside of a handler" in str((await down).reason)


@virtual
async def test_inserted_events_are_bounded_and_must_be_sendable() -> None:
    class Eager(StateMachine):
        @call
        def insert(self, count: int) -> None:
            for _ in range(count):
                self.continue_with(Note("x"))

        @call
        def insert_unfit(self) -> None:
            self.continue_with(object())

        @info
        def noted(self, message: Note) -> None:
            pass

    with virtual_scheduler().entered():
        eager = await Eager.start()
        await eager.insert(STATE_INSERTED_MAX)
        with pytest.raises(TooLarge, match="STATE_INSERTED_MAX"):
            await eager.insert(STATE_INSERTED_MAX + 1)
        with pytest.raises(NotSendable):
            await eager.insert_unfit()


@virtual
async def test_a_message_that_the_state_does_not_take_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(msgspec.Struct, frozen=True):
        pass

    with virtual_scheduler().entered():
        door = await Door.start("1234")
        send(door, Odd())
        assert await door.unlock("1234")
        assert "no @info handler takes a Odd" in caplog.text


@virtual
async def test_a_full_mailbox_drops_mail_but_never_an_enter_call() -> None:
    class Narrow(Diary):
        mailbox_messages_max = 3  # what the machine has before its mailbox is one of them
        overflow = "drop_oldest"

    with virtual_scheduler().entered():
        narrow = await Narrow.start()
        await turns(3)
        await narrow.everything()
        for number in range(5):
            send(narrow, Note(f"mail {number}"))
        await turns(5)
        texts = [text for text, _ in await narrow.history()]
        assert texts[1:] == ["enter wild from calm", "inserted 1", "inserted 2", "zero is due", "mail 3", "mail 4"]


@virtual
async def test_a_full_mailbox_never_drops_an_enter_call_or_an_event_that_has_not_quite_begun() -> None:
    class Flooded(StateMachine):
        mailbox_messages_max = 1
        overflow = "drop_oldest"

        def init(self) -> None:
            self.log: list[str] = []

        @info
        async def noted(self, message: Note) -> None:
            await asyncio.sleep(0)
            if message.text == "mail":
                return
            if message.text == "go":
                self.continue_with(Note("inserted"))
                self.goto(str(len(self.log)))
            self.log.append(message.text)

        async def enter(self) -> None:
            await asyncio.sleep(0)
            self.log.append("enter")

    with virtual_scheduler().entered():
        flooded = await Flooded.start()
        await turns(5)
        for _ in range(5):
            send(flooded, Note("go"))
            await turns(1)
            for _ in range(20):
                send(flooded, Note("mail"))
                await turns(1)
            await turns(10)
        assert vars(inside(flooded))["log"] == ["enter", *["go", "enter", "inserted"] * 5]


@virtual
async def test_reports_show_the_state_and_what_waits(caplog: pytest.LogCaptureFixture) -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        waiting = await soon(door.walk("Ada"))
        shown = inside(door).show_state()
        assert shown == {"state": "Locked", "postponed": 1, "timeouts": [], "code": "1234", "log": []}
        await door.unlock("1234")
        await waiting
        shown = inside(door).show_state()
        assert isinstance(shown, dict)
        assert (shown["state"], shown["postponed"], shown["timeouts"]) == ("Open", 0, ["state"])
        diary = await Diary.start()
        await diary.begin(event=1.0, tea=2.0)
        shown = inside(diary).show_state()
        assert isinstance(shown, dict)
        assert (shown["state"], shown["timeouts"]) == ("calm", ["event", "tea"])


async def test_the_state_is_private_to_the_machine() -> None:
    door = await Door.start("1234")
    for name in ("state", "previous", "goto", "enter", "repeat", "timeout", "code"):
        with pytest.raises(AttributeError, match="private"):
            getattr(door, name)
    with pytest.raises(AttributeError):
        inside(door).state = "Open"  # type: ignore[attr-defined]  # what mypy would find is tested here


@virtual
async def test_the_data_of_a_machine_may_be_read_and_replaced_without_its_state() -> None:
    with virtual_scheduler().entered():
        door = await Door.start("1234")
        assert await sys.get_state(door) == {"code": "1234", "log": []}
        await sys.replace_state(door, lambda state: {**state, "code": "0000"})
        assert await door.unlock("0000")
        assert (
            "'state': 'Open', 'postponed': 0, 'timeouts': ['state'], 'code': '0000'"
            in (await sys.get_status(door)).state
        )


@virtual
async def test_a_machine_may_be_declared_inside_a_function_with_its_messages() -> None:
    class Turn(Request[int], frozen=True):
        by: int

    class Knob(StateMachine):
        def init(self) -> None:
            self.goto(0)

        def handle_call(self, message: Turn) -> int:
            assert isinstance(self.state, int)
            self.goto(self.state + message.by)
            return self.state

    with virtual_scheduler().entered():
        knob = await Knob.start()
        assert [await knob.call(Turn(by)) for by in (2, 3, 4)] == [0, 2, 5]
        with pytest.raises(BadMessage, match="takes Turn, got a Note"):
            await knob.call(Note("x"))  # type: ignore[arg-type]  # what mypy would find is tested here
