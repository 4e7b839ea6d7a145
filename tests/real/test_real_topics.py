"""Four real nodes with guests, while nodes die, stop, hang and are cut off: topics and presences are as promised."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.real.evening import KINDS, Verdict
from tests.real.planted_hall import PLANTS, VARIABLE
from tests.real.telling import told

LIMIT_S: Final = 180.0
FAULTS: Final = 10
OWED: Final = 5_000
UNLINKS: Final = 4


@pytest.mark.timeout(LIMIT_S + 20)
def test_topics_and_presences_keep_their_promises_whatever_happens_to_the_nodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, said = told("tests.real.evening", Verdict, tmp_path, capsys, f"--faults={FAULTS}", limit_s=LIMIT_S)
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
    verdict, said = told(
        "tests.real.evening",
        Verdict,
        tmp_path,
        capsys,
        "--faults=4",
        kinds,
        environ={"PATH": str(tmp_path)},
        limit_s=LIMIT_S,
    )
    assert "no network namespaces here" in said
    assert verdict.mode == "loopback with a byte proxy per link"
    assert not verdict.broken, (verdict, said)


@pytest.mark.timeout(LIMIT_S + 20)
def test_nodes_that_lose_each_other_show_nothing_of_it_as_long_as_others_reach_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, said = told(
        "tests.real.evening", Verdict, tmp_path, capsys, f"--faults={UNLINKS}", "--kinds=unlink", limit_s=LIMIT_S
    )
    assert not verdict.broken, (verdict, said)
    assert verdict.downs > 0
    assert (verdict.faults, verdict.leaves) == ({"unlink": UNLINKS}, 0)


@pytest.mark.timeout(LIMIT_S + 20)
@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found(plant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds, checker = PLANTS[plant]
    options = [kinds, "--faults=1", "--target=tests.real.planted_hall:app"]
    verdict, _ = told(
        "tests.real.evening", Verdict, tmp_path, capsys, *options, environ={VARIABLE: plant}, limit_s=LIMIT_S
    )
    assert verdict.broken.get(checker), verdict
