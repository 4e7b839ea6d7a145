"""`python -m roost.sim`: tell the story of the store in the worlds of many seeds, and name those in which it breaks.

    python -m roost.sim --seeds 200         # seeds 0 to 199: one line for each that fails, and a closing line
    python -m roost.sim 7 4711              # these seeds, with what happened in each
    python -m roost.sim 7 --history h.jsonl # and what its clients asked and were told

The exit code is 1 when a promise was broken.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from roost.errors import SimulationError
from roost.sim.checkers import Broken
from roost.sim.story import Verdict, tell

SHOWN_MAX = 5
"""Broken promises shown of one seed."""

app = typer.Typer(add_completion=False)


@app.command()
def main(
    numbers: Annotated[list[int] | None, typer.Argument(metavar="[SEED]...", help="Show these worlds.")] = None,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many seeds from there on.")] = 0,
    history: Annotated[Path | None, typer.Option(help="Write the clients' operations there, as JSON lines.")] = None,
) -> None:
    """Break simulated clusters, and judge what they promised."""
    chosen = [*(numbers or ()), *range(seed, seed + seeds)] or [seed]
    logging.disable()  # the nodes complain of the faults, as they should
    try:
        told = [_told(one, in_full=not seeds) for one in chosen]
    finally:
        logging.disable(logging.NOTSET)
    if history is not None:
        history.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for verdict in told for one in verdict.history))
    failed = sum(bool(verdict.broken) for verdict in told)
    print(
        f"{len(told)} seeds, {failed} failed: {sum(verdict.virtual_s for verdict in told):.0f} virtual seconds, "
        f"{sum(verdict.acknowledged for verdict in told)} acknowledged writes, "
        f"{sum(sum(verdict.fired.values()) for verdict in told)} faults"
    )
    raise typer.Exit(1 if failed else 0)


def _told(seed: int, *, in_full: bool) -> Verdict:
    try:
        verdict = tell(seed)
    except SimulationError as error:
        verdict = Verdict(seed, "", broken=[Broken("simulation", "the world", str(error))])
    if verdict.broken:
        print(f"seed {seed} failed: {verdict.broken[0]}; replay: python -m roost.sim {seed}")
    if in_full:
        _show(verdict)
    return verdict


def _show(verdict: Verdict) -> None:
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(verdict.outcomes.items()))
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.fired.items())) or "none"
    print(f"seed {verdict.seed}: {verdict.plan}; digest {verdict.digest}")
    print(f"  {verdict.virtual_s:.1f} virtual seconds; operations: {outcomes}; faults: {faults}")
    for broken in verdict.broken[:SHOWN_MAX]:
        print(f"  {broken}")
    if verdict.broken:
        for line in verdict.tail:
            print(f"    {line}")


if __name__ == "__main__":
    app()
