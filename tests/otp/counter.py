"""The process that most stories are about."""

from __future__ import annotations

import asyncio

import msgspec

from roost.errors import (
    Refusal,
)
from roost.otp import GenServer, call, cast, info


class SoldOut(Refusal):
    def __init__(self, left: int) -> None:
        super().__init__(left)
        self.left = left


class Tick(msgspec.Struct, frozen=True):
    by: int = 1


class LongTick(Tick, frozen=True):
    pass


class Stray(msgspec.Struct, frozen=True):
    pass


class Counter(GenServer):
    unit = "clicks"

    def init(self, start: int = 0) -> None:
        self.n = start
        self.seen: list[str] = []
        self.gate, self.began = asyncio.Event(), asyncio.Event()

    @call
    def increment(self, by: int = 1) -> int:
        self.n += by
        return self.n

    @call
    async def wait(self, label: str) -> str:
        self.seen.append(f"{label} begins")
        self.began.set()
        await self.gate.wait()
        self.seen.append(f"{label} ends")
        return label

    @call
    def note(self, label: str) -> None:
        self.seen.append(label)

    @call
    def history(self) -> list[str]:
        return self.seen

    @call
    def take(self, quantity: int) -> int:
        if quantity > self.n:
            raise SoldOut(self.n)
        self.n -= quantity
        return self.n

    @call
    def crash(self) -> None:
        raise ValueError("a bug")

    @call
    async def crash_later(self) -> None:
        await asyncio.sleep(0)
        raise ValueError("a later bug")

    @call
    def leak(self) -> object:
        return object()

    @call
    def finish(self) -> str:
        self.exit("normal")
        return "done"

    @call
    def signal_itself(self, reason: str) -> str:
        self.handle.exit(reason)
        return "still here" if self.handle.is_alive() else "already gone"

    @call
    async def ignore_cancellation(self) -> None:
        self.began.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.seen.append("ignored")

    @call
    def remind(self, by: int, delay_s: float) -> None:
        self.timer = self.send_after(delay_s, Tick(by))

    @call
    def forget(self) -> None:
        self.timer.cancel()

    @call
    def me(self) -> Counter:
        return self.handle

    @cast
    def reset(self, to: int = 0) -> None:
        self.n = to

    @cast
    async def open_gate(self) -> None:
        self.gate.set()

    @cast
    def crash_quietly(self) -> None:
        raise ValueError("nobody asked")

    @info
    def tick(self, message: Tick) -> None:
        self.n += message.by
        self.gate.set()

    def plain(self) -> int:
        return self.n


def open_gate(counter: Counter) -> None:
    """Let the waiting handler go on, from outside of its mailbox."""
    counter._process.server.gate.set()  # type: ignore[attr-defined]  # the test reaches into the state


async def begun(counter: Counter) -> None:
    """Until a `wait` has begun."""
    await counter._process.server.began.wait()  # type: ignore[attr-defined]  # the test reaches into the state
