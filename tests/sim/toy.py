"""A replicated set, as small as a distributed store can be: what the kit is tested with, faults and all.

Every node keeps, by key, the values that were ever put. A put is acknowledged when `w` nodes have it on disk.
"""

from __future__ import annotations

import asyncio
import struct

import msgspec

from roost.config import Config
from roost.errors import NoQuorum
from roost.runtime import Runtime
from roost.runtime.disk import Store
from roost.runtime.net import Listener

TIMEOUT_S = 1.0


class Ask(msgspec.Struct, tag="ask"):
    id: int
    key: str
    value: str | None


class Told(msgspec.Struct, tag="told"):
    id: int
    values: list[str]


encode = msgspec.msgpack.encode
decoder = msgspec.msgpack.Decoder(Ask | Told)


class Wire(asyncio.Protocol):
    """Frames of four bytes of length and a message."""

    def __init__(self, node: Toy, peer: str | None) -> None:
        self.node, self.peer = node, peer
        self.transport: asyncio.Transport | None = None
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.node.wires[self] = None

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while len(self.rest) >= 4:
            end = 4 + struct.unpack_from(">I", self.rest)[0]
            if len(self.rest) < end:
                return
            message, self.rest = decoder.decode(self.rest[4:end]), self.rest[end:]
            self.node.hear(self, message)

    def send(self, message: Ask | Told) -> None:
        body = encode(message)
        assert self.transport is not None
        self.transport.write(struct.pack(">I", len(body)) + body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.node.wires.pop(self, None)
        self.transport = None


class Toy:
    """One node."""

    w = 2
    durable = True

    def __init__(self, config: Config, runtime: Runtime, store: Store, listener: Listener) -> None:
        self.config, self.runtime, self.store, self.listener = config, runtime, store, listener
        self.wires: dict[Wire, None] = {}
        self.values: dict[str, dict[str, None]] = {}
        self.waiting: dict[int, asyncio.Queue[list[str]]] = {}
        self.tasks: dict[asyncio.Task[None], None] = {}
        self.ids = 0
        for line, _ in store.scan(b""):
            key, value = line.decode().split("/")
            self.values.setdefault(key, {})[value] = None

    @classmethod
    async def boot(cls, config: Config, runtime: Runtime) -> Toy:
        assert runtime.disk is not None
        assert config.listen is not None
        made: list[Toy] = []
        store = await runtime.disk.open_store("toy")
        listener = await runtime.net.listen(config.listen, lambda: Wire(made[0], None))
        made.append(cls(config, runtime, store, listener))
        return made[0]

    async def stop(self) -> None:
        self.listener.close()
        for wire in [*self.wires]:
            if wire.transport is not None:
                wire.transport.abort()
        for task in self.tasks:
            task.cancel()
        await self.store.close()

    def spawn(self, wire: Wire | None, ask: Ask) -> None:
        task = asyncio.get_running_loop().create_task(self.answer(wire, ask))
        self.tasks[task] = None
        task.add_done_callback(self.tasks.pop)

    def hear(self, wire: Wire, message: Ask | Told) -> None:
        if isinstance(message, Ask):
            self.spawn(wire, message)
        elif message.id in self.waiting:
            self.waiting[message.id].put_nowait(message.values)

    async def answer(self, wire: Wire | None, ask: Ask) -> None:
        if ask.value is not None:
            batch: list[tuple[bytes, bytes | None]] = [(f"{ask.key}/{ask.value}".encode(), b"")]
            self.values.setdefault(ask.key, {})[ask.value] = None
            if self.durable:
                try:
                    await self.store.commit(batch)
                except OSError:
                    return
            else:
                self.commit_later(batch)
        told = Told(ask.id, [*self.values.get(ask.key, ())])
        if wire is None:
            self.hear_own(told)
        elif wire.transport is not None:
            wire.send(told)

    def commit_later(self, batch: list[tuple[bytes, bytes | None]]) -> None:
        def begin() -> None:
            task = asyncio.get_running_loop().create_task(self.store.commit(batch))
            self.tasks[task] = None
            task.add_done_callback(self.tasks.pop)

        self.runtime.clock.call_later(0.05, begin)

    def hear_own(self, told: Told) -> None:
        if told.id in self.waiting:
            self.waiting[told.id].put_nowait(told.values)

    async def ask_all(self, key: str, value: str | None, needed: int) -> list[list[str]]:
        self.ids += 1
        ask = Ask(self.ids, key, value)
        replies = self.waiting[ask.id] = asyncio.Queue()
        self.spawn(None, ask)
        for seed in self.config.seeds:
            if seed.name != self.config.name:
                self.tell(seed.name, ask)
        got: list[list[str]] = []
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while len(got) < needed:
                    got.append(await replies.get())
        except TimeoutError:
            raise NoQuorum(len(got), needed) from None
        finally:
            del self.waiting[ask.id]
        return got

    def tell(self, peer: str, ask: Ask) -> None:
        for wire in self.wires:
            if wire.peer == peer:
                wire.send(ask)
                return
        address = next(seed.address for seed in self.config.seeds if seed.name == peer)

        async def dial() -> None:
            wire = Wire(self, peer)
            try:
                await self.runtime.net.connect(address, lambda: wire, TIMEOUT_S)
            except OSError:
                return
            if wire.transport is not None:
                wire.send(ask)

        task = asyncio.get_running_loop().create_task(dial())
        self.tasks[task] = None
        task.add_done_callback(self.tasks.pop)

    async def put(self, key: str, value: str) -> None:
        await self.ask_all(key, value, self.w)

    async def get(self, key: str) -> tuple[str, ...]:
        replies = await self.ask_all(key, None, 2)
        return tuple(sorted({value for values in replies for value in values}))


class Hasty(Toy):
    """Acknowledges before the disk has it."""

    durable = False


class Lonely(Toy):
    """Takes its own copy for a quorum."""

    w = 1
