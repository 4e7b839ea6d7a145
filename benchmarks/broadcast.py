"""One topic, a thousand sockets: our channels in our own server, against a bare picows server.

The same generator, in this process, plays both crowds. It keeps several broadcasts in flight; the next one is sent
when every socket has received an earlier one. With a single one in flight there is nothing to join into one write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from benchmarks.bench_app import EVENT, TOPIC
from benchmarks.callers import Sample, latencies, rates
from benchmarks.crowd import Crowd
from benchmarks.line import Bound, Line, middle
from benchmarks.nodes import nodes
from benchmarks.peers import Server, picows_room
from benchmarks.rounds import Plan, alternate

SOCKETS = 1_000
IN_FLIGHT = 8
WINDOW_S = 2.0


def crowd(server: Server, size: int) -> Crowd:
    """Browsers for a server that speaks the Phoenix protocol."""
    return Crowd(f"ws://127.0.0.1:{server.port}/socket/websocket?vsn=2.0.0", TOPIC, EVENT, size)


async def measured(browsers: Crowd, server: Server, window_s: float, in_flight: int) -> Sample:
    """One turn, with the CPU that the server used per delivery."""
    before_s = server.process.cpu_s()
    sample = await browsers.broadcast(window_s, in_flight)
    cpu_us = (server.process.cpu_s() - before_s) / (browsers.deliveries or 1) * 1e6
    return replace(sample, cpu_us=cpu_us)


def line(name: str, in_flight: int, turns: Sequence[Sequence[Sample]]) -> Line:
    """The line of one load."""
    cpu = [middle([sample.cpu_us for sample in side if sample.cpu_us is not None]) for side in turns]
    return Line(
        name,
        "deliveries/s",
        [Bound("ratio", ">=", 0.9), Bound("cpu_us", "<=", 6)],
        f"{SOCKETS} sockets, {in_flight} broadcast(s) in flight; p50 and p99 until the last socket has it; cpu_us: of "
        "the server, per delivery; reference: a bare picows server, one write per frame (ours joins those of a "
        "turn); generator: picows, one process",
        [rates(side) for side in turns],
        {**latencies(*turns), "cpu_us": cpu[0], "reference_cpu_us": cpu[1]},
    )


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    window_s = plan.window_s(WINDOW_S)
    lines: list[Line] = []
    async with nodes(1) as (ours,), picows_room() as bare:
        our_crowd, bare_crowd = crowd(ours, SOCKETS), crowd(bare, SOCKETS)
        try:
            await our_crowd.gather()
            await bare_crowd.gather()
            for name, in_flight in (("broadcast", IN_FLIGHT), ("broadcast_1", 1)):
                turns = await alternate(
                    plan,
                    partial(measured, our_crowd, ours, window_s, in_flight),
                    partial(measured, bare_crowd, bare, window_s, in_flight),
                )
                lines.append(line(name, in_flight, turns))
        finally:
            our_crowd.leave()
            bare_crowd.leave()
    return lines
