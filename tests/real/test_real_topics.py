"""Four real nodes with guests, while nodes die, stop, hang and are cut off: topics and presences are as promised."""

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
from tests.real.evening import KINDS, Verdict
from tests.real.namespaces import clear_leftovers
from tests.real.planted_hall import PLANTS, VARIABLE

ROOT: Final = Path(__file__).parent.parent.parent
LIMIT_S: Final = 180.0
FAULTS: Final = 10
OWED: Final = 5_000
UNLINKS: Final = 4


def spent(
    folder: Path, capsys: pytest.CaptureFixture[str], *options: str, environ: Mapping[str, str] | None = None
) -> tuple[Verdict, str]:
    """Spend one evening in a process of its own, show what came of it, and leave nothing behind."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "tests.real.evening", "--folder", str(folder), *options]
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
def test_topics_and_presences_keep_their_promises_whatever_happens_to_the_nodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, said = spent(tmp_path, capsys, f"--faults={FAULTS}")
    assert not verdict.broken, (verdict, said)
    assert set(verdict.faults) == set(KINDS), "every kind of fault has happened"
    assert set(verdict.gone_s) == {"ended", "hung"}
    assert verdict.owed > OWED
    assert verdict.leaves > 0


@pytest.mark.timeout(LIMIT_S + 20)
def test_the_same_without_namespaces_with_byte_proxies_instead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = "--kinds=cut off,unlink,kill,tear"
    verdict, said = spent(tmp_path, capsys, "--faults=4", kinds, environ={"PATH": str(tmp_path)})
    assert "no network namespaces here" in said
    assert verdict.mode == "loopback with a byte proxy per link"
    assert not verdict.broken, (verdict, said)


@pytest.mark.timeout(LIMIT_S + 20)
def test_nodes_that_lose_each_other_show_nothing_of_it_as_long_as_others_reach_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, said = spent(tmp_path, capsys, f"--faults={UNLINKS}", "--kinds=unlink")
    assert not verdict.broken, (verdict, said)
    assert verdict.downs > 0
    assert (verdict.faults, verdict.leaves) == ({"unlink": UNLINKS}, 0)


@pytest.mark.timeout(LIMIT_S + 20)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found(plant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds, checker = PLANTS[plant]
    options = [kinds, "--faults=1", "--target=tests.real.planted_hall:app"]
    verdict, _ = spent(tmp_path, capsys, *options, environ={VARIABLE: plant})
    assert verdict.broken.get(checker), verdict
