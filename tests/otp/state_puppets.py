"""State machines that do what a program says, in both styles, with `def` and with `async def` handlers."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Literal

import msgspec

from roost.otp import Caller, NoReply, Process, Stop, call, cast, info, send
from roost.otp.state_engine import Postpone
from roost.otp.state_machine import StateMachine
from roost.sim.loop import running_loop
from tests.otp.state_programs import REST_TICKS, Answer, Line, Program, Seen, Setting, Trace, trace


class Poke(msgspec.Struct, frozen=True):
    """A message from outside."""

    event: int


class Inner(msgspec.Struct, frozen=True):
    """An event that a handler has inserted."""

    event: int


class Due(msgspec.Struct, frozen=True):
    """A timeout."""

    key: str
    content: int


class Record:
    """What the handlers of one machine write down."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []


class Actor(StateMachine):
    """What all of them do. States are values."""

    def init(self, program: Program, record: Record) -> None:
        """Begin as the program says."""
        self.program, self.seen = program, record.seen
        self.count = 0
        self.saved: list[Caller[int]] = []
        self.goto(self.of(program.first))
        for event in program.inserts:
            self.continue_with(Inner(event))
        for setting in program.settings:
            self.set(setting)

    def of(self, number: int) -> object:
        """The state of this number."""
        return number

    def number(self, state: object) -> int:
        """The number of a state."""
        assert isinstance(state, int)
        return state

    def act(self, kind: str, content: int) -> int:
        """Do what the next line says."""
        seen = Seen(self.scheduler.runtime.clock.now(), kind, content, self.number(self.state))
        self.seen.append(seen)
        line = self.program.lines[self.count] if self.count < len(self.program.lines) else Line()
        self.count += 1
        if kind == "enter":
            line = line.within_enter()
        if isinstance(line.next, int):
            self.goto(self.of(line.next))
        elif line.next == "repeat":
            self.repeat()
        for event in line.inserts:
            self.continue_with(Inner(event))
        for setting in line.settings:
            self.set(setting)
        if line.postpone:
            raise Postpone
        return self.answer(line, kind)

    def answer(self, line: Line, kind: str) -> int:
        """Reply to whom the line says."""
        value = self.count - 1
        if line.reply == "all":
            for caller in self.saved:
                caller.reply(value)
            self.saved = []
        elif line.reply == "later" and kind == "call" and line.next not in ("stop", "crash"):
            self.saved.append(self.caller())
            raise NoReply
        if line.next == "crash":
            raise RuntimeError("a line of the program")
        if line.next == "stop":
            raise Stop("normal", reply=value) if kind == "call" and line.reply != "later" else Stop("normal")
        return value

    def set(self, setting: Setting) -> None:
        """Want something of a timeout."""
        message = Due(str(setting.key), setting.content)
        at = float(setting.ticks)
        match setting.key, setting.what:
            case "state", "set":
                self.state_timeout(at, message)
            case "state", "abs":
                self.state_timeout(at, message, absolute=True)
            case "state", "cancel":
                self.state_timeout(None)
            case "state", _:
                self.state_timeout(message=message)
            case "event", "set":
                self.event_timeout(at, message)
            case "event", "abs":
                self.event_timeout(at, message, absolute=True)
            case "event", "cancel":
                self.event_timeout(None)
            case "event", _:
                self.event_timeout(message=message)
            case name, "set":
                self.timeout(str(name), at, message)
            case name, "abs":
                self.timeout(str(name), at, message, absolute=True)
            case name, "cancel":
                self.timeout(str(name), None)
            case name, _:
                self.timeout(str(name), message=message)


class Puppet(Actor):
    """States are values, handlers are sync."""

    @call
    def ask(self, event: int) -> int:
        """A call from outside."""
        return self.act("call", event)

    @cast
    def tell(self, event: int) -> None:
        """A cast from outside."""
        self.act("cast", event)

    @info
    def poked(self, message: Poke) -> None:
        """A message from outside."""
        self.act("info", message.event)

    @info
    def inserted(self, message: Inner) -> None:
        """An inserted event."""
        self.act("internal", message.event)

    @info
    def due(self, message: Due) -> None:
        """A timeout."""
        self.act(message.key, message.content)

    def enter(self) -> None:
        """The enter call of machines that have one."""
        if self.program.enters:
            self.act("enter", self.number(self.previous))


