"""Agents: a state, and functions that run on it in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from roost.errors import BadFunction, CallCycle, CallTimeout, NameTaken, NotSendable, ProcessDown, Refusal, StartFailed
from roost.otp import Agent, GenServer, Supervisor, call, remote_handle
from roost.sim import turns
from tests.otp.virtual import virtual_scheduler


class OutOfStock(Refusal):
    pass


def take(stock: dict[str, int], item: str, number: int = 1) -> tuple[int, dict[str, int]]:
    if stock.get(item, 0) < number:
        raise OutOfStock(item)
    left = stock[item] - number
    return left, stock | {item: left}


async def test_get_update_get_and_update_and_cast() -> None:
    stock = await Agent.start_link(lambda: {"tea": 3})
    assert await stock.get(lambda state: state["tea"]) == 3
    assert await stock.update(lambda state: state | {"milk": 1}) is None  # type: ignore[func-returns-value]  # that is the point
    assert await stock.get_and_update(take, "tea", number=2) == 1
    stock.cast(lambda state, item: state | {item: 9}, "rice")
    assert await stock.get(dict.copy) == {"tea": 1, "milk": 1, "rice": 9}


async def test_functions_run_in_the_order_in_which_they_were_given() -> None:
    words = await Agent.start_link(list[str])

    async def slowly(state: list[str], word: str) -> list[str]:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [*state, word]

    def at_once(state: list[str], word: str) -> list[str]:
        return [*state, word]

    words.cast(slowly, "one")
    words.cast(at_once, "two")
    updating = asyncio.ensure_future(words.update(slowly, "three"))
    await asyncio.sleep(0)
    assert await words.get_and_update(lambda state: (len(state), state)) == 3
    await updating
    assert await words.get(lambda state: state) == ["one", "two", "three"]


async def test_async_functions_of_every_kind() -> None:
    agent = await Agent.start_link(lambda: 1)

    async def get(state: int) -> int:
        await asyncio.sleep(0)
        return state

    async def add(state: int, by: int) -> int:
        await asyncio.sleep(0)
        return state + by

    async def both(state: int) -> tuple[str, int]:
        return f"was {state}", 10

    await agent.update(add, 2)
    await agent.update(partial(add, by=1))
    assert await agent.get(get) == 4
    assert await agent.get_and_update(both) == "was 4"
    agent.cast(add, 5)
    assert await agent.get(lambda state: state) == 15


async def test_the_state_stays_inside() -> None:
    agent = await Agent.start_link(list[int])
    given = [1]
    await agent.update(lambda state, more: state + more, given)
    await agent.update(lambda state, more: [*state, more], 2)
    got = await agent.get(lambda state: state)
    got.append(99)
    given.append(99)
    reply = await agent.get_and_update(lambda state: (state, state))
    reply.append(99)
    outside: list[int] = []
    await agent.get(lambda state: outside.extend(state))
    assert await agent.get(lambda state: state) == [1, 2]
    assert outside == [], "what a function closes over is a copy there"
    with pytest.raises(AttributeError, match="the state of a process is private"):
        print(agent._state)


async def test_what_cannot_cross_is_refused_and_the_agent_lives() -> None:
    agent = await Agent.start_link(lambda: 1)
    lock = asyncio.Lock()
    with pytest.raises(NotSendable, match="'lock', which"):
        await agent.get(lambda state: lock.locked())
    with pytest.raises(NotSendable, match="argument 2 of"):
        await agent.get(lambda state, given: state, lock)
    with pytest.raises(NotSendable, match=r"reply of Agent\._get"):
        await agent.get(lambda state: object())
    with pytest.raises(NotSendable, match="the reply of"):
        await agent.get_and_update(lambda state: (object(), 2))
    with pytest.raises(NotSendable):
        agent.cast(lambda state: 1 if lock.locked() else 2)
    assert await agent.get(lambda state: state) == 1


async def test_a_function_that_forgets_to_return_the_state_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    words = await Agent.start_link(list[str])
    with pytest.raises(BadFunction, match=r"list\.append|append returned None in place of the new list"):
        await words.update(list.append, "tea")  # type: ignore[call-overload]  # the mistake that is meant
    words.cast(lambda state: None)  # type: ignore[arg-type, return-value]  # the mistake that is meant
    assert await words.get(len) == 1, "append has changed it in place"
    assert "returned None in place of the new list" in caplog.text
    with pytest.raises(BadFunction, match="must return"):
        await words.get_and_update(lambda state: state)  # type: ignore[call-overload]  # the mistake that is meant

    def nothing(value: int | None) -> int | None:
        return None

    maybe: Agent[int | None] = await Agent.start_link(lambda: 1)
    await maybe.update(nothing)
    assert await maybe.get(lambda state: state) is None, "None is a state like any other"


@pytest.mark.parametrize("how", ["coroutine", "busy agent", "idle agent", "itself"])
async def test_a_function_that_returns_something_to_await_is_refused(how: str) -> None:
    agent, busy, idle = await Agent.start(int), await Agent.start(int), await Agent.start(int)

    async def wait(state: int) -> int:
        await asyncio.sleep(0)
        return state

    def make(state: object) -> object:
        if how == "coroutine":
            return wait(1)
        return {"busy agent": busy, "idle agent": idle, "itself": agent}[how].get(wait)

    async def make_in_turn(state: object) -> object:
        return make(state)

    waiting = asyncio.ensure_future(busy.with_timeout(None).get(wait))
    for use in (agent.get, agent.update, agent.get_and_update):
        asked: Callable[..., Awaitable[object]] = use
        for function in (make,) if how == "itself" else (make, make_in_turn):
            with pytest.raises(BadFunction, match="give an `async def` function, which awaits it"):
                await asked(function)
    await waiting
    assert await agent.get(lambda state: state) == 0
    for one in (busy, idle):
        assert await one.get(lambda state: state) == 0, "whoever was asked has lost nothing but a caller"


async def test_an_async_function_that_waits_for_its_own_agent_is_told_so() -> None:
    agent = await Agent.start(int)

    async def twice(state: int) -> int:
        return state + await agent.get(lambda other: other)

    with pytest.raises(CallCycle, match=r"Agent #\d+ -> Agent #\d+"):
        await agent.update(twice)
    assert await agent.get(lambda state: state) == 0


async def test_a_function_that_does_not_take_the_arguments_is_refused() -> None:
    agent = await Agent.start(lambda: {"tea": 1})

    async def wait(state: dict[str, int], item: str) -> int:
        return state[item]

    def wrong(state: dict[str, int]) -> int:
        return len(state, 3)  # type: ignore[call-arg]  # the mistake that is meant

    with pytest.raises(BadFunction, match=r"<lambda> cannot be called so: too many positional arguments"):
        await agent.get(lambda: 1)  # type: ignore[call-overload]  # the mistake that is meant
    with pytest.raises(BadFunction, match="take cannot be called so: missing a required argument: 'item'"):
        await agent.get_and_update(take)  # type: ignore[call-overload]  # the mistake that is meant
    with pytest.raises(BadFunction, match="wait cannot be called so: missing a required argument: 'item'"):
        await agent.get(wait)  # type: ignore[call-overload]  # the mistake that is meant
    with pytest.raises(BadFunction, match=r"dict\.get cannot be called so: missing a required argument: 'key'"):
        await agent.get(dict.get)  # type: ignore[call-overload]  # the mistake that is meant
    with pytest.raises(BadFunction, match="3 is not a function"):
        await agent.get(3)  # type: ignore[call-overload]  # the mistake that is meant
    assert await agent.get(lambda state, function: state[function], function="tea") == 1
    with pytest.raises(ProcessDown, match="TypeError"):
        await agent.get(wrong)


async def test_the_state_of_the_beginning_is_its_own() -> None:
    def add(state: dict[str, list[int]]) -> dict[str, list[int]]:
        state["tea"].append(2)
        return state

    first = {"tea": [1]}
    top = await Supervisor.start([Agent.child(lambda: first, name="stock")])
    for _ in range(2):
        stock: Agent[dict[str, list[int]]] = Agent.whereis("stock")
        await stock.update(add)
        assert await stock.get(dict.copy) == {"tea": [1, 2]}
        stock.exit("kill")
        await turns(3)
    assert first == {"tea": [1]}
    await top.stop()


async def test_a_refusal_is_an_answer_and_anything_else_a_crash(caplog: pytest.LogCaptureFixture) -> None:
    stock = await Agent.start(lambda: {"tea": 1})
    with pytest.raises(OutOfStock):
        await stock.get_and_update(take, "tea", 2)
    with pytest.raises(ProcessDown, match="KeyError"):
        await stock.get(lambda state: state["milk"])
    assert not stock.is_alive()
    assert "crashed in _get(" in caplog.text


async def test_a_supervisor_starts_it_again_with_the_first_state() -> None:
    made: list[int] = []

    def begin(at: int) -> int:
        made.append(at)
        return at

    top = await Supervisor.start_link([Agent.child(begin, 7, name="counter")])
    first: Agent[int] = Agent.whereis("counter")
    await first.update(lambda n: n + 1)
    with pytest.raises(ProcessDown):
        await first.update(lambda n: n // 0)
    await turns(3)
    second: Agent[int] = Agent.whereis("counter")
    assert await second.get(lambda n: n) == 7
    assert made == [7, 7]
    with pytest.raises(NameTaken):
        await Agent.start_link(int, name="counter")
    await top.stop()


async def test_the_first_state_may_take_time_and_may_fail() -> None:
    async def load(value: str) -> str:
        await asyncio.sleep(0)
        return value

    agent = await Agent.start_link(load, "ready")
    assert await agent.get(str.upper) == "READY"
    with pytest.raises(StartFailed, match="ZeroDivisionError"):
        await Agent.start_link(lambda: 1 // 0)


@pytest.mark.virtual_time
async def test_a_slow_function_times_out_like_any_call() -> None:
    with virtual_scheduler().entered():
        agent = await Agent.start_link(lambda: 1)

        async def slow(state: int) -> int:
            await asyncio.sleep(3.0)
            return state + 1

        with pytest.raises(CallTimeout, match="within 1 s"):
            await agent.with_timeout(1.0).update(slow)
        assert await agent.get(lambda state: state) == 2, "it has happened all the same"


async def test_a_process_may_use_an_agent_and_even_try_itself() -> None:
    class Shop(GenServer):
        def init(self, stock: Agent[dict[str, int]]) -> None:
            self.stock, self.item = stock, "tea"

        @call
        async def sell(self) -> int:
            return await self.stock.get_and_update(take, self.item)

        @call
        async def cheat(self) -> int:
            return await self.stock.get(lambda state: state[self.item])

    stock = await Agent.start_link(lambda: {"tea": 1})
    shop = await Shop.start_link(stock)
    assert await shop.sell() == 0
    with pytest.raises(OutOfStock):
        await shop.sell()
    with pytest.raises(NotSendable, match="'self', which"):
        await shop.cheat()


async def test_agents_of_other_nodes_take_no_functions() -> None:
    there = remote_handle(Agent, "stock", "b@host", None)  # type: ignore[arg-type]  # nothing is sent
    with pytest.raises(AttributeError, match="get works on processes of this node only"):
        there.get(lambda state: state)


async def test_a_crash_is_told_with_the_state(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    agent = await Agent.start(lambda: {"tea": 3})
    agent.cast(lambda state: state | {"x": 1 // 0})
    await turns(3)
    assert "'tea': 3" in caplog.text
