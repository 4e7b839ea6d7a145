"""Imports go down the floors of the house, and what decides cannot act."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src" / "roost"

POISONED_IMPORT = """
import builtins, importlib, sys, types

forbidden = {"asyncio", "socket", "ssl", "time", "random", "secrets", "os", "logging", "threading", "subprocess"}
honest = builtins.__import__

def poisoned(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if importer.startswith("roost.") and level == 0 and name.split(".")[0] in forbidden:
        raise ImportError(f"{importer} imports {name}")
    return honest(name, globals, locals, fromlist, level)

builtins.__import__ = poisoned
roost = types.ModuleType("roost")  # without its face, which opens the whole house
roost.__path__ = [sys.argv[1]]
sys.modules["roost"] = roost
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def import_poisoned(folder: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    """Import modules in an interpreter that refuses Roost the clock, chance, the network and the disk."""
    command = [sys.executable, "-c", POISONED_IMPORT, str(folder), *names]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_imports_go_down_only() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("floor", ["core", "wire"])
def test_what_decides_reaches_no_clock_no_chance_and_no_world(floor: str) -> None:
    names = [f"roost.{floor}.{module.name}" for module in pkgutil.iter_modules([str(SOURCES / floor)])]
    assert names
    done = import_poisoned(SOURCES, names)
    assert done.returncode == 0, done.stderr


def test_the_poison_works(tmp_path: Path) -> None:
    (tmp_path / "core.py").write_text("from time import monotonic\n")
    done = import_poisoned(tmp_path, ["roost.core"])
    assert "roost.core imports time" in done.stderr
