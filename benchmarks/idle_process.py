"""What an idle process weighs: memory of a fresh operating-system process for each of many that wait for mail.

Each turn starts a fresh interpreter, or a fresh BEAM, because memory that was once used does not all come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from benchmarks.child import python
from benchmarks.line import Bound, Line, middle
from benchmarks.rounds import Plan, alternate
from benchmarks.standby import StandBy, erlang, missing, standing_by

PROCESSES = 100_000
WARM = 1_000
"""Processes that come before the count, so that what a side loads once is not counted."""


async def weight(side: Callable[[], AbstractAsyncContextManager[StandBy]], what: str, count: int) -> float:
    """Bytes per process."""
    async with side() as running:
        await running.turn(what, WARM)
        before = running.process.rss_bytes()
        await running.turn(what, count)
        return (running.process.rss_bytes() - before) / count


def interpreter() -> AbstractAsyncContextManager[StandBy]:
    """Python's side."""
    return standing_by("python", python("benchmarks.idle_side"))


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    count = plan.count(PROCESSES)
    absent = missing("erlang")
    sides = [partial(weight, interpreter, what, count) for what in ("keep_bare", "keep_supervised", "keep_actors")]
    if absent is None:
        sides += [partial(weight, erlang, what, count) for what in ("keep_bare", "keep_supervised")]
    bare, supervised, reference, *originals = await alternate(plan, *sides, warm=False)

    def line(name: str, what: str, ours: Sequence[float], original: Sequence[float]) -> Line:
        mine, theirs = middle(ours), middle(original)
        beside: dict[str, object] = {"erlang": theirs, "erlang_ratio": mine / theirs if mine and theirs else None}
        return Line(
            name,
            "bytes/process",
            [Bound("ours", "<=", 2048)],
            f"{count} idle processes with an int of state, {what}; RSS of a fresh operating-system process; reference: "
            "actors on an asyncio.Queue, a task each; erlang: gen_servers, likewise",
            [ours, reference],
            {"absent": {"erlang": absent}} if absent is not None else beside,
        )

    if not originals:
        originals = [[], []]
    return [
        line("idle_process", "nobody above them", bare, originals[0]),
        line(
            "idle_process_supervised",
            "children of one DynamicSupervisor (simple_one_for_one)",
            supervised,
            originals[1],
        ),
    ]
