"""The official npm client of Phoenix, unchanged, on a real cluster: Node.js tells the stories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.cluster import demo

FOLDER: Final = Path(__file__).with_name("phoenix")
STORIES: Final = FOLDER / "stories.test.mjs"


def program(name: str, package: str) -> str:
    """The path of a program; its absence is an error, never a skipped test."""
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed; on Debian: apt-get install -y {package}"
    return path


@pytest.fixture(scope="module")
def packages() -> None:
    """The two npm packages, exactly as package-lock.json has them."""
    installed, locked = FOLDER / "node_modules" / ".package-lock.json", FOLDER / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= locked.stat().st_mtime:
        return
    done = subprocess.run(
        [program("npm", "npm"), "ci", "--silent"], cwd=FOLDER, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (FOLDER / "package-lock.json").read_text("utf-8")


@pytest.mark.usefixtures("packages")
def test_the_phoenix_client_works_unchanged(tmp_path: Path) -> None:
    with demo(tmp_path) as cluster:
        done = subprocess.run(
            [program("node", "nodejs"), "--test", "--test-reporter=tap", str(STORIES)],
            cwd=FOLDER,
            env={**os.environ, "ROOST_A": cluster.web("a"), "ROOST_B": cluster.web("b")},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "\n# fail 0\n" in done.stdout
