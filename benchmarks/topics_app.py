"""Our side of the benchmark of topics: on each node one subscriber of each topic, which counts what it is given.

Run by `python -m roost.ops.node benchmarks.topics_app:app`, as `roost run` does.
"""

from __future__ import annotations

import asyncio
import os
from time import perf_counter

import psutil  # type: ignore[import-untyped]  # psutil ships no types

from roost.cluster.exports import exported
from roost.cluster.node import Node
from roost.live.pubsub import PubSub
from roost.web.app import Roost

EVENT = "new_msg"
PER_TURN = 500
"""Subscriptions between two turns of the loop."""


def topic(number: int) -> str:
    """The name of a topic."""
    return f"room:{number}"


class Counting:
    """What all subscribers of a process were given."""

    def __init__(self) -> None:
        self.count = 0


class Subscriber:
    """A subscriber of one topic, as a socket is."""

    __slots__ = ("_of_all",)

    def __init__(self, of_all: Counting) -> None:
        self._of_all = of_all

    def write(self, frame: bytes) -> None:
        """One more."""
        self._of_all.count += 1

    def flush(self) -> None:
        """Nothing is collected."""


counts = Counting()


@exported(name="topics.subscribe")
async def subscribe(first: int, count: int) -> tuple[float, float]:
    """Subscribe to so many topics, and wait until the other nodes know. Returns seconds, and bytes of memory."""
    pubsub = PubSub.of(Node.current())
    before, start = _rss_bytes(), perf_counter()
    for at in range(first, first + count, PER_TURN):
        for number in range(at, min(at + PER_TURN, first + count)):
            subscriber = Subscriber(counts)
            pubsub.subscribe(topic(number), subscriber, subscriber)
        await asyncio.sleep(0)
    settled = asyncio.get_running_loop().create_future()
    pubsub.when_settled(topic(first + count - 1), lambda: settled.set_result(None))
    await settled
    return perf_counter() - start, _rss_bytes() - before


@exported(name="topics.delivered")
def delivered() -> int:
    """How many broadcasts subscribers of this node have been given."""
    return counts.count


def _rss_bytes() -> float:
    return float(psutil.Process(os.getpid()).memory_info().rss)


app = Roost("topics")
