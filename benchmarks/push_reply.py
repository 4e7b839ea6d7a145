"""A push and its reply over a socket, 1 and 100 clients: our channels, against a bare picows server that does as much
as it must, and against Django Channels and python-socketio."""

from __future__ import annotations

from functools import partial

from benchmarks.callers import latencies, rates
from benchmarks.crowd import Crowd
from benchmarks.dialect import Phoenix
from benchmarks.line import Bound, Line
from benchmarks.nodes import nodes
from benchmarks.peers import picows_room, socket_servers
from benchmarks.rounds import Plan, alternate
from benchmarks.sides import beside

CLIENTS = 100
WINDOW_S = 1.5


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    window_s = plan.window_s(WINDOW_S)
    lines: list[Line] = []
    async with nodes(1) as (ours,), picows_room() as bare, socket_servers() as others:
        names = ["ours", "bare", *others]
        crowds = [Crowd(ours.port, Phoenix(), CLIENTS), Crowd(bare.port, Phoenix(), CLIENTS)]
        crowds += [Crowd(server.port, dialect, CLIENTS) for server, dialect in others.values()]
        try:
            for each in crowds:
                await each.gather()
            for name, callers in (("push_reply", 1), ("push_reply_100", CLIENTS)):
                turns = await alternate(plan, *(partial(each.ask, window_s, callers) for each in crowds))
                bound = Bound("p50_us", "<=", 80) if callers == 1 else Bound("ours", ">=", 50_000)
                lines.append(
                    Line(
                        name,
                        "replies/s",
                        [bound],
                        f"{callers} client(s), each waits for the reply before it pushes again; reference: a bare "
                        "picows server that decodes and replies; generator: picows, one process",
                        [rates(side) for side in turns[:2]],
                        {**latencies(*turns[:2]), **beside(names[2:], turns[0], turns[2:])},
                    )
                )
        finally:
            for each in crowds:
                each.leave()
    return lines
