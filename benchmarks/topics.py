"""A hundred thousand topics with three subscribers each, one on each of three nodes.

Each node is an operating-system process; the one that broadcasts is this one. The other side is Redis pub/sub with
redis-py, in the same shape: three processes, each subscribed to every channel; this one publishes, in pipelines. A turn
broadcasts to random topics, in bursts, and the next burst begins when all three processes have been given the last one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter

from redis.asyncio import Redis

from benchmarks.callers import Sample, rates
from benchmarks.child import READY_S, Child, Failed, child, free_port, listening, program, python
from benchmarks.line import Bound, Line
from benchmarks.nodes import processes, serving, settings
from benchmarks.redis_topics import Listener
from benchmarks.rounds import Plan, alternate, say
from benchmarks.topics_app import EVENT, app, delivered, subscribe, topic
from roost.cluster import rpc
from roost.cluster.node import Node
from roost.live.pubsub import PubSub
from roost.runtime import Runtime

TOPICS = 100_000
WARM = 1_000
"""Topics that come before the count, so that what a node loads once is not counted."""
BURST = 2_000
WINDOW_S = 2.0
PAYLOAD = {"from": "ada", "body": "hello", "n": 1}
PUBLISHED = b'{"from":"ada","body":"hello","n":1}'
SUBSCRIBE_S = 90.0


class Ours:
    """Three nodes with all topics."""

    def __init__(self, node: Node, peers: Sequence[str]) -> None:
        self._node, self._peers = node, peers
        self._sent = 0

    async def subscribe(self, count: int) -> tuple[float, float]:
        """Let every node subscribe. Returns seconds until all are done, and the bytes that a child grew by, at most."""
        start = perf_counter()
        calls = [rpc.call(peer, subscribe, WARM, count, timeout_s=SUBSCRIBE_S) for peer in self._peers]
        (_, _), *children = await asyncio.gather(subscribe(WARM, count), *calls)
        return perf_counter() - start, max(grown for _, grown in children)

    async def warm(self) -> None:
        """Topics that do not count."""
        calls = [rpc.call(peer, subscribe, 0, WARM, timeout_s=SUBSCRIBE_S) for peer in self._peers]
        await asyncio.gather(subscribe(0, WARM), *calls)

    async def turn(self, window_s: float, count: int) -> Sample:
        """Broadcast for so long."""
        pubsub, start, sent = PubSub.of(self._node), perf_counter(), 0
        while perf_counter() < start + window_s:
            for number in random.choices(range(WARM, WARM + count), k=BURST):
                pubsub.broadcast(topic(number), EVENT, PAYLOAD)
            sent += BURST
            self._sent += BURST
            for peer in self._peers:  # it answers after what it was sent before
                if (got := await rpc.call(peer, delivered)) != self._sent:
                    raise Failed(f"{peer} was given {got} of {self._sent} broadcasts")
            if delivered() != self._sent:
                raise Failed(f"here {delivered()} of {self._sent} broadcasts were given")
        return Sample(sent / (perf_counter() - start))


class Theirs:
    """A Redis, two listening processes, and a third listener in this one."""

    def __init__(self, port: int, children: Sequence[Child]) -> None:
        self._redis = Redis(host="127.0.0.1", port=port)
        self._here = Listener(port)
        self._children = children
        self._sent = 0

    async def subscribe(self, count: int) -> tuple[float, float]:
        """Let every process subscribe. Returns seconds until all are done, and the bytes that a child grew by."""
        start = perf_counter()
        for process in self._children:
            process.tell(f"subscribe {count}")
        await self._here.subscribe(count)
        lines = [await process.line(SUBSCRIBE_S) for process in self._children]
        return perf_counter() - start, max(float(line.split()[1]) for line in lines)

    async def turn(self, window_s: float, count: int) -> Sample:
        """Publish for so long."""
        start, sent = perf_counter(), 0
        while perf_counter() < start + window_s:
            sent += BURST
            self._sent += BURST
            for process in self._children:
                process.tell(f"until {self._sent}")
            pipeline = self._redis.pipeline(transaction=False)
            for number in random.choices(range(count), k=BURST):
                pipeline.publish(topic(number), PUBLISHED)
            await asyncio.gather(pipeline.execute(), self._here.until(self._sent))
            for process in self._children:
                await process.line()
        return Sample(sent / (perf_counter() - start))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._here.close()
        await self._redis.aclose()


@asynccontextmanager
async def _nodes() -> AsyncIterator[Ours]:
    mine, *others = settings(3)
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(processes(others, "benchmarks.topics_app:app"))
        running = await app.boot(replace(mine, web=None), Runtime.real())
        stack.push_async_callback(running.stop)
        await serving(servers)
        deadline = asyncio.get_running_loop().time() + READY_S
        while len(running.node.fabric.up()) < len(others) + 1:
            if asyncio.get_running_loop().time() > deadline:
                raise Failed(f"{mine.name} sees only {running.node.fabric.up()}")
            await asyncio.sleep(0.02)
        with running.node.entered():
            yield Ours(running.node, [config.name for config in others])


@asynccontextmanager
async def _redis() -> AsyncIterator[Theirs]:
    port = free_port()
    quiet = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"]
    unbounded = ["--client-output-buffer-limit", "pubsub 0 0 0"]
    redis = [program("redis-server"), "--port", str(port), *quiet, *unbounded]
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(child(redis))
        await listening(port, store)
        command = python("benchmarks.redis_topics", str(port))
        theirs = Theirs(port, [await stack.enter_async_context(child(command)) for _ in range(2)])
        stack.push_async_callback(theirs.close)
        yield theirs


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    window_s, count = plan.window_s(WINDOW_S), plan.count(TOPICS)
    async with _nodes() as ours, _redis() as theirs:
        await ours.warm()
        our_s, our_bytes = await ours.subscribe(count)
        say(f"  subscribed in {our_s:.2f} s")
        their_s, their_bytes = await theirs.subscribe(count)
        say(f"  Redis: subscribed in {their_s:.2f} s")
        turns = await alternate(plan, partial(ours.turn, window_s, count), partial(theirs.turn, window_s, count))
    return [
        Line(
            "topics",
            "broadcasts/s",
            [Bound("ratio", ">=", 2), Bound("bytes_per_topic", "<=", 500), Bound("subscribe_s", "<=", 3)],
            f"{count} topics with a subscriber on each of three nodes, in three processes; bursts of {BURST} to random "
            "topics, each given to all three before the next; reference: Redis pub/sub with redis-py, three processes "
            "with all channels each, publishing in pipelines; subscribe_s: until all three have subscribed to all and "
            "all know; bytes_per_topic: growth of a process's RSS",
            [rates(side) for side in turns],
            {
                "subscribe_s": our_s,
                "reference_subscribe_s": their_s,
                "bytes_per_topic": our_bytes / count,
                "reference_bytes_per_topic": their_bytes / count,
            },
        )
    ]
