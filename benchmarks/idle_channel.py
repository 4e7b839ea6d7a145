"""What an idle, joined channel weighs: memory of a server process per socket, against a bare uvicorn WebSocket.

Each turn starts a fresh server, because memory that was once used does not all come back.
"""

from __future__ import annotations

import asyncio

from benchmarks.crowd import Crowd
from benchmarks.dialect import Phoenix
from benchmarks.line import Bound, Line
from benchmarks.nodes import nodes
from benchmarks.peers import Server, bare_socket
from benchmarks.rounds import Plan, alternate

SOCKETS = 5_000
WARM = 50
"""Sockets that come before the count, so that what a server loads once is not counted."""


async def weight(server: Server, sockets: int, join: bool) -> float:
    """KB per socket."""
    browsers, warm = Crowd(server.port, Phoenix(), sockets), Crowd(server.port, Phoenix(), WARM)
    try:
        await warm.gather(join)
        before = server.process.rss_bytes()
        await browsers.gather(join)
        await asyncio.sleep(0.2)
        return (server.process.rss_bytes() - before) / browsers.size / 1024
    finally:
        warm.leave()
        browsers.leave()


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    sockets = plan.count(SOCKETS)

    async def ours() -> float:
        async with nodes(1) as (server,):
            return await weight(server, sockets, join=True)

    async def reference() -> float:
        async with bare_socket() as server:
            return await weight(server, sockets, join=False)

    turns = await alternate(plan, ours, reference, warm=False)
    return [
        Line(
            "idle_channel",
            "KB/socket",
            [Bound("ours", "<=", 30)],
            f"{sockets} sockets, each joined to a topic; reference: sockets accepted by plain uvicorn, not joined",
            turns,
        )
    ]
