"""Processes that a benchmark starts, and ends by their id whatever happens."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import psutil  # type: ignore[import-untyped]  # psutil ships no types

READY_S = 20.0
"""How long a child may take until it is ready."""


class Failed(Exception):
    """A benchmark that cannot be measured, with the reason."""


class Child:
    """A running process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.facts = psutil.Process(process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def cpu_s(self) -> float:
        """The CPU that it has used so far, user and system, in seconds."""
        times = self.facts.cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        """The memory that it holds, in bytes."""
        return int(self.facts.memory_info().rss)

    async def line(self, timeout_s: float = READY_S) -> str:
        """Its next line on stdout."""
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout_s):
            text = await self._process.stdout.readline()
        if not text:
            raise Failed(f"process {self.pid} ended with code {await self._process.wait()}")
        return text.decode().strip()

    def tell(self, text: str) -> None:
        """Write one line to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())

    async def ended(self) -> int:
        """Its exit code, when it has ended by itself."""
        return await self._process.wait()

    def check(self) -> None:
        """Raise Failed when it has ended."""
        if self._process.returncode is not None:
            raise Failed(f"process {self.pid} ended with code {self._process.returncode}")

    async def end(self) -> None:
        """Ask it to stop; kill it after five seconds."""
        if self._process.returncode is not None:
            return
        try:
            self._process.terminate()
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        except ProcessLookupError:
            await self._process.wait()


@asynccontextmanager
async def child(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> AsyncIterator[Child]:
    """Run a program for the length of a `with`. Its stdin closes with it; its stderr is ours."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    running = Child(process)
    try:
        yield running
    finally:
        await running.end()


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def program(name: str) -> str:
    """Where a program of the system is.

    Raises:
        Failed: when it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise Failed(f"{name} is not installed")
    return path


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def listening(port: int, running: Child, timeout_s: float = READY_S) -> None:
    """Wait until something accepts connections on a loopback port.

    Raises:
        Failed: when the child ends, or time does, before that.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        running.check()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Failed(f"nothing listens on port {port} after {timeout_s} s") from error
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


async def parent_gone() -> None:
    """In a child: wait until stdin closes, which happens when the benchmark is over, or has died."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
