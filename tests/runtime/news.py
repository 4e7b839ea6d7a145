"""News of other processes, without waiting for a while: a named pipe that a number comes out of, and the end of one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


class NumberPipe:
    """A named pipe into which another process writes one number."""

    def __init__(self, folder: Path, name: str = "number") -> None:
        self.path = str(folder / name)
        os.mkfifo(self.path)
        self._reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    async def number(self) -> int:
        """Wait until it has come."""
        try:
            await readable(self._reader)
            return int(os.read(self._reader, 100))
        finally:
            os.close(self._reader)


async def readable(number: int) -> None:
    """Wait until there is something to read at a file descriptor."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[None] = loop.create_future()
    loop.add_reader(number, lambda: None if came.done() else came.set_result(None))
    try:
        await came
    finally:
        loop.remove_reader(number)


async def ended(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        number = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await readable(number)
    finally:
        os.close(number)


def is_gone(pid: int) -> bool:
    """Whether nothing is left of a process, not even a zombie."""
    return not Path(f"/proc/{pid}").exists()
