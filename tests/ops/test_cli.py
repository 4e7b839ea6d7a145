"""The command line: one line for each mistake, exit codes, and no traceback ever."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import roost


def command(*arguments: str, at: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `roost` in an empty place of its own."""
    return subprocess.run(
        [sys.executable, "-m", "roost", *arguments],
        cwd=at,
        env={**os.environ, "XDG_RUNTIME_DIR": str(at), "NO_COLOR": "1", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_version(tmp_path: Path) -> None:
    done = command("--version", at=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"roost {roost.__version__}\n", "")


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_command(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = command(*arguments, at=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(
        name in done.stdout
        for name in (
            "demo",
            "run",
            "member-status",
            "ring-status",
            "transfers",
            "ringready",
            "wait-for-settled",
            "cluster",
            "handoff",
            "process-tree",
            "process-info",
            "--version",
        )
    )
    assert "..." not in done.stdout.replace("[ARGS]...", "")


@pytest.mark.parametrize(
    ("group", "names"),
    [
        (
            "cluster",
            "join leave replace force-remove force-replace set-zone plan commit clear down policy",
        ),
        ("handoff", "config enable disable"),
    ],
)
def test_the_help_of_a_group_names_its_commands(tmp_path: Path, group: str, names: str) -> None:
    done = command(group, "--help", at=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"  {name} " in done.stdout for name in names.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("demo", "--bogus"), "No such option: --bogus"),
        (("demo", "--nodes", "many"), "'--nodes'"),
        (("demo", "--nodes", "0"), "--nodes: 0 is not from 1 to 100"),
        (("demo", "--port", "70000"), "--port: 70000 is not from 1 to 65433"),
        (("demo", "extra"), "unexpected extra argument"),
        (("demo", "--nodes"), "--nodes"),
        (("fly",), "No such command 'fly'"),
        (("run",), "Missing argument 'MODULE:ATTR'"),
        (("run", "chat"), "'chat' is not of the form module:attribute"),
        (("run", "chat:app"), "there is no module chat here: run this where chat.py is"),
        (("run", "chat.rooms:app"), "there is no module chat.rooms here"),
        (("run", "chat.py:app:x"), "is not of the form module:attribute"),
        (("member-status", "--format", "xml"), "'xml' is not one of"),
        (("process-tree", "hits"), "unexpected extra argument"),
        (("process-info",), "Missing argument 'NAME'"),
        (("process-info", "hits", "more"), "unexpected extra argument"),
        (("cluster", "fly"), "No such command 'fly'"),
        (("cluster", "leave"), "Missing argument 'NODE'"),
        (("cluster", "replace", "a"), "Missing argument 'NEWCOMER'"),
        (("cluster", "down"), "Missing argument 'NODE'"),
        (("cluster", "join", "nowhere"), "'nowhere' is not host:port, and no node or cluster of that name runs here"),
        (("handoff", "config", "--outgoing", "many"), "'--outgoing'"),
        (("transfers", "--watch", "--format", "csv"), "--watch: it draws for people"),
        (("demo", "--name", "x"), "--name: the nodes of a new cluster are called a, b, c"),
        (("demo", "--join", "nowhere"), "WHERE: 'nowhere' is not host:port"),
        (("demo", "--join", "127.0.0.1:1"), "ROOST_COOKIE: no node of 127.0.0.1:1 runs on this machine"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = command(*arguments, at=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("roost: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_a_mistake_that_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = command("demo", "--port", str(port), at=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"roost: --port: port {port}, the web port of a@127.0.0.1, is taken: "
        "stop the program that uses it, or choose another with --port\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_that_cannot_be_made_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = command("demo", "--port", "31000", "--data", "file/data", at=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "roost: --data: cannot write to file/data (Not a directory): choose another folder with --data DIR\n"
    )


@pytest.mark.parametrize(
    "name",
    [
        "member-status",
        "transfers",
        "ringready",
        "wait-for-settled",
        "cluster plan",
        "cluster leave a",
        "handoff disable",
        "process-info hits",
    ],
)
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "the cluster is down: no node runs here: start some with roost demo, or roost run"),
        (("--cluster", "demo"), "the cluster demo is down: none of its nodes runs here"),
        (("--node", "a"), "node a is down: no such node runs here"),
    ],
)
def test_without_a_running_cluster_the_console_says_so(
    tmp_path: Path, name: str, flags: tuple[str, ...], says: str
) -> None:
    done = command(*name.split(), *flags, at=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"roost: {says}\n")


def test_a_run_folder_that_is_open_to_others_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "roost").mkdir(mode=0o777)
    done = command("member-status", at=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "closed to others" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reader_who_leaves_is_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "roost", "--help"],
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.stderr == ""


def test_help_needs_neither_the_loop_nor_the_web(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "roost", "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & {"asyncio", "uvicorn", "uvloop", "starlette", "rich", "rocksdict", "msgspec", "roost.otp"}
