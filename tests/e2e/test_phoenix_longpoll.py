"""The official npm client of Phoenix, unchanged, where it polls: at one node, and at two that take turns."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.cluster import demo
from tests.e2e.test_clients import FOLDER, packages, program
from tests.web.longpoll.polling import address_of, nodes

__all__ = ["packages"]


@pytest.mark.usefixtures("packages")
async def test_the_phoenix_client_polls_unchanged() -> None:
    async with nodes("a", "b") as [a, b]:
        node = await asyncio.create_subprocess_exec(
            program("node", "nodejs"),
            *("--test", "--test-reporter=tap", str(FOLDER / "longpoll.test.mjs")),
            cwd=FOLDER,
            env={**os.environ, "ROOST_A": f"http://{address_of(a)}", "ROOST_B": f"http://{address_of(b)}"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await node.communicate()
        except BaseException:
            node.kill()
            raise
        assert node.returncode == 0, said.decode()
        assert b"\n# fail 0\n" in said
        assert a.polls.counts().served > 0
        assert a.polls.counts().relayed == b.polls.counts().served


@pytest.mark.usefixtures("packages")
def test_a_client_that_polls_goes_on_when_the_node_of_its_session_is_killed(tmp_path: Path) -> None:
    with (
        demo(tmp_path) as cluster,
        subprocess.Popen(
            [program("node", "nodejs"), "bereaved.mjs"],
            cwd=FOLDER,
            env={**os.environ, "ROOST_A": cluster.web("a"), "ROOST_B": cluster.web("b")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as node,
    ):
        assert node.stdout is not None
        try:
            assert node.stdout.readline() == "joined on a@127.0.0.1, heard by way of b\n"
            cluster.kill9("a")
            assert node.stdout.readline() == "joined on b@127.0.0.1\n"
            assert node.wait(20) == 0
        finally:
            node.kill()
