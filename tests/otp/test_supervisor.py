"""Supervisors: order, restarts, giving up, and stopping what they started."""

from __future__ import annotations

import asyncio
import logging

import pytest

from roost.errors import ChildExists, ChildNotStarted, ConfigError, NoSuchChild, NoSuchProcess, ProcessDown, StartFailed
from roost.otp import Child, GenServer, Reason, Supervisor, call, cast

EVENTS: list[str] = []


@pytest.fixture(autouse=True)
def _no_events() -> None:
    EVENTS.clear()


class Worker(GenServer):
    def init(self, label: str, trapping: bool = True, faults: list[str] | None = None) -> None:
        EVENTS.append(f"start {label}")
        if faults is not None and FAULTS.get(label, 0) > 0:
            FAULTS[label] -= 1
            raise OSError("not now")
        self.label = label
        self.trap_exits(trapping)

    @call
    def crash(self) -> None:
        raise ValueError(f"{self.label} broke")

    @call
    def end(self, reason: str) -> None:
        self.exit(reason)

    @call
    async def hang(self) -> None:
        HANGING.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not HANGING.is_set():
                    raise

    @cast
    def quit(self, reason: str) -> None:
        self.exit(reason)

    def terminate(self, reason: Reason) -> None:
        EVENTS.append(f"stop {self.label}: {reason}")


FAULTS: dict[str, int] = {}
"""How often a worker of this label fails to start."""
HANGING = asyncio.Event()
"""Set while a worker hangs and does not let itself be cancelled."""


async def gone(handle: GenServer) -> Reason:
    """The reason with which it ended; returns when its supervisor has heard it too."""
    reason = (await handle.down()).reason
    await asyncio.sleep(0)
    return reason


async def restarted(supervisor: Supervisor, name: str, old: Worker) -> Worker:
    """The new process under a name."""
    await supervisor.which_children()
    new = Worker.whereis(name)
    assert new != old
    return new


async def test_children_start_in_order_and_stop_in_reverse() -> None:
    supervisor = await Supervisor.start_link([Worker.child(label, id=label) for label in "abc"])
    assert EVENTS == ["start a", "start b", "start c"]
    EVENTS.clear()
    await supervisor.stop()
    assert EVENTS == ["stop c: shutdown", "stop b: shutdown", "stop a: shutdown"]


async def test_a_child_that_does_not_start_takes_the_others_back() -> None:
    FAULTS["c"] = 1
    with pytest.raises(StartFailed, match="not now"):
        await Supervisor.start_link(
            [Worker.child("a", id="a"), Worker.child("b", id="b"), Worker.child("c", id="c", faults=[]), Worker.child("d")]
        )
    assert EVENTS == ["start a", "start b", "start c", "stop b: shutdown", "stop a: shutdown"]


async def test_two_children_of_one_id_are_refused() -> None:
    with pytest.raises(StartFailed) as failed:
        await Supervisor.start_link([Worker.child("a"), Worker.child("b")])
    assert isinstance(failed.value.__cause__, ConfigError)
    assert EVENTS == []


async def test_a_crashed_child_comes_back_at_once_and_only_it() -> None:
    supervisor = await Supervisor.start_link([Worker.child("a", name="a"), Worker.child("b", name="b")])
    a, b = Worker.whereis("a"), Worker.whereis("b")
    with pytest.raises(ProcessDown, match="a broke"):
        await a.crash()
    assert await restarted(supervisor, "a", a) != a
    assert Worker.whereis("b") == b
    assert EVENTS == ["start a", "start b", "stop a: a broke", "start a"]
    await supervisor.stop()


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
async def test_which_ends_are_answered_by_a_restart(restart: str, reason: str, again: bool, kept: bool) -> None:
    child = Worker.child("a", id="a", restart=restart)  # type: ignore[arg-type]  # one of the three words
    supervisor = await Supervisor.start_link([child])
    (state,) = await supervisor.which_children()
    worker = state.process
    assert isinstance(worker, Worker)
    down = worker.down()
    await worker.end(reason)
    await down
    states = await supervisor.which_children()
    assert [state.id for state in states] == (["a"] if kept else [])
    assert EVENTS.count("start a") == (2 if again else 1)
    if kept:
        assert (states[0].process is not None) == again
        assert states[0].process != worker
    await supervisor.stop()


