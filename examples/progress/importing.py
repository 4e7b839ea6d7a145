"""Imports: a process that works, and a board that knows how far each is and what has become of it.

The board lives on when an import crashes. Both are on the node that was asked to import; the progress is told on a
topic, so pages of every node see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from roost import Down, DynamicSupervisor, Flow, GenServer, call, cast, info
from roost.cluster.node import Node
from roost.errors import FlowFailed, Refusal, TooManyChildren
from roost.jobs import Progress
from roost.live.channel import Payload

ROWS_MAX: Final = 100_000
RUNNING_MAX: Final = 4
"""Imports that run on one node at a time."""
REMEMBERED_MAX: Final = 100
"""Imports that a board knows; the oldest that is over makes place for a new one."""
BAD_SHOWN: Final = 5
"""Rows that were left out, of which the first are shown."""
AT_A_TIME: Final = 4
SAVE_S: Final = 0.01
"""How long somebody else's database takes for one row."""
TOLD_EVERY_S: Final = 0.1
ID_BYTES: Final = 9


class Busy(Refusal):
    """So many imports run here already."""

    def __init__(self, running: int) -> None:
        super().__init__(f"{running} imports run on this node already: wait until one is done, or cancel one")


class Unknown(Refusal):
    """There is no such import."""

    def __init__(self, id: str) -> None:
        super().__init__(f"the import {id} is not known here, or not any more: start it again")


class Job(msgspec.Struct, frozen=True):
    """How far an import is.

    Attributes:
        status: "running", "done", "cancelled", or "crashed".
        done: rows that have been dealt with.
        left_out: how many of them made no sense.
        bad: the first of those.
        reason: why it has crashed.
    """

    id: str
    rows: int
    status: str = "running"
    done: int = 0
    left_out: int = 0
    bad: tuple[str, ...] = ()
    cents: int = 0
    elapsed_s: float = 0.0
    reason: str = ""


class Import(GenServer):
    """Does one import, and crashes when it must: nobody but its board notices."""

    def init(self, id: str, rows: int) -> None:
        self.id, self.cents = id, 0
        self.bad: list[str] = []
        self.activity(self.work(rows), "import")

    @cast
    def crash(self) -> None:
        """What a bug does."""
        raise ZeroDivisionError("somebody has pressed the crash button")

    async def work(self, rows: int) -> None:
        """Read, check and save; a few rows are on their way at a time. A row that makes no sense is left out."""
        flow = Flow.from_iterable(products(rows), stages=AT_A_TIME).map(cents).map(self.save)
        await flow.on_error("skip", self.leave_out).on_progress(self.report, every_s=TOLD_EVERY_S).run()

    async def save(self, price: int) -> None:
        """What takes long."""
        await self.scheduler.runtime.clock.sleep(SAVE_S)
        self.cents += price

    def leave_out(self, failed: FlowFailed) -> None:
        """Keep the first of them, as they are written, to be shown."""
        if len(self.bad) < BAD_SHOWN:
            self.bad.append(failed.element.strip("'"))

    def report(self, progress: Progress) -> None:
        """Tell the board."""
        Board.whereis("board").advance(self.id, progress, tuple(self.bad), self.cents)


class Board(GenServer):
    """What becomes of the imports of this node."""

    def init(self, broadcast: Callable[[str, str, Payload], None]) -> None:
        self.broadcast = broadcast
        self.jobs: dict[str, Job] = {}
        self.running: dict[str, Import] = {}

    @call
    async def begin(self, rows: int) -> Job:
        """Begin an import; it goes on when whoever asked has gone.

        Raises:
            Busy: RUNNING_MAX are running here.
        """
        id = f"{Node.current().name}/{self.scheduler.runtime.entropy.token(ID_BYTES).hex()}"
        job = self.jobs[id] = Job(id, rows)
        try:
            worker = await DynamicSupervisor.whereis("imports").start_child(Import.child(id, rows, restart="temporary"))
        except TooManyChildren as error:
            del self.jobs[id]
            raise Busy(RUNNING_MAX) from error
        self.running[id] = worker
        self.monitor(worker)
        if len(self.jobs) > REMEMBERED_MAX:
            del self.jobs[next(old for old in self.jobs if old not in self.running)]
        return job

    @call
    def look(self, id: str) -> Job:
        """How far an import is.

        Raises:
            Unknown: there is none with this id.
        """
        return self.known(id)

    @call
    async def cancel(self, id: str) -> Job:
        """Stop an import; one that is over stays as it is.

        Raises:
            Unknown: there is none with this id.
        """
        job = self.known(id)
        if id in self.running:
            self.tell(replace(job, status="cancelled"))
            await self.running[id].stop("shutdown")
        return self.jobs[id]

    @call
    def crash(self, id: str) -> None:
        """Make an import crash, to see what happens.

        Raises:
            Unknown: there is none with this id.
        """
        self.known(id)
        if id in self.running:
            self.running[id].crash()

    @cast
    def advance(self, id: str, progress: Progress, bad: tuple[str, ...], cents: int) -> None:
        """An import is a little further."""
        job = self.jobs.get(id)
        if job is None or job.status != "running":
            return
        job = replace(job, done=progress.done, left_out=progress.skipped, bad=bad, cents=cents)
        job = replace(job, elapsed_s=round(progress.elapsed_s, 1))
        self.tell(replace(job, status="done") if progress.finished else job)
        if progress.finished:
            self.running[id].exit("shutdown")

    @info
    def ended(self, down: Down) -> None:
        """The process of an import has ended: in order, or not."""
        id = next(id for id, worker in self.running.items() if worker == down.process)
        del self.running[id]
        job = self.jobs[id]
        if job.status == "running":
            reason = down.reason
            shown = reason if isinstance(reason, str) else f"{type(reason).__name__}: {reason}"
            self.tell(replace(job, status="crashed", reason=shown))

    def known(self, id: str) -> Job:
        """An import of this board."""
        if id not in self.jobs:
            raise Unknown(id)
        return self.jobs[id]

    def tell(self, job: Job) -> None:
        """Remember it, and tell everybody who watches, on all nodes."""
        self.jobs[job.id] = job
        self.broadcast(f"import:{job.id}", "progress", msgspec.to_builtins(job))


def products(rows: int) -> Iterator[str]:
    """The lines of a file, one after the other; every hundredth one has no price."""
    for number in range(1, rows + 1):
        yield f"product {number},{'?' if number % 100 == 99 else f'{number % 50}.50'}"


def cents(line: str) -> int:
    """The price of one product."""
    return round(float(line.rpartition(",")[2]) * 100)
