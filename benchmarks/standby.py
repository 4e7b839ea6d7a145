"""Sides that are programs of their own and stand by: told so on stdin, one does one turn and says what it measured.

So they take turns with the sides that run in the benchmark's own process. They are for the record beside the
reference: one that is not installed is missing in the line, which says so, and the benchmark goes on.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.callers import Sample
from benchmarks.child import Child, Failed, child, program, python
from benchmarks.line import middle, shown
from benchmarks.rounds import Plan, alternate

Side = Callable[[], Awaitable[Sample]]

TURN_S = 60.0
"""How long one turn may take."""
ERLANG = Path(__file__).parent / "erlang"
LIBRARIES: Mapping[str, str] = {"pykka": "benchmarks.pykka_counter", "xoscar": "benchmarks.xoscar_counter"}
"""Actor libraries, and the module that plays their side."""
SLOWER = 10
"""A turn of a library has this many times fewer operations, so that it takes about as long."""


def per_s(sample: Sample) -> float:
    """What most lines compare."""
    return sample.per_s


def p50_us(sample: Sample) -> float:
    """What a line of times compares."""
    return sample.p50_us


@dataclass(frozen=True, slots=True)
class StandBy:
    """A running side.

    Attributes:
        name: what it is called in the line.
        version: what it says of itself.
        fewer: its turns have this many times fewer operations.
    """

    name: str
    version: str
    process: Child
    fewer: int = 1

    async def turn(self, what: str, count: int) -> Sample:
        """One turn of at most `count` operations."""
        self.process.tell(f"{what} {max(count // self.fewer, 1000)}")
        return Sample(*map(float, (await self.process.line(TURN_S)).split()))


@dataclass(frozen=True, slots=True)
class Others:
    """Those that run, and by name why the rest does not."""

    running: Sequence[StandBy]
    absent: Mapping[str, str]

    async def beside(
        self, plan: Plan, sides: Sequence[Side], what: str, count: int, figure: Callable[[Sample], float] = per_s
    ) -> tuple[list[list[Sample]], dict[str, object]]:
        """Alternate `sides`, ours first, with a turn `what` of each of the others.

        Returns: the turns of `sides`, and the fields that tell of the others. `figure` is what the line compares.
        """
        turns = await alternate(plan, *sides, *(partial(other.turn, what, count) for other in self.running))
        mine = middle([figure(sample) for sample in turns[0]])
        facts: dict[str, object] = {}
        for other, samples in zip(self.running, turns[len(sides) :], strict=True):
            rounds = [figure(sample) for sample in samples]
            theirs = middle(rounds)
            facts[other.name] = theirs
            facts[f"{other.name}_ratio"] = mine / theirs if mine and theirs else None
            if any(sample.p99_us for sample in samples):
                facts[f"{other.name}_p50_us"] = middle([sample.p50_us for sample in samples])
                facts[f"{other.name}_p99_us"] = middle([sample.p99_us for sample in samples])
            facts[f"{other.name}_rounds"] = [shown(value) for value in rounds]
        return list(turns[: len(sides)]), {**facts, **self.who()}

    def who(self) -> dict[str, object]:
        """The fields that say which versions ran, and what did not and why."""
        versions = {other.name: other.version for other in self.running}
        return {**({"versions": versions} if versions else {}), **({"absent": self.absent} if self.absent else {})}


@asynccontextmanager
async def others(*names: str) -> AsyncIterator[Others]:
    """Start those of "erlang", "pykka" and "xoscar" that are named and installed."""
    running: list[StandBy] = []
    absent: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for name in names:
            reason = missing(name)
            if reason is None:
                running.append(await stack.enter_async_context(side(name)))
            else:
                absent[name] = reason
        yield Others(running, absent)


def side(name: str) -> AbstractAsyncContextManager[StandBy]:
    """One of those that can be named."""
    return erlang() if name == "erlang" else standing_by(name, python(LIBRARIES[name]), SLOWER)


def missing(name: str) -> str | None:
    """Why this side cannot run here; None when it can."""
    if name == "erlang":
        return None if shutil.which("erl") and shutil.which("erlc") else "erl and erlc are not installed"
    if importlib.util.find_spec(name) is None:
        return f"not installed for Python {sys.version_info.major}.{sys.version_info.minor}"
    return None


@asynccontextmanager
async def erlang() -> AsyncIterator[StandBy]:
    """A BEAM with the programs of `benchmarks/erlang`, compiled into a folder that goes with it."""
    with TemporaryDirectory(prefix="roost-beam-") as folder:
        async with child([program("erlc"), "-o", folder, *map(str, sorted(ERLANG.glob("*.erl")))]) as compiler:
            if await compiler.ended():
                raise Failed("the Erlang side does not compile")
        command = [program("erl"), "-noshell", "-pa", folder, "-s", "bench_turns", "main"]
        async with standing_by("erlang", command) as running:
            yield running


@asynccontextmanager
async def standing_by(name: str, command: Sequence[str], fewer: int = 1) -> AsyncIterator[StandBy]:
    """A program that calls `stand_by`, or does as it does."""
    async with child(command) as process:
        yield StandBy(name, await process.line(), process, fewer)


def stand_by(version: str, turns: Mapping[str, Callable[[int], Sample]]) -> None:
    """In the program itself: say which version it is, then do the turns that stdin names until it closes."""
    print(version, flush=True)
    for line in sys.stdin:
        what, count = line.split()
        sample = turns[what](int(count))
        print(f"{sample.per_s:.3f} {sample.p50_us:.3f} {sample.p99_us:.3f}", flush=True)
