"""The story of a real cluster: clients work while nodes break, come and go; then everything is mended and judged."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from roost.sim.checkers import Broken, Values, diverged, invented, lost_writes, resurrected, unanswered
from roost.sim.history import Operation
from tests.real.changes import Changes
from tests.real.clients import TIMEOUT_MS, Clients
from tests.real.faults import Faults
from tests.real.ground import PLACES, Ground, lasting
from tests.real.house import LOOK_S, House, HouseError

FOUNDERS: Final = "cdefg"
CLIENTS: Final = 20
GRAIN_S: Final = 3.0
"""How much later than its deadline an answer may come, on a machine that has more to do than it can."""
CONVERGE_S: Final = 10.0
"""How long a mended cluster may take until it is whole."""
ROUND_S: Final = 150.0
"""How long the faults of one round may take altogether, and what is still to be done afterwards."""
AGREE_S: Final = 10.0
WHATS: Final = 8
WHAT_CHARS: Final = 600
APP: Final = "tests.real.shop:app"


@dataclass(frozen=True, slots=True)
class Tale:
    """How a story is told.

    Args:
        seed: what everything is drawn from.
        faults: how many there must be, in each round.
        operations: how many must be acknowledged, in each round.
        changes: how many changes of the members must be made, in each round; 0 for none at all.
        kinds: which faults; all that there are when empty.
        rounds_s: begin no further round after so many seconds.
        target: the application.
    """

    seed: int
    faults: int = 22
    operations: int = 20_000
    changes: int = 4
    kinds: tuple[str, ...] = ()
    rounds_s: float = 0.0
    target: str = APP


class Verdict(msgspec.Struct):
    """What came of it.

    Attributes:
        mode: on which ground.
        faults: how often each happened.
        changes: how often each was made.
        acknowledged: operations that were done, reads among them; `writes` are those that are none.
        broken: how many promises did not hold, by checker.
        what: the first of them, in words.
        converged_s: how long the mended cluster took until it was whole, the slowest round.
    """

    mode: str
    seed: int
    rounds: int = 0
    wall_s: float = 0.0
    faults: dict[str, int] = {}
    changes: dict[str, int] = {}
    operations: int = 0
    acknowledged: int = 0
    writes: int = 0
    unknown: dict[str, int] = {}
    lost: int = 0
    unanswered: int = 0
    broken: dict[str, int] = {}
    what: list[str] = []
    converged_s: float = 0.0
    slowest_change_s: float = 0.0
    slowest_stop_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    slowest_ms: float = 0.0


async def tell(tale: Tale, ground: Ground, folder: Path) -> Verdict:
    """Tell it on an open ground, whatever it proves. Nothing of it runs on return."""
    story = _Story(tale, ground, folder)
    began = story.house.now()
    try:
        await story.told()
    except Exception as error:
        reasons = list(_reasons(error))
        story.broken += [Broken("liveness", "the cluster", f"{type(one).__name__}: {one}") for one in reasons]
        if not all(isinstance(one, HouseError | OSError | TimeoutError) for one in reasons):
            raise
    finally:
        await story.house.close()
        story.keep()
    return story.verdict(story.house.now() - began)


def _reasons(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for one in error.exceptions:
            yield from _reasons(one)
    else:
        yield error


class _Story:
    def __init__(self, tale: Tale, ground: Ground, folder: Path) -> None:
        self.tale, self.folder = tale, folder
        self.house = House(ground, folder, FOUNDERS, tale.target)
        self.broken: list[Broken] = []
        self.rounds = 0
        self.converged_s = self.slowest_change_s = 0.0
        self._faults, self._changes, self._unknown = Counter[str](), Counter[str](), Counter[str]()
        self._took_s: list[float] = []
        self._operations = self._acknowledged = self._writes = 0
        self._diary: list[str] = []
        self._history: list[Operation] = []

    async def told(self) -> None:
        house = self.house
        await house.found()
        await house.until(house.is_settled, CONVERGE_S)
        end_s = house.now() + self.tale.rounds_s
        while not self.rounds or (house.now() < end_s and not self.broken and not house.troubles):
            await self._round()
            self.rounds += 1
            print(self._so_far(), file=sys.stderr, flush=True)
        for letter in house.letters():
            await house.stop(letter)

    def _so_far(self) -> str:
        broken = len(self.broken) + len(self.house.troubles)
        return (
            f"round {self.rounds}: {sum(self._faults.values())} faults, {sum(self._changes.values())} changes, "
            f"{self._acknowledged} operations acknowledged, {broken} broken promises so far"
        )

    async def _round(self) -> None:
        """Faults, mending, judgement; with keys of its own."""
        tale, house = self.tale, self.house
        clients = Clients(house, tale.seed, CLIENTS, self.rounds)
        faults = Faults(house, f"{tale.seed}/{self.rounds}/faults", tale.kinds)
        changes = Changes(house, faults, f"{tale.seed}/{self.rounds}/changes")
        self._diary, self._history = faults.diary, clients.history.operations
        clients.start()
        try:
            await self._rage(clients, faults, changes)
            await clients.stop()
            await self._judge(clients)
        finally:
            clients.cancel()
            self._count(clients, faults, changes)

    async def _rage(self, clients: Clients, faults: Faults, changes: Changes) -> None:
        """Everything breaks until enough has broken; then it is mended, while clients go on."""
        tale, house, mend = self.tale, self.house, asyncio.Event()

        async def change() -> None:
            if tale.changes:
                await changes.make(mend)

        async with asyncio.timeout(ROUND_S), asyncio.TaskGroup() as group:
            raging = group.create_task(faults.rage(tale.faults))
            group.create_task(change())
            await raging
            mend.set()
            mended = house.now()
            faults.note("all is mended")
        await house.until(house.is_settled, mended + CONVERGE_S - house.now())
        self.converged_s = max(self.converged_s, house.now() - mended)
        faults.note("the cluster is whole")
        async with asyncio.timeout(ROUND_S):
            while changes.count < tale.changes:  # what could not be changed while everything broke
                await changes.one()
            while clients.answered < tale.operations:
                clients.failed()
                await lasting(LOOK_S)
        await house.until(house.is_settled, CONVERGE_S)

    async def _judge(self, clients: Clients) -> None:
        """Every key is read through every node, and then once more, when reads have repaired what they found."""
        operations, house = clients.history.operations, self.house
        for letter in house.letters():
            final = await clients.final_reads(letter).run(clients.keys)
            self.broken += lost_writes(operations, final)
            self.broken += resurrected(operations, final)
            self.broken += invented(operations, final)
        self.broken += unanswered(operations)
        self.broken += self._late(clients)
        self.broken += [Broken("strange answer", "", what) for what in clients.strange]
        self.broken += await self._agreement(clients)

    async def _agreement(self, clients: Clients) -> list[Broken]:
        began, keys = self.house.now(), clients.keys
        while True:
            told: dict[str, Values] = {
                letter: await clients.final_reads(letter).run(keys) for letter in self.house.letters()
            }
            differ = diverged(told)
            if not differ or self.house.now() - began > AGREE_S:
                return differ
            keys = [one.key for one in differ]

    def _late(self, clients: Clients) -> list[Broken]:
        """Every answer comes by its deadline, unless its node sleeps; no line breaks, unless its node ends."""
        broken: list[Broken] = []
        places = {letter: [place for place in self.house.ever if place.letter == letter] for letter in PLACES}
        for one in clients.history.operations:
            if one.ended_s is None:
                continue
            began, ended, lives = clients.at(one.began_s), clients.at(one.ended_s), places[one.node]
            took_s = ended - began - sum(life.slept_s(began, ended) for life in lives)
            self._took_s.append(took_s)
            if took_s > TIMEOUT_MS / 1000 + GRAIN_S:
                broken.append(Broken("late", one.key, f"{one.kind} {one.index} of {one.node} took {took_s:.1f} s"))
            if one.note == "broken" and not any(life.died_within(began, ended) for life in lives):
                broken.append(Broken("hung up", one.key, f"{one.node} hung up on {one.kind} {one.index}, and lives"))
        return broken

    def _count(self, clients: Clients, faults: Faults, changes: Changes) -> None:
        operations = clients.history.operations
        done = [one for one in operations if one.outcome == "ok"]
        self._operations += len(operations)
        self._acknowledged += len(done)
        self._writes += sum(one.kind != "get" for one in done)
        self._faults.update(faults.fired)
        self._changes.update(changes.made)
        self._unknown.update(one.note for one in operations if one.outcome == "info")
        self.slowest_change_s = max(self.slowest_change_s, changes.longest_s)

    def keep(self) -> None:
        """What somebody needs who looks for the reason."""
        (self.folder / "diary.txt").write_text("\n".join(self._diary) + "\n")
        (self.folder / "history.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in self._history))

    def verdict(self, wall_s: float) -> Verdict:
        """The sums."""
        broken = list(dict.fromkeys(self.broken))  # what is lost is missing at every node
        broken += [Broken("trouble", "a node", what) for what in self.house.troubles]
        sums = Counter(one.checker for one in broken)
        took_s = sorted(self._took_s) or [0.0]
        stopped_s = [took for place in self.house.ever for took in place.stopped_s]
        return Verdict(
            mode=self.house.ground.mode,
            seed=self.tale.seed,
            rounds=self.rounds,
            wall_s=round(wall_s, 1),
            faults=dict(self._faults),
            changes=dict(self._changes),
            operations=self._operations,
            acknowledged=self._acknowledged,
            writes=self._writes,
            unknown=dict(self._unknown),
            lost=sums["lost write"],
            unanswered=sums["unanswered"],
            broken=dict(sums),
            what=[str(one)[:WHAT_CHARS] for one in broken[:WHATS]],
            converged_s=round(self.converged_s, 2),
            slowest_change_s=round(self.slowest_change_s, 2),
            slowest_stop_s=round(max(stopped_s, default=0.0), 2),
            p50_ms=_ms(took_s, 0.5),
            p99_ms=_ms(took_s, 0.99),
            slowest_ms=_ms(took_s, 1.0),
        )


def _ms(ordered: Sequence[float], share: float) -> float:
    return round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))], 1)
