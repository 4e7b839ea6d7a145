from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from roost.core.quorum import GetOp
from roost.sim.__main__ import app
from roost.sim.history import read_lines


def test_many_seeds_end_with_one_closing_line() -> None:
    result = CliRunner().invoke(app, ["--seeds", "2", "--seed", "5"])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("2 seeds, 0 failed: ")


def test_one_seed_tells_what_happened_and_keeps_its_history(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    result = CliRunner().invoke(app, ["6", "--history", str(history)])
    assert result.exit_code == 0
    assert "seed 6: " in result.stdout
    assert "digest " in result.stdout
    kinds = {operation.kind for operation in read_lines(history.read_bytes())}
    assert kinds >= {"get", "put"}


def test_a_failing_seed_is_named_with_the_command_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GetOp, "_repair", lambda self: ())
    result = CliRunner().invoke(app, ["--seeds", "8"])
    assert result.exit_code == 1
    named = [line for line in result.stdout.splitlines() if line.startswith("seed ")]
    assert named
    seed = named[0].split()[1]
    assert named[0].endswith(f"; replay: python -m roost.sim {seed}")
    assert result.stdout.splitlines()[-1].startswith(f"8 seeds, {len(named)} failed: ")
