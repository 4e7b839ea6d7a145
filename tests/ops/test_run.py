"""`roost run` as an operator has it: a cluster in a terminal, asked, hurt, and stopped with nothing left."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.cluster import free_ports
from tests.ops.test_launcher import gone, is_running


def free_base() -> int:
    """A first port such that two nodes' web and link ports are free right now."""
    return free_ports(2)


class Terminal:
    """A process with its output so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.text = ""

    async def until(self, pattern: str) -> re.Match[str]:
        """Read on until `pattern` was printed."""
        assert self.process.stdout is not None
        while True:
            found = re.search(pattern, self.text, re.M)
            if found is not None:
                return found
            line = await self.process.stdout.readline()
            assert line, f"{pattern!r} never came:\n{self.text}"
            self.text += line.decode()

    async def end(self) -> int:
        """Read to the end and return the exit code."""
        out, _ = await self.process.communicate()
        self.text += out.decode()
        assert self.process.returncode is not None
        return self.process.returncode

    def pids(self) -> dict[str, int]:
        """The processes of the nodes, as the table tells them."""
        return {name: int(pid) for name, pid in re.findall(r"^  (\w)@.* (\d+)$", self.text, re.M)}


async def start(*arguments: str, at: Path) -> Process:
    """Run `roost` with its run folder in `at`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "roost",
        *arguments,
        env={**os.environ, "XDG_RUNTIME_DIR": str(at)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


def flags(at: Path, port: int, nodes: int = 2) -> Sequence[str]:
    """The flags of a cluster that keeps its data in `at`."""
    return "--nodes", str(nodes), "--port", str(port), "--data", str(at / "data")


@asynccontextmanager
async def cluster(at: Path, port: int) -> AsyncIterator[Terminal]:
    """Two nodes that are ready; they do not outlive the block."""
    terminal = Terminal(await start("run", "tests.ops.apps:app", *flags(at, port), at=at))
    try:
        await terminal.until("Ctrl-C stops everything")
        yield terminal
    finally:
        if terminal.process.returncode is None:
            terminal.process.terminate()
            await terminal.end()


async def ask(at: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of one command of the console."""
    terminal = Terminal(await start(*arguments, at=at))
    return await terminal.end(), terminal.text


async def test_a_cluster_runs_answers_the_console_heals_and_stops(tmp_path: Path) -> None:
    port = free_base()
    async with cluster(tmp_path, port) as terminal:
        pids = terminal.pids()
        assert sorted(pids) == ["a", "b"]
        assert f"http://127.0.0.1:{port}/" in terminal.text

        code, text = await ask(tmp_path, "member-status", "--format", "json")
        members = json.loads(text)["members"]
        assert code == 0
        assert [(member["name"], member["up"], member["web"]) for member in members] == [
            ("a@127.0.0.1", True, f"http://127.0.0.1:{port}"),
            ("b@127.0.0.1", True, f"http://127.0.0.1:{port + 1}"),
        ]
        code, text = await ask(tmp_path, "ring-status", "--node", "b")
        assert (code, "Ring Ready: true" in text, "All nodes are up and reachable" in text) == (0, True, True)

        os.kill(pids["b"], signal.SIGKILL)
        again = await terminal.until(r"roost \| node b is ready again, process (\d+)")
        assert "roost | node b was killed by SIGKILL; starting it again in 0.2 s" in terminal.text

        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.end() == 0
        assert not is_running(int(again[1]))
        assert not any(is_running(pid) for pid in pids.values())
        assert await ask(tmp_path, "member-status") == (
            1,
            "roost: the cluster is down: no node runs here: start some with roost demo, or roost run\n",
        )


async def test_nothing_is_left_when_the_launcher_is_killed(tmp_path: Path) -> None:
    async with cluster(tmp_path, free_base()) as terminal:
        terminal.process.kill()
        for pid in terminal.pids().values():
            await gone(pid)


async def test_a_second_cluster_on_the_same_ports_or_folder_is_one_line(tmp_path: Path) -> None:
    port = free_base()
    async with cluster(tmp_path, port):
        code, text = await ask(tmp_path, "run", "tests.ops.apps:app", *flags(tmp_path, port))
        assert (code, text.count("\n")) == (2, 1)
        assert f"port {port}, the web port of a@127.0.0.1, is taken" in text
        code, text = await ask(tmp_path, "run", "tests.ops.apps:app", *flags(tmp_path, free_base()))
        assert (code, text.count("\n")) == (2, 1)
        assert "another Roost is using" in text
    code, text = await ask(tmp_path, "run", "tests.ops.apps:app", *flags(tmp_path, port, nodes=3))
    assert (code, text.count("\n")) == (2, 1)
    assert "belongs to a cluster of 2 nodes: use --nodes 2" in text


async def test_a_module_without_an_application_is_one_line(tmp_path: Path) -> None:
    code, text = await ask(tmp_path, "run", "tests.ops.apps:nothing", *flags(tmp_path, free_base()))
    assert code == 2
    assert text == "roost: MODULE:ATTR: the module tests.ops.apps has no 'nothing': name its Roost(...) object\n"
