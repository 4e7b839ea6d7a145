"""Event handlers that write down what happens to them, for the stories about event managers."""

from __future__ import annotations

import asyncio

import msgspec

from roost.errors import Refusal
from roost.otp import EventHandler, EventManager, RemoveHandler, Request, SwapHandler, info


class Said(msgspec.Struct, frozen=True):
    text: str


class Shouted(Said, frozen=True):
    pass


class Order(msgspec.Struct, frozen=True):
    """What one handler, by id, shall do."""

    id: str
    what: str


class Count(Request[int], frozen=True):
    pass


class Do(Request[str], frozen=True):
    what: str


class No(Refusal):
    pass


class Ears(EventHandler):
    """Writes into a log that the test shares with all handlers; an argument of init may be anything."""

    def init(self, log: Log) -> object:
        self.log, self.count = log, 0
        self.note("init")
        return None

    def take_over(self, state: object, log: Log) -> object:
        self.init(log)
        self.note("takes over", state)
        return None

    def note(self, *what: object) -> None:
        self.log.lines.append((self.id, *what))

    @info
    def said(self, event: Said) -> None:
        self.count += 1
        self.note(event.text)

    @info
    def ordered(self, event: Order) -> None:
        if event.id == self.id:
            self.obey(event.what)

    def handle_event(self, event: object) -> None:
        self.note("else", event)
        if isinstance(event, list):
            event.append(self.id)

    def handle_call(self, request: Count | Do) -> object:
        if isinstance(request, Count):
            return self.count
        self.obey(request.what)
        return "done"

    def obey(self, what: str) -> None:
        if what == "crash":
            raise ValueError("a bug")
        if what == "refuse":
            raise No("not today")
        if what == "go":
            raise RemoveHandler(reply="bye")
        if what == "swap":
            raise SwapHandler(Ears, self.log, id="successor", reason="swapping", reply="handed over")

    def terminate(self, reason: object) -> object:
        self.note("terminate", reason)
        if reason == "fail":
            raise OSError("disk")
        return f"state of {self.id}"


class SlowEars(Ears):
    """The same, where every method waits for something."""

    async def init(self, log: Log) -> None:
        await asyncio.sleep(0)
        super().init(log)

    @info
    async def said_slowly(self, event: Said) -> None:
        await asyncio.sleep(0)
        self.count += 1
        self.note(event.text)

    @info
    async def ordered_slowly(self, event: Order) -> None:
        await asyncio.sleep(0)
        if event.id == self.id:
            self.obey(event.what)

    async def handle_call(self, request: Count | Do) -> object:
        await asyncio.sleep(0)
        return super().handle_call(request)

    async def take_over(self, state: object, log: Log) -> None:
        await self.init(log)
        self.note("takes over", state)

    async def terminate(self, reason: object) -> object:
        await asyncio.sleep(0)
        return super().terminate(reason)


class Log:
    """A list that is given away and not copied."""

    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def take(self) -> list[tuple[object, ...]]:
        """What is new."""
        lines = self.lines[:]
        self.lines.clear()
        return lines


async def manager_with(kind: type[Ears], *ids: str) -> tuple[EventManager, Log]:
    """A manager with handlers, added in this order."""
    manager, log = await EventManager.start(), Log()
    for id in ids:
        await manager.add_handler(kind, log, id=id)
    log.take()
    return manager, log
