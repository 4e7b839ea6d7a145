"""One node, every hostile client one after the other, and an honest one beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from roost.config import Address
from tests.hostile import requests, sockets
from tests.hostile.client import Outcome, connected, upgraded
from tests.hostile.ground import attacked, resident_bytes
from tests.hostile.sockets import Story
from tests.web.wire import Phoenix, http

GROWTH_BYTES_MAX = 32 * 1024 * 1024
"""What the node may have grown by at the end of the table."""
AGAIN_BYTES_MAX = 4 * 1024 * 1024
"""What it may have grown by when all of them come again: nothing is kept of them."""
PATIENCE_S = 30.0
"""How long a story may take that has no end, because the server does nothing."""
NOTHING = "nothing"
IDLERS = 1_000


class Honest:
    """A client that asks again and again, over a socket and over HTTP, and always gets its answer."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.answers = 0
        self._stop = False

    async def run(self) -> None:
        client = await Phoenix.open(self.address)
        await client.ask("1", "1", "room:honest", "phx_join", {})
        while not self._stop:
            self.answers += 1
            ref = str(self.answers + 1)
            reply: Any = await client.ask("1", ref, "room:honest", "echo", {"n": ref})
            assert reply == {"status": "ok", "response": {"n": ref}}
            answer = await http(self.address, "PUT", "/honest", b"12345")
            assert (answer.status, answer.json) == (200, {"path": "/honest", "size": 5})
        await client.close()

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """It goes on for as long as this block, and once more."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self._stop = True
        await task


async def idlers(address: Address) -> None:
    """So many connections that say nothing, and as many sockets; then they are gone."""
    async with AsyncExitStack() as stack:
        for _ in range(IDLERS // 2):
            await stack.enter_async_context(connected(address))
            await stack.enter_async_context(upgraded(address))


async def outcome(story: Story, address: Address) -> Outcome:
    """What the server does about a story; NOTHING when it lets the client go on."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await story(address)
    except TimeoutError:
        return NOTHING


async def test_every_hostile_client_is_refused_and_an_honest_one_notices_nothing(tmp_path: Path) -> None:
    async with attacked(tmp_path) as (held, address):
        honest = Honest(address)
        table: dict[str, tuple[Story, Outcome]] = {**sockets.TABLE, **requests.TABLE}
        async with honest.beside():
            await idlers(address)
            before = resident_bytes(held.process.pid)
            outcomes = {name: await outcome(story, address) for name, (story, _) in table.items()}
            await idlers(address)
            once = resident_bytes(held.process.pid)
            again = {name: await outcome(story, address) for name, (story, _) in table.items()}
            twice = resident_bytes(held.process.pid)
        assert outcomes == again == {name: expected for name, (_, expected) in table.items()}
        assert once - before <= GROWTH_BYTES_MAX
        assert twice - once <= AGAIN_BYTES_MAX
        assert honest.answers > len(table)
        held.process.terminate()
        code, log = await held.end()
    assert code == 0
    assert "Traceback" not in log
    assert "ERROR" not in log
