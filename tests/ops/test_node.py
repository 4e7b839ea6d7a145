"""One node as a process: how it starts, refuses, is found, and stops."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roost.config import Config
from roost.ops.leash import VARIABLE, Leash, Ready, Refused, Word
from roost.ops.plan import furnish, plan_newcomers, plan_nodes
from roost.ops.runfile import RunFolder
from tests.e2e.cluster import free_ports


class Held:
    """A node that this test holds on a leash."""

    def __init__(self, process: Process, leash: Leash, words: asyncio.Queue[Word]) -> None:
        self.process, self.leash, self._words = process, leash, words

    async def word(self) -> Word:
        """What the node says next."""
        return await self._words.get()

    async def end(self) -> tuple[int, str]:
        """Wait for its end: its exit code and all that it printed."""
        out, _ = await self.process.communicate()
        return self.process.returncode or 0, out.decode()


@asynccontextmanager
async def node(config: Config, target: str, run: Path) -> AsyncIterator[Held]:
    """A node's process; it does not outlive the block."""
    words: asyncio.Queue[Word] = asyncio.Queue()
    leash, end = await Leash.attach(words.put_nowait)
    with end:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "roost.ops.node",
            target,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **config.to_env(), "XDG_RUNTIME_DIR": str(run), VARIABLE: str(end.fileno())},
            pass_fds=(end.fileno(),),
        )
    held = Held(process, leash, words)
    try:
        yield held
    finally:
        leash.let_go()
        if process.returncode is None:
            await process.communicate()


def alone(data: str | None = None) -> Config:
    """The settings of a node without companions."""
    (config,) = plan_nodes("solo", 1, free_ports(1))
    (config,) = furnish([config], Path(data or "unused"), b"secret")
    return config if data else Config(**{**{name: getattr(config, name) for name in config.__slots__}, "data": None})


async def get(config: Config) -> bytes:
    """What the node serves at /."""
    assert config.web is not None
    reader, writer = await asyncio.open_connection(*config.web)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.rpartition(b"\r\n\r\n")[2]


async def test_serves_once_it_is_ready_and_stops_in_order_on_sigterm(tmp_path: Path) -> None:
    config = alone(str(tmp_path / "data"))
    async with node(config, "tests.ops.apps:app", tmp_path) as held:
        assert await held.word() == Ready(held.process.pid)
        assert await get(config) == b"hello"
        (run,) = RunFolder(tmp_path / "roost").list()
        assert (run.node, run.pid, run.cookie, run.link) == (
            config.name,
            held.process.pid,
            "secret",
            str(config.listen),
        )
        held.process.send_signal(signal.SIGTERM)
        assert (await held.end())[0] == 0
    assert list((tmp_path / "roost").iterdir()) == []


async def test_is_ready_without_a_companion_that_does_not_come(tmp_path: Path) -> None:
    configs = plan_nodes("pair", 2, free_ports(2))
    async with node(configs[0], "tests.ops.apps:app", tmp_path) as held:
        assert isinstance(await held.word(), Ready)


async def test_stops_at_once_while_it_waits_for_a_companion(tmp_path: Path) -> None:
    configs = plan_nodes("pair", 2, free_ports(2))
    async with node(configs[0], "tests.ops.apps:app", tmp_path) as held:
        assert held.process.stdout is not None
        assert b"serves" in await held.process.stdout.readline()
        held.process.send_signal(signal.SIGTERM)
        assert (await held.end())[0] == 0


