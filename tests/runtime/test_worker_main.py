"""Workers of whole programs: what they import, and that they never outlive them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.news import NumberPipe, ended, is_gone

SCRIPT = """
import asyncio, os, re, sys, time
import msgspec
from roost.errors import RoostError
from roost.runtime.cpu import CpuWorkers

class Point(msgspec.Struct, frozen=True):
    x: int

def double(point: Point) -> Point:
    return Point(2 * point.x)

def name() -> str:
    return __name__

def spin(told):
    with open(told, "w") as file:
        file.write(str(os.getpid()))
    while True:
        pass

def match_for_ever(told):
    with open(told, "w") as file:
        file.write(str(os.getpid()))
    re.match("(a+)+$", 100 * "a" + "b")

async def main():
    cpu = CpuWorkers(1)
    if len(sys.argv) > 1:
        await cpu.run(spin if len(sys.argv) == 2 else match_for_ever, (sys.argv[1],))
    try:
        print(await cpu.run(double, (Point(4),)), await cpu.run(name))
    except RoostError as error:
        print(type(error).__name__, error)
"""
GUARDED = SCRIPT + '\nif __name__ == "__main__":\n    asyncio.run(main())\n'
BARE = SCRIPT + "\nasyncio.run(main())\n"


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_functions_and_classes_of_a_script(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(GUARDED)
    for command in (["script.py"], ["-m", "script"]):
        done = run(*command, cwd=tmp_path)
        assert (done.stdout, done.stderr) == ("Point(x=8) __roost_worker__\n", "")


def test_functions_of_a_package_that_is_run(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "prices.py").write_text("FACTOR = 3\n")
    (package / "__main__.py").write_text(
        "import asyncio\nfrom .prices import FACTOR\nfrom roost.runtime.cpu import CpuWorkers\n"
        "def price(n: int) -> int:\n    return n * FACTOR\n"
        'if __name__ == "__main__":\n    print(asyncio.run(CpuWorkers().run(price, (2,))))\n'
    )
    done = run("-m", "shop", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("6\n", "")


def test_a_script_without_its_guard_is_told_so_and_starts_nothing_twice(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(BARE)
    done = run("script.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ConfigError" in done.stdout
    assert 'must do so below if __name__ == "__main__"' in done.stdout
    assert done.stdout.count("\n") == 2, "the worker's own attempt, and what it led to"


def test_functions_from_a_prompt(tmp_path: Path) -> None:
    code = SCRIPT + "\ntry:\n    asyncio.run(main())\nexcept RoostError as error:\n    print(error)\n"
    done = run("-c", code, cwd=tmp_path)
    assert "defined at a prompt" in done.stdout, done.stderr


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
async def test_workers_die_with_their_program(tmp_path: Path, signal_number: signal.Signals) -> None:
    (tmp_path / "script.py").write_text(GUARDED)
    pipe = NumberPipe(tmp_path)
    program = await asyncio.create_subprocess_exec(sys.executable, "script.py", pipe.path, cwd=tmp_path)
    worker = await pipe.number()
    program.send_signal(signal_number)
    assert await program.wait() == -signal_number
    await ended(worker)


async def test_a_function_that_lets_no_other_thread_run_dies_with_its_program_too(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(GUARDED)
    pipe = NumberPipe(tmp_path)
    program = await asyncio.create_subprocess_exec(sys.executable, "script.py", pipe.path, "match", cwd=tmp_path)
    worker = await pipe.number()
    program.kill()
    await program.wait()
    await ended(worker)


async def test_ctrl_c_is_for_the_program_which_ends_its_workers(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(GUARDED)
    pipe = NumberPipe(tmp_path)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "script.py", pipe.path, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True
    )
    worker = await pipe.number()
    os.killpg(program.pid, signal.SIGINT)  # as the terminal does, to the whole group in the foreground
    _, said = await program.communicate()
    assert is_gone(worker)
    text = said.decode()
    assert text.endswith("\nKeyboardInterrupt\n")
    assert "worker_main" not in text