class Doll(Puppet):
    """States are subclasses; those of even numbers have handlers of their own, which do the same."""

    mine: ClassVar[int] = -1

    def of(self, number: int) -> object:
        """The state of this number."""
        return (Doll0, Doll1, Doll2, Doll3)[number]

    def number(self, state: object) -> int:
        """The number of a state."""
        assert isinstance(state, type)
        assert issubclass(state, Doll)
        return state.mine

    def act(self, kind: str, content: int) -> int:
        """The class of a machine is its state."""
        assert type(self) is self.state
        return super().act(kind, content)


class Doll0(Doll):
    """A state."""

    mine = 0

    @call
    def ask(self, event: int) -> int:
        """A call from outside."""
        assert self.mine == 0
        return self.act("call", event)

    @info
    def due_here(self, message: Due) -> None:
        """A timeout."""
        assert self.mine == 0
        self.act(message.key, message.content)


class Doll1(Doll):
    """A state."""

    mine = 1


class Doll2(Doll):
    """A state."""

    mine = 2

    @cast
    def tell(self, event: int) -> None:
        """A cast from outside."""
        assert self.mine == 2
        self.act("cast", event)

    @info
    def poked_here(self, message: Poke) -> None:
        """A message from outside."""
        assert self.mine == 2
        self.act("info", message.event)


class Doll3(Doll):
    """A state."""

    mine = 3


class Sleeper(Actor):
    """States are values, handlers are async."""

    @call
    async def ask(self, event: int) -> int:
        """A call from outside."""
        await asyncio.sleep(0)
        return self.act("call", event)

    @cast
    async def tell(self, event: int) -> None:
        """A cast from outside."""
        self.act("cast", event)

    @info
    async def poked(self, message: Poke) -> None:
        """A message from outside."""
        await asyncio.sleep(0)
        self.act("info", message.event)

    @info
    async def inserted(self, message: Inner) -> None:
        """An inserted event."""
        await asyncio.sleep(0)
        self.act("internal", message.event)

    @info
    async def due(self, message: Due) -> None:
        """A timeout."""
        self.act(message.key, message.content)

    async def enter(self) -> None:
        """The enter call of machines that have one."""
        await asyncio.sleep(0)
        if self.program.enters:
            self.act("enter", self.number(self.previous))


async def perform(program: Program, kind: type[Actor]) -> Trace:
    """Run one program on a new machine of the current scheduler, at the time 0 of its clock."""
    now = running_loop().time
    record, answers = Record(), list[Answer]()
    seen = record.seen
    actor = await kind.start(program, record)
    actor.down().add_done_callback(lambda _: seen.append(Seen(now(), "down", 0, 0)))
    process = actor._process
    for moment in program.script:
        if now() < moment.at:
            await asyncio.sleep(moment.at - now())
        if moment.kind == "call":
            ask(process, moment.event, answers)
        elif moment.kind == "cast":
            process.tell(process.casts["tell"], (moment.event,), {})
        else:
            send(actor, Poke(moment.event))
    await asyncio.sleep(REST_TICKS - now())
    actor.exit("kill")
    return trace([one for one in seen if one.at < REST_TICKS], [one for one in answers if one.at < REST_TICKS])


def ask(process: Process, event: int, answers: list[Answer]) -> None:
    """Make a call as the network makes it, which hears of replies in the order in which they are given."""
    clock = process.scheduler.runtime.clock

    def on_reply(value: object, error: Exception | None) -> None:
        assert error is not None or isinstance(value, int)
        told: int | Literal["down"] = value if isinstance(value, int) and error is None else "down"
        answers.append(Answer(clock.now(), event, told))

    process.scheduler.deliver_call(process, process.calls["ask"], (event,), {}, on_reply)
