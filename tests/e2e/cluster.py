"""A real cluster in processes of its own, started as a user starts it, and watched from outside."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple
from urllib.parse import urlsplit

START_S: Final = 40.0
STOP_S: Final = 20.0
HOST: Final = "127.0.0.1"
LINK_PORTS_AFTER: Final = 100
PARTS: Final = 4
"""Into how many parts the ports are divided."""
MARK: Final = "ROOST_TEST_MARK"
"""An environment variable by which every process of one cluster is found, whoever its parent is by then."""

ROW: Final = re.compile(rf"^  (?P<node>\w+)@{re.escape(HOST)} +(?P<web>http://[\d.:]+)/ +[\d.:]+ +(?P<pid>\d+)$")
AGAIN: Final = re.compile(r"\| node (?P<node>\w+) is ready again, process (?P<pid>\d+)$")


class ClusterError(Exception):
    """The cluster did not do what was waited for; carries its output."""


class Answer(NamedTuple):
    """What came back over HTTP. `body` is decoded JSON."""

    status: int
    body: dict[str, object]
    headers: Mapping[str, str]


class Visitor:
    """One HTTP connection to one node, kept open between requests."""

    def __init__(self, web: str, timeout_s: float = 10.0) -> None:
        address = urlsplit(web)
        assert address.hostname is not None
        self._connection = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout_s)

    def ask(self, method: str, path: str, value: object = None, raw: bytes | None = None) -> Answer:
        """Send one request with a JSON value, or raw bytes, as its body.

        Raises:
            OSError, http.client.HTTPException: the node went away; the next request opens a new connection.
        """
        body = raw if raw is not None else json.dumps(value).encode() if method == "PUT" else None
        try:
            self._connection.request(method, path, body)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        return Answer(response.status, json.loads(content), {k.lower(): v for k, v in response.getheaders()})

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Stopped(NamedTuple):
    """How a cluster ended."""

    code: int
    took_s: float


class Cluster:
    """Runs `roost demo`, or another command that starts a cluster, until the end of the `with` block.

    Args:
        folder: where this cluster keeps its data and its run files.
        nodes: how many.
        command: what to run; --nodes, --port and --data are added.
        cwd: where to run it; here when left out.
        first: the name of the first node.
        runs: where the run files are; in `folder` when left out.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        command: Sequence[str] = ("demo",),
        cwd: Path | None = None,
        first: str = "a",
        runs: Path | None = None,
    ) -> None:
        self.folder = folder
        self.nodes = nodes
        self._cwd = cwd
        self._first = ord(first)
        self.port = free_ports(nodes)
        self._mark = uuid.uuid4().hex
        self.runs = folder / "runs" if runs is None else runs
        self.runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.environ = {**os.environ, MARK: self._mark, "XDG_RUNTIME_DIR": str(self.runs), "PYTHONUNBUFFERED": "1"}
        flags = ["--nodes", str(nodes), "--port", str(self.port), "--data", str(folder / "data")]
        self._command = [*ROOST, *command, *flags]
        self._pids: dict[str, int] = {}
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Cluster:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._wait(lambda: len(self._pids) == self.nodes, "a table of all nodes", START_S)
        except BaseException:
            self._kill_everything()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill_everything()
        if error is not None:
            error.add_note("the cluster said:\n" + self.output())

    @property
    def pid(self) -> int:
        """The process that was started: the launcher."""
        assert self._process is not None
        return self._process.pid

    def web(self, node: str) -> str:
        """The web address of the node a, b, c, ...: "http://127.0.0.1:4000"."""
        return f"http://{HOST}:{self.port + ord(node) - self._first}"

    def visitor(self, node: str) -> Visitor:
        """A new HTTP connection to a node."""
        return Visitor(self.web(node))

    def names(self) -> list[str]:
        """a, b, c, ... for as many nodes as there are."""
        return [chr(self._first + index) for index in range(self.nodes)]

    def newcomers(self, folder: Path, first: str, nodes: int = 1) -> Cluster:
        """Further nodes of the demo, in a terminal of their own, that join this cluster."""
        command = ("demo", "--join", "demo", "--name", first)
        return Cluster(folder, nodes, command, first=first, runs=self.runs)

    def wait_output(self, text: str, timeout_s: float = START_S) -> None:
        """Wait until the cluster has printed something."""
        self._wait(lambda: any(text in line for line in self._lines), text, timeout_s)

    def node_pid(self, node: str) -> int:
        """The newest process of a node."""
        return self._pids[node]

    def kill9(self, node: str) -> int:
        """Kill a node's process at once and return its id, when it is gone."""
        pid = self.node_pid(node)
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid, STOP_S)
        return pid

    def wait_restarted(self, node: str, killed_pid: int, timeout_s: float = START_S) -> None:
        """Wait until the launcher says that a node is ready again in a new process."""
        self._wait(lambda: self._pids[node] != killed_pid, f"{node} ready again", timeout_s)

    def output(self) -> str:
        """Everything that the cluster has printed."""
        with self._news:
            return "\n".join(self._lines)

    def processes(self) -> list[int]:
        """The living processes of this cluster, whoever their parent is."""
        return living(self._mark)

    def stop(self, number: signal.Signals, within_s: float = STOP_S) -> Stopped:
        """Send a signal to the launcher as a terminal, or a supervisor, does; return when it has ended."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(number)
        code = self._process.wait(within_s)
        return Stopped(code, time.monotonic() - began)

    def wait_nothing_left(self, within_s: float) -> list[int]:
        """Wait until no process of this cluster lives; return those that still do after `within_s`."""
        deadline = time.monotonic() + within_s
        for pid in self.processes():
            wait_gone(pid, deadline - time.monotonic())
        return self.processes()

    def roost(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `roost` command beside this cluster, which finds it by itself."""
        return roost(*arguments, environ=self.environ)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line.rstrip("\n"))
                if found := ROW.search(self._lines[-1]) or AGAIN.search(self._lines[-1]):
                    self._pids[found["node"]] = int(found["pid"])
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _wait(self, condition: Callable[[], bool], wanted: str, timeout_s: float) -> None:

        with self._news:
            self._news.wait_for(lambda: condition() or self._ended, timeout_s)
            if not condition():
                how = "the cluster ended" if self._ended else f"not within {timeout_s} s"
                raise ClusterError(f"waited for {wanted}: {how}; it said:\n" + "\n".join(self._lines))

    def _kill_everything(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        while left := self.processes():
            for pid in left:
                os.kill(pid, signal.SIGKILL)
                wait_gone(pid, STOP_S)
        self._reader.join(STOP_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


ROOST: Final = (sys.executable, "-m", "roost")


def demo(folder: Path, nodes: int = 3) -> Cluster:
    """The demo as a cluster."""
    return Cluster(folder, nodes)


def roost(*arguments: str, environ: Mapping[str, str] = os.environ) -> subprocess.CompletedProcess[str]:
    """Run the `roost` command to its end."""
    return subprocess.run(
        [*ROOST, *arguments], env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


def living(mark: str) -> list[int]:
    """The processes that carry a mark in their environment and are neither dead nor zombies."""
    wanted = f"{MARK}={mark}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                is_marked = wanted in (entry / "environ").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if is_marked and state not in "ZX":
                found.append(int(entry.name))
    return sorted(found)


def wait_gone(pid: int, timeout_s: float) -> bool:
    """Wait until a process has ended; its parent need not have noticed. Whether it did in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))
    finally:
        os.close(handle)


def free_ports(nodes: int) -> int:
    """A first web port such that all ports of a cluster of this size are free now.

    Below the range from which the system takes ports for outgoing connections, and each time somewhere else, because a
    port that was just used is not quite free. Processes that share the tests have a part of it each.
    """
    part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PARTS
    lowest = 12_000 + part * 16_000 // PARTS
    beyond = lowest + 16_000 // PARTS - LINK_PORTS_AFTER - 16
    first = random.randrange(lowest, beyond, 16)
    for port in itertools.chain(range(first, beyond, 16), range(lowest, first, 16)):
        if all(_is_free(port + index) and _is_free(port + LINK_PORTS_AFTER + index) for index in range(nodes)):
            return port
    raise ClusterError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
