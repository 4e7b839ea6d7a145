"""What a newcomer's machine may lack is said in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent


def checkout(folder: Path) -> Path:
    """A checkout with its scripts and nothing installed."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    return folder


def program(folder: Path, name: str, text: str) -> Path:
    """A shell script that stands in for a program."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def run(folder: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command there, with these changes of the environment."""
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60
    )


def test_an_old_python_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    old = program(tmp_path, "old", 'case "$1" in --version) echo "Python 3.9.2" ;; *) exit 1 ;; esac')
    done = run(checkout(tmp_path), "scripts/venv", PYTHON=str(old))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Python 3.11 or newer is needed (found: Python 3.9.2)" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_make_run_ends_with_2_too(tmp_path: Path) -> None:
    done = run(checkout(tmp_path), "make", "run", PYTHON=str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "Python 3.11 or newer is needed (found: none)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    program(tools, "id", "echo 1000")
    done = run(ROOT, "/bin/sh", "scripts/needs", "sh", "nonesuch:some-package", PATH=f"{tools}:/usr/bin:/bin")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "roost: some programs are missing. Install them first: sudo apt-get install some-package"
    ]


def test_nothing_is_done_when_nothing_is_missing() -> None:
    done = run(ROOT, "scripts/needs", "sh", "cat:coreutils")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_make_alone_lists_the_commands() -> None:
    done = run(ROOT, "make")
    assert done.returncode == 0
    for command in ("run", "test", "check", "bench", "simulate", "clean"):
        assert f"make {command} " in done.stdout
