"""Load over HTTP: by wrk where it is installed, else by connections of our own; the same for both sides."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec

from benchmarks.callers import Sample, closed_loop
from benchmarks.child import Failed

BODY = msgspec.json.encode(
    {
        "customer": "alex",
        "currency": "EUR",
        "lines": [{"sku": "sku-42", "quantity": 2, "price_cents": 1999}],
    }
)
"""What is stored, about 100 bytes; store.lua has the same."""
CONNECTIONS = 66
"""Connections, each with one request at a time: a multiple of one, two or three ports."""
THREADS = 3
"""Threads of wrk, each with its share of the connections, and one port."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one method to the ports of one side. Keys start with `prefix`; GETs read the first `keys`."""

    method: str
    ports: Sequence[int]
    prefix: str
    keys: int = 0


class _Report(msgspec.Struct):
    requests: int
    elapsed_us: int
    p50_us: float
    p99_us: float
    refused: int
    broken: int


class _Connection(asyncio.Protocol):
    """A keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._reply: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, method: str, path: str, body: bytes = b"") -> asyncio.Future[bytes]:
        """Send one request; the future holds the body of a 200, and fails on anything else."""
        self._reply = asyncio.get_running_loop().create_future()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return self._reply

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank or self._reply is None:
            return
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < size:
            return
        self._buffer = b""
        if head.startswith(b"HTTP/1.1 200"):
            self._reply.set_result(rest)
        else:
            self._reply.set_exception(Failed(f"{head[:60]!r} {rest[:200]!r}"))

    def connection_lost(self, error: Exception | None) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(Failed("the server closed a connection"))


@asynccontextmanager
async def connections(ports: Sequence[int], count: int) -> AsyncIterator[list[_Connection]]:
    """Connections to the ports in turn."""
    opened: list[_Connection] = []
    try:
        for port in itertools.islice(itertools.cycle(ports), count):
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
            opened.append(connection)
        yield opened
    finally:
        for connection in opened:
            connection.transport.close()


async def fill(ports: Sequence[int], prefix: str, keys: int) -> None:
    """Write the keys that GETs will read."""
    numbers = iter(range(keys))

    async def writer(connection: _Connection) -> None:
        for number in numbers:
            await connection.ask("PUT", f"/api/store/{prefix}{number}", BODY)

    async with connections(ports, 16) as opened, asyncio.TaskGroup() as group:
        for connection in opened:
            group.create_task(writer(connection))


def generator() -> str:
    """The name of the load generator."""
    return "wrk" if shutil.which("wrk") else "python"


async def press(load: Load, window_s: float) -> Sample:
    """Load one side for `window_s` seconds.

    Raises:
        Failed: when a single request was refused or broken.
    """
    return await (_wrk(load, window_s) if generator() == "wrk" else _python(load, window_s))


async def _wrk(load: Load, window_s: float) -> Sample:
    script = Path(__file__).with_name("store.lua")
    settings = {
        "METHOD": load.method,
        "PORTS": ",".join(map(str, load.ports)),
        "PREFIX": load.prefix,
        "KEYS": str(load.keys),
    }
    shape = [f"-t{THREADS}", f"-c{CONNECTIONS}", f"-d{max(1, round(window_s))}s", "--timeout", "5s"]
    process = await asyncio.create_subprocess_exec(
        "wrk",
        *shape,
        "-s",
        str(script),
        f"http://127.0.0.1:{load.ports[0]}",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **settings},
    )
    try:
        async with asyncio.timeout(window_s + 15):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Failed(f"wrk ended with code {process.returncode}: {output.decode()[-300:]}")
    report = msgspec.json.decode(output.splitlines()[-1], type=_Report)
    if report.refused or report.broken:
        raise Failed(f"of {report.requests} {load.method}s {report.refused} were refused, {report.broken} broken")
    return Sample(report.requests / report.elapsed_us * 1e6, report.p50_us, report.p99_us)


async def _python(load: Load, window_s: float) -> Sample:
    numbers = itertools.count()
    async with connections(load.ports, CONNECTIONS) as opened:
        idle = list(opened)

        async def request() -> None:
            connection = idle.pop()
            if load.method == "PUT":
                await connection.ask("PUT", f"/api/store/{load.prefix}{next(numbers)}", BODY)
            else:
                await connection.ask("GET", f"/api/store/{load.prefix}{random.randrange(load.keys)}")
            idle.append(connection)

        return await closed_loop(CONNECTIONS, window_s, request)