async def test_too_many_restarts_end_the_supervisor(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = await Supervisor.start([Worker.child("a", name="a"), Worker.child("b", name="b")], max_restarts=1)
    down = supervisor.down()
    a = Worker.whereis("a")
    a.quit("bored")
    await gone(a)
    a = await restarted(supervisor, "a", a)
    a.quit("bored")
    assert (await down).reason == "shutdown"
    assert EVENTS[-1] == "stop b: shutdown"
    assert EVENTS.count("start a") == 2
    assert "gives up: more than 1 restarts in 5 s" in caplog.text


async def test_a_second_restart_in_a_row_waits_and_is_shown_as_absent_meanwhile() -> None:
    supervisor = await Supervisor.start([Worker.child("a", name="a")], max_restarts=10)
    first = Worker.whereis("a")
    first.quit("bored")
    await gone(first)
    second = await restarted(supervisor, "a", first)
    second.quit("bored")
    await gone(second)
    (state,) = await supervisor.which_children()
    assert state.process is None
    with pytest.raises(NoSuchProcess):
        Worker.whereis("a")
    await supervisor.stop()
    assert EVENTS.count("start a") == 2, "a pause that is running ends with the supervisor"


async def test_a_restart_that_fails_is_tried_again_after_a_pause() -> None:
    started = asyncio.Event()

    async def start() -> GenServer:
        worker = await Worker.start_link("a", name="a", faults=[])
        if EVENTS.count("start a") > 1:
            started.set()
        return worker

    supervisor = await Supervisor.start([Child("a", start)])
    FAULTS["a"] = 2
    Worker.whereis("a").quit("bored")
    await started.wait()
    assert EVENTS.count("start a") == 4
    assert Worker.whereis("a").is_alive()
    await supervisor.stop()


async def test_a_child_that_does_not_stop_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = await Supervisor.start([Worker.child("a", trapping=False, name="a", shutdown_s=0.01)])
    worker = Worker.whereis("a")
    down = worker.down()
    hanging = asyncio.ensure_future(worker.hang())
    await HANGING.wait()
    with caplog.at_level(logging.WARNING):
        await supervisor.stop()
    assert "it did not stop within 0.01 s" in caplog.text
    assert (await down).reason == "killed"
    with pytest.raises(ProcessDown, match="killed"):
        await hanging
    HANGING.clear()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
        await asyncio.wait([task])


async def test_a_supervisor_of_supervisors_stops_from_the_leaves() -> None:
    inner = Supervisor.child([Worker.child("a", id="a"), Worker.child("b", id="b")], id="inner")
    outer = await Supervisor.start([inner, Worker.child("c", id="c")])
    EVENTS.clear()
    await outer.stop()
    assert EVENTS == ["stop c: shutdown", "stop b: shutdown", "stop a: shutdown"]


async def test_a_supervisor_that_is_killed_leaves_nothing_behind() -> None:
    supervisor = await Supervisor.start([Worker.child("a", name="a"), Worker.child("b", False, name="b")])
    downs = [Worker.whereis(name).down() for name in "ab"]
    supervisor.exit("kill")
    assert [(await down).reason for down in downs] == ["killed", "killed"]


async def test_children_come_and_go_at_run_time() -> None:
    supervisor = await Supervisor.start([])
    worker = await supervisor.start_child(Worker.child("a", name="a"))
    assert worker == Worker.whereis("a")
    with pytest.raises(ChildExists, match="it is running"):
        await supervisor.start_child(Worker.child("other", id="a"))
    worker.exit("kill")
    worker = await restarted(supervisor, "a", worker)
    await supervisor.terminate_child("a")
    assert not worker.is_alive()
    await supervisor.delete_child("a")
    with pytest.raises(NoSuchChild):
        await supervisor.terminate_child("a")
    FAULTS["b"] = 1
    with pytest.raises(ChildNotStarted, match="not now"):
        await supervisor.start_child(Worker.child("b", id="b", faults=[]))
    assert await supervisor.which_children() == ()
    await supervisor.stop()


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


async def test_a_child_that_is_taken_back_in_its_pause_does_not_come_back() -> None:
    supervisor = await Supervisor.start([Worker.child("a", name="a")], max_restarts=10)
    worker = Worker.whereis("a")
    worker.quit("bored")
    await gone(worker)
    worker = await restarted(supervisor, "a", worker)
    worker.quit("bored")
    await gone(worker)
    (state,) = await supervisor.which_children()
    assert state.process is None
    await supervisor.terminate_child("a")
    ties = supervisor._process.ties
    assert ties is not None
    assert not ties.timers
    await supervisor.stop()


def test_a_restart_that_means_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="'sometimes' is not one of permanent, transient, temporary"):
        Child("a", Supervisor.start, restart="sometimes")  # type: ignore[arg-type]  # what a plain script may write
