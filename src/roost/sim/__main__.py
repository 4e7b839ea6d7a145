"""`python -m roost.sim`: tell stories in the worlds of many seeds, and name those in which a promise is broken.

    python -m roost.sim --seeds 200         # seeds 0 to 199: one line for each that fails, and what came about
    python -m roost.sim --seeds 200 --jobs 2
    python -m roost.sim 7 4711              # these seeds, with what happened in each
    python -m roost.sim 7 --history h.jsonl # and what its clients asked and were told

The exit code is 1 when a promise was broken, or when something that must come about in so many worlds did not.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from roost.sim.batch import Summary, relate, summarise, summarise_in_parallel, tale_of
from roost.sim.verdict import Verdict

SHOWN_MAX = 5
"""Broken promises shown of one seed."""

app = typer.Typer(add_completion=False)


@app.command()
def main(
    numbers: Annotated[list[int] | None, typer.Argument(metavar="[SEED]...", help="Show these worlds.")] = None,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds from there on.")] = 0,
    jobs: Annotated[int, typer.Option(help="In how many processes.")] = 1,
    json: Annotated[bool, typer.Option(help="Print what came of many seeds as JSON.")] = False,
    history: Annotated[Path | None, typer.Option(help="Write the clients' operations there, as JSON lines.")] = None,
) -> None:
    """Break simulated clusters, and judge what they promised."""
    if not seeds:
        raise typer.Exit(_show_all(numbers or [seed], history))
    summary = summarise_in_parallel(seed, seeds, jobs) if jobs > 1 else summarise(range(seed, seed + seeds))
    if json:
        sys.stdout.write(msgspec.json.encode(summary).decode() + "\n")
    else:
        _print(summary)
    raise typer.Exit(1 if summary.failed or summary.missing() else 0)


def _print(summary: Summary) -> None:
    print(summary.table())
    for missing in summary.missing():
        print(f"never came about: {missing}")
    for seed, broken in summary.failed.items():
        print(f"seed {seed} failed: {broken}; replay: python -m roost.sim {seed}")
    print(summary.line())


def _show_all(seeds: list[int], history: Path | None) -> int:
    """Tell these in full; return the exit code."""
    summary, lines = Summary(), b""
    logging.disable()  # the nodes complain of the faults, as they should
    try:
        for seed in seeds:
            verdict = relate(seed)
            summary.add(verdict)
            lines += b"".join(msgspec.json.encode(one) + b"\n" for one in verdict.history)
            _show(verdict)
    finally:
        logging.disable(logging.NOTSET)
    if history is not None:
        history.write_bytes(lines)
    print(summary.line())
    return 1 if summary.failed else 0


def _show(verdict: Verdict) -> None:
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(verdict.outcomes.items()))
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.fired.items())) or "none"
    print(f"seed {verdict.seed}: {tale_of(verdict.seed)}: {verdict.plan}; digest {verdict.digest}")
    print(f"  {verdict.virtual_s:.1f} virtual seconds; answers: {outcomes}; faults: {faults}")
    for order in verdict.orders:
        print(f"  {order}")
    for broken in verdict.broken[:SHOWN_MAX]:
        print(f"  {broken}")
    if verdict.broken:
        for line in verdict.tail:
            print(f"    {line}")


if __name__ == "__main__":
    app()
