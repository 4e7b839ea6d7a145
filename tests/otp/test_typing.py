"""What a type checker infers from a process class. mypy checks this module; the tests check that it is also true."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import assert_type

from roost import Agent, EventHandler, EventManager, GenServer, Registry, Request, StateMachine, Supervisor, call, cast
from roost.otp import Child, ChildState, Entry, ProcessTimer, send_after


class Counter(GenServer):
    def init(self, start: int = 0) -> None:
        self.n = start

    @call
    def increment(self, by: int = 1) -> int:
        self.n += by
        return self.n

    @call
    async def describe(self, *, loud: bool) -> str:
        return f"{self.n}!" if loud else str(self.n)

    @call
    def split(self) -> tuple[int, list[str]]:
        return self.n, list(str(self.n))

    @cast
    def reset(self) -> None:
        self.n = 0


async def test_that_handles_are_typed() -> None:
    counter = assert_type(await Counter.start_link(5, name="typed"), Counter)
    assert isinstance(assert_type(await counter.increment(by=2), int), int)
    assert isinstance(assert_type(await counter.describe(loud=True), str), str)
    assert isinstance(assert_type(await counter.with_timeout(1.0).split(), tuple[int, list[str]]), tuple)
    waiting = assert_type(counter.increment(), Awaitable[int])
    await waiting
    assert assert_type(counter.reset(), None) is None
    assert isinstance(assert_type(Counter.whereis("typed"), Counter), Counter)
    assert isinstance(assert_type(Counter.child(5), Child[Counter]), Child)
    await counter.stop()


async def test_that_a_supervisor_is_typed() -> None:
    supervisor = assert_type(await Supervisor.start_link([]), Supervisor)
    assert assert_type(await supervisor.which_children(), tuple[ChildState, ...]) == ()
    await supervisor.stop()


async def wrong_calls(counter: Counter) -> None:
    """Never run: each line is a mistake that mypy must see, or the unused comment fails the check."""
    await counter.increment("2")  # type: ignore[arg-type]  # a str where an int is declared
    await counter.describe()  # type: ignore[call-arg]  # loud is missing
    await counter.absent()  # type: ignore[attr-defined]  # nothing of that name
    await counter.reset()  # type: ignore[misc]  # a cast has no reply


def take(stock: dict[str, int], item: str, number: int = 1) -> tuple[int, dict[str, int]]:
    left = stock[item] - number
    return left, stock | {item: left}


async def load(path: str) -> list[int]:
    return [len(path)]


async def test_that_agents_are_typed() -> None:
    async def count(state: dict[str, int]) -> int:
        return len(state)

    async def add(state: dict[str, int], item: str) -> dict[str, int]:
        return {**state, item: 1}

    stock = assert_type(await Agent.start_link(lambda: {"tea": 3}), Agent[dict[str, int]])
    assert_type(await Agent.start(dict[str, int]), Agent[dict[str, int]])
    assert_type(await Agent.start(load, "path"), Agent[list[int]])
    assert_type(await Agent[dict[str, int]].start(dict), Agent[dict[str, int]])
    assert assert_type(await stock.get(lambda state: state["tea"]), int) == 3
    assert assert_type(await stock.get(count), int) == 1
    assert assert_type(await stock.get(dict.copy), dict[str, int]) == {"tea": 3}
    assert assert_type(await stock.get_and_update(take, "tea", number=2), int) == 1
    assert_type(stock.update(lambda state: state | {"milk": 1}), Awaitable[None])
    assert_type(stock.update(add, "rice"), Awaitable[None])
    assert assert_type(stock.cast(add, "salt"), None) is None
    assert_type(stock.with_timeout(1.0), Agent[dict[str, int]])
    assert_type(Agent[int].child(int), Child[Agent[int]])


async def wrong_functions(stock: Agent[dict[str, int]]) -> None:
    """Never run, as `wrong_calls`."""
    await stock.get_and_update(take, 3)  # type: ignore[call-overload]  # an item is a str
    await stock.get_and_update(take)  # type: ignore[call-overload]  # the item is missing
    await stock.get(lambda: 1)  # type: ignore[call-overload]  # the state is missing
    await stock.update(lambda state: len(state))  # type: ignore[call-overload]  # an int is no such state
    stock.cast(lambda state: len(state))  # type: ignore[arg-type, return-value]  # an int is no such state


async def test_that_registries_are_typed() -> None:
    rooms: Registry[Counter, str] = await Registry.start_link()
    counter = assert_type(await Counter.start_link(name=rooms.via("hits", "how many")), Counter)
    assert assert_type(rooms.lookup("hits"), tuple[tuple[Counter, str], ...]) == ((counter, "how many"),)
    assert assert_type(rooms.values("hits", counter), tuple[str, ...]) == ("how many",)
    new, old = assert_type(rooms.update_value("hits", str.upper, process=counter), tuple[str, str])
    assert (new, old) == ("HOW MANY", "how many")
    (entry,) = assert_type(rooms.entries(lambda entry: entry.value.isupper()), tuple[Entry[Counter, str], ...])
    assert assert_type(await entry.process.increment(), int) == 1
    assert rooms.dispatch("hits", lambda process, value: process.reset()) == 1
    assert_type(await Registry[Counter, str].start(), Registry[Counter, str])
    assert_type(Counter.whereis(rooms.via("hits")), Counter)


def wrong_values(rooms: Registry[Counter, str], counter: Counter) -> None:
    """Never run, as `wrong_calls`."""
    rooms.register("hits", 3)  # type: ignore[arg-type]  # values are str
    rooms.via("hits", 3)  # type: ignore[arg-type]  # values are str
    rooms.update_value("hits", len)  # type: ignore[arg-type]  # values are str
    rooms.dispatch("hits", lambda process, value: process.absent())  # type: ignore[attr-defined]  # nothing of that name


class Count(Request[int], frozen=True):
    """Asks an event handler."""


class Tally(EventHandler):
    def handle_call(self, request: Count) -> int:
        return 7


async def test_that_event_managers_are_typed() -> None:
    events = assert_type(await EventManager.start_link(), EventManager)
    assert_type(events.add_handler(Tally), Awaitable[None])
    assert assert_type(await events.call("Tally", Count()), int) == 7
    assert_type(events.call("Tally", "another request"), Awaitable[object])
    assert assert_type(events.notify("event"), None) is None
    assert assert_type(await events.which_handlers(), tuple[str, ...]) == ("Tally",)


async def wrong_handlers(events: EventManager) -> None:
    """Never run, as `wrong_calls`."""
    await events.add_handler(Counter)  # type: ignore[arg-type]  # a process is no event handler
    await events.call(Count())  # type: ignore[call-overload]  # which handler?


class Lamp(StateMachine):
    @call
    def press(self) -> str:
        self.goto(Lit)
        return "on"


class Lit(Lamp):
    @call
    def press(self) -> str:
        self.goto(Lamp)
        return "off"


async def test_that_state_machines_are_typed() -> None:
    lamp = assert_type(await Lamp.start_link(), Lamp)
    assert [assert_type(await lamp.press(), str), await lamp.press()] == ["on", "off"]
    assert_type(Lamp.child(), Child[Lamp])


async def test_that_timers_are_typed() -> None:
    counter = await Counter.start_link()
    timer = assert_type(send_after(counter, 10.0, "late"), ProcessTimer)
    assert assert_type(timer.left_s(), float | None) is not None
    assert assert_type(timer.cancel(), float | None) is not None
