"""Random traffic in many interleavings: order, exclusion and answers, as promised."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable

import msgspec
import pytest

from roost.errors import CallTimeout, ProcessDown, Refusal
from roost.otp import Child, GenServer, Scheduler, Supervisor, call, cast, info, send
from roost.runtime import Runtime
from roost.runtime.net import TcpNet
from roost.sim import run
from roost.sim.clock import SimClock
from roost.sim.entropy import SimEntropy
from roost.sim.loop import running_loop


class Note(msgspec.Struct, frozen=True):
    sender: int
    number: int


class Server(GenServer):
    def init(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self.inside = 0
        self.mixed = False

    def _enter(self, sender: int, number: int) -> None:
        self.mixed = self.mixed or self.inside > 0
        self.seen.append((sender, number))

    @call
    def ask(self, sender: int, number: int) -> tuple[int, int]:
        self._enter(sender, number)
        return sender, number

    @call
    async def ask_slowly(self, sender: int, number: int, pauses: int) -> tuple[int, int]:
        self._enter(sender, number)
        self.inside += 1
        for _ in range(pauses):
            await asyncio.sleep(0)
        self.inside -= 1
        return sender, number

    @call
    def refuse(self, sender: int, number: int) -> None:
        self._enter(sender, number)
        raise Refusal(sender, number)

    @cast
    def tell(self, sender: int, number: int) -> None:
        self._enter(sender, number)

    @cast
    async def tell_slowly(self, sender: int, number: int) -> None:
        self._enter(sender, number)
        self.inside += 1
        await asyncio.sleep(0.001)
        self.inside -= 1

    @info
    def noted(self, note: Note) -> None:
        self._enter(note.sender, note.number)

    @call
    def log(self) -> tuple[list[tuple[int, int]], bool]:
        return self.seen, self.mixed


def world(seed: int) -> Scheduler:
    """A process world in virtual time."""
    return Scheduler(Runtime(SimClock(running_loop()), SimEntropy(seed, "entropy"), TcpNet()))


async def traffic(seed: int) -> None:
    with world(seed).entered():
        await _traffic(seed)


async def havoc(seed: int) -> None:
    with world(seed).entered():
        await _havoc(seed)


async def _traffic(seed: int) -> None:
    draw = random.Random(seed)
    servers = [await Server.start() for _ in range(3)]
    sent: dict[tuple[int, int], list[int]] = {(server, sender): [] for server in range(3) for sender in range(5)}

    async def expect(reply: Awaitable[object], answer: tuple[int, int], refused: bool) -> None:
        if refused:
            with pytest.raises(Refusal) as refusal:
                await reply
            assert refusal.value.args == answer
        else:
            assert await reply == answer

    async def send_all(sender: int) -> None:
        pending: list[asyncio.Task[None]] = []
        for number in range(60):
            which = draw.randrange(3)
            server = servers[which]
            sent[which, sender].append(number)
            match draw.randrange(6):
                case 0:
                    server.tell(sender, number)
                    continue
                case 1:
                    server.tell_slowly(sender, number)
                    continue
                case 2:
                    send(server, Note(sender, number))
                    continue
                case 3:
                    waiting = expect(server.ask(sender, number), (sender, number), refused=False)
                case 4:
                    reply = server.ask_slowly(sender, number, draw.randrange(4))
                    waiting = expect(reply, (sender, number), refused=False)
                case _:
                    waiting = expect(server.refuse(sender, number), (sender, number), refused=True)
            if draw.random() < 0.5:
                await waiting
            else:
                pending.append(asyncio.ensure_future(waiting))
        await asyncio.gather(*pending)

    await asyncio.gather(*(send_all(sender) for sender in range(5)))
    for which, server in enumerate(servers):
        seen, mixed = await server.log()
        assert not mixed, "two messages of one process were handled at once"
        for sender in range(5):
            assert [number for who, number in seen if who == sender] == sent[which, sender]
        await server.stop()


@pytest.mark.parametrize("seed", range(12))
def test_each_caller_is_served_in_order_and_answered_once(seed: int) -> None:
    run(seed, traffic(seed))


class Fragile(GenServer):
    def init(self, births: list[object], trapping: bool) -> None:
        births.append(self.handle)
        self.trap_exits(trapping)
        self.births = births

    @call
    def crash(self) -> None:
        raise ValueError("as planned")

    @call
    async def linger(self) -> None:
        await asyncio.sleep(3600)

    @cast
    def quit(self, reason: str) -> None:
        self.exit(reason)


class Births(list[object]):
    """A list that is given to a process, not copied: the log of the test."""


async def _havoc(seed: int) -> None:
    draw = random.Random(seed)
    births = Births()
    children = [Fragile.child(births, draw.random() < 0.5, name=f"child {n}", shutdown_s=1.0) for n in range(3)]
    inner: Child = Supervisor.child(children, id="inner", max_restarts=3, within_s=5.0)
    outer = await Supervisor.start([inner], max_restarts=100, within_s=1.0)
    lingering: list[asyncio.Future[object]] = []
    for _ in range(40):
        name = f"child {draw.randrange(3)}"
        if name in Scheduler.current().names:
            child = Fragile.whereis(name)
            match draw.randrange(5):
                case 0:
                    with pytest.raises((ProcessDown, CallTimeout)):
                        await child.crash()
                case 1:
                    child.exit("kill")
                case 2:
                    child.quit("bored")
                case 3:
                    lingering.append(asyncio.ensure_future(child.with_timeout(None).linger()))
                case _:
                    child.exit("shutdown")
        await asyncio.sleep(draw.choice((0.0, 0.01, 1.0)))
        living = [process for process in Scheduler.current().processes.values() if isinstance(process.handle, Fragile)]
        assert len(living) <= 3, "a child lives beside its successor"
    await outer.stop()
    outcomes = await asyncio.gather(*lingering, return_exceptions=True)
    assert all(isinstance(outcome, ProcessDown) for outcome in outcomes), "a caller was left waiting"
    assert not Scheduler.current().processes, "something has outlived its supervisor"
    assert len(births) > 3


@pytest.mark.parametrize("seed", range(12))
def test_nothing_outlives_its_supervisor_whatever_happens(seed: int) -> None:
    run(seed, havoc(seed))
