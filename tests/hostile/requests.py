"""What hostile clients do to HTTP; each story returns what the server did about it."""

from __future__ import annotations

from functools import partial

from roost.config import Address
from tests.hostile.client import UPGRADE, Outcome, connected
from tests.hostile.sockets import Story

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"


async def send(data: bytes, address: Address) -> Outcome:
    """Send these bytes, and nothing after them; returns the status. The server has to end the connection itself."""
    async with connected(address) as raw:
        await raw.send(data)
        status = await raw.status()
        await raw.ended()
        return status


async def smuggle(head: bytes, body: bytes, address: Address) -> Outcome:
    """A request whose end is told in two ways, with another one inside: nobody may see that one.

    Returns the status of the only answer.
    """
    async with connected(address) as raw:
        await raw.send(POST + head + b"\r\n" + body)
        status = await raw.status()
        assert b"hidden" not in await raw.reader.read(), "a smuggled request was answered"
        return status


async def upgrade_with(headers: tuple[bytes, ...], address: Address) -> Outcome:
    """An upgrade with these headers."""
    async with connected(address) as raw:
        status = await raw.upgrade(*headers)
        await raw.ended()
        return status


TABLE: dict[str, tuple[Story, Outcome]] = {
    "a header of 1 MiB": (partial(send, GET + b"X: " + b"x" * 1024 * 1024), 400),
    "10,000 headers": (partial(send, GET + b"".join(b"X-%d: x\r\n" % n for n in range(10_000))), 400),
    "a target of 100 KiB": (partial(send, b"GET /" + b"x" * 100_000), 400),
    "a greeting of TLS": (partial(send, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400),
    "a method that is none": (partial(send, b"G\x00T / HTTP/1.1\r\n\r\n"), 400),
    "a blank before the colon": (partial(send, GET + b"Content-Length : 5\r\n\r\nhello"), 400),
    "a zero byte in a header": (partial(send, GET + b"X: a\x00b\r\n\r\n"), 400),
    "a folded header": (
        partial(smuggle, b"X: a\r\n b\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", HIDDEN),
        400,
    ),
    "a header that goes on in the next line": (partial(smuggle, b"X: a\r\n b\r\n", b""), 400),
    "a length and chunks": (
        partial(smuggle, b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + HIDDEN),
        400,
    ),
    "chunks and a length": (
        partial(smuggle, b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + HIDDEN),
        400,
    ),
    "two lengths": (partial(smuggle, b"Content-Length: 0\r\nContent-Length: 40\r\n", HIDDEN), 400),
    "a length with a sign": (partial(smuggle, b"Content-Length: +5\r\n", HIDDEN), 400),
    "a negative length": (partial(smuggle, b"Content-Length: -1\r\n", HIDDEN), 400),
    "an unknown coding": (partial(smuggle, b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + HIDDEN), 400),
    "chunked, but not last": (
        partial(smuggle, b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n" + HIDDEN),
        400,
    ),
    "a chunk whose size is no number": (
        partial(smuggle, b"Transfer-Encoding: chunked\r\n", b"xyz\r\n" + HIDDEN),
        400,
    ),
    "a chunk that is longer than it says": (
        partial(smuggle, b"Transfer-Encoding: chunked\r\n", b"1\r\nab\r\n0\r\n\r\n" + HIDDEN),
        400,
    ),
    "an upgrade with 200 headers": (partial(upgrade_with, tuple(b"X-%d: x" % n for n in range(200))), 431),
    "an upgrade with a header of 10 KB": (partial(upgrade_with, (b"X: " + b"x" * 10_000,)), 431),
    "an upgrade to something else": (
        partial(send, GET + b"Connection: Upgrade, close\r\nUpgrade: irc\r\nConnection: close\r\n\r\n"),
        200,
    ),
    "an upgrade without a key": (
        partial(send, UPGRADE.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"") + b"\r\n"),
        400,
    ),
}
"""The stories by name, and what the server has to do."""
