"""Five real processes under continuous load, while nodes join, leave, die, hang and are cut off: nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.real.changes import CYCLE
from tests.real.faults import KINDS
from tests.real.planted import PLANTS, VARIABLE
from tests.real.story import Verdict
from tests.real.telling import told

LIMIT_S: Final = 220.0
FAULTS: Final = 22
OPERATIONS: Final = 20_000


@pytest.mark.timeout(LIMIT_S + 20)
def test_no_acknowledged_write_is_lost_whatever_happens_to_the_nodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, said = told(
        "tests.real", Verdict, tmp_path, capsys, f"--faults={FAULTS}", f"--operations={OPERATIONS}", limit_s=LIMIT_S
    )
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
    verdict, said = told(
        "tests.real", Verdict, tmp_path, capsys, *options, environ={"PATH": str(tmp_path)}, limit_s=LIMIT_S
    )
    assert "no network namespaces here" in said
    assert verdict.mode == "loopback with a byte proxy per link"
    assert not verdict.broken, (verdict, said)
    assert len(verdict.faults) == 6


@pytest.mark.timeout(LIMIT_S + 20)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found(plant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*PLANTS[plant], "--operations=2000", "--target=tests.real.planted:app"]
    verdict, _ = told("tests.real", Verdict, tmp_path, capsys, *options, environ={VARIABLE: plant}, limit_s=LIMIT_S)
    assert verdict.lost > 0, verdict
