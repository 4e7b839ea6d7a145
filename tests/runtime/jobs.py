"""What worker processes are given to do in the tests."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from roost.errors import CallTimeout, Refusal
from roost.runtime.cpu import CpuWorkers


class SoldOut(Refusal):
    """An application's own refusal."""

    def __init__(self, left: int) -> None:
        super().__init__(left)
        self.left = left


class Demanding(Refusal):
    """One that cannot be made again from its arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Point(msgspec.Struct, frozen=True):
    """A declared value."""

    x: int
    y: int


def add(one: int, other: int = 1) -> int:
    """A sum."""
    return one + other


def mirror(point: Point) -> Point:
    """A declared value for another."""
    return Point(point.y, point.x)


def echo(value: object) -> object:
    """The value."""
    return value


def pid() -> int:
    """Who runs this."""
    return os.getpid()


def fail() -> None:
    """Crash."""
    raise ValueError("a bug")


def refuse(left: int) -> None:
    """A declared error."""
    raise SoldOut(left)


def refuse_oddly() -> None:
    """A declared error that cannot be made again."""
    raise Demanding(1, 2)


def be_late() -> None:
    """One of Roost's own errors."""
    raise CallTimeout("somebody", 1.5)


def give_up() -> None:
    """What ends a program, in a function."""
    sys.exit(3)


def leave(code: int) -> None:
    """End the process."""
    os._exit(code)


def leave_a_fork_behind() -> None:
    """End the process, but not the copy of it that holds everything open."""
    if os.fork() == 0:
        signal.pause()
    os._exit(3)


def kill_itself() -> None:
    """As the kernel does when there is no memory left."""
    os.kill(os.getpid(), signal.SIGKILL)


def break_memory() -> None:
    """Read where nothing is."""
    ctypes.string_at(0)


def die_in_the_answer(size: int) -> bytes:
    """Be killed while a large answer is being written."""
    threading.Timer(0.005, kill_itself).start()
    return bytes(size)


def allocate(size: int) -> int:
    """Take much memory."""
    return len(bytearray(size))


def say(text: str) -> None:
    """Print something."""
    print(text)


def spin(told: str) -> None:
    """Tell who runs this, then compute without end."""
    tell(told, os.getpid())
    while True:
        pass


def spin_with_a_program(told: str) -> None:
    """The same, beside a program that was started."""
    program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    tell(told, program.pid)
    while True:
        pass


def meet(told: str, other: str) -> int:
    """Tell that this runs, and return when the other one runs too."""
    tell(told, os.getpid())
    with Path(other).open("rb") as file:
        return int(file.read())


def tell(told: str, number: int) -> None:
    """Write a number into a named pipe."""
    with Path(told).open("wb") as file:
        file.write(str(number).encode())


async def run_async() -> None:
    """No worker runs this."""


def start_more() -> str:
    """Use workers inside of a worker."""
    import asyncio

    return asyncio.run(_start_more())


async def _start_more() -> str:
    return str(await CpuWorkers().run(add, (1,)))
