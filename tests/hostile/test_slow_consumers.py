"""Clients that do not read, among many that do: each costs what its policy says, and nobody else anything."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from roost.limits import SOCKET_WRITE_BYTES
from tests.hostile.app import BUDGET_BYTES
from tests.hostile.client import CUT, Raw, joined, text
from tests.hostile.ground import attacked, counts_of, resident_bytes

CONSUMERS = 200
SHOUTS = 200
ROUND = 20
"""So many of them are within the budget: whoever has heard them all before the next ones is never too slow."""
FILLER = "x" * 8_000
STALLED = 20
ALLOCATOR_BYTES = 4 * 1024 * 1024
"""What the node may have grown by otherwise: memory that is free again, and not given back."""
RECEIVE_BYTES = 16 * 1024
"""What the kernel takes for a client that does not read."""


async def heard(raw: Raw, event: str, count: int) -> list[Any]:
    """The payloads of the next broadcasts of one event."""
    found: list[Any] = []
    while len(found) < count:
        message = await raw.message()
        if message[3] == event:
            found.append(message[4])
    return found


async def until_last(raw: Raw, event: str, last: int) -> list[int]:
    """The numbers of the broadcasts of one event, up to the last one."""
    found: list[int] = []
    while not found or found[-1] != last:
        found += [payload["n"] for payload in await heard(raw, event, 1)]
    return found


async def shout(raw: Raw, topic: str, count: int, first: int = 0) -> None:
    """Shout as fast as the server lets one, without waiting for any answer; every one is answered in the end."""
    replies = asyncio.create_task(heard(raw, "phx_reply", count))
    for number in range(first, first + count):
        assert await raw.send(text("1", str(number + 2), topic, "shout", {"n": number, "text": FILLER}))
    assert [reply["status"] for reply in await replies] == ["ok"] * count


async def test_one_slow_consumer_among_many_is_shed_and_the_others_get_everything(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (held, address), AsyncExitStack() as stack:
        slow = await stack.enter_async_context(joined(address, "/closing", "room:a", RECEIVE_BYTES))
        others = [await stack.enter_async_context(joined(address, "/closing", "room:a")) for _ in range(CONSUMERS - 1)]
        publisher = await stack.enter_async_context(joined(address, "/closing", "room:a"))
        assert (await counts_of(tmp_path, "/closing")).sockets == CONSUMERS + 1
        for first in range(0, SHOUTS, ROUND):
            hearing = [asyncio.create_task(heard(other, "shout", ROUND)) for other in others]
            await shout(publisher, "room:a", ROUND, first)
            for payloads in await asyncio.gather(*hearing):
                assert [payload["n"] for payload in payloads] == list(range(first, first + ROUND))
        counts = await counts_of(tmp_path, "/closing")
        assert (counts.closed_slow, counts.behind, counts.waiting_bytes, counts.dropped) == (1, 0, 0, 0)
        assert await slow.close_code() in (1013, CUT), "a client that does not read does not see why it is cut off"
        held.process.terminate()
        _, log = await held.end()
    assert log.count("closing a socket that does not read") == 1


async def test_stalled_consumers_cost_their_budget_and_hear_the_newest_when_they_read_again(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (held, address), AsyncExitStack() as stack:
        topics = [f"room:{number}" for number in range(STALLED)]
        stalled = [
            await stack.enter_async_context(joined(address, "/dropping", topic, RECEIVE_BYTES)) for topic in topics
        ]
        publisher = [await stack.enter_async_context(joined(address, "/socket", topic)) for topic in topics]
        await shout(publisher[0], topics[0], 50)  # whatever the node needs to get going is not counted
        before = resident_bytes(held.process.pid)
        for raw, topic in zip(publisher, topics, strict=True):
            await shout(raw, topic, SHOUTS)
        counts = await counts_of(tmp_path, "/dropping")
        grown = resident_bytes(held.process.pid) - before
        assert (counts.sockets, counts.behind, counts.closed_slow) == (STALLED, STALLED, 0)
        assert counts.dropped > STALLED
        assert counts.waiting_bytes <= STALLED * BUDGET_BYTES
        assert grown <= 1.1 * STALLED * (BUDGET_BYTES + 2 * SOCKET_WRITE_BYTES) + ALLOCATOR_BYTES
        numbers = await asyncio.gather(*(until_last(raw, "shout", SHOUTS - 1) for raw in stalled[1:]))
        for found in numbers:
            assert found == sorted(set(found)), "in order, none twice"
            assert 0 < len(found) < SHOUTS
        counts = await counts_of(tmp_path, "/dropping")
        assert counts.dropped >= sum(SHOUTS - len(found) for found in numbers)


async def test_a_stalled_consumer_of_positions_hears_the_last_one_of_everybody(tmp_path: Path) -> None:
    users, rounds = 20, 100
    async with (
        attacked(tmp_path) as (_, address),
        joined(address, "/coalescing", "room:map", RECEIVE_BYTES) as stalled,
        joined(address, "/socket", "room:map") as publisher,
    ):
        replies = asyncio.create_task(heard(publisher, "phx_reply", users * rounds))
        for number in range(users * rounds):
            position = {"user": number % users, "n": number, "text": FILLER}
            assert await publisher.send(text("1", str(number + 2), "room:map", "move", position))
        await replies
        counts = await counts_of(tmp_path, "/coalescing")
        assert (counts.behind, counts.closed_slow, counts.dropped) == (1, 0, 0)
        assert counts.waiting_bytes <= BUDGET_BYTES
        assert counts.coalesced > users
        last: dict[int, int] = {}
        while last.get(users - 1) != users * rounds - 1:
            (payload,) = await heard(stalled, "moved", 1)
            assert payload["n"] > last.get(payload["user"], -1)
            last[payload["user"]] = payload["n"]
        assert last == {user: users * (rounds - 1) + user for user in range(users)}
