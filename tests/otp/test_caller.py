"""Replies that are put off: who waits, who answers, and what happens when nobody does."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec
import pytest

from roost.errors import CallTimeout, NotSendable, ProcessDown, Refusal
from roost.otp import Caller, GenServer, NoReply, Stop, call, cast, info, send
from tests.otp.virtual import pass_time


class Served(msgspec.Struct, frozen=True):
    caller: Caller[str]


class Closed(Refusal):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Queue(GenServer):
    """Hands out items; who comes too early waits."""

    def init(self) -> None:
        self.items: deque[str] = deque()
        self.waiting: deque[Caller[str]] = deque()

    @call
    def take(self) -> str:
        if self.items:
            return self.items.popleft()
        self.waiting.append(self.caller())
        raise NoReply

    @call
    async def take_async(self) -> str:
        await asyncio.sleep(0)
        self.waiting.append(self.caller())
        raise NoReply

    @call
    def forget(self) -> str:
        raise NoReply

    @cast
    def put(self, item: str) -> None:
        while self.waiting:
            caller = self.waiting.popleft()
            if caller.waits():
                caller.reply(item)
                return
        self.items.append(item)

    @cast
    def put_unfit(self) -> None:
        self.waiting.popleft().reply(object())  # type: ignore[arg-type]  # what mypy would find is tested here

    @cast
    def close(self) -> None:
        while self.waiting:
            self.waiting.popleft().refuse(Closed("for good"))

    @cast
    def pass_on(self, clerk: Clerk) -> None:
        send(clerk, Served(self.waiting.popleft()))

    @call
    def left(self) -> int:
        return len(self.waiting)

    @call
    def stop_now(self) -> str:
        raise Stop("shutdown")


class Clerk(GenServer):
    """Answers for somebody else."""

    @info
    def serve(self, message: Served) -> None:
        message.caller.reply("from the clerk")


async def waiting(queue: Queue, callers: int) -> None:
    while await queue.left() < callers:
        await turn()


async def turn() -> None:
    await asyncio.sleep(0)


async def test_a_reply_that_was_put_off_comes_when_there_is_one() -> None:
    queue = await Queue.start()
    early = [asyncio.ensure_future(queue.take()), asyncio.ensure_future(queue.take_async())]
    await waiting(queue, 2)
    queue.put("one")
    queue.put("two")
    queue.put("three")
    assert await asyncio.gather(*early) == ["one", "two"]
    assert await queue.take() == "three"
    await queue.stop()


@pytest.mark.virtual_time
async def test_a_caller_that_has_given_up_is_passed_over() -> None:
    queue = await Queue.start()
    with pytest.raises(CallTimeout):
        await queue.with_timeout(1.0).take()
    late = asyncio.ensure_future(queue.take())
    gone = asyncio.ensure_future(queue.take())
    await waiting(queue, 3)
    late.cancel()
    await asyncio.wait([late])
    queue.put("for the one that waits")
    assert await gone == "for the one that waits"
    assert await queue.left() == 0
    await queue.stop()


async def test_a_refusal_reaches_the_caller_and_the_process_lives_on() -> None:
    queue = await Queue.start()
    caller = asyncio.ensure_future(queue.take())
    await waiting(queue, 1)
    queue.close()
    with pytest.raises(Closed, match="for good"):
        await caller
    assert queue.is_alive()
    await queue.stop()


async def test_a_reply_that_cannot_cross_is_told_to_the_caller() -> None:
    queue = await Queue.start()
    caller = asyncio.ensure_future(queue.take())
    await waiting(queue, 1)
    queue.put_unfit()
    with pytest.raises(NotSendable):
        await caller
    await queue.stop()


async def test_another_process_may_answer() -> None:
    queue, clerk = await Queue.start(), await Clerk.start()
    caller = asyncio.ensure_future(queue.take())
    await waiting(queue, 1)
    queue.pass_on(clerk)
    assert await caller == "from the clerk"
    await queue.stop()
    await clerk.stop()


@pytest.mark.parametrize("end", ["stop", "kill", "stop_now"])
async def test_the_end_of_the_process_is_told_to_everybody_who_waits(end: str) -> None:
    queue = await Queue.start()
    callers = [asyncio.ensure_future(queue.take()) for _ in range(3)]
    await waiting(queue, 3)
    match end:
        case "stop":
            await queue.stop()
        case "kill":
            queue.exit("kill")
        case _:
            with pytest.raises(ProcessDown):
                await queue.stop_now()
    for caller in callers:
        with pytest.raises(ProcessDown):
            await caller


async def test_a_reply_that_nobody_could_ever_give_is_a_bug_that_shows() -> None:
    queue = await Queue.start()
    with pytest.raises(ProcessDown, match="NoReply"):
        await queue.forget()
    assert not queue.is_alive()


async def test_a_second_answer_is_dropped() -> None:
    kept: list[Caller[str]] = []

    class Twice(GenServer):
        @call
        def ask(self) -> str:
            kept.append(self.caller())
            raise NoReply

    twice = await Twice.start()
    asked = asyncio.ensure_future(twice.ask())
    await asyncio.sleep(0)
    kept[0].reply("one")
    kept[0].reply("two")
    kept[0].refuse(Closed("three"))
    assert await asked == "one"
    assert not kept[0].waits()
    await twice.stop()


async def test_nothing_is_kept_of_calls_that_were_answered() -> None:
    queue = await Queue.start()
    deadlines = queue._process.scheduler.deadlines(5.0)
    for _ in range(3):
        inline = asyncio.ensure_future(queue.take())
        queued = asyncio.ensure_future(queue.take_async())
        await waiting(queue, 2)
        assert len(deadlines._waiting) == 2
        queue.close()
        for caller in (inline, queued):
            with pytest.raises(Closed):
                await caller
        await asyncio.sleep(0)
        assert not deadlines._waiting
        assert not queue._process.moded.callers
    await queue.stop()


class Clinic(GenServer):
    """Answers before it has finished, and then works on."""

    def init(self) -> None:
        self.done: list[str] = []

    @call
    async def admit(self, name: str) -> str:
        caller: Caller[str] = self.caller()
        caller.reply(f"{name} may sit down")
        assert not caller.waits()
        caller.reply("not heard")
        await pass_time(60.0)
        assert self.time_left_s() is None, "nobody waits for the rest"
        self.done.append(name)
        raise NoReply

    @call
    def register(self, name: str) -> str:
        caller: Caller[str] = self.caller()
        assert caller.waits()
        caller.reply(f"{name} is registered")
        assert not caller.waits()
        caller.refuse(Closed("not heard"))
        raise NoReply

    @call
    def turn_away(self) -> str:
        caller: Caller[str] = self.caller()
        caller.refuse(Closed("for today"))
        raise NoReply

    @call
    async def think_again(self) -> str:
        caller: Caller[str] = self.caller()
        await asyncio.sleep(0)
        assert caller.waits()
        return "without the caller"

    @call
    async def refer(self, clerk: Clerk) -> str:
        send(clerk, Served(self.caller()))
        await pass_time(1.0)
        raise NoReply

    @call
    def list_done(self) -> list[str]:
        return self.done


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.virtual_time
async def test_a_handler_may_answer_itself_and_then_work_on(traced: bool) -> None:
    clinic = await Clinic.start()
    if traced:
        clinic._process.trace(lambda what, spec, value: None)
    began = asyncio.get_running_loop().time()
    assert await clinic.admit("Ada") == "Ada may sit down"
    assert asyncio.get_running_loop().time() == began
    assert await clinic.with_timeout(None).list_done() == ["Ada"]
    assert await clinic.register("Bo") == "Bo is registered"
    with pytest.raises(Closed, match="for today"):
        await clinic.turn_away()
    assert await clinic.think_again() == "without the caller"
    await turn()
    assert not clinic._process.moded.callers
    await clinic.stop()


@pytest.mark.virtual_time
async def test_another_process_may_answer_while_the_handler_still_runs() -> None:
    clinic, clerk = await Clinic.start(), await Clerk.start()
    began = asyncio.get_running_loop().time()
    assert await clinic.refer(clerk) == "from the clerk"
    assert asyncio.get_running_loop().time() == began
    await clinic.stop()
    await clerk.stop()
