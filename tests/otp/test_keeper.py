"""What all supervisors do: back-off, shutdown times, and that nothing outlives a supervisor, whenever that ends."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from roost.core.intensity import BACKOFF_FIRST_S
from roost.errors import ProcessDown, RoostError, StartFailed
from roost.otp import Child, DynamicSupervisor, Exit, GenServer, Scheduler, Supervisor, call, cast, info
from roost.sim import turns
from tests.otp.nursery import Diary, Worker, alive, pass_time, settle

pytestmark = pytest.mark.virtual_time


def now() -> float:
    """The virtual time."""
    return Scheduler.current().runtime.clock.now()


def timers(supervisor: GenServer) -> int:
    """How many pauses run."""
    ties = supervisor._process.ties
    assert ties is not None
    return len(ties.timers)


# Back-off


async def test_the_first_restart_is_immediate_and_the_next_ones_wait_longer_and_longer() -> None:
    diary = Diary(a="ok fail fail fail fail fail fail fail fail fail fail")
    supervisor = await Supervisor.start(diary.children("a"), max_restarts=20, within_s=60.0)
    await pass_time(1.0)
    await diary.end("a")
    await pass_time(30.0)
    pauses = [later - earlier for earlier, later in zip(diary.times[1:], diary.times[2:], strict=False)]
    assert diary.times[1] == diary.times[0] + 1.0, "at once"
    assert len(pauses) == 10
    for number, pause_s in enumerate(pauses):
        longest_s = min(1.0, BACKOFF_FIRST_S * 2**number)
        assert longest_s / 2 <= pause_s <= longest_s
    assert len({pause / min(1.0, BACKOFF_FIRST_S * 2**n) for n, pause in enumerate(pauses)}) > 5, "there is jitter"
    await supervisor.stop()


async def test_a_child_that_lived_long_and_cannot_start_again_is_not_given_up_at_once() -> None:
    diary = Diary(a="ok fail fail fail")
    supervisor = await Supervisor.start(diary.children("a"), max_restarts=4, within_s=5.0)
    await pass_time(3_600.0)
    await diary.end("a")
    assert diary.take() == ["start a", "stop a: broken", "start a fail"]
    await pass_time(1.0)
    assert diary.take() == ["start a fail", "start a fail", "start a"]
    await supervisor.stop()


async def test_a_child_that_lives_long_enough_is_restarted_at_once_again() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a"), max_restarts=3, within_s=2.0)
    for _ in range(10):
        await pass_time(2.0)
        ended = now()
        await diary.end("a")
        assert diary.times[-1] == ended
    await supervisor.stop()


async def test_while_a_child_waits_the_others_work_and_the_supervisor_answers() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b"), max_restarts=9)
    await diary.end("a")
    await diary.end("a")
    a, b = await supervisor.which_children()
    assert (a.process, a.restarting) == (None, True)
    assert (b.process, b.restarting) == (diary.now["b"], False)
    assert (await supervisor.count_children()).active == 1
    await pass_time(1.0)
    a, b = await supervisor.which_children()
    assert (a.process, a.restarting) == (diary.now["a"], False)
    await supervisor.stop()


@pytest.mark.parametrize(("strategy", "waits"), [("one_for_all", "a b c"), ("rest_for_one", "b c")])
async def test_a_group_is_stopped_at_once_and_waits_for_the_pause_of_the_one_that_failed(
    strategy: str, waits: str
) -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b c"), strategy=strategy, max_restarts=9)
    await diary.end("b")
    diary.take()
    before = now()
    await diary.end("b")
    stops = [label for label in "ca" if label in waits]
    assert diary.take() == ["stop b: broken", *[f"stop {label}: shutdown" for label in stops]]
    assert [state.id for state in await supervisor.which_children() if state.restarting] == waits.split()
    await pass_time(1.0)
    assert diary.take() == [f"start {label}" for label in waits.split()]
    assert BACKOFF_FIRST_S / 2 <= diary.times[-1] - before <= BACKOFF_FIRST_S
    await supervisor.stop()


async def test_the_pause_is_that_of_the_child_that_failed() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b"), strategy="one_for_all", max_restarts=9)
    await diary.end("a")
    await diary.end("a")
    await pass_time(1.0)
    before = now()
    await diary.end("b")
    assert diary.times[-1] == before, "the first failure of b: at once"
    await supervisor.stop()


async def test_an_earlier_failure_takes_over_the_group_of_a_later_one() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b c d"), strategy="rest_for_one", max_restarts=9)
    await diary.end("c")
    await diary.end("c")
    diary.take()
    await diary.end("a")
    assert diary.take() == ["stop a: broken", "stop b: shutdown", *[f"start {label}" for label in "abcd"]]
    assert timers(supervisor) == 0
    await pass_time(2.0)
    assert diary.take() == [], "the pause of c was called off"
    await supervisor.stop()


async def test_a_later_failure_waits_for_the_pause_of_an_earlier_one() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b"), strategy="rest_for_one", max_restarts=9)
    await diary.end("a")
    await diary.end("a")
    await supervisor.start_child(diary.child("c"))
    diary.take()
    await diary.end("c")
    assert diary.take() == ["stop c: broken"]
    await pass_time(2.0)
    assert diary.take() == ["start a", "start b", "start c"]
    await supervisor.stop()


async def test_a_child_started_while_its_group_waits_is_restarted_with_it() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b"), strategy="one_for_all", max_restarts=9)
    await diary.end("a")
    await diary.end("a")
    await supervisor.start_child(diary.child("c"))
    await supervisor.start_child(diary.child("t", "temporary"))
    diary.take()
    await pass_time(2.0)
    assert diary.take() == ["stop t: shutdown", "stop c: shutdown", "start a", "start b", "start c"]
    assert [state.id for state in await supervisor.which_children()] == ["a", "b", "c"]
    await supervisor.stop()


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_a_child_that_is_terminated_in_its_pause_does_not_come_back(strategy: str) -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b"), strategy=strategy, max_restarts=9)
    await diary.end("a")
    await diary.end("a")
    await supervisor.terminate_child("a")
    await supervisor.delete_child("a")
    assert timers(supervisor) == (0 if strategy == "one_for_one" else 1)
    diary.take()
    await pass_time(10.0)
    assert diary.take() == ([] if strategy == "one_for_one" else ["start b"])
    assert timers(supervisor) == 0
    await supervisor.stop()


async def test_one_of_several_that_wait_is_called_off_alone() -> None:
    diary = Diary(a="ok fail fail fail", b="ok fail fail fail")
    supervisor = await Supervisor.start(diary.children("a b"), max_restarts=9)
    await diary.end("a")
    await diary.end("b")
    assert timers(supervisor) == 2
    await supervisor.terminate_child("a")
    assert timers(supervisor) == 1
    await pass_time(10.0)
    assert [state.process is not None for state in await supervisor.which_children()] == [False, True]
    await supervisor.stop()


async def test_a_group_that_is_terminated_in_its_pause_leaves_no_timer() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b"), strategy="one_for_all", max_restarts=9)
    await diary.end("a")
    await diary.end("a")
    await supervisor.terminate_child("b")
    await supervisor.terminate_child("a")
    assert timers(supervisor) == 0
    await supervisor.restart_child("a")
    await pass_time(10.0)
    assert [state.process is not None for state in await supervisor.which_children()] == [True, False]
    await supervisor.stop()


async def test_a_pause_that_was_called_off_after_its_end_changes_nothing() -> None:
    """Its message waits in the mailbox while the child is terminated, started by hand, and fails again."""
    diary = Diary()
    diary.stop_s = {"b": 10.0}
    supervisor = await Supervisor.start(
        [diary.child("a"), diary.child("b", shutdown_s=None)], max_restarts=9, within_s=60.0
    )
    await diary.end("a")
    await diary.end("a")
    busy = asyncio.ensure_future(supervisor.terminate_child("b"))
    await asyncio.sleep(0)
    terminated = asyncio.ensure_future(supervisor.terminate_child("a"))
    restarted = asyncio.ensure_future(supervisor.restart_child("a"))
    await pass_time(5.0)
    await asyncio.gather(busy, terminated, restarted)
    before = now()
    diary.take()
    await diary.end("a")
    await pass_time(1.0)
    assert diary.take() == ["stop a: broken", "start a"]
    assert diary.times[-1] - before >= BACKOFF_FIRST_S, "the third failure in a row"
    await supervisor.stop()


# Several things at the same time


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
async def test_two_ends_at_the_same_time_are_one_restart_of_the_group(strategy: str) -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b c"), strategy=strategy, max_restarts=1)
    diary.take()
    diary.now["a"].exit("kill")
    diary.now["b"].exit("kill")
    await settle()
    assert diary.take() == ["stop c: shutdown", "start a", "start b", "start c"]
    await pass_time(2.0)
    assert supervisor.is_alive()
    assert diary.take() == []
    await supervisor.stop()


async def test_two_ends_at_the_same_time_are_two_restarts_one_for_one() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b"), max_restarts=1)
    diary.now["a"].exit("kill")
    diary.now["b"].exit("kill")
    await settle()
    assert not supervisor.is_alive()


async def test_a_child_that_ends_while_others_are_stopped_or_started_is_not_lost() -> None:
    diary = Diary()
    diary.stop_s = {"c": 1.0}
    supervisor = await Supervisor.start(
        [diary.child("a"), diary.child("b"), diary.child("c", late=True)], strategy="one_for_all", max_restarts=9
    )
    diary.take()
    diary.now["a"].exit("kill")
    await pass_time(0.5)
    diary.now["b"].exit("kill")  # while c stops: its restart is under way already
    await pass_time(1.0)
    assert diary.take() == ["stop c: shutdown", "stopped c", "start a", "start b"]
    diary.now["b"].exit("kill")  # while c starts: that is one more restart, of all of them
    await pass_time(5.0)
    assert diary.take() == [
        *("start c", "stop c: shutdown", "stopped c", "stop a: shutdown"),
        *("start a", "start b", "start c"),
    ]
    assert [state.process is not None for state in await supervisor.which_children()] == [True, True, True]
    await supervisor.stop()


async def test_a_child_that_ends_while_the_supervisor_starts_is_restarted_then() -> None:
    diary = Diary()
    starting = asyncio.ensure_future(Supervisor.start([diary.child("a"), diary.child("b", late=True)]))
    await pass_time(0.5)
    diary.now["a"].exit("kill")
    supervisor = await starting
    await settle()
    assert diary.take() == ["start a", "start b", "start a"]
    await supervisor.stop()


async def test_a_child_whose_start_returns_it_dead_or_unlinked_is_watched_all_the_same() -> None:
    diary = Diary()

    async def unlinked() -> Worker:
        return await Worker.start(diary, "a")

    async def stillborn() -> Worker:
        worker = await Worker.start_link(diary, "b")
        if len(diary.events) < 3:
            worker.exit("kill")
        return worker

    supervisor = await Supervisor.start([Child("a", unlinked), Child("b", stillborn)])
    await settle()
    assert diary.take() == ["start a", "start b", "start b"]
    await diary.end("a")
    assert diary.take() == ["stop a: broken", "start a"]
    await supervisor.stop()
    assert alive() == []


async def test_a_start_that_returns_no_process_has_failed() -> None:
    async def nothing() -> None:
        return None

    with pytest.raises(StartFailed, match="its start returned None"):
        await Supervisor.start([Child("a", nothing)])  # type: ignore[type-var]  # what a plain script may write


# Stopping


class Stubborn(GenServer):
    """Does not let its handler be cancelled."""

    def init(self) -> None:
        self.free = asyncio.Event()

    @call
    async def hang(self) -> None:
        while not self.free.is_set():
            try:
                await self.free.wait()
            except asyncio.CancelledError:
                continue


async def test_a_child_that_does_not_stop_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary()
    diary.stop_s = {"b": 60.0}
    supervisor = await Supervisor.start([diary.child("a"), diary.child("b", shutdown_s=2.0)])
    down = diary.now["b"].down()
    before = now()
    with caplog.at_level(logging.WARNING):
        await supervisor.stop()
    assert now() == before + 2.0
    assert (await down).reason == "killed"
    assert diary.events[2:] == ["stop b: shutdown", "stop a: shutdown"]
    assert "kills child 'b'" in caplog.text
    assert "it did not stop within 2 s" in caplog.text


async def test_a_handler_that_does_not_end_is_left_behind_by_the_kill() -> None:
    supervisor = await Supervisor.start([Stubborn.child(name="stubborn", shutdown_s=0.5)])
    stubborn = Stubborn.whereis("stubborn")
    state = stubborn._process.server
    assert isinstance(state, Stubborn)
    hanging = asyncio.ensure_future(stubborn.hang())
    await turns(5)
    before = now()
    await supervisor.stop()
    assert now() == before + 0.5
    assert not stubborn.is_alive()
    with pytest.raises(ProcessDown, match="killed"):
        await hanging
    state.free.set()
    await settle()


async def test_a_child_with_no_time_to_stop_is_killed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary()
    supervisor = await Supervisor.start([diary.child("a", shutdown_s=0), diary.child("b")])
    down = diary.now["a"].down()
    await supervisor.stop()
    assert (await down).reason == "killed"
    assert diary.events[2:] == ["stop b: shutdown"]
    assert not caplog.records, "that was meant"


async def test_a_child_that_is_killed_as_it_begins_to_stop_leaves_nothing() -> None:
    for count in range(6):
        diary = Diary()
        supervisor = await Supervisor.start(diary.children("a"))
        stopping = asyncio.ensure_future(supervisor.terminate_child("a"))
        await turns(count)
        diary.now["a"].exit("kill")
        await stopping
        await supervisor.stop()


async def test_a_child_may_have_all_the_time_it_wants() -> None:
    diary = Diary()
    diary.stop_s = {"a": 3600.0}
    supervisor = await Supervisor.start([diary.child("a", shutdown_s=None)])
    await supervisor.stop()
    assert diary.events[-1] == "stopped a"


async def test_a_child_that_ignores_exits_of_strangers_still_stops_for_its_supervisor() -> None:
    class Deaf(GenServer):
        def init(self) -> None:
            self.trap_exits()

        @info
        def heard(self, exit: Exit) -> None:
            """Nothing."""

    supervisor = await Supervisor.start([Deaf.child(name="deaf")])
    before = now()
    await supervisor.stop()
    assert now() == before


async def test_a_parent_that_ends_takes_the_tree_with_it_in_order() -> None:
    class Owner(GenServer):
        @call
        async def hold(self, diary: Watched) -> Supervisor:
            return await Supervisor.start_link(diary.diary.children("a b"))

        @cast
        def leave(self, reason: str) -> None:
            self.exit(reason)

    for reason in ("bored", "shutdown", "normal"):
        diary = Diary()
        owner = await Owner.start()
        supervisor = await owner.hold(Watched(diary))
        down = supervisor.down()
        diary.take()
        owner.leave(reason)
        assert (await down).reason == reason
        assert diary.take() == ["stop b: shutdown", "stop a: shutdown"]
        assert alive() == []


class Watched:
    """A diary that may cross to another process: it belongs to the test."""

    __sendable__ = True

    def __init__(self, diary: Diary) -> None:
        self.diary = diary


# Nothing outlives its supervisor


async def test_what_a_killed_supervisor_leaves_behind_has_its_time_to_stop_and_no_more() -> None:
    diary = Diary()
    diary.stop_s = {"a": 1.0, "b": 60.0, "d": 60.0}
    inner = Supervisor.child([diary.child("d", shutdown_s=3.0)], id="inner")
    plans = [diary.child("a"), diary.child("b", shutdown_s=2.0), diary.child("c", traps=False), inner]
    supervisor = await Supervisor.start([*plans, diary.child("e", shutdown_s=0)])
    diary.take()
    supervisor.exit("kill")
    await settle()
    assert sorted(diary.take()) == ["stop a: killed", "stop b: killed", "stop d: shutdown"]
    await pass_time(1.5)
    assert diary.take() == ["stopped a"]
    assert len(alive()) == 3
    await pass_time(2.0)
    assert alive() == []
    assert diary.take() == []


async def test_a_supervisor_that_is_killed_while_it_stops_leaves_nothing_behind() -> None:
    diary = Diary()
    diary.stop_s = {"a": 60.0, "b": 60.0}
    supervisor = await Supervisor.start([diary.child("a", shutdown_s=5.0), diary.child("b", shutdown_s=50.0)])
    stopping = asyncio.ensure_future(supervisor.stop())
    await pass_time(1.0)
    supervisor.exit("kill")
    await stopping
    assert len(alive()) == 2
    await pass_time(5.1)
    assert len(alive()) == 1
    await pass_time(45.0)
    assert alive() == []


async def busy_life(diary: Diary, strategy: str) -> None:
    """Everything that a supervisor does: it boots, restarts, waits, fails to restart, starts and stops."""
    inner = Supervisor.child([diary.child("d"), diary.child("e", late=True)], id="inner")
    plans = [diary.child("a"), diary.child("b", late=True, traps=False), inner, diary.child("c", shutdown_s=0.3)]
    supervisor = await Supervisor.start(plans, strategy=strategy, max_restarts=50, name="nursery")
    for label in "abdab":
        worker = diary.now[label]
        if worker.is_alive():
            worker.quit("broken")
        await pass_time(0.4)
    await supervisor.start_child(diary.child("f", late=True))
    await supervisor.terminate_child("a")
    await supervisor.restart_child("a")
    await supervisor.stop()


async def crowd(diary: Diary, strategy: str) -> None:
    """The same for a dynamic supervisor."""
    supervisor = await DynamicSupervisor.start(max_restarts=50, name="nursery")
    workers = [await supervisor.start_child(diary.child(label, late=label == "b")) for label in "abcd"]
    for label in "abab":
        if diary.now[label].is_alive():
            diary.now[label].quit("broken")
        await pass_time(0.4)
    await supervisor.terminate_child(workers[2])
    await supervisor.stop()


async def until_over(life: Awaitable[None]) -> None:
    """Live, as long as the supervisor does."""
    with suppress(RoostError):
        await life


@pytest.mark.parametrize(
    ("life", "strategy"),
    [(busy_life, "one_for_one"), (busy_life, "one_for_all"), (busy_life, "rest_for_one"), (crowd, "dynamic")],
)
@pytest.mark.parametrize("how", ["kill", "cancel"])
async def test_nothing_outlives_a_supervisor_that_ends_at_any_moment(
    life: Callable[[Diary, str], Awaitable[None]], strategy: str, how: str
) -> None:
    """Kill the supervisor, or cancel whoever starts it and then kill it, now and then and at every turn of the loop."""
    draw = random.Random(f"{strategy} {how}")
    for _ in range(150):
        diary = Diary(a="ok ok fail fail")
        diary.stop_s = {"c": 0.5, "d": 0.1}
        living = asyncio.ensure_future(until_over(life(diary, strategy)))
        await pass_time(round(draw.uniform(0.0, 6.0), 1))
        await turns(draw.randrange(25))
        if how == "cancel":
            living.cancel()
            await asyncio.wait([living])
        nursery = Scheduler.current().names.get("nursery")
        if nursery is not None:
            nursery.kill()
        started = len(diary.times)
        await asyncio.wait([living])
        await pass_time(5.1)
        assert alive() == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert nursery is None or len(diary.times) == started, "and nothing is started after its end"
