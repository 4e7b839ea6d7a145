"""`python -m tests.real.evening`: guests on every node of a real cluster under faults, judged; one line of JSON.

Exit code 1 when a promise did not hold. The logs of the nodes and the diary of the faults stay in the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from roost.sim.checkers import Broken
from tests.real.faults import Faults
from tests.real.ground import Ground, Refused, lasting
from tests.real.guests import Guests
from tests.real.hall_judges import ARRIVES_S, judge_room, judge_topics
from tests.real.house import House, HouseError
from tests.real.loopback import Loopback
from tests.real.namespaces import Namespaces

FOUNDERS: Final = "cdef"
GUESTS: Final = 2
KINDS: Final = ("kill", "nap", "stop", "cut off", "unlink", "tear", "one way")
NAP_S: Final = (4.3, 4.8)
"""Longer than it may take until a node that hangs is shown to nobody."""
SETTLED_S: Final = 20.0
AGREE_S: Final = 10.0
"""How long it may take after the last fault until everybody sees the same: promised are 5 s on a quiet machine."""
FAULTS_S: Final = 120.0
LOOK_S: Final = 0.05
APP: Final = "tests.real.hall:app"
WHATS: Final = 8


class Verdict(msgspec.Struct):
    """What came of it.

    Attributes:
        mode: on which ground.
        faults: how often each happened.
        said: how many messages guests have said; `owed` is how many deliveries were checked.
        downs: how often a node has told that it saw another one go.
        leaves: how many leaves from the room guests were told.
        gone_s: how long a node was shown, at most, that had ended, or hung.
        agreed_s: how long after the last fault all lists were the same.
        broken: how many promises did not hold, by checker.
        what: the first of them, in words.
    """

    mode: str
    seed: int
    wall_s: float = 0.0
    faults: dict[str, int] = {}
    visits: int = 0
    said: int = 0
    owed: int = 0
    downs: int = 0
    leaves: int = 0
    gone_s: dict[str, float] = {}
    agreed_s: float = 0.0
    broken: dict[str, int] = {}
    what: list[str] = []


class Evening:
    """One evening, from the first guest to the judgement.

    Args:
        ground: where it takes place.
        folder: for logs.
        seed: what everything is drawn from.
        faults: how many, of which kinds.
        target: the application.
    """

    def __init__(
        self, ground: Ground, folder: Path, seed: int, faults: int, kinds: tuple[str, ...], target: str
    ) -> None:
        self._folder, self._count = folder, faults
        self._house = House(ground, folder, FOUNDERS, target)
        self._faults = Faults(self._house, f"{seed}/faults", kinds or KINDS, NAP_S)
        self._guests = Guests(self._house, GUESTS, f"{seed}/guests")
        self._broken: list[Broken] = []
        self._verdict = Verdict(ground.mode, seed)

    async def told(self) -> Verdict:
        """Tell it. Nothing of it runs on return."""
        house, verdict, began = self._house, self._verdict, self._house.now()
        try:
            await self._play()
        except (HouseError, OSError, TimeoutError) as error:
            self._broken.append(Broken("liveness", "the cluster", f"{type(error).__name__}: {error}"))
        finally:
            await self._guests.close()
            await house.close()
            (self._folder / "diary.txt").write_text("\n".join(self._faults.diary) + "\n")
        self._broken += [Broken("trouble", "a node", what) for what in house.troubles]
        verdict.wall_s = round(house.now() - began, 1)
        verdict.faults = self._faults.fired
        verdict.visits = len(self._guests.visits)
        verdict.said = sum(len(visit.said) for visit in self._guests.visits)
        for one in self._broken:
            verdict.broken[one.checker] = verdict.broken.get(one.checker, 0) + 1
        verdict.what = [str(one) for one in self._broken[:WHATS]]
        return verdict

    async def _play(self) -> None:
        house, guests = self._house, self._guests
        await house.found()
        await house.until(house.is_settled, SETTLED_S)
        guests.start()
        await self._until_all_agree("at the beginning", SETTLED_S)
        async with asyncio.timeout(FAULTS_S):
            await self._faults.rage(self._count)
        self._faults.note("all is mended")
        mended = house.now()
        await self._until_all_agree("after the last fault", AGREE_S)
        self._verdict.agreed_s = round(house.now() - mended, 2)
        guests.is_talking = False
        await lasting(ARRIVES_S)
        over = house.now()
        topics = judge_topics(guests.visits, over)
        room, gone_s = judge_room(guests.visits, house.ever, over)
        self._verdict.owed = topics.owed
        downs = {(visit.life, one) for visit in guests.visits for one in visit.seen if not one.up}
        self._verdict.downs = len(downs)
        self._verdict.leaves = sum(not one.is_join for visit in guests.visits for one in visit.shown)
        self._verdict.gone_s = {kind: round(took_s, 2) for kind, took_s in gone_s.items()}
        self._broken += [*topics.broken, *room]

    async def _until_all_agree(self, when: str, within_s: float) -> None:
        """Wait until every guest is there, and everybody sees everybody."""
        house, guests, began = self._house, self._guests, self._house.now()
        while True:
            present = guests.present()
            truth = sorted((visit.who, visit.life) for visit in present)
            differ = [visit.who for visit in present if sorted(visit.there.values()) != truth]
            if guests.are_all_here and not differ:
                return
            if house.now() - began > within_s:
                lists = {visit.who: sorted(visit.there.values()) for visit in present}
                what = f"{differ} differ {within_s:g} s {when}: {lists}, not {truth}"
                self._broken.append(Broken("disagreement", "the room", what))
                return
            if guests.failures:
                raise guests.failures[0]
            await lasting(LOOK_S)


def main() -> int:
    """Spend one evening."""
    parser = argparse.ArgumentParser(prog="python -m tests.real.evening", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--faults", type=int, default=10, help="how many (10)")
    parser.add_argument("--kinds", default="", help=f"which, with commas between (all of {', '.join(KINDS)})")
    parser.add_argument("--loopback", action="store_true", help="no network namespaces")
    parser.add_argument("--target", default=APP, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help="where data and logs are kept (a new one)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="roost-evening-"))
    folder.mkdir(parents=True, exist_ok=True)
    verdict = uvloop.run(_spend(options, folder))
    print(msgspec.json.encode(verdict).decode(), flush=True)
    if verdict.broken:
        print(f"see {folder}", file=sys.stderr)
    return 1 if verdict.broken else 0


async def _spend(options: argparse.Namespace, folder: Path) -> Verdict:
    ground: Ground = Loopback() if options.loopback else Namespaces()
    try:
        try:
            await ground.open()
        except Refused as refused:
            print(f"no network namespaces here ({refused}): loopback with byte proxies", file=sys.stderr)
            ground = Loopback()
            await ground.open()
        kinds = tuple(kind for kind in options.kinds.split(",") if kind)
        return await Evening(ground, folder, options.seed, options.faults, kinds, options.target).told()
    finally:
        await ground.close()


if __name__ == "__main__":
    sys.exit(main())
