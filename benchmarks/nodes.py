"""Our side where it is whole nodes: each an operating-system process that serves an application, all in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from tempfile import TemporaryDirectory

from benchmarks.child import READY_S, Failed, child, free_port, listening, python
from benchmarks.http_load import connections
from benchmarks.peers import Server
from roost.config import Address, Config, Seed

APP = "benchmarks.bench_app:app"
DEMO = "roost.demo.app:app"
"""The demo: its store answers over HTTP."""
COOKIE = b"benchmark"


def settings(count: int) -> tuple[Config, ...]:
    """The settings of `count` nodes of one cluster, on free loopback ports, without a data folder."""
    places = [(Address("127.0.0.1", free_port()), Address("127.0.0.1", free_port())) for _ in range(count)]
    seeds = tuple(
        Seed(f"{letter}@127.0.0.1", link, web) for letter, (link, web) in zip("abcdefgh", places, strict=False)
    )
    return tuple(
        Config(name=seed.name, cluster="benchmark", listen=seed.address, seeds=seeds, cookie=COOKIE, web=seed.web)
        for seed in seeds
    )


@asynccontextmanager
async def processes(configs: Sequence[Config], app: str = APP) -> AsyncIterator[Sequence[Server]]:
    """Nodes in processes of their own, that have just been started."""
    async with AsyncExitStack() as stack:
        # Run files go where no console looks for them.
        hidden = {"XDG_RUNTIME_DIR": stack.enter_context(TemporaryDirectory(prefix="roost-benchmark-"))}
        servers: list[Server] = []
        for config in configs:
            assert config.web is not None
            command, settings = python("roost.ops.node", app), {**config.to_env(), **hidden}
            process = await stack.enter_async_context(child(command, settings))
            servers.append(Server(config.web.port, process))
        yield servers


async def serving(servers: Sequence[Server]) -> None:
    """Wait until all of them listen for browsers."""
    for server in servers:
        await listening(server.port, server.process)


@asynccontextmanager
async def nodes(count: int, app: str = APP) -> AsyncIterator[Sequence[Server]]:
    """A cluster of `count` nodes that serve `app`; the store of more than one is ready on all of them."""
    async with processes(settings(count), app) as servers:
        await serving(servers)
        if count > 1:
            await _all_up([server.port for server in servers])
        yield servers


async def _all_up(ports: Sequence[int]) -> None:
    """Wait until every node sees every other: until a write needs, and gets, all copies through each of them."""
    deadline = asyncio.get_running_loop().time() + READY_S
    async with connections(ports, len(ports)) as opened:
        for number, connection in enumerate(opened):
            while True:
                try:
                    path = f"/api/store/ready-{number}?n={len(ports)}&w={len(ports)}"
                    await connection.ask("PUT", path, b"{}")
                    break
                except Failed:
                    if asyncio.get_running_loop().time() > deadline:
                        raise
                    await asyncio.sleep(0.05)
