"""The state machines that the stories are about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from enum import Enum

import msgspec

from roost import StateMachine, StateTimeout, Timeout, call, cast, info
from roost.errors import Refusal
from roost.otp import Caller, GenServer, NamedTimeout, NoReply, Postpone, Request, Stop
from roost.sim import turns


class Jammed(Refusal):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Door(StateMachine):
    """Its states are classes. It locks itself ten seconds after it was opened."""

    def init(self, code: str) -> None:
        self.code = code
        self.log: list[str] = []
        self.goto(Locked)

    @call
    def unlock(self, code: str) -> bool:
        return True

    @call
    def walk(self, who: str) -> str:
        raise Postpone

    @cast
    def ring(self, who: str, *, loud: bool = False) -> None:
        raise Postpone

    @call
    def slam(self) -> None:
        self.goto(Locked)
        raise Jammed("the frame is bent")

    @call
    def history(self) -> list[str]:
        return self.log

    def note(self, what: str) -> None:
        self.log.append(f"{type(self).__name__}: {what} at {self.scheduler.runtime.clock.now():g}")


class Locked(Door):
    @call
    def unlock(self, code: str) -> bool:
        if code != self.code:
            return False
        self.goto(Open)
        return True


class Open(Door):
    def enter(self) -> None:
        self.note("opened")
        self.state_timeout(10.0)

    @call
    def walk(self, who: str) -> str:
        self.note(f"{who} walks")
        return f"welcome {who}"

    @cast
    def ring(self, who: str, *, loud: bool = False) -> None:
        self.note(f"{who} {'BANGS' if loud else 'rings'}")

    @info
    def too_long(self, timeout: StateTimeout) -> None:
        self.note("locks")
        self.goto(Locked)


class Light(Enum):
    RED = 1
    GREEN = 2
    BLINKING = 3


class Press(Request[str], frozen=True):
    pass


class Break(msgspec.Struct, frozen=True):
    pass


class Repaired(msgspec.Struct, frozen=True):
    by: str


class TrafficLight(StateMachine):
    """Its states are values, and it is told and asked with messages."""

    def init(self) -> None:
        self.goto(Light.RED)
        self.state_timeout(30.0)

    def enter(self) -> None:
        self.entered = (self.previous, self.state)

    def handle_call(self, message: Press) -> str:
        match self.state:
            case Light.RED:
                self.state_timeout(3.0)
                return "wait"
            case Light.GREEN:
                return "go"
            case _:
                raise Postpone

    def handle_cast(self, message: Break) -> None:
        self.goto(Light.BLINKING)

    def handle_info(self, message: StateTimeout | Repaired) -> None:
        match self.state, message:
            case Light.RED, StateTimeout():
                self.goto(Light.GREEN)
                self.state_timeout(20.0)
            case Light.GREEN, StateTimeout():
                self.goto(Light.RED)
                self.state_timeout(30.0)
            case _, Repaired():
                self.goto(Light.RED)


class Note(msgspec.Struct, frozen=True):
    text: str


class Diary(StateMachine):
    """Its states are words. What it does is said from outside, and what it gets is written down."""

    def init(self, state: str = "calm", trapping: bool = False) -> None:
        self.trap_exits(trapping)
        self.log: list[tuple[str, float]] = []
        self.callers: list[Caller[int]] = []
        self.goto(state)

    def write(self, text: str) -> None:
        self.log.append((text, self.scheduler.runtime.clock.now()))

    @info
    def noted(self, message: Note) -> None:
        if message.text.startswith("later") and self.state == "calm":
            raise Postpone
        self.write(message.text)

    @info
    def quiet(self, message: Timeout) -> None:
        self.write("quiet")

    @info
    def settled(self, message: StateTimeout) -> None:
        self.write(f"still {self.state}")

    @info
    def named(self, message: NamedTimeout) -> None:
        self.write(f"{message.name} is due")

    @call
    def begin(self, /, *, state: float | None = None, event: float | None = None, **named: float | None) -> None:
        if state is not None:
            self.state_timeout(state)
        if event is not None:
            self.event_timeout(event)
        for name, delay_s in named.items():
            self.timeout(name, delay_s)

    @call
    def rename(self, name: str, text: str) -> None:
        self.timeout(name, message=Note(text))

    @call
    def at(self, name: str, moment_s: float) -> None:
        self.timeout(name, moment_s, absolute=True)

    @call
    def go(self, state: str) -> None:
        self.goto(state)

    @call
    def again(self) -> None:
        self.repeat()

    @call
    def everything(self) -> None:
        """The whole order in one handler."""
        self.timeout("zero", 0.0)
        self.goto("wild")
        self.continue_with(Note("inserted 1"))
        self.continue_with(Note("inserted 2"))

    @call
    def wait(self) -> int:
        self.callers.append(self.caller())
        raise NoReply

    @call
    def answer_all(self) -> int:
        for number, caller in enumerate(self.callers):
            caller.reply(number)
        return len(self.callers)

    @call
    def hush(self, seconds: float) -> None:
        self.receive_timeout(seconds)

    @call
    def end(self, reason: str, value: int) -> int:
        self.goto("over")
        raise Stop(reason, reply=value)

    @call
    def leave(self) -> str:
        self.goto("over")
        self.exit("bored")
        return "bye"

    @call
    def history(self) -> list[tuple[str, float]]:
        return self.log

    def enter(self) -> None:
        self.write(f"enter {self.state} from {self.previous}")
        if self.state == "stop":
            raise Stop("shutdown")
        if self.state == "crash":
            raise RuntimeError("cannot be here")


class Desk(GenServer):
    """Takes its time, and knows how much of it is left."""

    @call
    async def work(self, seconds: float) -> float | None:
        await asyncio.sleep(seconds)
        return self.time_left_s()


class Slow(StateMachine):
    """Its handlers are async."""

    def init(self, desk: Desk) -> None:
        self.desk = desk
        self.log: list[str] = []
        self.goto(Idle)

    @call
    async def start_up(self) -> str:
        self.goto(Working)
        return "starting"

    @call
    async def ask(self) -> float | None:
        raise Postpone

    @cast
    async def tell(self, what: str, *, twice: bool = False) -> None:
        raise Postpone

    @call
    def history(self) -> list[str]:
        return self.log


class Idle(Slow):
    pass


class Working(Slow):
    async def enter(self) -> None:
        self.log.append("enter begins")
        await self.desk.work(2.0)
        self.log.append("enter ends")
        self.state_timeout(5.0)

    @call
    async def ask(self) -> float | None:
        await self.desk.with_timeout(None).work(1.0)
        return self.time_left_s()

    @cast
    async def tell(self, what: str, *, twice: bool = False) -> None:
        self.log.extend([what] * (1 + twice))

    @info
    async def tired(self, message: StateTimeout) -> None:
        self.log.append("tired")
        self.goto(Idle)


def inside(machine: GenServer) -> GenServer:
    """The object with the state."""
    return machine._process.server


async def soon(awaitable: Awaitable[object]) -> asyncio.Task[object]:
    """Begin to wait for something."""

    async def wait() -> object:
        return await awaitable

    task = asyncio.ensure_future(wait())
    await turns(3)
    return task
