"""The examples that are programs run, and show what they claim. Those that wait do so in virtual time.

Each example that is a cluster has a test of its own beside this one.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from roost.sim import run

EXAMPLES: Final = Path(__file__).parent.parent.parent / "examples"
SHARED: Final = {"pages"}
"""What several examples use."""
NAMES: Final = sorted({path.stem for path in EXAMPLES.glob("*.py")} - SHARED)
PACKAGES: Final = sorted(path.parent.name for path in EXAMPLES.glob("*/__init__.py"))
PROGRAMS: Final = [name for name in NAMES if "__main__" in (EXAMPLES / f"{name}.py").read_text("utf-8")]


def told(name: str, capsys: pytest.CaptureFixture[str], seed: int = 0) -> list[str]:
    """What an example prints, in virtual time."""
    run(seed, importlib.import_module(f"examples.{name}").main())
    return capsys.readouterr().out.splitlines()


def program(name: str) -> list[str]:
    """What an example prints when it is started as its first lines say."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_runs_as_a_program(name: str) -> None:
    assert program(name)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_says_how_to_run_it_and_is_in_the_list(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text("utf-8")
    command = f"python examples/{name}.py" if name in PROGRAMS else f"roost run examples.{name}:app"
    assert f"\n    {command}\n" in text
    assert f"[{name}]({name}.py)" in (EXAMPLES / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", PACKAGES)
def test_an_example_with_a_page_says_how_to_run_it_and_is_in_the_list(name: str) -> None:
    text = (EXAMPLES / name / "__init__.py").read_text("utf-8")
    assert f"\n    roost run examples.{name}:app\n" in text
    assert f"[{name}]({name}/__init__.py)" in (EXAMPLES / "README.md").read_text("utf-8")
    page = (EXAMPLES / name / "page" / "index.html").read_text("utf-8")
    assert "http" not in page, "everything that a page needs comes from its node"


@pytest.mark.parametrize("name", sorted({*NAMES, *PACKAGES} - {*PROGRAMS}))
def test_an_example_that_is_a_cluster_is_tested_as_one(name: str) -> None:
    tests = [path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    assert any(f'example("{name}"' in text for text in tests)


def test_a_call_that_fails_and_one_that_hangs_leave_the_others_alone() -> None:
    *cities, last = program("external_calls")
    assert last.startswith("12 calls in ")
    outcomes = dict(line.split(maxsplit=1) for line in cities)
    assert len(outcomes) == 12
    assert outcomes.pop("Dover") == "the service says 'HTTP/1.0 500 Internal Server Error'"
    assert outcomes.pop("Izmir") == "timeout"
    assert all(outcome == f"{len(city) * 2.5} °C" for city, outcome in outcomes.items())


@pytest.mark.parametrize("seed", range(20))
def test_stock_is_never_oversold(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """In any order of the buyers; every ticket is sold in the end, none twice."""
    *_, last = told("stock", capsys, seed)
    assert last == "100 of 100 tickets sold, none of them twice"


def test_what_crashed_comes_back_in_a_valid_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert told("crashing_worker", capsys) == [
        "alice 20 EUR   booked, number 1 of this worker",
        "bob 5 EUR      booked, number 2 of this worker",
        "carol 7 XYZ    ValueError: cannot book XYZ",
        "alice 22 EUR   booked, number 1 of this worker",
        "dave many EUR  ValueError: invalid literal for int() with base 10: 'many'",
        "bob 1 EUR      booked, number 1 of this worker",
        "{'alice': 42, 'bob': 6}",
    ]


def test_a_periodic_task_goes_on_after_its_crash(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert told("periodic", capsys) == ["released apples", "released pears", "released plums", "still sweeping"]
    assert "a cart that nobody expected" in caplog.text


def test_an_import_is_watched_while_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    first, *bars, last = told("import_with_progress", capsys)
    assert first == "a second import has to wait"
    done = [int(bar.split("#")[-1].split()[0]) for bar in bars]
    assert len(done) > 3
    assert done == sorted(set(done)), "only forward"
    assert last.startswith("imported 4995 products worth 124,752.50, left out 5: {'name': 'product 999'")
