"""Programs under real ASGI servers, each in processes of its own."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from roost.config import Address
from tests.web.wire import Phoenix

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = ROOT / "docs" / "asgi.md"
HOST: Final = "127.0.0.1"
START_S: Final = 40.0
LOOK_S: Final = 0.05
STOP_S: Final = 20.0


def documented(framework: str) -> str:
    """The program that the documentation has under the heading of a framework."""
    section = PAGE.read_text("utf-8").partition(f"\n## {framework}\n")[2].partition("\n## ")[0]
    [program] = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(program)


def command(server: str, target: str, port: int, workers: int) -> list[str]:
    """What a user types to serve `target` with a server."""
    program = str(Path(sys.executable).with_name(server))
    match server:
        case "uvicorn":
            return [program, target, "--port", str(port), *(["--workers", str(workers)] if workers > 1 else [])]
        case "hypercorn":
            return [program, target, "--bind", f"{HOST}:{port}", "--workers", str(workers)]
        case "granian":
            return [program, target, "--interface", "asgi", "--port", str(port), "--workers", str(workers)]
    raise ValueError(server)


class Served:
    """A server that runs.

    Attributes:
        address: where it serves.
        run_folder: where its workers find each other.
    """

    def __init__(self, process: subprocess.Popen[bytes], address: Address, place: Path) -> None:
        self._process, self.address, self._place = process, address, place
        self.run_folder = place / "run"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._place / "log").read_text("utf-8", "replace")

    def wait_until_up(self) -> None:
        """Wait until it accepts connections.

        Raises:
            AssertionError: when it has ended, or takes too long.
        """
        ends = time.monotonic() + START_S
        while not self._is_up():
            assert time.monotonic() < ends, self.log
            with suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"exit code {self._process.wait(LOOK_S)}: {self.log}")

    def _is_up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(self.address) == 0

    def begin_stop(self) -> None:
        """Tell it to stop, and do not wait."""
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Tell it to stop; return its exit code."""
        if self._process.poll() is None:
            self.begin_stop()
        return self._process.wait(STOP_S)

    def kill(self) -> None:
        """End it, with its workers, as it is."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_S)


@contextmanager
def serving(folder: Path, server: str, program: str, workers: int = 1) -> Iterator[Served]:
    """Serve a program with a server, from a folder of its own."""
    place = folder / f"{server}-{workers}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "chat.py").write_text(program, "utf-8")
    (place / "run").mkdir(mode=0o700)
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), str(place)])
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
    with (place / "log").open("wb") as output:
        process = subprocess.Popen(
            command(server, "chat:app", port, workers),
            cwd=place,
            env={**environ, "PYTHONPATH": path, "XDG_RUNTIME_DIR": str(place / "run")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    served = Served(process, Address(HOST, port), place)
    try:
        yield served
    finally:
        try:
            served.stop()
        finally:
            served.kill()


def wait_until_up(*servers: Served) -> None:
    """Wait until all of them accept connections."""
    for served in servers:
        served.wait_until_up()


async def get(address: Address, path: str, body: bytes | None = None) -> tuple[int, Any]:  # Any: tests look into JSON
    """The status, and the decoded body when it is JSON, of the answer to a request on a connection of its own; it is
    a POST when it has a body."""

    def ask() -> tuple[int, Any]:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=10.0)
        try:
            connection.request("GET" if body is None else "POST", path, body)
            answer = connection.getresponse()
            content = answer.read()
            is_json = "json" in (answer.getheader("content-type") or "")
            return answer.status, json.loads(content) if is_json else content
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


async def hear_diff(client: Phoenix, side: str, name: str) -> None:
    """Wait until a client has been told that somebody has come ("joins") or gone ("leaves")."""
    while name not in (await client.hear("presence_diff"))[4][side]:
        pass
