"""Task supervisors: whose tasks they are, who hears of their ends, how they stop."""

from __future__ import annotations

import asyncio
import logging

import pytest

from roost.errors import NoSuchChild, ProcessDown, StartFailed, TooManyChildren
from roost.otp import GenServer, Supervisor, call, cast, info
from roost.otp.tasks.process import Exited, Ok
from roost.otp.tasks.supervisor import TaskSupervisor
from roost.otp.tasks.task import Task, TaskEnded
from roost.sim.loop import turns
from tests.otp.tasks.patience import Patience

pytestmark = pytest.mark.virtual_time


async def double(n: int, pause_s: float = 1.0) -> int:
    await asyncio.sleep(pause_s)
    return 2 * n


async def crash(pause_s: float = 1.0) -> int:
    await asyncio.sleep(pause_s)
    raise ValueError("a bug")


async def resist(patience: Patience) -> str:
    while True:
        try:
            return await patience.last()
        except asyncio.CancelledError:
            patience.asked += 1


class Shop(GenServer):
    """Lets tasks do its work."""

    def init(self, tasks: TaskSupervisor) -> None:
        self.tasks = tasks
        self.results: list[object] = []

    @cast
    def order(self, n: int, pause_s: float) -> None:
        self.tasks.async_nolink(double, n, pause_s).notify()

    @cast
    def order_in_vain(self, pause_s: float) -> None:
        self.tasks.async_nolink(crash, pause_s).notify()

    @call
    async def wait_in_vain(self, linked: bool) -> str:
        task = self.tasks.async_(crash) if linked else self.tasks.async_nolink(crash)
        try:
            await task
        except ProcessDown as down:
            return down.reason
        return "no error"

    @call
    def begin(self, linked: bool) -> Task[int]:
        return self.tasks.async_(double, 1, 3600.0) if linked else self.tasks.async_nolink(double, 1, 3600.0)

    @call
    async def all(self, linked: bool) -> list[str]:
        stream = self.tasks.async_stream if linked else self.tasks.async_stream_nolink
        return [type(outcome).__name__ async for outcome in stream(halve, [2, 3, 4], max_concurrency=2)]

    @call
    def history(self) -> tuple[object, ...]:
        return tuple(self.results)

    @info
    def ended(self, message: TaskEnded) -> None:
        match message.outcome:
            case Ok(value):
                self.results.append(value)
            case Exited(reason):
                self.results.append(str(reason))


async def halve(n: int) -> int:
    await asyncio.sleep(1.0)
    if n % 2:
        raise ValueError("odd")
    return n // 2


async def test_tasks_of_a_supervisor() -> None:
    tasks = await TaskSupervisor.start_link(name="tasks")
    assert await tasks.async_(double, 1) == 2
    assert await TaskSupervisor.whereis("tasks").async_nolink(double, 2) == 4
    assert await tasks.children() == ()
    await tasks.stop()


async def test_the_crash_of_a_task_without_link_ends_nobody() -> None:
    tasks = await TaskSupervisor.start_link()
    shop = await Shop.start(tasks)
    assert await shop.wait_in_vain(False) == "ValueError: a bug"
    with pytest.raises(ProcessDown):
        await shop.wait_in_vain(True)
    assert not shop.is_alive()
    assert tasks.is_alive()
    await tasks.stop()


async def test_a_process_gets_the_outcomes_as_messages() -> None:
    tasks = await TaskSupervisor.start_link()
    shop = await Shop.start(tasks)
    shop.order(1, 1.0)
    shop.order_in_vain(2.0)
    shop.order(2, 3.0)
    assert await shop.history() == ()
    await asyncio.sleep(4.0)
    assert await shop.history() == (2, "a bug", 4)
    await tasks.stop()


async def test_who_ends_with_whom() -> None:
    tasks = await TaskSupervisor.start_link()
    shop = await Shop.start(tasks)
    linked, free = await shop.begin(True), await shop.begin(False)
    assert await tasks.children() == (linked.process, free.process)
    await shop.stop()
    await turns(5)
    assert (linked.done(), free.done()) == (True, False)
    assert await tasks.children() == (free.process,)
    await tasks.stop()
    await turns(5)
    assert free.done()


@pytest.mark.parametrize("reason", ["shutdown", "kill", "another"])
async def test_all_tasks_end_with_their_supervisor(reason: str) -> None:
    root = await Supervisor.start_link([TaskSupervisor.child(name="tasks", restart="temporary")])
    tasks = TaskSupervisor.whereis("tasks")
    shop = await Shop.start(tasks)
    started = [await shop.begin(True), await shop.begin(False), tasks.async_nolink(double, 1, 3600.0)]
    child = tasks.start_child(double, 1, 3600.0)
    if reason == "shutdown":
        await root.stop()
    else:
        tasks.exit("kill")
    await turns(5)
    assert all(task.done() for task in started)
    assert not child.is_alive()
    assert not shop.is_alive(), "it was linked to one of them"
    with pytest.raises(ProcessDown):
        tasks.async_(double, 1)
    await root.stop()


