"""The other sides that are programs of their own: FastAPI with Redis, and uvicorn with a bare WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.child import Child, child, free_port, listening, program, python


@dataclass(frozen=True, slots=True)
class Server:
    """A running server and where it listens."""

    port: int
    process: Child


def uvicorn(app: str, port: int) -> list[str]:
    """The command that serves an ASGI application as fast as uvicorn can."""
    options = ["--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--no-access-log"]
    return python("uvicorn", app, "--host", "127.0.0.1", "--port", str(port), "--backlog", "4096", *options)


@asynccontextmanager
async def fastapi_redis(workers: int = 3) -> AsyncIterator[tuple[int, int]]:
    """FastAPI under uvicorn with Redis behind it, nothing on disk.

    Yields two web ports: of one process, and of `workers` processes that share a port. Both use the one Redis.
    """
    redis_port, port, shared_port = free_port(), free_port(), free_port()
    in_memory = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"]
    redis = [program("redis-server"), "--port", str(redis_port), *in_memory]
    async with child(redis) as store:
        await listening(redis_port, store)
        where = {"REDIS_PORT": str(redis_port)}
        one = uvicorn("benchmarks.redis_app:app", port)
        several = [*uvicorn("benchmarks.redis_app:app", shared_port), "--workers", str(workers)]
        async with child(one, where) as web, child(several, where) as shared_web:
            await listening(port, web)
            await listening(shared_port, shared_web)
            yield port, shared_port


@asynccontextmanager
async def bare_socket() -> AsyncIterator[Server]:
    """uvicorn with an application that only accepts sockets."""
    port = free_port()
    async with child(uvicorn("benchmarks.bare_socket:app", port)) as web:
        await listening(port, web)
        yield Server(port, web)


@asynccontextmanager
async def picows_room() -> AsyncIterator[Server]:
    """A bare picows server."""
    async with child(python("benchmarks.picows_room")) as room:
        yield Server(int(await room.line()), room)
