"""Clients that are not ours, unchanged, on real clusters; Node.js tells the stories of those that are in JavaScript."""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import phxsocket  # type: ignore[import-untyped]  # it has no types
import pytest
from phoenix_channels_python_client import PHXChannelsClient  # type: ignore[import-untyped]  # it has no types

from tests.e2e.chromium import chromium
from tests.e2e.cluster import Cluster, demo

FOLDER: Final = Path(__file__).with_name("clients")
CLIENT: Final = Path(__file__).parents[2] / "src" / "roost" / "web" / "static" / "roost.js"
APP: Final = ("run", "tests.e2e.acceptance:app")
WAIT_S: Final = 20.0


def program(name: str, package: str) -> str:
    """The path of a program; its absence is an error, never a skipped test."""
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed; on Debian: apt-get install -y {package}"
    return path


@pytest.fixture(scope="module")
def packages() -> Path:
    """The npm packages, exactly as package-lock.json has them."""
    modules, locked = FOLDER / "node_modules", FOLDER / "package-lock.json"
    installed = modules / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < locked.stat().st_mtime:
        command = [program("npm", "npm"), "ci", "--silent", "--ignore-scripts"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, done.stdout + done.stderr
    return modules


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of the application in acceptance.py."""
    root = Path(__file__).parents[2]
    with Cluster(tmp_path_factory.mktemp("acceptance"), 2, APP, cwd=root) as running:
        yield running


def tell(stories: str, cluster: Cluster, **environ: str) -> None:
    done = subprocess.run(
        [program("node", "nodejs"), "--test", "--test-reporter=tap", str(FOLDER / stories)],
        cwd=FOLDER,
        env={**os.environ, "ROOST_A": cluster.web("a"), "ROOST_B": cluster.web("b"), **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n# fail 0\n" in done.stdout


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (FOLDER / "package-lock.json").read_text("utf-8")


@pytest.mark.usefixtures("packages")
def test_the_phoenix_client_works_unchanged_with_the_demo(tmp_path: Path) -> None:
    with demo(tmp_path) as cluster:
        tell("demo.test.mjs", cluster)


@pytest.mark.usefixtures("packages")
def test_the_phoenix_client_works_unchanged_by_websocket_and_long_poll(cluster: Cluster) -> None:
    tell("acceptance.test.mjs", cluster)


@pytest.mark.usefixtures("packages")
def test_a_javascript_client_of_version_1_works_unchanged(cluster: Cluster) -> None:
    tell("v1.test.mjs", cluster)


@pytest.mark.usefixtures("packages")
def test_the_client_that_nodes_serve_works_by_websocket_and_long_poll(cluster: Cluster, tmp_path: Path) -> None:
    module = tmp_path / "roost.mjs"  # older versions of Node.js tell a module by its name only
    module.write_bytes(CLIENT.read_bytes())
    tell("roost.test.mjs", cluster, ROOST_CLIENT=module.as_uri())


def test_phxsocket_works_unchanged(cluster: Cluster) -> None:
    """It is of version 1, and runs in threads."""
    address = cluster.web("a").replace("http", "ws") + "/socket/websocket"
    client = phxsocket.Client(address, {"user": "ada"})
    assert client.connect()
    try:
        channel = client.channel("room:phxsocket", {"name": "Ada"})
        assert channel.join() == {"name": "Ada", "node": "a@127.0.0.1", "user": "ada"}
        heard: queue.SimpleQueue[object] = queue.SimpleQueue()
        channel.on("shouted", heard.put)
        echo = channel.push("echo", {"x": 1}, reply=True)
        assert echo.wait_for_response() == {"status": "ok", "response": {"x": 1}}
        channel.push("shout", {"n": 1})
        assert heard.get(timeout=WAIT_S) == {"n": 1}
        refused = client.channel("room:refused", {"refuse": True})
        with pytest.raises(phxsocket.channel.ChannelConnectError, match="not today"):
            refused.join()
    finally:
        client.close()


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_the_python_client_works_unchanged(cluster: Cluster, version: str) -> None:
    address = cluster.web("b").replace("http", "ws") + "/socket/websocket"

    async def talk() -> None:
        heard: asyncio.Queue[Any] = asyncio.Queue()

        async def hear(message: Any) -> None:
            await heard.put(message)

        async with PHXChannelsClient(address, "key", protocol_version=version) as client:
            await client.subscribe_to_topic("room:python", hear)
            async with asyncio.timeout(WAIT_S):
                welcome = await heard.get()
            assert welcome.payload == {"name": "nobody"}
            await client.unsubscribe_from_topic("room:python")
            assert not client.is_topic_joined("room:python")

    asyncio.run(talk())


BLOCKED: Final = """globalThis.WebSocket = class {  // a network that lets no WebSocket through
  constructor() { setTimeout(() => { this.onerror?.(new Event("error")); this.onclose?.({ code: 1006 }); }); }
  close() {}
};"""

IN_THE_BROWSER: Final = """(async () => {
  const { LongPoll, Serializer, Socket } = await import(%s);
  const options = %s;
  const socket = new Socket("/socket", { ...options, params: { user: "eve", binary: "base64" } });
  socket.decode = (message, done) => {  // as docs/longpoll.md has it
    if (/^[[{]/.test(message)) return Serializer.decode(message, done);
    return Serializer.decode(Uint8Array.from(atob(message), (c) => c.charCodeAt(0)).buffer, done);
  };
  socket.connect();
  const channel = socket.channel("room:browser", { name: "Eve" });
  const shouted = new Promise((done) => channel.on("shouted", done));
  const reply = (push) => new Promise((done) => push.receive("ok", done).receive("error", done));
  const joined = await reply(channel.join());
  const echoed = await reply(channel.push("echo", Uint8Array.of(1, 2, 255).buffer));
  channel.push("shout", { n: 1 });
  const { n } = await shouted;
  socket.disconnect();
  return JSON.stringify([joined.name, [...new Uint8Array(echoed)], n]);
})()"""

OURS_IN_THE_BROWSER: Final = """(async () => {
  const { Socket } = await import("/roost/roost.js");
  const socket = new Socket("/socket", { params: { user: "eve" } });
  socket.connect();
  const channel = socket.channel("room:browser", { name: "Eve" });
  const shouted = new Promise((done) => channel.on("shouted", done));
  const joined = await channel.join();
  const echoed = await channel.push("echo", Uint8Array.of(1, 2, 255));
  await channel.push("shout", { n: 1 });
  const { n } = await shouted;
  socket.disconnect();
  return JSON.stringify([joined.name, [...new Uint8Array(echoed)], n]);
})()"""

REQUESTS: Final = "performance.getEntriesByType('resource').filter(({ name }) => name.includes('/longpoll')).length"


def test_the_clients_work_in_chromium(cluster: Cluster, packages: Path, tmp_path: Path) -> None:
    """By WebSocket, by long poll, and by long poll where no WebSocket gets through.

    The page is a file of the node, so that the page is of its host.
    """
    source = (packages / "phoenix" / "priv" / "static" / "phoenix.mjs").read_text("utf-8")

    async def look() -> None:
        async with chromium(tmp_path / "profile") as browser:
            page = await browser.page()
            await page.goto(cluster.web("a") + "/roost/roost.d.ts")
            module = await page.evaluate(f"URL.createObjectURL(new Blob([{source!r}], {{type: 'text/javascript'}}))")

            async def polls(story: str) -> int:
                """Tell a story; how often has the page polled for it?"""
                before = cast("int", await page.evaluate(REQUESTS))
                assert await page.evaluate(story) == '["Eve",[1,2,255],1]'
                return cast("int", await page.evaluate(REQUESTS)) - before

            assert await polls(IN_THE_BROWSER % (repr(module), "{}")) == 0
            assert await polls(OURS_IN_THE_BROWSER) == 0
            assert await polls(IN_THE_BROWSER % (repr(module), "{ transport: LongPoll }")) > 0
            await page.evaluate(BLOCKED)
            assert await polls(IN_THE_BROWSER % (repr(module), "{ longPollFallbackMs: 2500 }")) > 0
            assert await polls(OURS_IN_THE_BROWSER) > 0
            assert page.problems == []

    asyncio.run(look())


def test_the_types_are_those_of_the_client(packages: Path, tmp_path: Path) -> None:
    """roost.d.ts is made of the comments in roost.js, which are checked on the way."""
    options = "--declaration --allowJs --checkJs --emitDeclarationOnly --strict --target es2022 --module esnext"
    command = [program("node", "nodejs"), str(packages / "typescript" / "bin" / "tsc"), *options.split()]
    command += ["--lib", "es2023,dom,dom.iterable", "--outDir", str(tmp_path), str(CLIENT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "roost.d.ts").read_text("utf-8") == CLIENT.with_suffix(".d.ts").read_text("utf-8"), (
        "roost.js has changed: copy the new roost.d.ts"
    )
