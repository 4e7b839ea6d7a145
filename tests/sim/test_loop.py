from __future__ import annotations

import asyncio
import gc
import subprocess
import sys

import pytest

from roost.errors import SimulationStuck, SimulationUnclean
from roost.sim.life import LIFE, Life
from roost.sim.loop import SimLoop, running_loop, turns
from roost.sim.running import run


def test_time_begins_at_zero_and_jumps_exactly() -> None:
    async def story() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        for delay_s in (0.1, 0.2, 3600.0):
            await asyncio.sleep(delay_s)
            seen.append(loop.time())
        return seen

    assert run(0, story()) == [0.0, 0.1, 0.1 + 0.2, 0.1 + 0.2 + 3600.0]


def test_a_deadlock_is_named_instead_of_waited_for() -> None:
    async def story() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(SimulationStuck, match="every task waits"):
        run(0, story())


def test_an_endless_story_reaches_the_limit() -> None:
    async def story() -> None:
        while running_loop().time() >= 0:
            await turns(1)
            await asyncio.sleep(1.0)

    with pytest.raises(SimulationStuck, match="longer than 60 virtual seconds"):
        run(0, story(), limit_s=60.0)


async def _interleaving() -> str:
    seen: list[str] = []

    async def worker(name: str) -> None:
        for _ in range(4):
            seen.append(name)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(worker(name))
    return "".join(seen)


def test_even_seeds_run_first_come_first_served() -> None:
    assert run(0, _interleaving()) == "abcd" * 4


def test_odd_seeds_each_have_their_own_order() -> None:
    orders = [run(seed, _interleaving()) for seed in range(1, 20, 2)]
    assert len(set(orders)) > 5
    assert [run(seed, _interleaving()) for seed in range(1, 20, 2)] == orders


def test_callbacks_keep_their_order_under_every_seed() -> None:
    async def story() -> list[int]:
        seen: list[int] = []
        for number in range(50):
            asyncio.get_running_loop().call_soon(seen.append, number)
        await turns(2)
        return seen

    for seed in range(1, 10, 2):
        assert run(seed, story()) == [*range(50)]


ABORTED_GROUP = """
import asyncio
from roost.sim import run

async def story():
    order = []
    async def wait(number):
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            order.append(number)
            raise
    junk = [bytearray(n % 977) for n in range({junk})]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(wait(number))
            await asyncio.sleep(0)
            raise ValueError
    except* ValueError:
        pass
    return order
print(run(2, story()))
"""


def test_sets_of_tasks_do_not_depend_on_addresses() -> None:
    """TaskGroup cancels its children in the order of a set."""
    programs = [ABORTED_GROUP.format(junk=junk) for junk in (0, 1234)]
    outputs = {
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout for program in programs
    }
    assert len(outputs) == 1
    assert outputs.pop().count(b",") == 199


def test_executor_jobs_run_inline_and_deliver_results_and_errors() -> None:
    async def story() -> None:
        assert await asyncio.to_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 7, 0)
        assert asyncio.get_running_loop().time() > 0

    run(0, story())


def test_an_exception_that_nobody_catches_makes_the_run_unclean() -> None:
    async def story() -> None:
        asyncio.get_running_loop().call_soon(divmod, 1, 0)
        await turns(2)

    with pytest.raises(SimulationUnclean, match="ZeroDivisionError"):
        run(0, story())


def test_a_task_left_behind_is_cancelled_and_one_that_resists_is_reported() -> None:
    ended: list[str] = []

    async def obedient() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ended.append("obedient")

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                continue

    async def story(extra: bool) -> None:
        running_loop().create_task(obedient())
        if extra:
            kept.append(running_loop().create_task(stubborn()))
        await turns(1)

    kept: list[asyncio.Task[None]] = []
    run(0, story(False))
    assert ended == ["obedient"]
    with pytest.raises(SimulationUnclean, match="would not end"):
        run(0, story(True))
    kept[0]._log_destroy_pending = False  # type: ignore[attr-defined]  # the test knows that it is left pending


def test_the_collector_is_off_within_and_on_after() -> None:
    async def story() -> bool:
        return gc.isenabled()

    assert gc.isenabled()
    assert run(0, story()) is False
    assert gc.isenabled()


def test_pause_holds_back_tasks_timers_and_callbacks_and_resume_lets_them_go() -> None:
    async def story() -> None:
        loop = running_loop()
        life = Life("a")
        seen: list[float] = []

        async def beat() -> None:
            while len(seen) < 4:
                seen.append(loop.time())
                await asyncio.sleep(1.0)

        task = loop.create_task(beat(), context=life.context)
        await asyncio.sleep(1.5)
        loop.pause(life)
        await asyncio.sleep(10.0)
        assert seen == [0.0, 1.0]
        loop.resume(life)
        await task
        assert seen == [0.0, 1.0, 11.5, 12.5]

    for seed in (0, 1):
        run(seed, story())


def test_a_killed_life_runs_nothing_not_even_finally() -> None:
    ended: list[str] = []

    async def story() -> None:
        loop = running_loop()
        life, other = Life("a"), Life("b")

        async def work(name: str) -> None:
            try:
                await asyncio.sleep(1.0)
            finally:
                ended.append(name)

        task = loop.create_task(work("killed"), context=life.context)
        loop.create_task(work("other"), context=other.context)
        loop.call_later(1.0, ended.append, "timer of the test")
        life.context.run(loop.call_later, 1.0, ended.append, "timer of the killed")
        await turns(2)
        loop.kill(life)
        task.cancel()
        await asyncio.sleep(5.0)
        assert sorted(ended) == ["other", "timer of the test"]
        assert loop.tasks_of(life) == [task]
        loop.bury(life)

    run(0, story())
    assert ended[-1] == "killed"


def test_tasks_made_inside_a_life_belong_to_it() -> None:
    async def story() -> None:
        loop = running_loop()
        life = Life("a")

        async def child() -> Life | None:
            return LIFE.get()

        async def parent() -> Life | None:
            return await loop.create_task(child())

        assert await loop.create_task(parent(), context=life.context) is life
        assert LIFE.get() is None

    run(0, story())


def test_outside_a_simulation_there_is_no_simulated_loop() -> None:
    async def story() -> SimLoop:
        return running_loop()

    with pytest.raises(RuntimeError, match=r"roost\.sim\.run"):
        asyncio.run(story())


@pytest.mark.virtual_time(seed=5)
async def test_the_marker_runs_a_test_in_virtual_time() -> None:
    assert running_loop().seed == 5
    await asyncio.sleep(3600.0)
    assert running_loop().time() == 3600.0
