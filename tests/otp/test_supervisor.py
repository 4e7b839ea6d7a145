"""Supervisors: who is started, restarted and stopped, in which order, and what may be asked of them.

The tables are what OTP 25's supervisor does, observed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import assert_type

import pytest

from roost.errors import (
    ChildExists,
    ChildNotStarted,
    ChildNotStopped,
    ConfigError,
    NoSuchChild,
    ProcessDown,
    StartFailed,
    StartIgnored,
)
from roost.otp import Child, ChildCounts, GenServer, Supervisor, call
from tests.otp.nursery import Diary, Worker, alive, pass_time, settle

pytestmark = pytest.mark.virtual_time

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")


async def states(supervisor: Supervisor) -> str:
    """The children in order: `a` runs, `(a)` does not, `a?` waits for its restart."""
    shown = [
        f"{state.id}?" if state.restarting else state.id if state.process is not None else f"({state.id})"
        for state in await supervisor.which_children()
    ]
    return " ".join(shown)


# Starting and stopping


async def test_children_start_in_order_and_stop_in_reverse() -> None:
    diary = Diary()
    supervisor = await Supervisor.start_link(diary.children("a b c"))
    assert diary.take() == ["start a", "start b", "start c"]
    await supervisor.stop()
    assert diary.take() == ["stop c: shutdown", "stop b: shutdown", "stop a: shutdown"]


async def test_each_child_has_stopped_before_the_one_before_it_is_told() -> None:
    diary = Diary()
    diary.stop_s = {"b": 1.0, "c": 2.0}
    supervisor = await Supervisor.start_link(diary.children("a b c"))
    diary.take()
    await supervisor.stop()
    assert diary.take() == [
        *("stop c: shutdown", "stopped c"),
        *("stop b: shutdown", "stopped b"),
        "stop a: shutdown",
    ]


async def test_a_supervisor_of_supervisors_stops_from_the_leaves() -> None:
    diary = Diary()
    inner = Supervisor.child(diary.children("a b"), id="inner")
    outer = await Supervisor.start([inner, *diary.children("c")])
    diary.take()
    await outer.stop()
    assert diary.take() == ["stop c: shutdown", "stop b: shutdown", "stop a: shutdown"]


@pytest.mark.parametrize("late", [False, True])
async def test_a_child_that_does_not_start_takes_the_others_back(late: bool) -> None:
    diary = Diary(c="fail")
    plans = [*diary.children("a b"), diary.child("c", late=late), *diary.children("d")]
    with pytest.raises(StartFailed, match=r"its child 'c': .* did not start: OSError: not now") as failed:
        await Supervisor.start_link(plans, name="nursery")
    assert failed.value.target == "Supervisor 'nursery'"
    assert isinstance(failed.value.__cause__, StartFailed)
    assert isinstance(failed.value.__cause__.__cause__, OSError)
    assert diary.take() == ["start a", "start b", "start c fail", "stop b: shutdown", "stop a: shutdown"]
    assert alive() == []


async def test_a_failure_deep_below_takes_everything_back_and_names_the_way() -> None:
    diary = Diary(c="fail")
    inner = Supervisor.child(diary.children("b c"), id="inner")
    with pytest.raises(StartFailed, match=r"its child 'inner': .* its child 'c': .* not now"):
        await Supervisor.start_link([*diary.children("a"), inner])
    assert diary.take() == ["start a", "start b", "start c fail", "stop b: shutdown", "stop a: shutdown"]


async def test_a_child_with_nothing_to_do_keeps_its_place_unless_it_is_temporary() -> None:
    diary = Diary(a="ignore", b="ignore")
    supervisor = await Supervisor.start([diary.child("a"), diary.child("b", "temporary"), diary.child("c")])
    assert await states(supervisor) == "(a) c"
    await supervisor.restart_child("a")
    assert await states(supervisor) == "a c"
    await supervisor.stop()


async def test_two_children_of_one_id_are_refused_before_anything_starts() -> None:
    diary = Diary()
    with pytest.raises(StartFailed, match="two children with the id 'b'") as failed:
        await Supervisor.start_link(diary.children("a b b"))
    assert isinstance(failed.value.__cause__, ConfigError)
    assert diary.events == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"strategy": "all_for_one"},
        {"auto_shutdown": "sometimes"},
        {"max_restarts": -1},
        {"within_s": 0.0},
        {"within_s": float("nan")},
    ],
)
async def test_arguments_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    start: Callable[..., Awaitable[Supervisor]] = Supervisor.start  # what a plain script may write
    with pytest.raises(StartFailed) as failed:
        await start([], **wrong)
    assert isinstance(failed.value.__cause__, ConfigError)
    assert failed.value.__cause__.setting == next(iter(wrong))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"restart": "sometimes"}, "'sometimes' is not one of permanent, transient, temporary"),
        ({"shutdown_s": -1.0}, "is not a number of seconds"),
        ({"shutdown_s": float("nan")}, "is not a number of seconds"),
        ({"significant": True}, "'a' is permanent"),
    ],
)
async def test_plans_that_mean_nothing_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Child("a", Supervisor.start, **wrong)  # type: ignore[arg-type]  # what a plain script may write


async def test_a_restart_starts_with_the_arguments_that_were_meant() -> None:
    class Collector(GenServer):
        def init(self, items: list[int]) -> None:
            self.items = items

        @call
        def add(self, item: int) -> list[int]:
            self.items.append(item)
            return self.items

    supervisor = await Supervisor.start([Collector.child([1], name="collector")])
    assert await Collector.whereis("collector").add(2) == [1, 2]
    Collector.whereis("collector").exit("kill")
    await supervisor.which_children()
    assert await Collector.whereis("collector").add(3) == [1, 3]
    await supervisor.stop()


# Restarting


@pytest.mark.parametrize(
    ("restart", "reason", "again", "kept"),
    [
        ("permanent", "normal", True, True),
        ("permanent", "shutdown", True, True),
        ("permanent", "bored", True, True),
        ("transient", "normal", False, True),
        ("transient", "shutdown", False, True),
        ("transient", "shutdown:moved", False, True),
        ("transient", "bored", True, True),
        ("temporary", "normal", False, False),
        ("temporary", "bored", False, False),
    ],
)
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_which_ends_are_answered_by_a_restart(
    strategy: str, restart: str, reason: str, again: bool, kept: bool
) -> None:
    diary = Diary()
    child = diary.child("a", restart)  # type: ignore[arg-type]  # one of the three words
    supervisor = await Supervisor.start([child, diary.child("b")], strategy=strategy)
    old = diary.now["a"]
    diary.take()
    await diary.end("a", reason)
    group = again and strategy != "one_for_one"
    assert diary.take() == [
        f"stop a: {reason}",
        *(["stop b: shutdown"] if group else []),
        *(["start a"] if again else []),
        *(["start b"] if group else []),
    ]
    assert await states(supervisor) == ("a b" if again else "(a) b" if kept else "b")
    assert old != diary.now["a"] or not again
    await supervisor.stop()


@pytest.mark.parametrize(
    ("strategy", "stops", "starts"),
    [("one_for_one", "", "b"), ("one_for_all", "d c a", "a b c d"), ("rest_for_one", "d c", "b c d")],
)
@pytest.mark.parametrize("late", [False, True])
async def test_who_is_restarted_with_a_child(strategy: str, stops: str, starts: str, late: bool) -> None:
    diary = Diary()
    supervisor = await Supervisor.start([diary.child(label, late=late) for label in "abcd"], strategy=strategy)
    diary.take()
    await diary.end("b")
    await pass_time(10.0 if late else 0.0)
    assert diary.take() == [
        "stop b: broken",
        *[f"stop {label}: shutdown" for label in stops.split()],
        *[f"start {label}" for label in starts.split()],
    ]
    assert await states(supervisor) == "a b c d"
    await supervisor.stop()


async def test_a_group_brings_back_what_had_finished_or_was_terminated_and_drops_what_is_temporary() -> None:
    diary = Diary()
    plans = [diary.child("a"), diary.child("b", "transient"), diary.child("c", "temporary"), diary.child("d")]
    supervisor = await Supervisor.start(plans, strategy="one_for_all")
    await diary.end("b", "normal")
    await supervisor.terminate_child("d")
    assert await states(supervisor) == "a (b) c (d)"
    diary.take()
    await diary.end("a")
    assert diary.take() == ["stop a: broken", "stop c: shutdown", "start a", "start b", "start d"]
    assert await states(supervisor) == "a b d"
    await supervisor.stop()


@pytest.mark.parametrize(
    ("strategy", "dies", "plan", "events"),
    [
        ("rest_for_one", "b", {"c": "ok fail fail"}, "-b -d -c +b !c !c +c +d"),
        ("one_for_all", "b", {"b": "ok fail fail"}, "-b -d -c -a +a !b -a +a !b -a +a +b +c +d"),
        ("one_for_all", "a", {"d": "ok fail"}, "-a -d -c -b +a +b +c !d -c -b -a +a +b +c +d"),
        ("one_for_one", "b", {"b": "ok fail fail"}, "-b !b !b +b"),
    ],
)
async def test_a_start_that_fails_in_a_restart_is_one_more_restart(
    strategy: str, dies: str, plan: dict[str, str], events: str
) -> None:
    diary = Diary(**plan)
    supervisor = await Supervisor.start(diary.children("a b c d"), strategy=strategy, max_restarts=3)
    diary.take()
    await diary.end(dies)
    await pass_time(5.0)
    seen = [
        {"start": "!" if event.endswith("fail") else "+", "stop": "-"}[event.split()[0]] + event.split()[1].strip(":")
        for event in diary.take()
    ]
    assert " ".join(seen) == events
    assert await states(supervisor) == "a b c d"
    await supervisor.stop()


async def test_failed_starts_use_up_the_restarts() -> None:
    diary = Diary(b="ok fail fail fail")
    supervisor = await Supervisor.start(diary.children("a b c"), strategy="one_for_all", max_restarts=2)
    down = supervisor.down()
    diary.take()
    await diary.end("c")
    assert (await down).reason == "shutdown"
    assert diary.take() == [
        *("stop c: broken", "stop b: shutdown", "stop a: shutdown", "start a", "start b fail", "stop a: shutdown"),
        *("start a", "start b fail", "stop a: shutdown"),
    ]


async def test_a_child_with_nothing_to_do_in_a_restart_keeps_its_place() -> None:
    diary = Diary(a="ok ignore")
    supervisor = await Supervisor.start(diary.children("a b"), strategy="rest_for_one")
    await diary.end("a")
    assert await states(supervisor) == "(a) b"
    await supervisor.stop()


@pytest.mark.parametrize("max_restarts", [0, 1, 3])
async def test_one_restart_too_many_ends_the_supervisor(max_restarts: int, caplog: pytest.LogCaptureFixture) -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b"), max_restarts=max_restarts)
    down = supervisor.down()
    for _ in range(max_restarts):
        await diary.end("a")
        await pass_time(1.0)
        assert await states(supervisor) == "a b"
    diary.take()
    await diary.end("a")
    assert (await down).reason == "shutdown"
    assert diary.take() == ["stop a: broken", "stop b: shutdown"]
    assert f"gives up: more than {max_restarts} restarts in 5 s, the last of 'a'" in caplog.text


async def test_restarts_that_are_far_apart_are_borne_for_ever() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a"), max_restarts=1, within_s=5.0)
    for _ in range(20):
        await diary.end("a")
        await pass_time(5.001)
    assert await states(supervisor) == "a"
    await supervisor.stop()


async def test_a_supervisor_that_gave_up_is_restarted_by_its_own_if_it_is_permanent() -> None:
    diary = Diary()
    inner = Supervisor.child(diary.children("a b"), id="inner", max_restarts=0)
    outer = await Supervisor.start([inner, *diary.children("c")])
    diary.take()
    await diary.end("b")
    assert diary.take() == ["stop b: broken", "stop a: shutdown", "start a", "start b"]
    assert await states(outer) == "inner c"
    await outer.stop()


async def test_the_ends_of_strangers_are_nothing_to_a_supervisor() -> None:
    diary = Diary()

    class Curious(Supervisor):
        @call
        def bind(self, other: GenServer) -> None:
            self.link(other)

    supervisor = await Curious.start(diary.children("a"))
    stranger = await Worker.start(diary, "stranger")
    await supervisor.bind(stranger)
    await diary.end("stranger")
    supervisor.exit("shutdown")
    await settle()
    assert await states(supervisor) == "a"
    assert diary.events == ["start a", "start stranger", "stop stranger: broken"]
    await supervisor.stop()


# Significant children


@pytest.mark.parametrize(
    ("auto_shutdown", "ends", "left"),
    [
        ("any_significant", "a", None),
        ("any_significant", "t", None),
        ("any_significant", "p", "a b t p"),
        ("all_significant", "a", "(a) b t p"),
        ("all_significant", "a b", "(a) (b) t p"),
        ("all_significant", "a b t", None),
        ("never", "p", "a b t p"),
    ],
)
async def test_significant_children_end_their_supervisor(auto_shutdown: str, ends: str, left: str | None) -> None:
    diary = Diary()
    significant = auto_shutdown != "never"
    plans = [
        diary.child("a", "transient", significant=significant),
        diary.child("b", "transient", significant=significant),
        diary.child("t", "temporary", significant=significant),
        diary.child("p"),
    ]
    supervisor = await Supervisor.start(plans, auto_shutdown=auto_shutdown)
    for label in ends.split():
        await diary.end(label, "broken" if label == "t" else "normal")
    if left is not None:
        assert await states(supervisor) == left
        await supervisor.stop()
    else:
        await settle()
        assert not supervisor.is_alive()
        assert supervisor._process.reason == "shutdown"
        rest = [label for label in "ptba" if label not in ends.split()]
        assert diary.events[-len(rest) :] == [f"stop {label}: shutdown" for label in rest]
    assert alive() == []


async def test_a_significant_child_that_is_terminated_or_restarted_ends_nobody() -> None:
    diary = Diary()
    plans = [diary.child("a", "transient", significant=True), diary.child("b", "temporary", significant=True)]
    supervisor = await Supervisor.start(
        [*plans, diary.child("p")], strategy="one_for_all", auto_shutdown="any_significant"
    )
    await diary.end("a")
    assert await states(supervisor) == "a p", "the temporary one was stopped with its group"
    await supervisor.terminate_child("a")
    assert await states(supervisor) == "(a) p"
    await supervisor.stop()


async def test_all_significant_does_not_wait_for_those_that_were_terminated_or_never_ran() -> None:
    diary = Diary(i="ignore")
    plans = [diary.child(label, "transient", significant=True) for label in "abi"]
    supervisor = await Supervisor.start([*plans, diary.child("p")], auto_shutdown="all_significant")
    await supervisor.terminate_child("b")
    await diary.end("a", "normal")
    assert not supervisor.is_alive()


async def test_all_significant_waits_for_those_that_will_be_restarted() -> None:
    diary = Diary(a="ok fail fail")
    plans = [diary.child(label, "transient", significant=True) for label in "ab"]
    supervisor = await Supervisor.start(plans, auto_shutdown="all_significant", max_restarts=9)
    await diary.end("a")
    assert await states(supervisor) == "a? b"
    await diary.end("b", "normal")
    assert supervisor.is_alive()
    await pass_time(1.0)
    assert await states(supervisor) == "a (b)"
    await diary.end("a", "normal")
    assert not supervisor.is_alive()


async def test_significance_without_auto_shutdown_is_a_mistake() -> None:
    diary = Diary()
    child = diary.child("a", "transient", significant=True)
    with pytest.raises(StartFailed, match="auto_shutdown is 'never', so 'a' cannot be"):
        await Supervisor.start([child])
    supervisor = await Supervisor.start([])
    with pytest.raises(ConfigError, match="auto_shutdown is 'never'"):
        await supervisor.start_child(child)
    assert diary.events == []
    await supervisor.stop()


# Children by hand


async def test_a_started_child_is_one_of_the_others() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a"))
    worker = assert_type(await supervisor.start_child(diary.child("b")), Worker)
    assert worker == diary.now["b"]
    await diary.end("b")
    assert await states(supervisor) == "a b"
    diary.take()
    await supervisor.stop()
    assert diary.take() == ["stop b: shutdown", "stop a: shutdown"]


async def test_what_may_be_asked_of_a_child_in_which_state() -> None:
    diary = Diary(m="fail", i="ignore", l="ignore", a="ok fail ok fail")
    supervisor = await Supervisor.start(diary.children("a b"), max_restarts=9)
    for id in ("restart_child", "delete_child"):
        with pytest.raises(ChildNotStopped, match="'a' is running"):
            await (supervisor.restart_child("a") if id == "restart_child" else supervisor.delete_child("a"))
    with pytest.raises(ChildExists, match="'a' already; it is running"):
        await supervisor.start_child(diary.child("a"))
    await supervisor.terminate_child("a")
    await supervisor.terminate_child("a")
    assert await states(supervisor) == "(a) b"
    with pytest.raises(ChildExists, match="it is stopped"):
        await supervisor.start_child(diary.child("a"))
    with pytest.raises(ChildNotStarted, match=r"'a' did not start: .*OSError: not now"):
        await supervisor.restart_child("a")
    assert await states(supervisor) == "(a) b"
    assert await supervisor.restart_child("a") == diary.now["a"]
    await diary.end("a")
    assert await states(supervisor) == "a? b", "its start has failed, and the next one comes after a pause"
    with pytest.raises(ChildNotStopped, match="'a' is waiting"):
        await supervisor.delete_child("a")
    with pytest.raises(ChildNotStopped, match="'a' is waiting"):
        await supervisor.restart_child("a")
    await supervisor.terminate_child("a")
    await supervisor.delete_child("a")
    assert await states(supervisor) == "b"
    with pytest.raises(ChildNotStarted, match="'m' did not start"):
        await supervisor.start_child(diary.child("m"))
    with pytest.raises(StartIgnored):
        await supervisor.start_child(diary.child("i"))
    with pytest.raises(StartIgnored):
        await supervisor.start_child(diary.child("l", "temporary"))
    assert await states(supervisor) == "b (i)"
    await supervisor.start_child(diary.child("t", "temporary"))
    await supervisor.terminate_child("t")
    assert await states(supervisor) == "b (i)"
    for unknown in (supervisor.terminate_child, supervisor.restart_child, supervisor.delete_child):
        with pytest.raises(NoSuchChild, match="no child 'zz'"):
            await unknown("zz")
    await supervisor.stop()


async def test_a_terminated_child_waits_for_its_restart_by_hand() -> None:
    diary = Diary()
    supervisor = await Supervisor.start(diary.children("a b"))
    old = diary.now["a"]
    await supervisor.terminate_child("a")
    assert not old.is_alive()
    await pass_time(100.0)
    assert await states(supervisor) == "(a) b"
    await supervisor.restart_child("a")
    assert await states(supervisor) == "a b"
    diary.take()
    await supervisor.stop()
    assert diary.take() == ["stop b: shutdown", "stop a: shutdown"], "it has its old place"


async def test_children_are_counted() -> None:
    diary = Diary(i="ignore")
    inner = Supervisor.child([], id="inner")
    supervisor = await Supervisor.start([*diary.children("a b i"), inner])
    await supervisor.terminate_child("b")
    assert await supervisor.count_children() == ChildCounts(specs=4, active=2, supervisors=1, workers=3)
    assert [(state.id, state.kind, state.restart) for state in await supervisor.which_children()] == [
        ("a", "worker", "permanent"),
        ("b", "worker", "permanent"),
        ("i", "worker", "permanent"),
        ("inner", "supervisor", "permanent"),
    ]
    await supervisor.stop()


async def test_who_asks_a_supervisor_waits_as_long_as_its_children_need() -> None:
    diary = Diary()
    diary.stop_s = {"a": 60.0}
    supervisor = await Supervisor.start([diary.child("a", shutdown_s=None)])
    await supervisor.terminate_child("a")
    assert diary.events[-1] == "stopped a"
    await supervisor.stop()


async def test_a_child_that_asks_its_starting_supervisor_is_told_of_the_cycle() -> None:
    class Asking(GenServer):
        async def init(self, name: str) -> None:
            await Supervisor.whereis(name).which_children()

    with pytest.raises(StartFailed, match="CallCycle"):
        await Supervisor.start([Asking.child("nursery")], name="nursery")


async def test_a_subclass_is_a_tree_of_its_own() -> None:
    class Shop(Supervisor):
        async def init(self, diary: Diary) -> None:  # type: ignore[override]  # the children are its own affair
            await super().init(diary.children("a b"), strategy="one_for_all", max_restarts=1)

    diary = Diary()
    supervisor = await Supervisor.start([Shop.child(diary, name="shop")])
    with pytest.raises(ProcessDown, match="a broke"):
        await diary.now["a"].crash()
    await settle()
    assert await Shop.whereis("shop").count_children() == ChildCounts(2, 2, 0, 2)
    assert (await supervisor.which_children())[0].kind == "supervisor"
    await supervisor.stop()


async def test_a_class_is_no_plan() -> None:
    with pytest.raises(StartFailed, match=r"is no plan for a child: give `Worker\.child") as failed:
        await Supervisor.start_link([Worker])
    assert isinstance(failed.value.__cause__, ConfigError)
