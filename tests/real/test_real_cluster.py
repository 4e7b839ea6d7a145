"""Five real processes under continuous load, while nodes join, leave, die, hang and are cut off: nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.e2e.cluster import MARK, living, wait_gone
from tests.real.changes import CYCLE
from tests.real.faults import KINDS
from tests.real.namespaces import clear_leftovers
from tests.real.planted import PLANTS, VARIABLE
from tests.real.story import Verdict

ROOT: Final = Path(__file__).parent.parent.parent
LIMIT_S: Final = 220.0
FAULTS: Final = 22
OPERATIONS: Final = 20_000


def told(
    folder: Path, capsys: pytest.CaptureFixture[str], *options: str, environ: Mapping[str, str] | None = None
) -> tuple[Verdict, str]:
    """Run one story in a process of its own, show what came of it, and leave nothing behind."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "tests.real", "--folder", str(folder), *options]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, MARK: mark, **(environ or {})},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    finally:
        for pid in living(mark):
            os.kill(pid, signal.SIGKILL)
            wait_gone(pid, 5.0)
        clear_leftovers()
    assert done.stdout, done.stderr
    with capsys.disabled():
        print(f"\n{done.stdout.strip()[:700]}")
    return msgspec.json.decode(done.stdout, type=Verdict), done.stderr


@pytest.mark.timeout(LIMIT_S + 20)
def test_no_acknowledged_write_is_lost_whatever_happens_to_the_nodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, said = told(tmp_path, capsys, f"--faults={FAULTS}", f"--operations={OPERATIONS}")
    assert not verdict.broken, (verdict, said)
    assert (verdict.lost, verdict.unanswered) == (0, 0)
    assert sum(verdict.faults.values()) >= FAULTS
    assert set(verdict.faults) == set(KINDS), "every kind of fault has happened"
    assert set(verdict.changes) == set(CYCLE), "nodes have joined, left, replaced others and been lost"
    assert verdict.acknowledged >= OPERATIONS
    assert verdict.mode in said


@pytest.mark.timeout(LIMIT_S + 20)
def test_a_machine_without_namespaces_has_byte_proxies_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--faults=6", "--operations=2000", "--changes=1", "--kinds=cut off,one way,tear,unlink,nap,kill"]
    verdict, said = told(tmp_path, capsys, *options, environ={"PATH": str(tmp_path)})
    assert "no network namespaces here" in said
    assert verdict.mode == "loopback with a byte proxy per link"
    assert not verdict.broken, (verdict, said)
    assert len(verdict.faults) == 6


@pytest.mark.timeout(LIMIT_S + 20)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found(plant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*PLANTS[plant], "--operations=2000", "--target=tests.real.planted:app"]
    verdict, _ = told(tmp_path, capsys, *options, environ={VARIABLE: plant})
    assert verdict.lost > 0, verdict
