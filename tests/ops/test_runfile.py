"""Run files: found while the process lives, gone after it, believed only in a folder of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from roost.errors import ConfigError
from roost.ops.runfile import RunFile, RunFolder
from roost.runtime.run_folder import run_folder


def run_file(
    node: str = "a@127.0.0.1", *, pid: int | None = None, cluster: str = "demo", cookie: str = "1", at: float = 1.0
) -> RunFile:
    return RunFile(cluster, node, "127.0.0.1:4100", "127.0.0.1:4000", cookie, pid or os.getpid(), at)


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_a_running_node_is_found_until_it_is_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "roost")
    assert folder.list() == []
    folder.write(run_file())
    assert folder.list() == [run_file()]
    folder.remove(os.getpid())
    assert folder.list() == []
    folder.remove(os.getpid())


def test_files_and_folder_are_closed_to_others(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "roost")
    folder.write(run_file())
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in folder.path.iterdir()] == [0o600]


def test_what_a_dead_process_left_is_skipped_and_cleaned(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "roost")
    dead = ended_process()
    folder.write(run_file("b@127.0.0.1", pid=dead))
    folder.write(run_file())
    assert [run.node for run in folder.list()] == ["a@127.0.0.1"]
    assert [file.name for file in folder.path.iterdir()] == [f"{os.getpid()}.json"]


def test_the_newest_cluster_comes_first_and_its_nodes_by_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "roost")
    folder.write(run_file("x@127.0.0.1", pid=1, cluster="old", cookie="old", at=5.0))
    folder.write(run_file("b@127.0.0.1", pid=os.getppid(), cluster="new", cookie="new", at=6.0))
    folder.write(run_file("a@127.0.0.1", cluster="new", cookie="new", at=4.0))
    assert [run.node for run in folder.list()] == ["a@127.0.0.1", "b@127.0.0.1", "x@127.0.0.1"]
    assert [run.node for run in folder.list(cluster="old")] == ["x@127.0.0.1"]
    assert [run.node for run in folder.list(node="b")] == ["b@127.0.0.1"]
    assert [run.node for run in folder.list(node="x@127.0.0.1")] == ["x@127.0.0.1"]
    assert folder.list(cluster="new", node="x") == []


def test_a_file_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "roost")
    folder.write(run_file())
    (folder.path / "7.json").write_bytes(b"{}")
    assert folder.list() == [run_file()]


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    folder = RunFolder(tmp_path / "roost")
    folder.write(run_file())
    folder.path.chmod(mode)
    with pytest.raises(ConfigError, match="closed to others"):
        folder.list()
    with pytest.raises(ConfigError, match="closed to others"):
        folder.write(run_file())


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "roost").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="belongs to you"):
        RunFolder(tmp_path / "roost").write(run_file())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_folder_of_the_user_s_runtime_comes_first(tmp_path: Path) -> None:
    fallback = Path("/tmp") / f"roost-{os.geteuid()}"
    assert run_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "roost"
    assert run_folder({"XDG_RUNTIME_DIR": str(tmp_path / "missing")}) == fallback
    assert run_folder({"XDG_RUNTIME_DIR": "relative"}) == fallback
    assert run_folder({}) == fallback
