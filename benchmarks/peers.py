"""The other sides that are programs of their own: FastAPI with Redis, and uvicorn with a bare WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.child import Child, child, free_port, listening, program, python
from benchmarks.dialect import Consumer, Dialect, SocketIo


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
async def redis() -> AsyncIterator[Mapping[str, str]]:
    """Redis, nothing on disk; yields the environment that says where."""
    port = free_port()
    in_memory = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"]
    async with child([program("redis-server"), "--port", str(port), *in_memory]) as store:
        await listening(port, store)
        yield {"REDIS_PORT": str(port)}


@asynccontextmanager
async def socket_servers() -> AsyncIterator[Mapping[str, tuple[Server, Dialect]]]:
    """What Python teams serve sockets with, by name: one process of each under uvicorn, and one Redis behind them."""
    channels_port, socketio_port = free_port(), free_port()
    async with (
        redis() as where,
        child(uvicorn("benchmarks.channels_room:app", channels_port), where) as channels,
        child(uvicorn("benchmarks.socketio_room:app", socketio_port), where) as socketio,
    ):
        await listening(channels_port, channels)
        await listening(socketio_port, socketio)
        yield {
            "channels": (Server(channels_port, channels), Consumer()),
            "socketio": (Server(socketio_port, socketio), SocketIo()),
        }


@asynccontextmanager
async def fastapi_redis(workers: int = 3) -> AsyncIterator[tuple[int, int]]:
    """FastAPI under uvicorn with Redis behind it, nothing on disk.

    Yields two web ports: of one process, and of `workers` processes that share a port. Both use the one Redis.
    """
    port, shared_port = free_port(), free_port()
    async with redis() as where:
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
