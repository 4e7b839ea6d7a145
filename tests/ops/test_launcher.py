"""The launcher over real processes: starts, restarts, stops, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

import pytest

from roost.config import Config
from roost.errors import ConfigError
from roost.ops.launcher import Launcher, check_ports
from roost.ops.plan import plan_nodes, short
from roost.ops.screen import Screen
from roost.runtime import Runtime
from tests.ops.paper import Paper

COMMAND = (sys.executable, "-m", "tests.ops.sprig")


def launcher(paper: Paper, nodes: int, sprig: Mapping[str, str] | None, stop_s: float) -> Launcher:
    configs = plan_nodes("grove", nodes, 4000)
    screen = Screen(paper, [short(config.name) for config in configs], {})
    environ = {**os.environ, **(sprig or {})}
    return Launcher(configs, COMMAND, "A grove", Runtime.real(), screen, environ, stop_s)


def pids(text: str) -> dict[str, int]:
    """The latest process of each node, as the table, and then the notices, tell it."""
    told = re.findall(r"^  (\w+)@.* (\d+)$", text, re.M) + re.findall(r"node (\w+) is ready again, process (\d+)", text)
    return {name: int(pid) for name, pid in told}


def served(text: str) -> list[int]:
    """Every process that said that it serves."""
    return [int(pid) for pid in re.findall(r"serving \S+ (\d+)", text)]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Run:
    """A launcher that runs beside the test, and is stopped with it."""

    def __init__(
        self, paper: Paper, nodes: int = 2, sprig: Mapping[str, str] | None = None, stop_s: float = 30.0
    ) -> None:
        self._task = asyncio.create_task(launcher(paper, nodes, sprig, stop_s).run())

    async def __aenter__(self) -> Run:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._task.done():
            os.kill(os.getpid(), signal.SIGTERM)
            await self._task

    async def end(self) -> int:
        return await self._task


async def test_shows_each_line_with_its_node_and_a_table_once_all_are_ready() -> None:
    paper = Paper()
    async with Run(paper):
        await paper.until("Ctrl-C stops everything")
        await paper.until(r"(?m)^a     \| serving a@127.0.0.1 \d+$")
        await paper.until(r"(?m)^b     \| serving b@127.0.0.1 \d+$")
        text = paper.getvalue()
        running = pids(text)
        assert sorted(running.values()) == sorted(served(text))
        assert "A grove" in text
        assert f"a@127.0.0.1   http://127.0.0.1:4000/   127.0.0.1:4100   {running['a']}" in text
        assert "open http://127.0.0.1:4000/" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_every_node_in_order(number: signal.Signals) -> None:
    paper = Paper()
    async with Run(paper) as run:
        await paper.until("Ctrl-C stops everything")
        os.kill(os.getpid(), number)
        assert await run.end() == 0
        text = paper.getvalue()
        assert text.count("stopped in order") == 2
        assert not any(is_running(pid) for pid in pids(text).values())


async def test_a_killed_node_is_started_again_and_the_reason_is_told() -> None:
    paper = Paper()
    async with Run(paper):
        await paper.until("Ctrl-C stops everything")
        victim = pids(paper.getvalue())["b"]
        os.kill(victim, signal.SIGKILL)
        await paper.until(r"roost \| node b is ready again, process \d+")
        text = paper.getvalue()
        assert "roost | node b was killed by SIGKILL; starting it again in 0.2 s" in text
        assert pids(text)["b"] != victim
        assert text.count("Ctrl-C stops everything") == 1


async def test_the_pause_before_a_restart_grows() -> None:
    paper = Paper()
    async with Run(paper, nodes=1):
        for kills in range(1, 4):
            serving = await paper.until(r"serving a@\S+ (\d+)", kills)
            os.kill(int(serving[-1][1]), signal.SIGKILL)
            await paper.until("starting it again in", kills)
        pauses = [float(pause) for pause in re.findall(r"again in ([\d.]+) s", paper.getvalue())]
        assert pauses[0] == 0.2
        assert 0.2 <= pauses[1] <= 0.4
        assert 0.4 <= pauses[2] <= 0.8


async def test_a_node_that_refuses_its_settings_stops_all_with_its_reason() -> None:
    paper = Paper()
    with pytest.raises(ConfigError, match="the sprig: does not want to"):
        await Run(paper, sprig={"SPRIG": "refuse", "SPRIG_ONLY": "b@127.0.0.1"}).end()
    assert not any(is_running(pid) for pid in served(paper.getvalue()))


async def test_a_node_that_crashes_before_it_was_ever_ready_stops_all() -> None:
    paper = Paper()
    assert await Run(paper, sprig={"SPRIG": "crash", "SPRIG_ONLY": "b@127.0.0.1"}).end() == 1
    text = paper.getvalue()
    assert "b     | the sprig breaks" in text
    assert "node b ended with exit code 1 before it was ready: its lines above say why" in text
    assert not any(is_running(pid) for pid in served(text))


async def test_a_second_signal_kills_what_will_not_stop() -> None:
    paper = Paper()
    async with Run(paper, nodes=1, sprig={"SPRIG": "stubborn"}) as run:
        await paper.until("Ctrl-C stops everything")
        os.kill(os.getpid(), signal.SIGINT)
        await paper.until(r"a     \| no")
        os.kill(os.getpid(), signal.SIGINT)
        assert await run.end() == 0
        assert not is_running(pids(paper.getvalue())["a"])


async def test_what_does_not_stop_in_time_is_killed() -> None:
    paper = Paper()
    async with Run(paper, sprig={"SPRIG": "stubborn", "SPRIG_ONLY": "b@127.0.0.1"}, stop_s=0.3) as run:
        await paper.until("Ctrl-C stops everything")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await run.end() == 0
        text = paper.getvalue()
        assert text.count("stopped in order") == 1
        assert not any(is_running(pid) for pid in pids(text).values())


async def test_what_a_killed_node_had_started_ends_with_it() -> None:
    paper = Paper()
    async with Run(paper, nodes=1, sprig={"SPRIG": "shed"}):
        await paper.until("Ctrl-C stops everything")
        grandchild = int((await paper.until(r"shed (\d+)"))[0][1])
        assert is_running(grandchild)
        os.kill(pids(paper.getvalue())["a"], signal.SIGKILL)
        await gone(grandchild)


async def test_nodes_stop_by_themselves_when_the_launcher_is_killed() -> None:
    program = start_grove()
    assert program.stdout is not None
    text = ""
    for line in program.stdout:
        text += line
        if "Ctrl-C stops everything" in line:
            break
    running = pids(text)
    assert len(running) == 2
    program.kill()
    program.stdout.read()
    program.stdout.close()
    program.wait()
    for pid in running.values():
        await gone(pid)


def start_grove() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.ops.grove"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


async def gone(pid: int) -> None:
    """Wait until the process `pid`, whosever child it is, has ended."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, ended.set)
    await ended.wait()
    asyncio.get_running_loop().remove_reader(watched)
    os.close(watched)


def bound(port: int = 0) -> socket.socket:
    holder = socket.socket()
    holder.bind(("127.0.0.1", port))
    holder.listen()
    return holder


@pytest.mark.parametrize(
    ("offset", "purpose"), [(0, "the web port of a@127.0.0.1"), (100, "the link port of a@127.0.0.1")]
)
async def test_a_taken_port_is_named_before_anything_starts(offset: int, purpose: str) -> None:
    with bound() as holder:
        taken = holder.getsockname()[1]
        configs = plan_nodes("grove", 1, taken - offset)
        with pytest.raises(ConfigError, match=f"--port: port {taken}, {purpose}, is taken: .*choose another"):
            await check_ports(configs, Runtime.real())


async def test_free_ports_are_free_again_after_the_check() -> None:
    with bound() as holder:
        free = holder.getsockname()[1]
    configs: tuple[Config, ...] = plan_nodes("grove", 1, free)
    await check_ports(configs, Runtime.real())
    await check_ports(configs, Runtime.real())
    bound(free).close()
