"""A slow import with live progress: whoever asked for it goes on at once, and watches it as long as he likes.

One process owns the import. The work runs beside its mailbox, many rows at a time, so it answers everybody meanwhile:
how far it is, or that it is busy. Rows that make no sense are left out and told, and the rest is imported.

    python examples/import_with_progress.py
"""

from __future__ import annotations

import asyncio
import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

from roost import Caller, GenServer, NoReply, call, info, send
from roost.errors import FlowFailed, Refusal
from roost.jobs import Flow, Progress

ROWS = 5_000
SAVE_S = 0.002


class Busy(Refusal):
    """An import runs already."""


class Importer(GenServer):
    """Imports one file of products at a time."""

    def init(self) -> None:
        self.cents = 0
        self.bad: list[str] = []
        self.progress = Progress(0, 0, 0, 0, 0.0, finished=True)
        self.watchers: list[Caller[Progress]] = []

    @call
    def begin(self, path: str) -> None:
        """Begin to import a file; returns at once."""
        if not self.progress.finished:
            raise Busy
        self.progress = Progress(0, 0, 0, 0, 0.0, finished=False)
        self.activity(self.work(path), "import")

    @call
    def watch(self, done: int) -> Progress:
        """How far it is, as soon as more than `done` rows are, or it has finished."""
        if self.progress.finished or self.progress.done > done:
            return self.progress
        self.watchers.append(self.caller())
        raise NoReply

    @call
    def result(self) -> tuple[int, tuple[str, ...]]:
        """What all products cost together, in cents, and the rows that were left out."""
        return self.cents, tuple(self.bad)

    @info
    def advance(self, progress: Progress) -> None:
        """The import is a little further: tell everybody who waits for that."""
        self.progress = progress
        watchers, self.watchers = self.watchers, []
        for watcher in watchers:
            watcher.reply(progress)

    async def work(self, path: str) -> None:
        """Read, check and save; fifty rows are on their way at a time."""
        flow = Flow.from_iterable(rows(path), stages=50).map(cents).map(self.save)
        await flow.on_error("skip", self.leave_out).on_progress(self.report, every_s=0.05).run()

    async def save(self, price: int) -> None:
        """What takes long: somebody else's database."""
        await asyncio.sleep(SAVE_S)
        self.cents += price

    def leave_out(self, failed: FlowFailed) -> None:
        """A row makes no sense."""
        self.bad.append(failed.element)

    def report(self, progress: Progress) -> None:
        """Into the own mailbox, like any other news."""
        send(self.handle, progress)


def rows(path: str) -> Iterator[dict[str, str]]:
    """One row after the other; a file of any size."""
    with open(path, newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def cents(row: dict[str, str]) -> int:
    """The price of one product."""
    return round(float(row["price"]) * 100)


def products(folder: str) -> str:
    """A file to import, and where it is."""
    path = Path(folder, "products.csv")
    prices = ("?" if number % 1_000 == 999 else f"{number % 50}.50" for number in range(ROWS))
    path.write_text("name,price\n" + "".join(f"product {number},{price}\n" for number, price in enumerate(prices)))
    return str(path)


async def main() -> None:
    """Make a file in which some rows are wrong, import it, and watch."""
    with tempfile.TemporaryDirectory() as folder:
        path = products(folder)
        importer = await Importer.start_link(name="importer")
        await importer.begin(path)
        try:
            await importer.begin(path)
        except Busy:
            print("a second import has to wait")
        progress = await importer.watch(0)
        while not progress.finished:
            print(f"{'#' * (30 * progress.done // ROWS):30} {progress.done} of {ROWS}")
            progress = await importer.watch(progress.done)
        total, bad = await importer.result()
        print(f"imported {progress.emitted} products worth {total / 100:,.2f}, left out {len(bad)}: {bad[0]} ...")
        await importer.stop()


if __name__ == "__main__":
    asyncio.run(main())
