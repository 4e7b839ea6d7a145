"""One topic, a thousand sockets: our channels in our own server, against a bare picows server, and against Django
Channels and python-socketio with their Redis.

The same generator, in this process, plays all crowds. It keeps several broadcasts in flight; the next one is sent
when every socket has received an earlier one. With a single one in flight there is nothing to join into one write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from benchmarks.callers import Sample, latencies, rates
from benchmarks.crowd import Crowd
from benchmarks.dialect import Dialect, Phoenix
from benchmarks.line import Bound, Line, middle
from benchmarks.nodes import nodes
from benchmarks.peers import Server, picows_room, socket_servers
from benchmarks.rounds import Plan, alternate
from benchmarks.sides import beside

SOCKETS = 1_000
IN_FLIGHT = 8
WINDOW_S = 2.0


async def measured(browsers: Crowd, server: Server, window_s: float, in_flight: int) -> Sample:
    """One turn, with the CPU that the server used per delivery."""
    before_s = server.process.cpu_s()
    sample = await browsers.broadcast(window_s, in_flight)
    cpu_us = (server.process.cpu_s() - before_s) / (browsers.deliveries or 1) * 1e6
    return replace(sample, cpu_us=cpu_us)


def line(name: str, in_flight: int, turns: Sequence[Sequence[Sample]], others: Sequence[str]) -> Line:
    """The line of one load."""
    cpu = [middle([sample.cpu_us for sample in side if sample.cpu_us is not None]) for side in turns]
    return Line(
        name,
        "deliveries/s",
        [Bound("ratio", ">=", 0.9), Bound("cpu_us", "<=", 6)],
        f"{SOCKETS} sockets, {in_flight} broadcast(s) in flight; p50 and p99 until the last socket has it; cpu_us: of "
        "the server, per delivery; reference: a bare picows server, one write per frame (ours joins those of a "
        "turn); channels and socketio: one in flight, for half the time; generator: picows, one process",
        [rates(side) for side in turns[:2]],
        {
            **latencies(*turns[:2]),
            "cpu_us": cpu[0],
            "reference_cpu_us": cpu[1],
            **beside(others, turns[0], turns[2:]),
        },
    )


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    window_s = plan.window_s(WINDOW_S)
    lines: list[Line] = []
    async with nodes(1) as (ours,), picows_room() as bare, socket_servers() as others:
        sides: list[tuple[Server, Dialect]] = [(ours, Phoenix()), (bare, Phoenix()), *others.values()]
        crowds = [(Crowd(server.port, dialect, SOCKETS), server) for server, dialect in sides]
        try:
            for browsers, _ in crowds:
                await browsers.gather()
            for name, in_flight in (("broadcast", IN_FLIGHT), ("broadcast_1", 1)):
                loads = [(window_s, in_flight)] * 2 + [(window_s / 2, 1)] * len(others)
                turns = await alternate(
                    plan,
                    *(
                        partial(measured, browsers, server, *load)
                        for (browsers, server), load in zip(crowds, loads, strict=True)
                    ),
                )
                lines.append(line(name, in_flight, turns, list(others)))
        finally:
            for browsers, _ in crowds:
                browsers.leave()
    return lines
