"""Turns, budgets and worlds: who runs when, and what the network side sees."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import msgspec
import pytest

from roost.errors import BadMessage, NoSuchProcess, Overloaded, ProcessDown, Refusal
from roost.limits import MAILBOX_MESSAGES_MAX, REDUCTIONS_PER_TURN
from roost.otp import GenServer, Scheduler, call, cast
from roost.otp.reply import Reply
from roost.otp.serving import SERVED_PER_TURN
from roost.runtime import Runtime


class Elsewhere:
    """Another world, as an argument of a call."""

    __sendable__ = True

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler


class Depth(GenServer):
    """Notes how deep handlers are nested, and who was served."""

    running = 0
    deepest = 0

    def init(self) -> None:
        self.served: list[str] = []

    @call
    def pass_on(self, others: tuple[Depth, ...]) -> None:
        Depth.running += 1
        Depth.deepest = max(Depth.deepest, Depth.running)
        if others:
            others[0].pass_on(others[1:])
        Depth.running -= 1

    @call
    async def pass_on_async(self, others: tuple[Depth, ...]) -> None:
        for other in others:
            await other.pass_on(others)

    @call
    def serve(self, caller: str) -> int:
        self.served.append(caller)
        return len(self.served)

    @call
    def total(self) -> int:
        return len(self.served)

    @call
    def refuse(self) -> None:
        raise Refusal("no")

    @call
    def crash(self) -> None:
        raise ValueError("bug")

    @call
    async def at_once(self) -> None:
        pass

    @call
    async def later(self, value: int) -> int:
        await asyncio.sleep(0)
        return value

    @call
    async def start_in(self, world: Elsewhere) -> Depth:
        with world.scheduler.entered():
            return await Depth.start_link()

    @call
    def whose_world(self) -> str:
        return f"{Scheduler.current().name} {PLACE.get()}"

    @cast
    def move(self, place: str) -> None:
        PLACE.set(place)

    @cast
    def tell(self, caller: str) -> None:
        self.served.append(caller)


PLACE: ContextVar[str] = ContextVar("place", default="nowhere")


async def test_inline_calls_never_nest() -> None:
    Depth.deepest = 0
    chain = tuple([await Depth.start() for _ in range(50)])
    await chain[0].pass_on(chain[1:])
    await asyncio.gather(*(server.total() for server in chain))
    await chain[0].pass_on_async(chain[1:])
    assert Depth.deepest == 1


async def test_a_tight_loop_of_calls_lets_others_run() -> None:
    server = await Depth.start()
    ticks = 0
    running = True

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if running:
            asyncio.get_running_loop().call_soon(tick)

    tick()
    for _ in range(20 * REDUCTIONS_PER_TURN):
        await server.serve("busy")
    running = False
    assert ticks >= 20
    await asyncio.sleep(0)


async def test_a_turn_grants_the_whole_budget_again() -> None:
    server = await Depth.start()
    while isinstance(server.serve("uses up the budget"), Reply):
        pass
    await server.total()
    replies = [server.serve("inline") for _ in range(REDUCTIONS_PER_TURN + 1)]
    assert [isinstance(reply, Reply) for reply in replies] == [True] * REDUCTIONS_PER_TURN + [False]
    await replies[-1]


async def test_a_flood_of_casts_lets_others_run() -> None:
    flooded, other = await Depth.start(), await Depth.start()
    for _ in range(10 * REDUCTIONS_PER_TURN):
        flooded.tell("flood")
    other.tell("first")
    assert await other.serve("second") == 2
    assert len(flooded._process.mail or ()) > REDUCTIONS_PER_TURN


async def test_callers_take_turns_when_the_budget_is_used_up() -> None:
    server = await Depth.start()
    order: list[str] = []

    async def loop(name: str) -> None:
        for _ in range(5 * REDUCTIONS_PER_TURN):
            await server.serve(name)
        order.append(name)

    await asyncio.gather(*(loop(name) for name in "abcd"))
    served: list[str] = server._process.server.served  # type: ignore[attr-defined]  # the test looks inside
    half = served[: len(served) // 2]
    assert all(half.count(name) > REDUCTIONS_PER_TURN for name in "abcd"), "nobody starves"


async def test_a_default_world_belongs_to_its_loop() -> None:
    assert Scheduler.current() is Scheduler.current()
    server = await Depth.start(name="here")
    assert server._process.scheduler is Scheduler.current()


def test_each_loop_has_its_own_default_world() -> None:
    async def names() -> tuple[Scheduler, list[str]]:
        await Depth.start(name="only")
        return Scheduler.current(), list(Scheduler.current().names)

    first, second = asyncio.run(names()), asyncio.run(names())
    assert first[1] == second[1] == ["only"]
    assert first[0] is not second[0]


def test_the_world_of_a_closed_loop_is_forgotten() -> None:
    async def worlds() -> list[asyncio.AbstractEventLoop]:
        Scheduler.current()
        return list(Scheduler._by_loop)

    asyncio.run(worlds())
    assert len(asyncio.run(worlds())) == 1


async def test_a_process_that_is_started_in_another_world_is_not_linked_to_its_starter() -> None:
    starter = await Depth.start()
    there = await starter.start_in(Elsewhere(Scheduler(Runtime.real(), "there")))
    starter.exit("bored")
    assert not starter.is_alive()
    assert there.is_alive()


async def test_a_flood_of_async_handlers_that_never_wait_lets_others_run() -> None:
    server = await Depth.start()
    loop, turned = asyncio.get_running_loop(), 0
    flood = asyncio.gather(*(server.at_once() for _ in range(1_000)))

    def turn() -> None:
        nonlocal turned
        turned += 1
        if not flood.done():
            loop.call_soon(turn)

    turn()
    await flood
    await asyncio.sleep(0)
    assert turned > 1_000 / SERVED_PER_TURN


async def test_worlds_are_apart() -> None:
    a, b = Scheduler(Runtime.real(), "a"), Scheduler(Runtime.real(), "b")
    with a.entered():
        await Depth.start(name="same")
        assert Scheduler.current() is a
    with b.entered():
        with pytest.raises(NoSuchProcess):
            Depth.whereis("same")
        here = await Depth.start(name="same")
    assert here != a.whereis("same").handle
    assert b.whereis("same").handle == here


async def test_queued_handlers_run_in_the_world_of_their_process_not_of_their_caller() -> None:
    PLACE.set("where it was made")
    world = Scheduler(Runtime.real(), "w")
    with world.entered():
        server = await Depth.start()
    PLACE.set("where it was called")
    server.tell("so that the call is queued")
    assert await server.whose_world() == "w where it was made"


async def test_what_a_handler_sets_in_its_context_is_gone_with_its_turn() -> None:
    server = await Depth.start()
    server.move("elsewhere")
    await server.total()
    server.tell("so that the call is queued")
    assert await server.whose_world() == "local nowhere"


async def deliver(server: Depth, method: str, *args: object, **kwargs: object) -> tuple[object, Exception | None]:
    """A call as the network makes it."""
    process = server._process
    answers: list[tuple[object, Exception | None]] = []
    arrived = asyncio.Event()

    def on_reply(value: object, error: Exception | None) -> None:
        answers.append((value, error))
        arrived.set()

    spec = process.calls[method]
    taken = spec.convert(args, kwargs)
    process.scheduler.deliver_call(process, spec, *taken, on_reply)
    await arrived.wait()
    await asyncio.sleep(0)
    assert len(answers) == 1
    return answers[0]


@pytest.mark.parametrize("queued", [False, True])
async def test_a_delivered_call_is_answered_exactly_once(queued: bool) -> None:
    server = await Depth.start()
    if queued:
        server.tell("first")
    value, error = await deliver(server, "serve", "network")
    assert (value, error) == (2 if queued else 1, None)
    assert await deliver(server, "later", value=7) == (7, None)
    assert isinstance((await deliver(server, "refuse"))[1], Refusal)
    assert isinstance((await deliver(server, "serve"))[1], TypeError)
    assert await server.total() == (2 if queued else 1)
    assert isinstance((await deliver(server, "crash"))[1], ProcessDown)
    assert isinstance((await deliver(server, "serve", "dead"))[1], ProcessDown)


async def test_a_delivered_sync_call_is_served_inline_without_a_task() -> None:
    server = await Depth.start()
    answers: list[object] = []
    process = server._process
    process.scheduler.deliver_call(process, process.calls["serve"], ("x",), {}, lambda value, _: answers.append(value))
    assert answers == [1]
    assert await server.serve("y") == 2


async def test_delivered_calls_use_up_the_budget_like_any_other() -> None:
    server = await Depth.start()
    process = server._process
    before = process.scheduler.reductions
    for _ in range(3):
        process.scheduler.deliver_call(process, process.calls["serve"], ("x",), {}, lambda value, error: None)
    assert process.scheduler.reductions == before - 3


async def test_delivered_calls_are_answered_in_the_order_in_which_they_came() -> None:
    server = await Depth.start()
    process, answers = server._process, list[object]()
    server.tell("so that they are queued")
    for _ in range(4):
        process.scheduler.deliver_call(
            process, process.calls["serve"], ("x",), {}, lambda value, error: answers.append(value)
        )
    await server.total()
    assert answers == [2, 3, 4, 5]


async def test_a_receiver_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    server = await Depth.start()
    process = server._process

    def on_reply(value: object, error: Exception | None) -> None:
        raise RuntimeError("a broken receiver")

    for _ in range(2):
        server.tell("so that one is queued")
        process.scheduler.deliver_call(process, process.calls["serve"], ("x",), {}, on_reply)
        assert await server.total() > 0
    assert server.is_alive()
    assert caplog.text.count("RuntimeError: a broken receiver") >= 2


async def test_a_delivered_call_to_a_full_mailbox_is_refused() -> None:
    server = await Depth.start()
    for _ in range(MAILBOX_MESSAGES_MAX):
        server.tell("x")
    process = server._process
    errors: list[Exception | None] = []
    process.scheduler.deliver_call(process, process.calls["total"], (), {}, lambda _, error: errors.append(error))
    assert isinstance(errors[0], Overloaded)
    with pytest.raises(Overloaded):
        process.scheduler.deliver_cast(process, process.casts["tell"], ("x",), {})
    await server.stop()


async def test_arguments_from_the_network_are_taken_as_declared() -> None:
    server = await Depth.start()
    calls = server._process.calls
    assert calls["later"].convert([3], {}) == ((3,), {})
    assert calls["later"].convert([], {"value": 3}) == ((), {"value": 3})
    assert calls["later"].returns is int
    assert calls["later"].decode_reply(msgspec.msgpack.encode(4)) == 4
    for args, kwargs in (((["3"]), {}), ([1, 2], {}), ([], {"other": 1}), ([], {"value": "3"})):
        with pytest.raises(BadMessage, match=r"Depth\.later"):
            calls["later"].convert(args, kwargs)
    with pytest.raises(BadMessage, match="reply"):
        calls["later"].decode_reply(msgspec.msgpack.encode("4"))


async def test_who_tries_again_and_again_lets_others_run() -> None:
    dead = await Depth.start()
    await dead.stop()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.ensure_future(others())
    for _ in range(2 * REDUCTIONS_PER_TURN + 10):
        with pytest.raises(ProcessDown):
            await dead.total()
    other.cancel()
    await asyncio.wait([other])
    assert turns >= REDUCTIONS_PER_TURN
