"""A client that writes bytes as it likes, and understands what comes back."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from roost.config import Address

CUT = "cut"
"""What a client sees whose connection ends without a word."""

UPGRADE = (
    b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

Outcome = int | str
"""A status of HTTP, a close code of a WebSocket, or CUT."""


def masked(first: int, content: bytes) -> bytes:
    """A frame as clients have to send it, under a mask of zeros; `first` has its flags and its opcode."""
    size = len(content)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0x80 | 126)) + struct.pack("!H", size)
    else:
        head = bytes((first, 0x80 | 127)) + struct.pack("!Q", size)
    return head + b"\0\0\0\0" + content


def text(*message: object) -> bytes:
    """A message of the Phoenix protocol."""
    return masked(0x81, msgspec.json.encode(message))


class Raw:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> bool:
        """Write, waiting for room; False when the other side is gone."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            return False
        return True

    async def status(self) -> Outcome:
        """The status of the next answer over HTTP; its head is read."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            return CUT
        return int(head.split(b" ", 2)[1])

    async def upgrade(self, *headers: bytes) -> Outcome:
        """Ask for a WebSocket; returns the status."""
        await self.send(UPGRADE + b"".join(header + b"\r\n" for header in headers) + b"\r\n")
        return await self.status()

    async def frame(self) -> tuple[int, bytes]:
        """The opcode and the content of the next frame.

        Raises:
            EOFError, OSError: the connection ends.
        """
        first, size = await self.reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(size)

    async def message(self) -> list[object]:
        """The next text message."""
        while True:
            opcode, content = await self.frame()
            if opcode == 0x01:
                message: list[object] = msgspec.json.decode(content)
                return message

    async def close_code(self) -> Outcome:
        """Read on until the server closes; returns its code, after an answer to it."""
        try:
            while True:
                opcode, content = await self.frame()
                if opcode == 0x08:
                    await self.send(masked(0x88, content))
                    return int.from_bytes(content[:2], "big")
        except (EOFError, OSError):
            return CUT

    async def ended(self) -> None:
        """Wait until the other side has ended the connection, reading nothing that means something."""
        try:
            while await self.reader.read(65536):
                pass
        except OSError:
            pass

    def reset(self) -> None:
        """End the connection with a reset."""
        plain = self.writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Raw]:
    """A connection."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def joined(address: Address, path: str, topic: str, receive_bytes: int | None = None) -> AsyncIterator[Raw]:
    """A WebSocket at a path that has joined a topic.

    Args:
        receive_bytes: how much the kernel takes for a client that does not read; as it likes when not given.
    """
    plain = socket.socket(proto=socket.IPPROTO_TCP)  # asyncio lets nothing wait for acknowledgements when it knows
    if receive_bytes is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, (address.host, address.port))
    reader, writer = await asyncio.open_connection(sock=plain)
    raw = Raw(reader, writer)
    try:
        await raw.send(UPGRADE.replace(b"/socket/websocket", path.encode() + b"/websocket") + b"\r\n")
        assert await raw.status() == 101
        await raw.send(text("1", "1", topic, "phx_join", {}))
        assert (await raw.message())[3] == "phx_reply"
        yield raw
    finally:
        writer.transport.abort()


@asynccontextmanager
async def upgraded(address: Address, *headers: bytes) -> AsyncIterator[Raw]:
    """A WebSocket."""
    async with connected(address) as raw:
        assert await raw.upgrade(*headers) == 101
        yield raw
