"""Exit signals, links, monitors and call cycles: the table of OTP, line by line."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from roost.errors import CallCycle, ProcessDown, StartFailed
from roost.otp import Down, Exit, GenServer, Reason, Scheduler, call, cast, info


class Node(GenServer):
    """One of several processes that are tied together."""

    def init(self, trapping: bool = False) -> None:
        self.trap_exits(trapping)
        self.heard: list[Exit | Down] = []
        self.gate, self.entered = asyncio.Event(), asyncio.Event()

    @call
    async def start_linked(self, trapping: bool = False) -> Node:
        return await Node.start_link(trapping)

    @call
    def link_to(self, other: Node) -> None:
        self.link(other)

    @call
    def unlink_from(self, other: Node) -> None:
        self.unlink(other)

    @call
    def watch(self, other: Node) -> None:
        self.watching = self.monitor(other)

    @call
    def unwatch(self) -> None:
        self.watching.cancel()

    @call
    def end(self, reason: str) -> None:
        self.exit(reason)

    @call
    def crash(self) -> None:
        raise ValueError("bug")

    @call
    async def block(self) -> None:
        self.entered.set()
        await self.gate.wait()

    @call
    async def ask(self, *others: Node) -> None:
        if others:
            await others[0].ask(*others[1:])

    @call
    async def ask_twice(self, one: Node, other: Node) -> None:
        await asyncio.gather(one.block(), other.ask(one))

    @call
    def poke(self, other: Node) -> None:
        other.note()

    @call
    async def cancel_itself(self) -> None:
        raise asyncio.CancelledError

    @call
    async def fail_at_the_end(self) -> None:
        self.entered.set()
        try:
            await self.gate.wait()
        finally:
            raise ValueError("in finally")

    @call
    async def ask_and_go(self, other: Node) -> None:
        self.unanswered = other.block()

    @call
    async def start_asking(self) -> str:
        try:
            await Asking.start_link(self.handle)
        except StartFailed as error:
            return type(error.__cause__).__name__
        return "it lives"

    @call
    async def stop_other(self, other: Node) -> None:
        await other.stop()

    @call
    async def start_failing(self) -> str:
        try:
            await Stillborn.start_link()
        except StartFailed as error:
            return str(error)
        return "it lives"

    @call
    async def ask_self(self) -> None:
        await self.handle.told()

    @cast
    def note(self) -> None:
        self.heard.append(Exit(self.handle, "note"))

    @call
    def told(self) -> list[str]:
        return [f"{type(item).__name__} {item.process!r} {item.reason}" for item in self.heard]

    @info
    def exited(self, exit: Exit) -> None:
        self.heard.append(exit)

    @info
    def went_down(self, down: Down) -> None:
        self.heard.append(down)

    def terminate(self, reason: Reason) -> None:
        TERMINATED.append((self.handle, str(reason)))


class Asking(GenServer):
    async def init(self, parent: Node) -> None:
        await parent.told()


class Stillborn(GenServer):
    def init(self) -> None:
        raise OSError("no disk")


TERMINATED: list[tuple[Node, str]] = []


@pytest.fixture(autouse=True)
def _nothing_terminated() -> None:
    TERMINATED.clear()


def inside(node: Node) -> Node:
    """The state itself, which nobody but a test may see."""
    server = node._process.server
    assert isinstance(server, Node)
    return server


async def linked(trapping: bool) -> tuple[Node, Node]:
    """Two processes that are linked, neither the parent of the other; the second traps or not."""
    one, other = await Node.start(), await Node.start(trapping)
    await one.link_to(other)
    return one, other


@pytest.mark.parametrize(
    ("reason", "dies_with", "message"),
    [
        ("normal", None, None),
        ("shutdown", "shutdown", "shutdown"),
        ("shutdown:moved", "shutdown:moved", "shutdown:moved"),
        ("bored", "bored", "bored"),
        ("kill", "killed", "killed"),
    ],
)
async def test_an_exit_signal_from_anybody(reason: str, dies_with: str | None, message: str | None) -> None:
    """exit(p, reason): a process that does not trap dies with it, except with "normal"; kill cannot be trapped."""
    plain, trapper = await Node.start(), await Node.start(trapping=True)
    plain_down, trapper_down = plain.down(), trapper.down()
    plain.exit(reason)
    trapper.exit(reason)
    assert plain_down.done() == (dies_with is not None)
    if dies_with is not None:
        assert (await plain_down).reason == dies_with
    if reason == "kill":
        assert (await trapper_down).reason == "killed"
    else:
        assert await trapper.told() == [f"Exit {trapper!r} {reason}"]
    assert TERMINATED == [], "terminate does not run on an exit signal"


async def test_even_normal_ends_the_process_that_says_it_to_itself() -> None:
    class Own(GenServer):
        @call
        def end(self) -> None:
            self.handle.exit("normal")

        @call
        async def end_async(self) -> None:
            self.handle.exit("normal")
            await asyncio.Event().wait()

    for method in ("end", "end_async"):
        own = await Own.start()
        down = own.down()
        asked = asyncio.ensure_future(getattr(own, method)())
        assert (await down).reason == "normal"
        await asyncio.wait([asked])
        assert asked.exception() is None or isinstance(asked.exception(), ProcessDown)


@pytest.mark.parametrize("reason", ["normal", "shutdown", "bored", "kill"])
async def test_a_linked_process_that_ends(reason: str) -> None:
    """Over a link even "kill" can be trapped: it is an ordinary word there."""
    for trapping in (False, True):
        one, other = await linked(trapping)
        down, other_down = one.down(), other.down()
        await one.end(reason)
        assert (await down).reason == reason
        if trapping:
            assert await other.told() == [f"Exit {one!r} {reason}"]
        elif reason == "normal":
            assert await other.told() == []
        else:
            assert (await other_down).reason == reason


async def test_others_see_killed_when_a_linked_process_was_killed() -> None:
    for trapping in (False, True):
        one, other = await linked(trapping)
        down = other.down()
        one.exit("kill")
        if trapping:
            assert await other.told() == [f"Exit {one!r} killed"]
        else:
            assert (await down).reason == "killed"


async def test_a_crash_takes_the_linked_ones_with_it_and_they_share_the_reason() -> None:
    one, other = await linked(trapping=False)
    third = await Node.start()
    await other.link_to(third)
    down = third.down()
    with pytest.raises(ProcessDown):
        await one.crash()
    assert isinstance((await down).reason, ValueError)
    assert [(one, "bug")] == TERMINATED, "terminate runs where the exception was, and nowhere else"


async def test_unlink_unties() -> None:
    one, other = await linked(trapping=False)
    await other.unlink_from(one)
    one.exit("bored")
    assert other.is_alive()
    assert await other.told() == []


async def test_a_link_to_the_dead_is_noproc() -> None:
    dead = await Node.start()
    await dead.stop()
    trapper, plain = await Node.start(trapping=True), await Node.start()
    down = plain.down()
    await trapper.link_to(dead)
    await plain.link_to(dead)
    assert await trapper.told() == [f"Exit {dead!r} noproc"]
    assert (await down).reason == "noproc"


async def test_a_monitor_delivers_one_down_and_ties_nothing() -> None:
    watcher, target = await Node.start(), await Node.start()
    await watcher.watch(target)
    target.exit("bored")
    assert await watcher.told() == [f"Down {target!r} bored"]
    await watcher.watch(target)
    assert await watcher.told() == [f"Down {target!r} bored", f"Down {target!r} noproc"]


async def test_a_cancelled_monitor_is_silent_and_a_dead_watcher_leaves_no_trace() -> None:
    watcher, target = await Node.start(), await Node.start()
    await watcher.watch(target)
    await watcher.unwatch()
    target_ties = target._process.ties
    assert target_ties is not None
    assert not target_ties.monitors
    await watcher.watch(target)
    watcher.exit("kill")
    assert not target_ties.monitors


async def test_the_exit_of_the_parent_ends_a_trapping_process_through_terminate() -> None:
    parent = await Node.start()
    child, stubborn = await parent.start_linked(), await parent.start_linked(trapping=True)
    downs = child.down(), stubborn.down()
    await parent.end("shutdown")
    assert [down.reason for down in await asyncio.gather(*downs)] == ["shutdown", "shutdown"]
    assert [(parent, "shutdown"), (stubborn, "shutdown")] == TERMINATED


async def test_an_exit_signal_cancels_an_async_handler_and_its_caller_hears_of_it() -> None:
    node = await Node.start()
    blocked = asyncio.ensure_future(node.block())
    behind = asyncio.ensure_future(node.told())
    await inside(node).entered.wait()
    node.exit("bored")
    for reply in (blocked, behind):
        with pytest.raises(ProcessDown, match="bored"):
            await reply
    assert not node.is_alive()
    assert TERMINATED == []


async def test_a_handler_that_ends_itself_and_its_parent_dies_once() -> None:
    one, other = await linked(trapping=False)
    blocked = asyncio.ensure_future(other.block())
    await inside(other).entered.wait()
    one.exit("first")
    other.exit("second")
    with pytest.raises(ProcessDown, match="first"):
        await blocked


async def test_nothing_of_the_dead_is_kept() -> None:
    one, other = await linked(trapping=True)
    await other.watch(one)
    one.exit("bored")
    await other.told()
    ties = other._process.ties
    assert ties is not None
    assert not ties.links
    assert not ties.monitoring
    other.exit("kill")
    assert not Scheduler.current().processes


async def test_a_call_to_itself_is_a_cycle() -> None:
    node = await Node.start(trapping=True)
    with pytest.raises(CallCycle, match=r"Node #\d+ -> Node #\d+"):
        await node.ask_self()
    assert node.is_alive(), "a refusal does not end the process"


async def test_a_circle_of_calls_is_found_at_once() -> None:
    a, b, c = await Node.start(name="a"), await Node.start(name="b"), await Node.start(name="c")
    with pytest.raises(CallCycle) as cycle:
        await a.with_timeout(None).ask(b, c, a)
    assert cycle.value.path == ("Node 'c'", "Node 'a'", "Node 'b'", "Node 'c'")
    await a.ask(b, c)
    await c.ask(b, a)


async def test_a_wait_for_someone_who_waits_for_another_is_no_cycle() -> None:
    a, b = await Node.start(), await Node.start()
    blocked = asyncio.ensure_future(b.block())
    asking = asyncio.ensure_future(a.ask(b))
    await inside(b).entered.wait()
    inside(b).gate.set()
    await asyncio.gather(blocked, asking)


async def test_a_cycle_through_one_of_several_calls_is_found() -> None:
    a, b, c = await Node.start(), await Node.start(), await Node.start()
    asking = asyncio.ensure_future(a.ask_twice(b, c))
    await inside(b).entered.wait()
    with pytest.raises(CallCycle):
        await _ask_from(b, a)
    inside(b).gate.set()
    await asking


async def _ask_from(asking: Node, asked: Node) -> None:
    """Ask `asked` as the running async handler of `asking` would."""
    process = asking._process
    task = process.scheduler.spawn(_ask(asked), process, handling=True)
    await task


async def _ask(asked: Node) -> None:
    await asked.told()


async def test_a_sync_handler_sends_through_the_mailbox_so_calls_never_nest() -> None:
    one, other = await Node.start(), await Node.start()
    await one.poke(other)
    assert len(await other.told()) == 1
    await one.poke(one)
    assert len(await one.told()) == 1


async def test_a_call_that_nobody_awaits_is_no_wait() -> None:
    a, b = await Node.start(), await Node.start()
    await a.ask_and_go(b)
    await inside(b).entered.wait()
    slow = asyncio.ensure_future(a.block())
    await inside(a).entered.wait()
    asking_back = asyncio.ensure_future(_ask_from(b, a))
    await asyncio.sleep(0)
    inside(a).gate.set()
    await asyncio.gather(slow, asking_back)
    inside(b).gate.set()
    await b.told()


async def test_a_start_that_fails_is_an_exception_and_no_signal_as_well() -> None:
    node = await Node.start(trapping=True)
    assert "did not start: OSError: no disk" in await node.start_failing()
    assert await node.told() == []
    assert node._process.ties is not None
    assert not node._process.ties.links


async def test_a_long_chain_of_links_ends_to_the_last() -> None:
    chain = [await Node.start() for _ in range(600)]
    for one, other in pairwise(chain):
        await one.link_to(other)
    down = chain[-1].down()
    chain[0].exit("bored")
    assert (await down).reason == "bored"
    assert not Scheduler.current().processes


async def test_a_handler_that_is_cancelled_from_inside_has_crashed(caplog: pytest.LogCaptureFixture) -> None:
    node = await Node.start()
    with pytest.raises(ProcessDown, match="CancelledError"):
        await node.cancel_itself()
    assert "crashed in cancel_itself()" in caplog.text
    await asyncio.sleep(0)


async def test_a_handler_whose_task_is_cancelled_from_outside_is_killed() -> None:
    node = await Node.start()
    blocked = asyncio.ensure_future(node.block())
    await inside(node).entered.wait()
    task = node._process.task
    assert task is not None
    task.cancel()
    with pytest.raises(ProcessDown, match="killed"):
        await blocked
    assert task.cancelled()


async def test_what_a_cancelled_handler_raises_at_its_end_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    node = await Node.start()
    failing = asyncio.ensure_future(node.fail_at_the_end())
    await inside(node).entered.wait()
    node.exit("bored")
    with pytest.raises(ProcessDown, match="bored"):
        await failing
    assert "crashed in the end of fail_at_the_end: ValueError: in finally" in caplog.text


async def test_an_init_that_asks_who_waits_for_it_is_a_cycle() -> None:
    node = await Node.start()
    assert await node.start_asking() == "CallCycle"


async def test_stopping_who_waits_for_the_one_that_stops_it_is_a_cycle() -> None:
    a, b = await Node.start(), await Node.start()
    blocked = asyncio.ensure_future(b.block())
    await inside(b).entered.wait()
    stopping = asyncio.ensure_future(a.stop_other(b))
    await asyncio.sleep(0)
    while not (a._process.ties and a._process.ties.waits):  # noqa: ASYNC110  # until it waits
        await asyncio.sleep(0)
    with pytest.raises(CallCycle):
        await _ask_from(b, a)
    inside(b).gate.set()
    await asyncio.gather(blocked, stopping)
    assert not b.is_alive()
    with pytest.raises(CallCycle):
        await a.stop_other(a)


async def test_a_link_to_itself_is_nothing() -> None:
    node = await Node.start()
    await node.link_to(node)
    assert node._process.ties is None or not node._process.ties.links
