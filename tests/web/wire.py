"""Clients over real sockets: the smallest HTTP client, and Phoenix clients on the `websockets` library."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import msgspec
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from roost.config import Address, Config
from roost.runtime import Runtime
from roost.web.app import Roost


class Response(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # Any: tests look into JSON
        return msgspec.json.decode(self.body)


async def http(
    address: Address, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> Response:
    """One request on a connection of its own."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    fields = {"host": str(address), "content-length": str(len(body)), "connection": "close", **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    try:
        text = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    top, _, rest = text.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    return Response(
        int(first.split()[1]),
        {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)},
        rest,
    )


@asynccontextmanager
async def served_by_the_node(app: Roost) -> AsyncIterator[Address]:
    """An application whose node serves by itself, as under `roost run`."""
    running = await app.boot(Config(web=Address("127.0.0.1", 0)), Runtime.real())
    assert running.address is not None
    try:
        yield running.address
    finally:
        await running.stop()


@asynccontextmanager
async def served_by_uvicorn(app: Any) -> AsyncIterator[Address]:  # Any: what ASGI servers take
    """An application under a plain uvicorn, as a team may run it."""
    server = _Server(uvicorn.Config(app, port=0, log_config=None, ws="auto"))
    task = asyncio.create_task(server.serve())
    await server.is_up.wait()
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield Address(host, port)
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """Says when it is up, and leaves the signals to the tests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Phoenix:
    """One socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    @classmethod
    async def open(cls, address: Address, query: str = "vsn=2.0.0", **options: Any) -> Phoenix:
        return cls(await connect(f"ws://{address}/socket/websocket?{query}", ping_interval=None, **options))

    async def say(self, *frame: object) -> None:
        await self.socket.send(msgspec.json.encode(frame).decode())

    async def hear(self, event: str | None = None) -> list[Any]:
        """The next message, or the next of one event."""
        while True:
            message: list[Any] = msgspec.json.decode(await self.socket.recv())
            if event is None or message[3] == event:
                return message

    async def ask(self, *frame: object) -> Any:
        """Say something and wait for its reply's payload."""
        await self.say(*frame)
        while True:
            message = await self.hear("phx_reply")
            if message[1] == frame[1]:
                return message[4]

    async def close(self) -> None:
        await self.socket.close()
