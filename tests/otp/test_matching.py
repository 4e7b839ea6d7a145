"""The style with one `match`: declared messages, checked before they get in."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from roost.errors import BadMessage, NotSendable, ProcessDown
from roost.otp import Caller, GenServer, NoReply, Request, Scheduler, call, info, send
from tests.otp.counter import Tick


class Push(Request[None], frozen=True):
    item: str


class Pop(Request[str], frozen=True):
    pass


class Peek(Request[list[str]], frozen=True):
    pass


class Stray(Request[int], frozen=True):
    pass


class Clear(msgspec.Struct, frozen=True):
    pass


class Refill(msgspec.Struct, frozen=True):
    items: tuple[str, ...]


class Drop(Refill, frozen=True):
    pass


class Stack(GenServer):
    def init(self) -> None:
        self.items: list[str] = []
        self.ticks = 0

    def handle_call(self, message: Push | Pop | Peek) -> object:
        match message:
            case Push(item):
                self.items.append(item)
                return None
            case Pop():
                if not self.items:
                    raise IndexError("empty")
                return self.items.pop()
            case Peek():
                return self.items

    def handle_cast(self, message: Clear | Refill) -> None:
        match message:
            case Clear():
                self.items.clear()
            case Drop(items):
                self.items = [item for item in self.items if item not in items]
            case Refill(items):
                self.items += items

    def handle_info(self, message: Clear | int) -> None:
        self.items.append(f"info {message!r}")

    @info
    def tick(self, message: Tick) -> None:
        self.ticks += message.by

    @call
    def ticked(self) -> int:
        return self.ticks


class Shelf(Stack):
    """A stack that counts what passes."""

    def init(self) -> None:
        super().init()
        self.passed = 0

    def handle_cast(self, message: object) -> None:
        self.passed += 1

    @call
    def count(self) -> int:
        return self.passed


class Waiter(GenServer):
    async def handle_call(self, message: Pop) -> str:
        await asyncio.sleep(0)
        return "later"


async def test_messages_are_matched_and_typed() -> None:
    stack = await Stack.start()
    await stack.call(Push("a"))
    popped: str = await stack.call(Pop())
    assert popped == "a"
    stack.cast(Refill(("x", "y", "z")))
    stack.cast(Drop(("y",)))
    peeked: list[str] = await stack.call(Peek())
    assert peeked == ["x", "z"]
    peeked.append("not in the stack")
    stack.cast(Clear())
    assert await stack.call(Peek()) == []
    await stack.stop()


async def test_what_the_annotation_does_not_name_is_refused_and_nothing_breaks() -> None:
    stack = await Stack.start()
    with pytest.raises(BadMessage, match=r"Stack.handle_call takes Push, Pop, Peek, got a Stray"):
        await stack.call(Stray())
    with pytest.raises(NotSendable):
        await stack.call(object())  # type: ignore[arg-type]  # what mypy would find is tested here
    assert stack.is_alive()
    await stack.stop()


async def test_a_cast_that_is_not_taken_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    stack = await Stack.start()
    stack.cast(Tick())
    assert await stack.call(Peek()) == []
    assert "Stack.handle_cast takes Clear, Refill, got a Tick" in caplog.text
    await stack.stop()


async def test_both_styles_meet_in_one_class() -> None:
    stack = await Stack.start()
    send(stack, Tick(3))
    send(stack, Clear())
    send(stack, 7)
    assert await stack.ticked() == 3
    assert await stack.call(Peek()) == ["info Clear()", "info 7"]
    await stack.stop()


async def test_a_subclass_overrides_one_handler_and_keeps_the_others() -> None:
    shelf = await Shelf.start()
    shelf.cast(Clear())
    shelf.cast("anything")
    await shelf.call(Push("kept"))
    assert await shelf.call(Peek()) == ["kept"]
    assert await shelf.count() == 2
    await shelf.stop()


async def test_an_async_match_and_one_that_crashes() -> None:
    waiter = await Waiter.start()
    assert await waiter.call(Pop()) == "later"
    with pytest.raises(BadMessage):
        await waiter.call(Push("x"))
    await waiter.stop()
    stack = await Stack.start()
    with pytest.raises(ProcessDown, match="empty"):
        await stack.call(Pop())


async def test_replies_can_be_put_off_here_too() -> None:
    class Later(GenServer):
        def handle_call(self, message: Pop) -> str:
            caller: Caller[str] = self.caller()
            caller_soon.append(caller.reply)
            raise NoReply

    caller_soon: list[object] = []
    later = await Later.start()
    asked = asyncio.ensure_future(later.call(Pop()))
    await asyncio.sleep(0)
    answer = caller_soon[0]
    assert callable(answer)
    answer("now")
    assert await asked == "now"
    await later.stop()


async def test_a_handler_that_takes_something_strange_is_found_out() -> None:
    class Two(GenServer):
        def handle_call(self, message: Pop, other: Pop) -> str:
            return "never"

    two = await Two.start()
    with pytest.raises(ProcessDown, match="must take one message"):
        await two.call(Pop())


async def test_the_messages_are_the_schema_on_the_wire() -> None:
    """What another node sends becomes the declared message again, or is refused."""
    stack = await Stack.start()
    spec = Stack.__calls__["call"]
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(Push("far")))
    args, kwargs = spec.convert([sent], {})
    answers: list[object] = []
    process = stack._process
    Scheduler.current().deliver_call(process, spec, args, kwargs, lambda value, error: answers.append((value, error)))
    assert answers == [(None, None)]
    assert await stack.call(Pop()) == "far"
    with pytest.raises(BadMessage):
        spec.convert([{"type": "Stray"}], {})
    await stack.stop()


async def test_messages_declared_in_a_function_are_found() -> None:
    class Local(Request[int], frozen=True):
        by: int

    class Note(msgspec.Struct, frozen=True):
        word: str

    class Eager(GenServer):
        """Does something of its own when it is subclassed."""

        def __init_subclass__(cls, **kwargs: object) -> None:
            super().__init_subclass__(**kwargs)

    class Adder(Eager):
        def init(self) -> None:
            self.sum = 0

        def handle_call(self, message: Local) -> int:
            self.sum += message.by
            return self.sum

        def handle_info(self, message: Note) -> None:
            self.sum += len(message.word)

    adder = await Adder.start()
    send(adder, Note("abc"))
    assert await adder.call(Local(4)) == 7
    await adder.stop()
