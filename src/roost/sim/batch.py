"""Many seeds: each tells one of the stories, on as many processors as there are, and what came about is counted."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from roost.errors import SimulationError
from roost.sim import story, tally, upheaval
from roost.sim.checkers import Broken
from roost.sim.marks import CLUSTER_MARKS
from roost.sim.nemesis import KINDS
from roost.sim.overheard import HANDOFF_MARKS
from roost.sim.verdict import Verdict

ENOUGH: Final = 300
"""Of so many seeds every kind of fault, and every mark, must come about at least once."""
TALES: Final[Mapping[str, Callable[[int], Verdict]]] = {
    "store": story.tell,
    "membership": upheaval.unsettle,
    "counters": tally.count,
}
SHARES: Final = {"store": 6, "membership": 3, "counters": 1}
"""How many of ten seeds tell each story."""


class Summary(msgspec.Struct):
    """What came of many seeds.

    Attributes:
        seeds: how many.
        failed: those in which a promise was broken, and the first of them.
        virtual_s: how long they took in their own time.
        acknowledged: the writes that clients could rely on.
        fired: how often each kind of fault happened.
        marks: how often each mark came about.
        outcomes: how often each outcome was told to clients and operators.
    """

    seeds: int = 0
    failed: dict[int, str] = msgspec.field(default_factory=dict)
    virtual_s: float = 0.0
    acknowledged: int = 0
    fired: dict[str, int] = msgspec.field(default_factory=dict)
    marks: dict[str, int] = msgspec.field(default_factory=dict)
    outcomes: dict[str, int] = msgspec.field(default_factory=dict)

    def add(self, verdict: Verdict) -> None:
        """Count one story in."""
        failed = {verdict.seed: str(verdict.broken[0])} if verdict.broken else {}
        self.merge(
            Summary(
                1,
                failed,
                verdict.virtual_s,
                verdict.acknowledged,
                verdict.fired,
                verdict.marks,
                verdict.outcomes,
            )
        )

    def merge(self, other: Summary) -> None:
        """Count many in."""
        self.seeds += other.seeds
        self.failed |= other.failed
        # Rounded, so that the sum does not depend on who has added up what.
        self.virtual_s = round(self.virtual_s + other.virtual_s, 6)
        self.acknowledged += other.acknowledged
        for mine, its in ((self.fired, other.fired), (self.marks, other.marks), (self.outcomes, other.outcomes)):
            for name, count in its.items():
                mine[name] = mine.get(name, 0) + count

    def missing(self) -> tuple[str, ...]:
        """The kinds of faults, and the marks, that did not come about, when they should have."""
        if self.seeds < ENOUGH:
            return ()
        wanted: tuple[tuple[Iterable[str], Mapping[str, int]], ...] = (
            (KINDS, self.fired),
            ((*CLUSTER_MARKS, *HANDOFF_MARKS), self.marks),
        )
        return tuple(name for names, counts in wanted for name in names if not counts.get(name))

    def line(self) -> str:
        """The sums, in one line."""
        return (
            f"{self.seeds} seeds, {len(self.failed)} failed: {self.virtual_s:.0f} virtual seconds, "
            f"{self.acknowledged} acknowledged writes, {sum(self.fired.values())} faults"
        )

    def table(self) -> str:
        """How often everything came about, one thing a line."""
        rows = [(f"fault: {name}", count) for name, count in sorted(self.fired.items())]
        rows += [(f"answer: {name}", count) for name, count in sorted(self.outcomes.items())]
        rows += sorted(self.marks.items())
        return "\n".join(f"{count:>9}  {name}" for name, count in rows)


def tale_of(seed: int) -> str:
    """Which story a seed tells."""
    return random.Random(f"{seed}/which").choices([*SHARES], [*SHARES.values()])[0]


def relate(seed: int) -> Verdict:
    """Tell the story of a seed, whichever it is, and whatever goes wrong with it."""
    try:
        return TALES[tale_of(seed)](seed)
    except (AssertionError, ExceptionGroup, SimulationError) as error:
        return Verdict(seed, "", broken=[Broken("simulation", "the world", f"{type(error).__name__}: {error}")])


def summarise(seeds: Iterable[int]) -> Summary:
    """Tell the stories of many seeds, one after the other."""
    summary = Summary()
    logging.disable()  # the nodes complain of the faults, as they should
    try:
        for seed in seeds:
            summary.add(relate(seed))
    finally:
        logging.disable(logging.NOTSET)
    return summary


def summarise_in_parallel(first: int, count: int, jobs: int) -> Summary:
    """The same for `count` seeds from `first` on, in `jobs` processes.

    Raises:
        SimulationError: when one of the processes does not come to its end.
    """
    shares = [(first + count * job // jobs, first + count * (job + 1) // jobs) for job in range(jobs)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "roost.sim", "--seed", str(begin), "--seeds", str(end - begin), "--json"],
            stdout=subprocess.PIPE,
        )
        for begin, end in shares
        if end > begin
    ]
    summary = Summary()
    for worker in workers:
        output, _ = worker.communicate()
        try:
            summary.merge(msgspec.json.decode(output, type=Summary))
        except msgspec.DecodeError as error:
            raise SimulationError(f"a process of the simulation ended with {worker.returncode}: {error}") from None
    return summary