async def test_stops_in_order_when_its_launcher_lets_go(tmp_path: Path) -> None:
    async with node(alone(), "tests.ops.apps:app", tmp_path) as held:
        await held.word()
        held.leash.let_go()
        code, text = await held.end()
    assert code == 0
    assert "the launcher is gone: stopping" in text
    assert list((tmp_path / "roost").iterdir()) == []


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("tests.ops.missing:app", "there is no module tests.ops.missing here"),
        ("missing.deeply:app", "there is no module missing.deeply here"),
        ("tests.ops.apps:nothing", "the module tests.ops.apps has no 'nothing'"),
        ("tests.ops.apps:number", "tests.ops.apps:number is a int: name a Roost(...) object"),
        ("tests.ops.broken:app", "importing tests.ops.broken failed: IndexError: list index out of range ("),
        ("tests.ops.apps", "is not of the form module:attribute"),
    ],
)
async def test_an_application_that_cannot_be_loaded_is_refused(tmp_path: Path, target: str, says: str) -> None:
    async with node(alone(), target, tmp_path) as held:
        word = await held.word()
        assert isinstance(word, Refused)
        assert (word.setting, says in word.reason) == ("MODULE:ATTR", True), word
        assert await held.end() == (2, "")


async def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    config = alone()
    assert config.web is not None
    with socket.socket() as holder:
        holder.bind(config.web)
        holder.listen()
        async with node(config, "tests.ops.apps:app", tmp_path) as held:
            word = await held.word()
            assert isinstance(word, Refused)
            assert "address already in use" in word.reason
            code, text = await held.end()
    assert (code, "Traceback" in text) == (2, False)


async def test_a_child_that_does_not_start_is_a_crash_that_says_why(tmp_path: Path) -> None:
    async with node(alone(), "tests.ops.apps:sulking", tmp_path) as held:
        code, text = await held.end()
    assert code == 1
    assert "ValueError: not today" in text


async def test_a_node_whose_parts_crash_again_and_again_ends(tmp_path: Path) -> None:
    async with node(alone(), "tests.ops.apps:fragile", tmp_path) as held:
        assert isinstance(await held.word(), Ready)
        code, text = await held.end()
    assert code == 1
    assert "ValueError: once more" in text
    assert "its parts crash again and again" in text.splitlines()[-1]
    assert list((tmp_path / "roost").iterdir()) == []


async def test_a_wrong_setting_is_one_line_without_a_launcher(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "roost.ops.node",
        "tests.ops.apps:app",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "ROOST_LISTEN": "nowhere"},
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err == b"roost: ROOST_LISTEN: 'nowhere' is not host:port\n"


async def test_a_node_that_is_in_no_cluster_any_more_says_so_and_goes_on(tmp_path: Path) -> None:
    config = alone(str(tmp_path / "data"))
    async with node(config, "tests.ops.apps:app", tmp_path) as held:
        assert isinstance(await held.word(), Ready)
    born = plan_nodes("solo", 2, config.web.port if config.web else 0)[0]
    (born,) = furnish([born], tmp_path / "data", b"secret")
    async with node(born, "tests.ops.apps:app", tmp_path) as held:
        assert isinstance(await held.word(), Ready)
        (run,) = RunFolder(tmp_path / "roost").list()
        assert run.is_alone
        held.process.send_signal(signal.SIGTERM)
        code, text = await held.end()
    assert code == 0
    assert "a@127.0.0.1 has left the cluster solo and goes on as a cluster of its own" in text


async def test_a_node_that_is_told_to_join_is_ready_once_it_has(tmp_path: Path) -> None:
    first = alone()
    async with node(first, "tests.ops.apps:app", tmp_path) as held:
        assert isinstance(await held.word(), Ready)
        assert first.listen is not None
        (second,) = plan_newcomers("solo", "d", 1, free_ports(1), first.listen)
        (second,) = furnish([second], tmp_path / "data", b"secret")
        async with node(second, "tests.ops.apps:app", tmp_path) as newcomer:
            assert isinstance(await newcomer.word(), Ready)
            runs = RunFolder(tmp_path / "roost").list()
            assert [(run.node, run.is_alone) for run in runs] == [("a@127.0.0.1", False), ("d@127.0.0.1", False)]
            newcomer.process.send_signal(signal.SIGTERM)
            code, text = await newcomer.end()
        assert code == 0
        assert "d@127.0.0.1 is joining solo: roost cluster plan and commit let it in" in text
