"""Dynamic supervisors: children that come and go, in any number."""

from __future__ import annotations

import asyncio
from time import process_time
from typing import assert_type

import pytest

from roost.errors import (
    ChildNotStarted,
    ConfigError,
    NoSuchChild,
    Refusal,
    StartFailed,
    StartIgnored,
    TooManyChildren,
)
from roost.otp import Child, ChildCounts, Down, DynamicSupervisor, GenServer, Scheduler, Supervisor, call, cast
from tests.otp.nursery import Diary, Worker, alive, pass_time, settle

pytestmark = pytest.mark.virtual_time


async def running(supervisor: DynamicSupervisor) -> list[GenServer]:
    """The children that run."""
    return [state.process for state in await supervisor.which_children() if state.process is not None]


async def test_one_plan_may_be_started_many_times() -> None:
    diary = Diary()
    supervisor = await DynamicSupervisor.start_link()
    child = diary.child("a")
    first = assert_type(await supervisor.start_child(child), Worker)
    second = await supervisor.start_child(child)
    assert await running(supervisor) == [first, second]
    assert [state.id for state in await supervisor.which_children()] == ["a", "a"]
    first.exit("kill")
    await settle()
    assert await running(supervisor) == [diary.now["a"], second]
    await supervisor.stop()


@pytest.mark.parametrize(
    ("restart", "reason", "again"),
    [
        ("permanent", "normal", True),
        ("permanent", "broken", True),
        ("transient", "normal", False),
        ("transient", "shutdown:moved", False),
        ("transient", "broken", True),
        ("temporary", "normal", False),
        ("temporary", "broken", False),
    ],
)
async def test_a_child_that_is_not_restarted_is_forgotten(restart: str, reason: str, again: bool) -> None:
    diary = Diary()
    supervisor = await DynamicSupervisor.start()
    await supervisor.start_child(diary.child("a", restart))  # type: ignore[arg-type]  # one of the three words
    await diary.end("a", reason)
    assert await supervisor.count_children() == (ChildCounts(1, 1, 0, 1) if again else ChildCounts(0, 0, 0, 0))
    assert diary.take() == ["start a", f"stop a: {reason}", *(["start a"] if again else [])]
    await supervisor.stop()


async def test_no_more_than_max_children() -> None:
    diary = Diary(a="ok fail")
    supervisor = await DynamicSupervisor.start(max_children=2, max_restarts=9)
    worker = await supervisor.start_child(diary.child("a"))
    await supervisor.start_child(diary.child("b"))
    with pytest.raises(TooManyChildren) as full:
        await supervisor.start_child(diary.child("c"))
    assert isinstance(full.value, Refusal)
    assert full.value.max_children == 2
    await diary.end("a")
    assert (await supervisor.count_children()).active == 1
    with pytest.raises(TooManyChildren):
        await supervisor.start_child(diary.child("c"))  # the one that waits for its restart has its place
    await supervisor.terminate_child(worker)
    await supervisor.start_child(diary.child("c"))
    await supervisor.stop()


async def test_a_start_that_is_cancelled_by_what_it_awaits_harms_nobody_else() -> None:
    diary = Diary()
    gone: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
    gone.cancel()

    async def start() -> Worker:
        return await gone

    for supervisor in (await DynamicSupervisor.start(), await Supervisor.start()):
        worker = await supervisor.start_child(diary.child("a"))
        with pytest.raises(ChildNotStarted, match="what its start waited for was cancelled"):
            await supervisor.start_child(Child("gone", start))
        assert worker.is_alive()
        assert (await supervisor.count_children()).specs == 1
        await supervisor.stop()
    with pytest.raises(StartFailed, match="its child 'gone'"):
        await Supervisor.start([diary.child("b"), Child("gone", start)])
    assert diary.take()[-2:] == ["start b", "stop b: shutdown"]


async def test_a_process_has_one_place_in_the_tree() -> None:
    supervisor = await Supervisor.start()
    worker = await Diary().child("a").start()

    async def itself() -> Supervisor:
        return supervisor

    async def the_same() -> Worker:
        return worker

    with pytest.raises(ChildNotStarted, match="has a place in this tree already"):
        await supervisor.start_child(Child("itself", itself))
    await supervisor.start_child(Child("a", the_same))
    with pytest.raises(ChildNotStarted, match="has a place in this tree already"):
        await supervisor.start_child(Child("b", the_same))
    await supervisor.stop()
    assert alive() == []


async def test_extra_arguments_come_first() -> None:
    class Greeter(GenServer):
        def init(self, greeting: str, mark: str, name: str) -> None:
            self.text = f"{greeting} {name}{mark}"

        @call
        def greet(self) -> str:
            return self.text

    supervisor = await DynamicSupervisor.start(extra_arguments=["Hello", "!"])
    ann = await supervisor.start_child(Greeter.child("Ann"))
    assert await ann.greet() == "Hello Ann!"
    ann.exit("kill")
    await settle()
    (again,) = await running(supervisor)
    assert isinstance(again, Greeter)
    assert await again.greet() == "Hello Ann!"
    await supervisor.stop()


