"""Pykka's side of the benchmarks of calls: one actor, which is a thread, asked from the main thread.

It gets plain messages, which is its fastest way. A hundred callers are a hundred questions in flight from one thread:
a hundred threads would be slower. Run by `python -m benchmarks.pykka_counter`.
"""

from __future__ import annotations

from importlib.metadata import version
from time import perf_counter

import pykka

from benchmarks.callers import Sample
from benchmarks.line import percentile
from benchmarks.standby import stand_by

CALLERS = 100


class PykkaCounter(pykka.ThreadingActor):
    """Counts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: int) -> int:
        """Add, and tell the sum."""
        self.count += message
        return self.count


def main() -> None:
    """Stand by."""
    counter = PykkaCounter.start()

    def call(count: int) -> Sample:
        start = perf_counter()
        for _ in range(count):
            counter.ask(1)
        per_s = count / (perf_counter() - start)
        times: list[float] = []
        for _ in range(count // 10):
            before = perf_counter()
            counter.ask(1)
            times.append(perf_counter() - before)
        times.sort()
        return Sample(per_s, percentile(times, 0.5) * 1e6, percentile(times, 0.99) * 1e6)

    def call_100(count: int) -> Sample:
        start = perf_counter()
        for _ in range(count // CALLERS):
            pykka.get_all([counter.ask(1, block=False) for _ in range(CALLERS)])
        return Sample(count / (perf_counter() - start))

    def cast(count: int) -> Sample:
        start = perf_counter()
        for _ in range(count):
            counter.tell(1)
        counter.ask(0)
        return Sample(count / (perf_counter() - start))

    try:
        stand_by(f"Pykka {version('pykka')}", {"call": call, "call_100": call_100, "cast": cast})
    finally:
        counter.stop()


if __name__ == "__main__":
    main()
