"""How mail is handled when a handler does what nobody expects: to its caller, to itself, to its task."""

from __future__ import annotations

import asyncio

import pytest

from roost.errors import ProcessDown
from roost.otp import GenServer, call
from roost.sim.loop import turns


class Desk(GenServer):
    """Serves, and may end whom it serves."""

    def init(self) -> None:
        self.gate = asyncio.Event()

    @call
    async def close(self) -> None:
        await self.gate.wait()

    @call
    def ask(self, number: int) -> int:
        return number

    @call
    def end_caller(self, caller: Client) -> str:
        caller.exit("kill")
        return "too late"


class Client(GenServer):
    @call
    async def visit(self, desk: Desk) -> str:
        return await desk.end_caller(self.handle)


def gate(desk: Desk) -> asyncio.Event:
    """What a desk that is closed waits for."""
    server = desk._process.server
    assert isinstance(server, Desk)
    return server.gate


@pytest.mark.virtual_time
async def test_a_handler_that_ends_its_own_caller_goes_on_with_its_mail() -> None:
    desk, client = await Desk.start(), await Client.start()
    closed = asyncio.ensure_future(desk.close())
    await turns(5)
    # All of these wait, and are served in one turn.
    before = asyncio.ensure_future(desk.ask(1))
    visit = asyncio.ensure_future(client.visit(desk))
    await turns(5)
    after = asyncio.ensure_future(desk.ask(2))
    gate(desk).set()
    await closed
    assert [await before, await after] == [1, 2]
    with pytest.raises(ProcessDown, match="killed"):
        await visit
    assert await desk.ask(3) == 3
    await desk.stop()