async def test_children_are_terminated_by_their_handles() -> None:
    diary = Diary()
    supervisor = await DynamicSupervisor.start(max_restarts=9)
    a, b = [await supervisor.start_child(diary.child(label)) for label in "ab"]
    await supervisor.terminate_child(a)
    assert not a.is_alive()
    assert await running(supervisor) == [b]
    stranger = await Worker.start(diary, "stranger")
    for nobody in (a, stranger):
        with pytest.raises(NoSuchChild):
            await supervisor.terminate_child(nobody)
    await stranger.stop()
    await supervisor.stop()


async def test_a_child_that_waits_for_its_restart_is_called_off_by_the_handle_of_its_last_life() -> None:
    diary = Diary(a="ok fail fail fail")
    supervisor = await DynamicSupervisor.start(max_restarts=9)
    worker = await supervisor.start_child(diary.child("a"))
    await supervisor.start_child(diary.child("b"))
    await diary.end("a")
    assert (await supervisor.count_children()).active == 1
    assert [state.restarting for state in await supervisor.which_children()] == [True, False]
    await supervisor.terminate_child(worker)
    assert (await supervisor.count_children()).specs == 1
    diary.take()
    await pass_time(5.0)
    assert diary.take() == []
    await supervisor.stop()


async def test_what_does_not_start_is_not_kept() -> None:
    diary = Diary(a="fail", b="ignore", c="ok ignore")
    supervisor = await DynamicSupervisor.start()
    with pytest.raises(ChildNotStarted, match="'a' did not start"):
        await supervisor.start_child(diary.child("a"))
    with pytest.raises(StartIgnored):
        await supervisor.start_child(diary.child("b"))
    assert (await supervisor.count_children()).specs == 0
    await supervisor.start_child(diary.child("c"))
    await diary.end("c")
    assert (await supervisor.count_children()).specs == 0, "nor one that has nothing to do in its next life"
    await supervisor.stop()


async def test_arguments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(StartFailed, match="max_children: -1 is negative"):
        await DynamicSupervisor.start(max_children=-1)
    supervisor = await DynamicSupervisor.start()
    with pytest.raises(ConfigError, match="cannot be"):
        await supervisor.start_child(Diary().child("a", "transient", significant=True))
    await supervisor.stop()


async def test_children_stop_at_the_same_time_each_within_its_own() -> None:
    diary = Diary()
    supervisor = await DynamicSupervisor.start()
    plans = [("a", 3.0, 9.0), ("b", 60.0, 2.0), ("c", 1.0, None), ("d", 4.0, None), ("e", 60.0, 0.0), ("f", 60.0, 3.5)]
    ended: dict[str, float] = {}
    clock = Scheduler.current().runtime.clock

    async def watch(label: str, down: asyncio.Future[Down]) -> None:
        await down
        ended[label] = clock.now()

    watching = []
    for label, stop_s, shutdown_s in plans:
        diary.stop_s[label] = stop_s
        worker = await supervisor.start_child(diary.child(label, shutdown_s=shutdown_s))
        watching.append(asyncio.ensure_future(watch(label, worker.down())))
    began = clock.now()
    await supervisor.stop()
    await asyncio.gather(*watching)
    assert {label: at - began for label, at in ended.items()} == {
        "e": 0.0,
        "c": 1.0,
        "b": 2.0,
        "a": 3.0,
        "f": 3.5,
        "d": 4.0,
    }
    assert alive() == []


async def test_too_many_restarts_of_all_children_together_end_it() -> None:
    diary = Diary()
    supervisor = await DynamicSupervisor.start(max_restarts=1)
    for label in "abc":
        await supervisor.start_child(diary.child(label))
    down = supervisor.down()
    await diary.end("a")
    await diary.end("b")
    assert (await down).reason == "shutdown"
    assert alive() == []


async def test_a_supervisor_of_dynamic_supervisors_counts_them_as_such() -> None:
    supervisor = await DynamicSupervisor.start()
    inner = assert_type(await supervisor.start_child(DynamicSupervisor.child()), DynamicSupervisor)
    await inner.start_child(Diary().child("a"))
    assert await supervisor.count_children() == ChildCounts(1, 1, 1, 0)
    await supervisor.stop()
    assert alive() == []


class Mayfly(GenServer):
    """Lives until it is told."""

    @cast
    def die(self) -> None:
        self.exit("normal")


@pytest.mark.parametrize("restart", ["permanent", "temporary"])
async def test_the_work_for_one_child_does_not_grow_with_their_number(restart: str) -> None:
    """Ten times the children may not make one child's end and start much dearer."""

    async def cost(count: int) -> float:
        supervisor = await DynamicSupervisor.start(max_restarts=10_000)
        child: Child[Mayfly] = Mayfly.child(restart=restart)  # type: ignore[arg-type]  # one of the three words
        flies = [await supervisor.start_child(child) for _ in range(count)]
        best = float("inf")
        for batch in range(5):
            before = process_time()
            for fly in flies[100 * batch : 100 * (batch + 1)]:
                fly.die()
            await pass_time(2.0)
            best = min(best, process_time() - before)
        assert (await supervisor.count_children()).active == (count if restart == "permanent" else count - 500)
        await supervisor.stop()
        return best

    assert await cost(10_000) < 4 * await cost(1_000) + 0.01
    assert alive() == []
