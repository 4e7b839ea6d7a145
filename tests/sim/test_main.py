from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from roost.core.quorum import GetOp
from roost.sim.__main__ import app
from roost.sim.batch import Summary, tale_of
from roost.sim.history import read_lines

STORE = next(seed for seed in range(100) if tale_of(seed) == "store")


def test_many_seeds_end_with_one_closing_line() -> None:
    result = CliRunner().invoke(app, ["--seeds", "2", "--seed", "5"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("2 seeds, 0 failed: ")
    assert any(line.endswith("  a partition moved on") for line in lines)


def test_many_seeds_can_be_told_to_another_program() -> None:
    result = CliRunner().invoke(app, ["--seeds", "2", "--seed", "5", "--json"])
    assert result.exit_code == 0
    assert msgspec.json.decode(result.stdout, type=Summary).seeds == 2


def test_one_seed_tells_what_happened_and_keeps_its_history(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    result = CliRunner().invoke(app, [str(STORE), "--history", str(history)])
    assert result.exit_code == 0
    assert f"seed {STORE}: store: " in result.stdout
    assert "digest " in result.stdout
    kinds = {operation.kind for operation in read_lines(history.read_bytes())}
    assert kinds >= {"get", "put"}


def test_a_failing_seed_is_named_with_the_command_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GetOp, "_repair", lambda self: ())
    result = CliRunner().invoke(app, ["--seeds", "24"])
    assert result.exit_code == 1
    named = [line for line in result.stdout.splitlines() if line.startswith("seed ")]
    assert named
    seed = named[0].split()[1]
    assert named[0].endswith(f"; replay: python -m roost.sim {seed}")
    assert result.stdout.splitlines()[-1].startswith(f"24 seeds, {len(named)} failed: ")
