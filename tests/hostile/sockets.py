"""What hostile clients do to WebSockets; each story returns what the server did about it."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from roost.config import Address
from roost.limits import CHANNELS_PER_SOCKET_MAX
from tests.hostile.client import CUT, Outcome, connected, masked, text, upgraded

Story = Callable[[Address], Awaitable[Outcome]]


async def say(data: bytes, address: Address) -> Outcome:
    """Send these bytes; returns the close code."""
    async with upgraded(address) as raw:
        await raw.send(data)
        return await raw.close_code()


async def fragments_without_end(content: bytes, address: Address) -> Outcome:
    """A message that goes on and on."""
    async with upgraded(address) as raw:
        await raw.send(masked(0x01, content))
        part = masked(0x00, content) * 100
        for _ in range(1_000):
            if raw.reader._buffer or not await raw.send(part):  # type: ignore[attr-defined]  # something has come
                break
        return await raw.close_code()


async def ping_flood(address: Address) -> Outcome:
    """10,000 pings at once."""
    async with upgraded(address) as raw:
        await raw.send(masked(0x89, b"ping") * 10_000)
        return await raw.close_code()


async def never_reads(address: Address) -> Outcome:
    """Shouts into a room and does not listen, until the server has had enough."""
    async with connected(address) as raw:
        assert await raw.upgrade() == 101
        await raw.send(text("1", "1", "room:deaf", "phx_join", {}))
        shout = text("1", "2", "room:deaf", "shout", {"text": "x" * 60_000})
        while await raw.send(shout):
            pass
        return CUT


async def reset_in_a_frame(address: Address) -> Outcome:
    """Half a frame, then a reset."""
    async with upgraded(address) as raw:
        await raw.send(masked(0x81, b"x" * 1_000)[:500])
        raw.reset()
        return CUT


async def joins(address: Address) -> Outcome:
    """10,000 joins on one socket: those that are too many are refused, each with an answer."""
    async with upgraded(address) as raw:
        answers: Counter[object] = Counter()
        for batch in range(100):
            refs = [str(batch * 100 + number) for number in range(100)]
            await raw.send(b"".join(text(ref, ref, f"room:{ref}", "phx_join", {}) for ref in refs))
            for _ in refs:
                answers[(await raw.message())[4]["status"]] += 1  # type: ignore[index]  # a reply
        assert answers == {"ok": CHANNELS_PER_SOCKET_MAX, "error": 10_000 - CHANNELS_PER_SOCKET_MAX}
        await raw.send(masked(0x88, struct.pack("!H", 1000)))
        return await raw.close_code()


async def join_and_leave(address: Address) -> Outcome:
    """Joins and leaves the same topic, again and again, without waiting for an answer."""
    async with upgraded(address) as raw:
        for batch in range(20):
            refs = [str(batch * 100 + number) for number in range(100)]
            churn = [
                text(ref, ref, "room:a", "phx_join", {}) + text(ref, ref, "room:a", "phx_leave", {}) for ref in refs
            ]
            await raw.send(b"".join(churn))
        await raw.send(text(None, "last", "phoenix", "heartbeat", {}) + text("x", "x", "room:a", "phx_join", {}))
        while (await raw.message())[1] != "x":
            pass
        await raw.send(masked(0x88, struct.pack("!H", 1000)))
        return await raw.close_code()


async def bomb(address: Address) -> Outcome:
    """Offers compression, and sends a compressed frame although the server has not taken it up."""
    async with connected(address) as raw:
        await raw.send(b"")
        status = await raw.upgrade(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
        assert status == 101
        await raw.send(masked(0xC1, b"\xec\xc1\x01\x01\x00\x00\x00\x80\x90\xfe\xaf\xee\x08\x0a"))
        return await raw.close_code()


TABLE: dict[str, tuple[Story, Outcome]] = {
    "a frame that claims 2^63 bytes": (partial(say, b"\x81\xff" + struct.pack("!Q", 2**63)), 1009),
    "a message over 1 MiB": (partial(say, masked(0x81, b"x" * (1024 * 1024 + 1))[:200_000]), 1009),
    "a frame without a mask": (partial(say, b"\x81\x05hello"), 1002),
    "a reserved bit": (partial(say, masked(0xC1, b"{}")), 1002),
    "a reserved opcode": (partial(say, masked(0x83, b"{}")), 1002),
    "a ping in fragments": (partial(say, masked(0x09, b"")), 1002),
    "a ping of 126 bytes": (partial(say, masked(0x89, b"x" * 126)), 1002),
    "a continuation of nothing": (partial(say, masked(0x80, b"x")), 1002),
    "a message in the middle of another": (partial(say, masked(0x01, b"x") + masked(0x81, b"x")), 1002),
    "a close with half a code": (partial(say, masked(0x88, b"\x03")), 1002),
    "a close with a code that must not be sent": (partial(say, masked(0x88, struct.pack("!H", 1005))), 1002),
    "text that is not UTF-8": (partial(say, masked(0x81, b'["1","1","\xff\xfe","phx_join",{}]')), 1011),
    "bytes that are no frame": (partial(say, masked(0x82, b"\x09\x09")), 1011),
    "JSON a million levels deep": (partial(say, masked(0x81, b"[" * 1_000_000)), 1011),
    "a topic of 1,000 bytes": (partial(say, text("1", "1", "t" * 1_000, "phx_join", {})), 1011),
    "fragments without end": (partial(fragments_without_end, b"xx"), 1009),
    "fragments without content": (partial(fragments_without_end, b""), 1009),
    "large fragments": (partial(fragments_without_end, b"x" * 20_000), 1009),
    "10,000 pings": (ping_flood, 1008),
    "a client that never reads": (never_reads, CUT),
    "a reset in the middle of a frame": (reset_in_a_frame, CUT),
    "10,000 joins": (joins, 1000),
    "joins and leaves": (join_and_leave, 1000),
    "a compressed frame": (bomb, 1002),
}
"""The stories by name, and what the server has to do."""
