"""Tasks: who may await them, what their ends mean to their owners, what crosses."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging

import pytest

from roost.errors import CallCycle, CallTimeout, NotOwner, NotSendable, ProcessDown, Refusal, StartFailed
from roost.otp import Exit, GenServer, Supervisor, call, cast, info
from roost.otp.tasks.process import Exited, Ok, TaskProcess
from roost.otp.tasks.task import Task, TaskEnded
from roost.sim.loop import turns
from tests.otp.tasks.patience import Patience

pytestmark = pytest.mark.virtual_time


class Closed(Refusal):
    pass


async def double(n: int, pause_s: float = 1.0) -> int:
    await asyncio.sleep(pause_s)
    return 2 * n


def triple(n: int) -> int:
    return 3 * n


async def crash(pause_s: float = 1.0) -> int:
    await asyncio.sleep(pause_s)
    raise ValueError("a bug")


async def refuse() -> int:
    raise Closed("on sundays")


async def resist(patience: Patience) -> str:
    """Does not end when it is asked to."""
    while True:
        try:
            return await patience.last()
        except asyncio.CancelledError:
            patience.asked += 1


class Owner(GenServer):
    """Starts tasks, and awaits them or not."""

    def init(self, trapping: bool = False) -> None:
        self.trap_exits(trapping)
        self.heard: list[object] = []
        self.task: Task[int] | None = None

    @call
    async def ask(self, n: int) -> int:
        return await Task.async_(double, n)

    @call
    async def ask_in_vain(self) -> str:
        try:
            await Task.async_(crash)
        except ProcessDown as down:
            return f"{down.reason}, from {type(down.__cause__).__name__}"
        return "no error"

    @call
    async def ask_for_a_refusal(self) -> str:
        try:
            return str(await Task.async_(refuse))
        except Closed as refusal:
            return f"refused: {refusal}"

    @call
    def begin(self, n: int, pause_s: float = 1.0) -> Task[int]:
        self.task = Task.async_(double, n, pause_s)
        return self.task

    @call
    def begin_to_crash(self) -> Task[int]:
        self.task = Task.async_(crash)
        return self.task

    @call
    async def collect(self) -> int:
        assert self.task is not None
        return await self.task

    @cast
    def order(self, n: int) -> None:
        Task.async_(double, n).notify()

    @call
    async def give_up_soon(self) -> str:
        task = Task.async_(double, 1, 10.0).with_timeout(0.5)
        try:
            await task
        except CallTimeout as error:
            return f"after {error.timeout_s:g} s"
        return "in time"

    @call
    async def loop_back(self) -> object:
        me = self.handle

        async def ask_back() -> int:
            return await me.ask(1)

        try:
            return await Task.async_(ask_back)
        except CallCycle as cycle:
            return len(cycle.path)

    @call
    async def abandon(self, label: str) -> None:
        Task.async_(double, 1, 3600.0)

    @call
    async def fire(self, linked: bool) -> GenServer:
        return Task.start_link(crash) if linked else Task.start(crash)

    @call
    def fire_long(self) -> GenServer:
        return Task.start_link(double, 1, 3600.0)

    @call
    def history(self) -> tuple[object, ...]:
        return tuple(self.heard)

    @info
    def ended(self, message: TaskEnded) -> None:
        self.heard.append(message.outcome)

    @info
    def exited(self, message: Exit) -> None:
        self.heard.append(str(message.reason))


async def test_the_value_of_a_task() -> None:
    assert await Task.async_(double, 2) == 4
    assert await Task.async_(triple, 2) == 6
    assert await Task.async_(lambda: double(3)) == 6
    assert await Task.async_(double, n=4, pause_s=0.5) == 8


async def test_tasks_run_at_the_same_time() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    tasks = [Task.async_(double, n) for n in range(5)]
    assert [await task for task in tasks] == [0, 2, 4, 6, 8]
    assert loop.time() - began == pytest.approx(1.0)


async def test_a_task_that_has_ended_can_be_awaited_again() -> None:
    task = Task.async_(double, 2)
    assert (await task, await task, await task.yield_()) == (4, 4, Ok(4))
    assert task.done()
    assert not task.process.is_alive()


async def test_a_crash_is_raised_where_a_plain_coroutine_awaits(caplog: pytest.LogCaptureFixture) -> None:
    task = Task.async_(crash)
    with pytest.raises(ProcessDown, match="ValueError: a bug") as failure:
        await task
    assert isinstance(failure.value.__cause__, ValueError)
    [record] = caplog.records
    assert "crashed in crash()" in record.getMessage()


async def test_a_crash_that_nobody_awaits_is_told_by_the_log_and_nowhere_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Task.async_(crash)
    await asyncio.sleep(2.0)
    gc.collect()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_an_error_of_roost_is_raised_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Closed):
        await Task.async_(refuse)
    assert not caplog.records

    async def overdue() -> None:
        raise CallTimeout("somebody", 1.0)

    with pytest.raises(CallTimeout, match="somebody"):
        await Task.async_(overdue)
    assert caplog.records


async def test_an_owner_gets_the_value_in_its_handler() -> None:
    owner = await Owner.start()
    assert await owner.ask(4) == 8
    await owner.begin(5)
    assert await owner.collect() == 10
    assert await owner.history() == ()


async def test_the_crash_of_a_task_ends_its_owner() -> None:
    owner = await Owner.start()
    with pytest.raises(ProcessDown, match="ValueError: a bug"):
        await owner.ask_in_vain()
    assert not owner.is_alive()


async def test_an_owner_that_traps_exits_gets_the_error_and_an_exit() -> None:
    owner = await Owner.start(True)
    assert await owner.ask_in_vain() == "ValueError: a bug, from ValueError"
    assert await owner.history() == ("a bug",)
    assert await owner.ask(1) == 2
    assert await owner.history() == ("a bug",), "the end of a task that has answered is no news"


async def test_a_refusal_is_an_answer_and_ends_nobody() -> None:
    owner = await Owner.start()
    assert await owner.ask_for_a_refusal() == "refused: on sundays"
    assert owner.is_alive()


@pytest.mark.parametrize("reason", ["normal", "shutdown", "kill", "another"])
async def test_a_task_ends_with_its_owner(reason: str) -> None:
    owner = await Owner.start()
    task = await owner.begin(1, 3600.0)
    if reason == "normal":
        await owner.stop()
    else:
        owner.exit(reason)
    await turns(5)
    assert not owner.is_alive()
    assert not task.process.is_alive()


async def test_a_task_that_its_handler_forgot_ends_with_its_owner() -> None:
    owner = await Owner.start()
    await owner.abandon("it")
    await owner.stop()
    await turns(5)
    assert len(asyncio.all_tasks()) == 1


async def test_a_task_ends_with_the_coroutine_that_started_it() -> None:
    async def begin() -> Task[int]:
        return Task.async_(double, 1, 3600.0)

    task = await asyncio.create_task(begin())
    await turns(5)
    with pytest.raises(ProcessDown, match="shutdown"):
        await task


async def test_only_the_owner_may_have_a_task() -> None:
    owner = await Owner.start()
    task = await owner.begin(1)
    for attempt in (task.yield_(), task.shutdown(), task._value(), Task.await_many([task]), Task.yield_many([task])):
        with pytest.raises(NotOwner, match="belongs to Owner"):
            await attempt
    with pytest.raises(NotOwner):
        task.ignore()
    mine = Task.async_(double, 1)

    async def steal() -> int:
        return await mine

    with pytest.raises(NotOwner, match="a plain coroutine"):
        await Task.async_(steal)
    assert await mine == 2
    assert await asyncio.create_task(mine._value()) == 2, "plain coroutines are one owner"
    assert await owner.collect() == 2


async def test_gather_awaits_tasks() -> None:
    assert list(await asyncio.gather(Task.async_(double, 1), Task.async_(double, 2))) == [2, 4]


async def test_a_task_that_takes_too_long_is_ended() -> None:
    task = Task.async_(double, 1, 10.0)
    with pytest.raises(CallTimeout) as failure:
        await task
    assert failure.value.timeout_s == 5.0
    await turns(5)
    assert task.done()
    owner = await Owner.start()
    assert await owner.give_up_soon() == "after 0.5 s"
    assert owner.is_alive()
    assert await Task.async_(double, 1, 10.0).with_timeout(None) == 2


async def test_the_patience_of_a_caller_is_inherited() -> None:
    owner = await Owner.start()
    await owner.begin(1, 3.0)
    with pytest.raises(CallTimeout):
        await owner.with_timeout(1.0).collect()
    await turns(5)
    assert not owner.is_alive(), "its own patience ended with that of its caller"


async def test_yield_can_be_asked_again() -> None:
    task = Task.async_(double, 1, 2.5)
    answers = [await task.yield_(1.0) for _ in range(4)]
    assert answers == [None, None, Ok(2), Ok(2)]
    failed = Task.async_(crash)
    assert await failed.yield_(0) is None
    outcome = await failed.yield_(None)
    assert isinstance(outcome, Exited)
    assert isinstance(outcome.reason, ValueError)


async def test_shutdown_of_a_task_that_runs() -> None:
    task = Task.async_(double, 1, 3600.0)
    await turns(3)
    assert await task.shutdown() is None
    assert task.done()


async def test_shutdown_before_it_has_begun() -> None:
    seen: list[str] = []
    task = Task.async_(seen.append, "began")
    assert await task.shutdown() is None
    assert seen == []


async def test_shutdown_gives_a_result_that_was_on_its_way() -> None:
    async def finish_when_asked() -> str:
        try:
            await asyncio.sleep(3600.0)
        except asyncio.CancelledError:
            return "just in time"
        return "never"

    task = Task.async_(finish_when_asked)
    await turns(3)
    assert await task.shutdown() == Ok("just in time")
    done = Task.async_(double, 2)
    await asyncio.sleep(2.0)
    assert await done.shutdown() == Ok(4)
    failed = Task.async_(refuse)
    await asyncio.sleep(2.0)
    outcome = await failed.shutdown()
    assert isinstance(outcome, Exited)
    assert isinstance(outcome.reason, Closed)


async def test_shutdown_kills_what_does_not_end() -> None:
    loop = asyncio.get_running_loop()
    patience = Patience(2)
    task = Task.async_(resist, patience)
    await turns(3)
    began = loop.time()
    assert await task.shutdown(2.0) is None
    assert loop.time() - began == pytest.approx(2.0)
    assert task.done()
    await turns(3)
    patience.end()
    await turns(3)


async def test_an_await_that_is_cancelled_ends_the_task_though_its_owner_goes_on() -> None:
    task = Task.async_(double, 1, 3600.0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(task, 1.0)
    await turns(5)
    assert task.done()
    asked = Task.async_(double, 1, 3.0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asked.yield_(), 1.0)
    await turns(5)
    assert not asked.done(), "who only asks ends nothing"
    assert await asked == 2


async def test_a_shutdown_that_is_cancelled_kills_at_once() -> None:
    patience = Patience(2)
    task = Task.async_(resist, patience)
    await turns(3)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(task.shutdown(60.0), 1.0)
    assert task.done()
    await turns(3)
    patience.end()
    await turns(3)


async def test_shutdown_at_once() -> None:
    task = Task.async_(double, 1, 3600.0)
    await turns(3)
    assert await task.shutdown(0) is None
    await turns(1)


async def test_a_task_that_resists_its_end_is_killed_in_the_end() -> None:
    patience = Patience(2)
    task = Task.async_(resist, patience).with_timeout(1.0)
    with pytest.raises(CallTimeout):
        await task
    await turns(5)
    assert not task.done()
    await asyncio.sleep(5.0)
    assert task.done()
    patience.end()
    await turns(3)


async def test_an_ignored_task_runs_on() -> None:
    seen: list[str] = []

    async def note() -> None:
        await asyncio.sleep(1.0)
        seen.append("done")

    async def begin() -> Task[None]:
        task = Task.async_(note)
        assert task.ignore() is None
        with pytest.raises(NotOwner, match="nobody"):
            await task
        return task

    await asyncio.create_task(begin())
    await asyncio.sleep(2.0)
    assert seen == ["done"]
    ended = Task.async_(double, 1)
    await asyncio.sleep(2.0)
    assert ended.ignore() == Ok(2)


async def test_an_owner_that_goes_on_is_told() -> None:
    owner = await Owner.start()
    owner.order(1)
    owner.order(2)
    assert await owner.history() == ()
    await asyncio.sleep(2.0)
    assert await owner.history() == (Ok(2), Ok(4))
    with pytest.raises(NotOwner, match="no mailbox"):
        Task.async_(double, 1).notify()


async def test_a_task_that_calls_its_waiting_owner_is_a_cycle() -> None:
    owner = await Owner.start()
    assert await owner.loop_back() == 3


async def test_what_crosses_is_copied() -> None:
    basket = ["tea"]

    def fill(items: list[str]) -> list[str]:
        items.append("milk")
        return items

    task = Task.async_(fill, basket)
    basket.append("sugar")
    result = await task
    assert (basket, result) == (["tea", "sugar"], ["tea", "milk"])


async def test_a_result_that_cannot_cross_is_refused() -> None:
    with pytest.raises(NotSendable, match="the result of object"):
        await Task.async_(object)


async def test_the_context_of_the_starter_goes_along() -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    request.set("r-1")

    async def read() -> str:
        before = request.get()
        request.set("changed")
        return before

    assert await Task.async_(read) == "r-1"
    assert request.get() == "r-1"


async def test_fire_and_forget(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    handle = Task.start(seen.append, 1)
    assert isinstance(handle, TaskProcess)
    assert (await handle.down()).reason == "normal"
    assert seen == [1]
    failed = Task.start(refuse)
    reason = (await failed.down()).reason
    assert isinstance(reason, Closed), "nobody gets the answer, so it is a crash"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_fire_and_link() -> None:
    owner = await Owner.start()
    await (await owner.fire(False)).down()
    assert owner.is_alive()
    await (await owner.fire(True)).down()
    assert not owner.is_alive()
    owner = await Owner.start()
    running = await owner.fire_long()
    await owner.stop()
    await turns(5)
    assert running.is_alive(), 'the end "normal" passes no link'
    running.exit("shutdown")
    await turns(5)
    alone = Task.start_link(crash)
    assert isinstance((await alone.down()).reason, ValueError)


async def test_a_task_as_a_child_of_a_supervisor() -> None:
    seen: list[int] = []
    attempts: list[int] = []

    def sometimes() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise ValueError("not yet")

    async def forever() -> None:
        await asyncio.sleep(1e6)

    supervisor = await Supervisor.start_link(
        [
            Task.child(seen.append, 1),
            Task.child(sometimes, id="transient", restart="transient"),
            Task.child(forever, restart="permanent"),
        ]
    )
    await asyncio.sleep(5.0)
    assert (seen, len(attempts)) == ([1], 3)
    running = [child.id for child in await supervisor.which_children() if child.process is not None]
    assert running == ["test_a_task_as_a_child_of_a_supervisor.<locals>.forever"]
    await supervisor.stop()
    assert len(asyncio.all_tasks()) == 1


async def test_a_dead_process_starts_nothing() -> None:
    class Undead(GenServer):
        @call
        async def linger(self) -> None:
            try:
                await asyncio.sleep(3600.0)
            finally:
                with pytest.raises(ProcessDown):
                    Task.async_(double, 1)
                seen.append("refused")

    seen: list[str] = []
    undead = await Undead.start()
    asked = asyncio.ensure_future(undead.linger())
    await turns(3)
    undead.exit("kill")
    with pytest.raises(ProcessDown):
        await asked
    await turns(3)
    assert seen == ["refused"]


async def test_a_task_in_init() -> None:
    class Early(GenServer):
        async def init(self) -> None:
            self.n = await Task.async_(double, 4)

        @call
        def number(self) -> int:
            return self.n

    class Failing(GenServer):
        async def init(self) -> None:
            await Task.async_(crash)

    assert await (await Early.start()).number() == 8
    with pytest.raises(StartFailed):
        await Failing.start()
