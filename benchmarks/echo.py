"""The reference for whatever crosses between two nodes: a bare batched echo over TCP.

Nothing but what it needs: length-prefixed MessagePack arrays of (id, body) pairs; all requests of one loop turn leave
in one write, and are decoded by one call. As a module it is the server: it prints its port, and ends with its stdin.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import uvloop

from benchmarks.child import child, parent_gone, python

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[int, bytes]]).decode


class _Frames(asyncio.Protocol):
    """Frames in, frames out."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._buffer = bytearray()
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        offset, received = 0, len(buffer)
        with memoryview(buffer) as view:
            while received - offset >= 4:
                end = offset + 4 + int.from_bytes(view[offset : offset + 4], "big")
                if end > received:
                    break
                self.on_messages(_decode(view[offset + 4 : end]))
                offset = end
        del buffer[:offset]

    def on_messages(self, messages: list[tuple[int, bytes]]) -> None:
        raise AssertionError

    def send(self, messages: list[tuple[int, bytes]]) -> None:
        frame = _encode(messages)
        self.transport.write(len(frame).to_bytes(4, "big") + frame)


class _Server(_Frames):
    def on_messages(self, messages: list[tuple[int, bytes]]) -> None:
        self.send(messages)


class EchoClient(_Frames):
    """The asking side."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._batch: list[tuple[int, bytes]] = []

    def call(self, body: bytes) -> asyncio.Future[bytes]:
        """Send `body`; the future holds what comes back."""
        self._next += 1
        future = self._waiting[self._next] = self._loop.create_future()
        if not self._batch:
            self._loop.call_soon(self._flush)
        self._batch.append((self._next, body))
        return future

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        self.send(batch)

    def on_messages(self, messages: list[tuple[int, bytes]]) -> None:
        for number, body in messages:
            self._waiting.pop(number).set_result(body)

    def connection_lost(self, error: Exception | None) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("the echo server is gone"))


@asynccontextmanager
async def echo() -> AsyncIterator[EchoClient]:
    """A client connected to an echo server in another process."""
    async with child(python("benchmarks.echo")) as server:
        port = int(await server.line())
        transport, client = await asyncio.get_running_loop().create_connection(EchoClient, "127.0.0.1", port)
        try:
            yield client
        finally:
            transport.close()


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await parent_gone()


if __name__ == "__main__":
    uvloop.run(_serve())
