"""The reference for topics: a process that subscribes to channels of a Redis, and counts what it is given.

`python -m benchmarks.redis_topics PORT`. It does what its stdin says, a line each, and answers with a line: to
"subscribe N" with the seconds and the bytes of memory that it took, to "until N" with "ok" once it has been given so
many messages.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from time import perf_counter

import psutil  # type: ignore[import-untyped]  # psutil ships no types
import uvloop
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from benchmarks.topics_app import topic

CHUNK = 1_000
"""Channels in one command."""


class Listener:
    """One process's subscriptions."""

    def __init__(self, port: int) -> None:
        self._redis = Redis(host="127.0.0.1", port=port)
        self._pubsub: PubSub = self._redis.pubsub(ignore_subscribe_messages=False)
        self.count = 0
        self.subscribed = 0

    async def subscribe(self, count: int) -> tuple[float, float]:
        """Subscribe to so many channels, and hear that all are. Returns seconds, and bytes of memory."""
        process = psutil.Process(os.getpid())
        before, start = process.memory_info().rss, perf_counter()
        names: Sequence[str] = [topic(number) for number in range(count)]
        for at in range(0, count, CHUNK):
            chunk = names[at : at + CHUNK]
            await self._pubsub.subscribe(*chunk)
            for _ in chunk:
                await self._pubsub.parse_response()
        return perf_counter() - start, float(process.memory_info().rss - before)

    async def until(self, count: int) -> None:
        """Read until so many messages have come."""
        while self.count < count:
            message = await self._pubsub.get_message(timeout=None)
            if message is not None and message["type"] == "message":
                self.count += 1

    async def close(self) -> None:
        """Let go of the connection."""
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py is half typed
        await self._redis.aclose()


async def main() -> None:
    """Do what stdin says."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    listener = Listener(int(sys.argv[1]))
    while line := (await reader.readline()).decode().split():
        if line[0] == "subscribe":
            elapsed_s, grown_bytes = await listener.subscribe(int(line[1]))
            print(f"{elapsed_s} {grown_bytes}", flush=True)
        else:
            await listener.until(int(line[1]))
            print("ok", flush=True)
    await listener.close()


if __name__ == "__main__":
    uvloop.run(main())
