"""The processes of a node as data: true, complete within its bounds, and harmless to those it tells about."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque

import msgspec
import pytest

from roost.errors import NotLocal, ProcessDown
from roost.limits import LISTED_MAX, STATE_OBJECTS_SIZED_MAX, TREE_DEPTH_MAX
from roost.otp import Child, GenServer, Scheduler, Supervisor, call, cast, remote_handle
from roost.otp.process_info import (
    ProcessInfo,
    ProcessNode,
    ProcessTree,
    find_process,
    process_info,
    process_tree,
    walk,
)
from roost.runtime import Runtime


class Worker(GenServer):
    """A process that can be caught in the act."""

    def init(self, data: object = None) -> None:
        self.data = data
        self.gate, self.began = asyncio.Event(), asyncio.Event()

    @call
    def look(self) -> ProcessInfo:
        return process_info(self.handle)

    @call
    async def look_slowly(self) -> ProcessInfo:
        return process_info(self.handle)

    @call
    async def wait(self) -> None:
        self.began.set()
        await self.pause()

    async def pause(self) -> None:
        await self.gate.wait()

    @call
    async def ask(self, other: Worker) -> None:
        self.began.set()
        await other.wait()

    @cast
    def note(self) -> None:
        pass

    @call
    def tie(self, other: Worker) -> None:
        self.link(other)
        self.monitor(other)
        self.trap_exits()
        self.send_after(3600.0, "late")
        self.activity(self.pause(), "background")

    @call
    async def have_child(self) -> Worker:
        return await Worker.start_link()

    @call
    def let_go(self, child: Worker) -> None:
        self.unlink(child)

    async def terminate(self, reason: object) -> None:
        self.began.set()
        await self.gate.wait()


def state(worker: Worker) -> Worker:
    """The inside of a process."""
    server = worker._process.server
    assert isinstance(server, Worker)
    return server


async def began(worker: Worker) -> None:
    """The handler that waits is there."""
    await state(worker).began.wait()


async def end(*workers: Worker) -> None:
    for worker in workers:
        worker.exit("kill")
        await worker.down()
    await asyncio.sleep(0)  # for what ran beside their mailboxes


async def test_an_idle_process() -> None:
    worker = await Worker.start(name="idler")
    info = process_info(worker)
    assert (info.kind, info.name, info.pid, info.node) == ("Worker", "idler", worker._process.pid, "local")
    assert (info.status, info.handler, info.place, info.mailbox) == ("idle", None, None, 0)
    assert (info.links, info.monitors, info.watchers, info.activities) == ((), (), 0, ())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(info), type=ProcessInfo) == info
    await end(worker)


@pytest.mark.parametrize("slowly", [False, True])
async def test_a_running_process_with_its_handler(slowly: bool) -> None:
    worker = await Worker.start()
    info = await (worker.look_slowly() if slowly else worker.look())
    assert (info.status, info.handler) == ("running", "Worker.look_slowly" if slowly else "Worker.look")
    assert info.place is not None
    file, _, line = info.place.partition(":")
    assert file == "test_process_info.py"
    spec = Worker.__calls__["look_slowly" if slowly else "look"]
    assert int(line) == inspect.unwrap(spec.function).__code__.co_firstlineno + 2
    await end(worker)


async def test_a_waiting_process_and_whom_it_waits_for() -> None:
    worker, other = await Worker.start(name="asker"), await Worker.start(name="asked")
    asking = asyncio.ensure_future(worker.ask(other))
    await began(other)
    worker.note()
    asker, asked = process_info(worker), process_info(other)
    assert (asker.status, asker.handler, asker.waits_for, asker.mailbox) == (
        "waiting",
        "Worker.ask",
        ("Worker 'asked'",),
        1,
    )
    assert (asked.status, asked.handler, asked.waits_for) == ("waiting", "Worker.wait", ())
    assert asked.place is not None
    assert asked.place == f"test_process_info.py:{Worker.pause.__code__.co_firstlineno + 1}"
    state(other).gate.set()
    await asking
    await end(worker, other)


async def test_mail_that_waits_for_its_turn() -> None:
    worker = await Worker.start()
    worker.note()
    worker.note()
    info = process_info(worker)
    assert (info.status, info.mailbox) == ("ready", 2)
    await end(worker)


async def test_a_suspended_process() -> None:
    worker = await Worker.start()
    await worker._process.suspend()
    worker.note()
    info = process_info(worker)
    assert (info.status, info.mailbox) == ("suspended", 1)
    worker._process.resume()
    assert process_info(worker).status == "ready"
    await end(worker)


async def test_a_process_that_cleans_up() -> None:
    worker = await Worker.start()
    stopping = asyncio.ensure_future(worker.stop())
    await began(worker)
    info = process_info(worker)
    assert (info.status, info.handler) == ("ending", "Worker.terminate")
    state(worker).gate.set()
    await stopping


async def test_ties() -> None:
    worker, other = await Worker.start(name="a"), await Worker.start(name="b")
    await worker.tie(other)
    info, others = process_info(worker), process_info(other)
    assert (info.links, info.link_count) == (("Worker 'b'",), 1)
    assert (info.monitors, info.monitor_count) == (("Worker 'b'",), 1)
    assert (info.trapping, info.timers, info.activities) == (True, 1, ("background",))
    assert (others.links, others.watchers, others.trapping) == (("Worker 'a'",), 1, False)
    await end(worker, other)


async def test_many_ties_are_counted_but_not_all_named() -> None:
    worker = await Worker.start()
    children = [await worker.have_child() for _ in range(LISTED_MAX + 5)]
    info = process_info(worker)
    assert (len(info.links), info.link_count) == (LISTED_MAX, LISTED_MAX + 5)
    await end(worker)
    assert not any(child.is_alive() for child in children)


async def test_memory_is_what_the_state_holds() -> None:
    small, large = await Worker.start("x"), await Worker.start(["x" * 1000, {"k": deque([b"y" * 500, 1.5])}])
    some, more = process_info(small).memory, process_info(large).memory
    assert some is not None
    assert more is not None
    assert some.complete
    assert more.complete
    assert 1_500 < more.bytes - some.bytes < 3_000


async def test_what_is_counted_is_bounded_and_cycles_end() -> None:
    cycle: list[object] = [*range(1000, 1000 + 2 * STATE_OBJECTS_SIZED_MAX)]
    worker = await Worker.start()
    state(worker).data = cycle
    cycle.insert(0, cycle)
    memory = process_info(worker).memory
    assert memory is not None
    assert (memory.objects, memory.complete) == (STATE_OBJECTS_SIZED_MAX, False)


async def test_looking_does_not_slow_a_process_down() -> None:
    worker = await Worker.start()
    process_info(worker)
    assert worker._process.open


async def test_who_has_ended_and_who_lives_elsewhere_are_not_told_of() -> None:
    worker = await Worker.start()
    await end(worker)
    with pytest.raises(ProcessDown, match="killed"):
        process_info(worker)
    far = remote_handle(Worker, "idler", "b@127.0.0.1", None)  # type: ignore[arg-type]  # nothing is asked of it
    with pytest.raises(NotLocal, match=r"Worker 'idler' at b@127.0.0.1"):
        process_info(far)


def leaf(name: str) -> Child:
    """A child that does nothing."""
    return Supervisor.child(name=name, id=name)


def outline(tree: ProcessTree) -> list[str]:
    """A tree as lines."""
    return [f"{'  ' * depth}{node.info.name or node.info.kind}" for depth, node in walk(tree.roots)]


async def test_the_tree_is_who_started_whom() -> None:
    scheduler = Scheduler(Runtime.real(), "a")
    with scheduler.entered():
        inner = Supervisor.child([leaf("deep")], id="inner", name="inner")
        root = await Supervisor.start([leaf("one"), inner, leaf("two")], name="root")
        alone = await Supervisor.start(name="alone")
        tree = process_tree(scheduler)
        assert outline(tree) == ["root", "  one", "  inner", "    deep", "  two", "alone"]
        assert (tree.node, tree.count, tree.omitted) == ("a", 6, 0)
        deep = tree.roots[0].children[1].children[0].info
        assert deep.ancestors == ("Supervisor 'inner'", "Supervisor 'root'")
        assert deep.links == ("Supervisor 'inner'",)
        assert deep.memory is None
        assert msgspec.json.decode(msgspec.json.encode(tree), type=ProcessTree) == tree
        await root.stop()
        await alone.stop()


async def test_the_child_of_the_dead_is_a_root() -> None:
    scheduler = Scheduler(Runtime.real(), "a")
    with scheduler.entered():
        parent = await Worker.start(name="parent")
        child = await parent.have_child()
        await parent.let_go(child)
        await end(parent)
        assert [node.info.pid for node in process_tree(scheduler).roots] == [child._process.pid]
        await end(child)


async def test_a_large_tree_says_what_it_leaves_out() -> None:
    scheduler = Scheduler(Runtime.real(), "a")
    with scheduler.entered():
        parents = [await Worker.start(name=f"p{number}") for number in range(3)]
        for parent in parents:
            for _ in range(4):
                await parent.have_child()
        few = process_tree(scheduler, children_max=2)
        assert (len(few.roots), few.omitted, [node.omitted for node in few.roots]) == (2, 1, [2, 2])
        tight = process_tree(scheduler, processes_max=5)
        assert [(len(node.children), node.omitted) for node in tight.roots] == [(2, 2), (0, 4), (0, 4)]
        assert tight.count == 15
        await end(*parents)


async def test_a_deep_tree_is_cut_and_nothing_recurses() -> None:
    scheduler = Scheduler(Runtime.real(), "a")
    with scheduler.entered():
        first = last = await Worker.start()
        for _ in range(2_000):
            last = await last.have_child()
        tree = process_tree(scheduler)
        depths = [depth for depth, _ in walk(tree.roots)]
        assert depths == list(range(TREE_DEPTH_MAX))
        deepest: ProcessNode = [node for _, node in walk(tree.roots)][-1]
        assert deepest.omitted == 1
        await end(first)


async def test_a_process_is_found_by_name_or_number() -> None:
    scheduler = Scheduler(Runtime.real(), "a")
    with scheduler.entered():
        one, two = await Worker.start(name="hits"), await Worker.start(name="1")
        assert find_process(scheduler, "hits") is one._process
        assert find_process(scheduler, "1") is two._process
        assert find_process(scheduler, "#1") is one._process
        assert find_process(scheduler, "2") is two._process
        assert [find_process(scheduler, text) for text in ("9", "#", "", "²", "-1", "hit", "9" * 5_000)] == [None] * 7
        await end(one, two)
