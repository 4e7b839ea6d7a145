"""A node that is told to stop: its clients are sent to the other one, in order."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from roost.ops.leash import Ready
from roost.ops.plan import plan_nodes
from tests.e2e.cluster import free_ports
from tests.ops.test_node import node
from tests.web.wire import Phoenix

CLIENTS = 200


async def test_sigterm_sends_every_client_to_another_node_with_its_channels_ended(tmp_path: Path) -> None:
    first, second = (replace(config, cookie=b"secret") for config in plan_nodes("farewell", 2, free_ports(2)))
    assert first.web is not None
    assert second.web is not None
    async with (
        node(first, "tests.web.farewell:app", tmp_path) as a,
        node(second, "tests.web.farewell:app", tmp_path) as b,
    ):
        assert isinstance(await a.word(), Ready)
        assert isinstance(await b.word(), Ready)
        clients = [await Phoenix.open(first.web) for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            joined = await client.ask("1", "1", f"room:{number % 10}", "phx_join", {"name": f"c{number}"})
            assert joined["status"] == "ok"
        ends = [asyncio.create_task(_end(client)) for client in clients]
        a.process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*ends) == [(1012, ["goodbye"])] * CLIENTS
        again = [await Phoenix.open(second.web) for _ in range(CLIENTS)]
        for number, client in enumerate(again):
            joined = await client.ask("1", "1", f"room:{number % 10}", "phx_join", {"name": f"c{number}"})
            assert joined["status"] == "ok"
        await again[0].say("1", "2", "room:0", "say", {})
        for client in again[::10]:
            await client.hear("said")
        code, log = await a.end()
        for client in again:
            await client.close()
    assert code == 0
    assert sum("goodbye c" in line and line.endswith(": shutdown:drain") for line in log.splitlines()) == CLIENTS
    assert "Traceback" not in log
    assert "ERROR" not in log


async def _end(client: Phoenix) -> tuple[int, list[str]]:
    """The code of the close, and the events before it."""
    events: list[str] = []
    try:
        while True:
            events.append((await client.hear())[3])
    except ConnectionClosed as closed:
        return 1006 if closed.rcvd is None else closed.rcvd.code, events