async def test_tasks_that_do_not_stop_are_killed() -> None:
    loop = asyncio.get_running_loop()
    tasks = await TaskSupervisor.start_link()
    patience = Patience(2)
    stubborn = tasks.start_child(resist, patience, shutdown_s=2.0)
    other = tasks.start_child(double, 1, 3600.0)
    await turns(5)
    began = loop.time()
    stopping = asyncio.ensure_future(tasks.stop())
    await asyncio.sleep(1.0)
    assert tasks.is_alive()
    with pytest.raises(ProcessDown):
        tasks.start_child(double, 1)
    await stopping
    assert loop.time() - began == pytest.approx(2.0)
    assert not stubborn.is_alive()
    assert not other.is_alive()
    await turns(3)
    patience.end()
    await turns(3)


async def test_children_are_started_again_as_they_wish(caplog: pytest.LogCaptureFixture) -> None:
    runs: list[str] = []

    async def fail_twice() -> None:
        await asyncio.sleep(0.1)
        runs.append("transient")
        if runs.count("transient") < 3:
            raise ValueError("not yet")

    async def ten_seconds() -> None:
        runs.append("permanent")
        await asyncio.sleep(10.0)

    def once() -> None:
        runs.append("temporary")
        raise ValueError("never mind")

    tasks = await TaskSupervisor.start_link()
    tasks.start_child(fail_twice, restart="transient")
    tasks.start_child(ten_seconds, restart="permanent")
    tasks.start_child(once)
    await asyncio.sleep(25.0)
    assert [runs.count(kind) for kind in ("transient", "permanent", "temporary")] == [3, 3, 1]
    await tasks.stop()
    await asyncio.sleep(25.0)
    assert runs.count("permanent") == 3
    assert "crashed in once()" in caplog.text


async def test_a_child_that_cannot_be_helped_ends_the_supervisor(caplog: pytest.LogCaptureFixture) -> None:
    tasks = await TaskSupervisor.start(max_restarts=2, within_s=60.0)
    free = tasks.async_nolink(double, 1, 3600.0)
    tasks.start_child(crash, restart="permanent")
    assert (await tasks.down()).reason == "shutdown"
    assert free.done()
    assert caplog.text.count("crashed in crash()") == 3


async def test_there_is_a_limit() -> None:
    tasks = await TaskSupervisor.start_link(max_children=2)
    first = tasks.async_nolink(double, 1)
    tasks.start_child(double, 1, 10.0)
    for start in (tasks.async_nolink, tasks.async_, tasks.start_child):
        with pytest.raises(TooManyChildren):
            start(double, 1)
    assert await first == 2
    assert await tasks.async_nolink(double, 1) == 2, "there is room at once"
    assert await tasks.async_(double, 1) == 2
    await tasks.stop()
    with pytest.raises(StartFailed, match="max_children"):
        await TaskSupervisor.start_link(max_children=-1)


async def test_a_task_is_stopped_by_its_handle() -> None:
    tasks = await TaskSupervisor.start_link()
    child = tasks.start_child(double, 1, 3600.0, restart="permanent")
    await tasks.terminate_child(child)
    assert not child.is_alive()
    with pytest.raises(NoSuchChild):
        await tasks.terminate_child(child)
    assert await tasks.children() == ()
    await tasks.stop()


async def test_streams_with_and_without_link() -> None:
    tasks = await TaskSupervisor.start_link()
    shop = await Shop.start(tasks)
    assert await shop.all(False) == ["Ok", "Exited", "Ok"]
    with pytest.raises(ProcessDown, match="odd"):
        await shop.all(True)
    assert not shop.is_alive()
    await turns(5)
    assert await tasks.children() == ()
    await tasks.stop()


async def test_a_task_without_link_outlives_the_coroutine_that_started_it() -> None:
    tasks = await TaskSupervisor.start_link()

    async def begin() -> Task[int]:
        return tasks.async_nolink(double, 1, 10.0)

    task = await asyncio.create_task(begin())
    assert await task.yield_(20.0) == Ok(2)
    await tasks.stop()


async def test_an_intended_end_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    tasks = await TaskSupervisor.start_link()
    await tasks.async_(double, 1)
    tasks.start_child(double, 1, 3600.0)
    await tasks.stop()
    assert not caplog.records
