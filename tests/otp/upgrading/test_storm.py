"""Many upgrades of which many fail, under processes that are never left in peace: no call is lost, no state is torn."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from roost.errors import UpgradeFailed
from roost.otp.upgrading.upgrade import upgrade
from tests.otp.upgrading.sources import Write, inside

SOURCE = """
class Step(msgspec.Struct, frozen=True):
    by: int{field}
class Counter(GenServer):
    vsn = {version}
    def init(self):
        self.n{version} = 0
        self.trail = [{version}]
    def code_change(self, old_vsn):
        assert self.trail[-1] == old_vsn
        self.trail.append({version})
        self.n{version} = getattr(self, f"n{{old_vsn}}")
        if {version} != old_vsn:
            delattr(self, f"n{{old_vsn}}")
        {poison}
    @call
    def add(self, step: Step) -> tuple[int, int]:
        self.n{version} += step.by
        return {version}, self.n{version}
    @call
    {slow} def add_slowly(self, other: object, step: Step) -> tuple[int, int]:
        return {version}, (await other.add(step))[1] if {slow!r} else 0
    @call
    def only_{version}(self) -> None:
        pass
"""
PROCESSES = 4


def source(version: int, *, field: str = "", poison: str = "pass") -> str:
    return SOURCE.format(version=version, field=field, poison=poison, slow="async")


@pytest.mark.parametrize("seed", range(6))
async def test_a_storm_of_upgrades(seed: int, write: Write) -> None:
    draw = random.Random(seed)
    module = write(source(0))
    names = vars(module)
    kind: Any = names["Counter"]
    counters: list[Any] = [await kind.start() for _ in range(PROCESSES)]
    sums, version, over = [0] * PROCESSES, 0, False

    async def hammer(caller: random.Random) -> None:
        seen = 0
        while not over:
            at = caller.randrange(PROCESSES)
            step = names["Step"](caller.randrange(1, 5))
            sums[at] += step.by
            if at + 1 < PROCESSES and caller.random() < 0.4:
                answered, _ = await counters[at + 1].add_slowly(counters[at], step)
            else:
                answered, _ = await counters[at].add(step)
            assert answered >= seen
            seen = answered
            if caller.random() < 0.5:
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as callers:
        for number in range(8):
            callers.create_task(hammer(random.Random(seed * 100 + number)))
        for attempt in range(1, 25):
            await asyncio.sleep(0)
            field = draw.choice(["", "\n    unit: str = 's'", "\n    unit: str = 'm'"])
            fault = draw.choice(["none", "none", "syntax", "run", "poison", "gone", "async"])
            text = source(attempt, field=field)
            if fault == "syntax":
                text += "def (:\n"
            elif fault == "run":
                text += "raise LookupError('a planted fault')\n"
            elif fault == "poison":
                victim = counters[draw.randrange(PROCESSES)].pid
                text = source(attempt, field=field, poison=f"assert self._process.pid != {victim}")
            elif fault == "gone":
                text = text.replace("class Counter(", "class Other(")
            elif fault == "async":
                text = text.replace("def code_change", "async def code_change")
            write(text)
            if fault == "none":
                done = await upgrade(module)
                assert (done.processes, done.migrated, done.mail_lost) == (PROCESSES, PROCESSES, 0)
                version = attempt
            else:
                with pytest.raises(UpgradeFailed):
                    await upgrade(module)
            assert kind.vsn == version
            assert hasattr(counters[0], f"only_{version}")
        over = True
    assert version > 0
    trails = [inside(counter).trail for counter in counters]
    assert trails == [trails[0]] * PROCESSES
    assert [vars(inside(counter))[f"n{version}"] for counter in counters] == sums
    for counter in counters:
        assert [name for name in vars(inside(counter)) if name.startswith("n")] == [f"n{version}"]
        await counter.stop()
