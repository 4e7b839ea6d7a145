"""What a hundred nodes cost each other, beside ten: whole nodes, their own code, in the simulator."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import process_time

from benchmarks.line import Bound, Line, middle
from benchmarks.rounds import Plan, say
from roost.cluster.link import Link
from roost.cluster.node import Node
from roost.config import Config
from roost.core import membership
from roost.data.kv import Kv
from roost.runtime import Runtime
from roost.sim import run as run_simulated
from roost.sim.world import World

NODES = (100, 10)
IDLE_S = 5.0
SETTLE_S = 10.0
"""After all have been started at once."""
PARTITIONS = 512
ROUNDS_MAX = 2


@dataclass(frozen=True, slots=True)
class Size:
    """What one cluster cost: frames of each node in a second in which nothing happens, what it takes until a change is
    known everywhere, and CPU for a second of the whole cluster."""

    frames_per_s: float
    known_s: float
    cpu_s: float


async def run(plan: Plan) -> list[Line]:
    """Measure. The simulator brings a loop of its own, so it runs beside this one."""
    sizes: list[list[Size]] = [[], []]
    logging.disable()
    for number in range(1 if plan.quick else min(plan.rounds, ROUNDS_MAX)):
        for side, count in enumerate(NODES):
            sizes[side].append(await asyncio.to_thread(run_simulated, number, _story(count)))
        say(f"  round {number + 1}")
    ours, reference = sizes
    return [
        Line(
            "hundred_nodes",
            "frames/s",
            [Bound("ratio", "<=", 1.5), Bound("known_s", "<=", 1.0)],
            f"what each of {NODES[0]} idle nodes with a ring of {PARTITIONS} partitions says in a second, heartbeats "
            f"and gossip together; reference: each of {NODES[1]}; known_s is how long, in virtual time, until all know "
            "a change; cpu_s is what a virtual second of the whole cluster costs the simulator",
            [[one.frames_per_s for one in ours], [one.frames_per_s for one in reference]],
            {
                "known_s": middle([one.known_s for one in ours]),
                "reference_known_s": middle([one.known_s for one in reference]),
                "cpu_s": middle([one.cpu_s for one in ours]),
                "reference_cpu_s": middle([one.cpu_s for one in reference]),
            },
        )
    ]


class _Whole:
    """A node with a store."""

    def __init__(self, node: Node) -> None:
        self.node = node

    @classmethod
    async def boot(cls, config: Config, runtime: Runtime) -> _Whole:
        node = Node(config, runtime)
        Kv(node)
        await node.start()
        return cls(node)

    async def stop(self) -> None:
        await self.node.stop()


async def _story(count: int) -> Size:
    names = [f"n{number:02}" for number in range(count)]
    async with World(*names, boot=_Whole.boot, ring_size=PARTITIONS) as world:
        await world.start()
        nodes = [world.node(name).node for name in names]
        await world.eventually(lambda: all(len(node.fabric.up()) == count for node in nodes), 30.0, "a full mesh")
        await world.eventually(lambda: all(node.membership.view().has_vote for node in nodes), 30.0, "votes")
        await _pass(world, SETTLE_S)
        with _counted() as counter:
            cpu = process_time()
            await _pass(world, IDLE_S)
            frames, cpu_s = counter.frames / count / IDLE_S, (process_time() - cpu) / IDLE_S
        began_s = world.loop.time()
        cluster = await world.on(names[-1], lambda one: one.node.membership.change(_changed))
        await world.eventually(
            lambda: all(node.membership.cluster.version >= cluster.version for node in nodes), 30.0, "the change"
        )
        return Size(frames, world.loop.time() - began_s, cpu_s)


async def _pass(world: World[_Whole], seconds: float) -> None:
    end_s = world.loop.time() + seconds
    await world.eventually(lambda: world.loop.time() >= end_s, 2 * seconds, "time")


def _changed(cluster: membership.Cluster) -> membership.Cluster:
    return membership.set_policy(cluster, "auto")


class _Counter:
    """Frames that were written to links."""

    frames = 0


@contextmanager
def _counted() -> Iterator[_Counter]:
    counter, honest = _Counter(), Link._write

    def write(self: Link, data: bytes) -> None:
        counter.frames += 1
        honest(self, data)

    Link._write = write  # type: ignore[method-assign]  # counts what leaves
    try:
        yield counter
    finally:
        Link._write = honest  # type: ignore[method-assign]  # as it was
