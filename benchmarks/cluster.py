"""A cluster whose first node lives in the benchmark's own process, beside the callers; the others are children."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from benchmarks.bench_app import app
from benchmarks.child import READY_S, Failed
from benchmarks.nodes import processes, serving, settings
from benchmarks.peers import Server
from roost.cluster.node import Node
from roost.runtime import Runtime


@asynccontextmanager
async def cluster(size: int) -> AsyncIterator[Node]:
    """The first of `size` nodes of `bench_app`, here, when it sees all others."""
    async with cluster_and_peers(size) as (node, _):
        yield node


@asynccontextmanager
async def cluster_and_peers(size: int) -> AsyncIterator[tuple[Node, Sequence[Server]]]:
    """As `cluster`; and the processes of the others."""
    mine, *others = settings(size)
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(processes(others))
        running = await app.boot(replace(mine, web=None), Runtime.real())
        stack.push_async_callback(running.stop)
        await serving(servers)
        node = running.node
        deadline = asyncio.get_running_loop().time() + READY_S
        while len(node.membership.up()) < size:
            if asyncio.get_running_loop().time() > deadline:
                raise Failed(f"{node.name} sees only {node.membership.up()}")
            await asyncio.sleep(0.02)
        gc.freeze()  # as the process of a node does
        with node.entered():
            yield node, servers
