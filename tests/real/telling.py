"""A story of real nodes, told in a process of its own: what came of it, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import pytest

from tests.e2e.cluster import MARK, living, wait_gone
from tests.real.namespaces import clear_leftovers

ROOT: Final = Path(__file__).parent.parent.parent
SHOWN: Final = 700
"""Characters of a verdict that are shown."""

V = TypeVar("V")


def told(
    module: str,
    verdict: type[V],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    *options: str,
    limit_s: float,
    environ: Mapping[str, str] | None = None,
) -> tuple[V, str]:
    """Run one story and show what came of it.

    Args:
        module: the program that tells it.
        verdict: what it prints, in JSON.
        folder: where it keeps its data.
        capsys: where the verdict is shown although the test succeeds.
        options: what else it is to know.
        limit_s: how long it may take.
        environ: what its environment has besides ours.

    Returns: the verdict, and what the program said on the way.
    """
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", module, "--folder", str(folder), *options]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, MARK: mark, **(environ or {})},
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
    finally:
        for pid in living(mark):
            os.kill(pid, signal.SIGKILL)
            wait_gone(pid, 5.0)
        clear_leftovers()
    assert done.stdout, done.stderr
    with capsys.disabled():
        print(f"\n{done.stdout.strip()[:SHOWN]}")
    return msgspec.json.decode(done.stdout, type=verdict), done.stderr
