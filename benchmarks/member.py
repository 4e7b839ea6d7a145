"""A cluster whose first node lives in the benchmark's own process, beside the callers; the others are children.

As a module it is one of the others: told by ROOST_* variables who it is, it prints a line when it runs, and ends with
its stdin.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import uvloop

from benchmarks.child import READY_S, Failed, child, parent_gone, python
from benchmarks.local_call import Counter
from benchmarks.nodes import settings
from roost.cluster.node import Node
from roost.config import Config
from roost.data.kv import Kv
from roost.runtime import Runtime

COUNTER = "counter"


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Kv]:
    """A node in this process, with a store and a named process to call."""
    node = Node(config, Runtime.real())
    kv = Kv(node)
    node.add_child(Counter.child(name=COUNTER))
    await node.start()
    try:
        with node.entered():
            yield kv
    finally:
        await node.stop()


@asynccontextmanager
async def cluster(size: int) -> AsyncIterator[Kv]:
    """The first of `size` nodes, here, when it sees all others."""
    mine, *others = settings(size)
    async with AsyncExitStack() as stack:
        for config in others:
            process = await stack.enter_async_context(child(python("benchmarks.member"), config.to_env()))
            await process.line()
        kv = await stack.enter_async_context(running(mine))
        deadline = asyncio.get_running_loop().time() + READY_S
        while len(kv.node.membership.up()) < size:
            if asyncio.get_running_loop().time() > deadline:
                raise Failed(f"{mine.name} sees only {kv.node.membership.up()}")
            await asyncio.sleep(0.02)
        yield kv


async def _serve() -> None:
    async with running(Config.from_env(os.environ)):
        print("running", flush=True)
        await parent_gone()


if __name__ == "__main__":
    uvloop.run(_serve())
