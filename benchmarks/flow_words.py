"""Counting the words of a text with Flow, against plain Python, and in worker processes against multiprocessing.Pool.

The text is the one that every Python has: the topics of its own help, many times over.
"""

from __future__ import annotations

import multiprocessing
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from multiprocessing.pool import Pool
from pydoc_data import topics
from time import perf_counter

from benchmarks.line import Bound, Line, middle
from benchmarks.rounds import Plan, alternate
from roost.jobs import Flow
from roost.otp import Scheduler

COPIES = 20
CHUNK = 4_000
"""Lines in one job of the pool: measured, it is slower with 1,000, and with 16,000."""

tokens = re.compile(r"[a-z]+(?:'[a-z]+)?").findall


def text(copies: int) -> list[str]:
    """The lines."""
    return "\n".join(topics.topics.values()).splitlines() * copies


def words(line: str) -> list[str]:
    """The words of a line, without punctuation, in small letters."""
    return tokens(line.lower())


def count_lines(lines: Sequence[str]) -> dict[str, int]:
    """What a job of the pool does; a dict travels faster than a Counter."""
    return dict(Counter(chain.from_iterable(map(words, lines))))


async def timed(work: Callable[[], Awaitable[Counter[str]]], expected: Counter[str]) -> float:
    """Words per second; the count must be right."""
    start = perf_counter()
    counts = await work()
    elapsed_s = perf_counter() - start
    if counts != expected:
        raise ValueError("the words were not counted right")
    return expected.total() / elapsed_s


async def split_plainly(lines: list[str]) -> Counter[str]:
    """The fastest way that plain Python has."""
    return Counter(chain.from_iterable(map(str.split, lines)))


async def split_in_flow(lines: list[str]) -> Counter[str]:
    """The same as a flow in the loop."""
    return Counter(dict(await Flow.from_iterable(lines).flat_map(str.split).count_by().collect()))


async def split_in_partitions(lines: list[str]) -> Counter[str]:
    """The same in four partitions of the loop."""
    flow = Flow.from_iterable(lines).flat_map(str.split).partition(stages=4)
    return Counter(dict(await flow.count_by().collect()))


async def count_plainly(lines: list[str]) -> Counter[str]:
    """The dearer count, in one process."""
    return Counter(chain.from_iterable(map(words, lines)))


async def count_in_workers(lines: list[str]) -> Counter[str]:
    """The same as a flow in worker processes."""
    return Counter(dict(await Flow.from_iterable(lines, cpu=True).flat_map(words).count_by().collect()))


async def count_in_pool(pool: Pool, lines: list[str]) -> Counter[str]:
    """The same in a pool of as many processes."""
    counts = Counter[str]()
    for part in pool.imap_unordered(count_lines, [lines[at : at + CHUNK] for at in range(0, len(lines), CHUNK)]):
        counts.update(part)
    return counts


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    lines = text(plan.count(COPIES))
    split = await split_plainly(lines)
    counted = await count_plainly(lines)
    in_loop = await alternate(
        plan,
        lambda: timed(lambda: split_in_flow(lines), split),
        lambda: timed(lambda: split_plainly(lines), split),
        lambda: timed(lambda: split_in_partitions(lines), split),
    )
    workers = Scheduler.current().runtime.cpu.workers
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        in_workers = await alternate(
            plan,
            lambda: timed(lambda: count_in_workers(lines), counted),
            lambda: timed(lambda: count_in_pool(pool, lines), counted),
            lambda: timed(lambda: count_plainly(lines), counted),
        )
    megabytes = sum(map(len, lines)) / 1e6
    return [
        Line(
            "flow_words",
            "words/s",
            [Bound("ratio", ">=", 0.8)],
            f"{megabytes:.1f} MB of text, split at spaces, in the loop; reference: one Counter over one chain of maps, "
            "the fastest way that plain Python has",
            in_loop[:2],
            {"partitions_4": middle(in_loop[2])},
        ),
        Line(
            "flow_words_cpu",
            "words/s",
            [Bound("ratio", ">=", 0.9)],
            f"{megabytes:.1f} MB of text, small letters, found by a regular expression, in {workers} worker processes; "
            f"reference: multiprocessing.Pool of as many, {CHUNK} lines a job; both were started before",
            in_workers[:2],
            {"plain": middle(in_workers[2])},
        ),
    ]
