"""Modules that are written to a folder of the test, imported from it, and written again."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.otp.upgrading.sources import HEAD, Write


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write the source of a module; import it the first time."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def put(source: str, name: str = "upgraded_shop", head: str = HEAD) -> ModuleType:
        (tmp_path / f"{name}.py").write_text(head + textwrap.dedent(source), "utf-8")
        if name not in names:
            names.append(name)
            importlib.invalidate_caches()
            return importlib.import_module(name)
        return sys.modules[name]

    yield put
    for name in names:
        del sys.modules[name]
