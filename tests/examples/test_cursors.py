"""Hundreds of cursors in real browsers, and a client that stops reading and gets the newest of each."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest
from websockets.asyncio.client import ClientConnection, connect

from examples.cursors import BIRDS, TOPIC
from tests.e2e.chromium import Browser, Page, chromium
from tests.e2e.cluster import HOST, Cluster
from tests.examples.stage import KNOWS_THE_OTHERS, example, stopped

NODES: Final = 3
ALL: Final = NODES * BIRDS
SMALL_BYTES: Final = 4_096
"""What the kernel takes for a client that does not read, so that the node soon notices."""
MISSED: Final = 15_000
"""Moves that a client which reads all of them has seen while another one slept."""

Moved = dict[str, object]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests here."""
    with example("cursors", tmp_path_factory.mktemp("cursors"), nodes=NODES) as running:
        yield running


async def visit(browser: Browser, web: str, name: str) -> Page:
    """The page of a node, under a name."""
    page = await browser.page()
    await page.goto(web)
    await page.fill("#name", name)
    await page.press_enter()
    await page.wait("Boolean(document.body.dataset.node)")
    return page


def flown(node: str, wanted: str) -> str:
    """The condition about how many cursors of a node the page shows."""
    found = f"document.querySelector('#nodes li[data-node^=\"{node}@\"]')"
    return f"Number({found}?.dataset.count ?? 0) {wanted}"


async def test_every_page_shows_the_cursors_of_all_nodes_and_visitors(cluster: Cluster, tmp_path: Path) -> None:
    async with chromium(tmp_path) as browser:
        ada = await visit(browser, cluster.web("a"), "Ada")
        bo = await visit(browser, cluster.web("b"), "<b>Bo</b>")
        for page in (ada, bo):
            await page.wait(f"Number(document.querySelector('#count').textContent) === {ALL + 2}")
        await ada.wait(flown("b", f"=== {BIRDS + 1}"))
        await bo.evaluate("document.querySelector('#field').focus()")
        key = {"key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39}
        await bo.command("Input.dispatchKeyEvent", type="keyDown", **key)
        await bo.goto("about:blank")
        await ada.wait(f"Number(document.querySelector('#count').textContent) === {ALL + 1}")
        assert ada.problems == bo.problems == []


async def test_the_cursors_of_a_node_that_dies_go_and_come_back_with_it(cluster: Cluster, tmp_path: Path) -> None:
    async with chromium(tmp_path) as browser:
        page = await visit(browser, cluster.web("c"), "Cy")
        await page.wait(" && ".join(flown(node, f">= {BIRDS}") for node in "abc"))
        await page.wait(KNOWS_THE_OTHERS)
        with stopped(cluster.pid):
            killed = cluster.kill9("c")
            await page.wait(f"{flown('c', '=== 0')} && Boolean(document.body.dataset.node)")
            await page.wait(" && ".join(flown(node, f">= {BIRDS}") for node in "ab"))
        await asyncio.to_thread(cluster.wait_restarted, "c", killed)
        await page.wait(flown("c", f">= {BIRDS}"))
        assert page.problems == []


async def joined(cluster: Cluster, node: str, reads: socket.socket | None = None) -> ClientConnection:
    """A client of the protocol, joined to the field."""
    port = cluster.port + ord(node) - ord("a")
    client = await connect(
        f"ws://{HOST}:{port}/socket/websocket?vsn=2.0.0", sock=reads, compression=None, ping_interval=None
    )
    await client.send(json.dumps(["1", "1", TOPIC, "phx_join", {"name": "a program"}]))
    while (await hear(client))[3] != "phx_reply":
        pass
    return client


async def hang_up(client: ClientConnection) -> None:
    """A goodbye would wait behind all that comes and is not read any more."""
    client.transport.abort()
    await client.wait_closed()


async def hear(client: ClientConnection) -> list[object]:
    """The next frame."""
    return cast(list[object], json.loads(await client.recv()))


async def test_who_sleeps_gets_the_newest_of_each_cursor_and_slows_nobody(cluster: Cluster) -> None:
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, (HOST, cluster.port))
    sleeper, reader = await joined(cluster, "a", small), await joined(cluster, "a")
    sleeper.transport.pause_reading()
    newest = 0
    for _ in range(MISSED):
        newest = cast(int, cast(Moved, (await hear(reader))[4])["at"])
    sleeper.transport.resume_reading()
    heard = 0
    late: set[object] = set()
    at = 0
    while at < newest:
        moved = cast(Moved, (await hear(sleeper))[4])
        at = max(at, cast(int, moved["at"]))
        heard += 1
        late.add(moved["id"])
    assert heard < MISSED / 4, "most of what was missed was replaced by something newer"
    assert len(late) == ALL, "of every cursor there was something"
    for client in (sleeper, reader):
        await hang_up(client)


@pytest.mark.parametrize("place", [{}, {"x": 2, "y": 0}, {"x": "0", "y": 0}, {"x": True, "y": 0}])
async def test_a_place_outside_of_the_field_is_refused(cluster: Cluster, place: dict[str, object]) -> None:
    client = await joined(cluster, "b")
    await client.send(json.dumps(["1", "2", TOPIC, "move", place]))
    while (frame := await hear(client))[1] != "2":
        pass
    assert frame[4] == {"status": "error", "response": {"reason": "a place is a number from 0 to 1"}}
    await hang_up(client)
