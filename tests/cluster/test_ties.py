"""Processes of two nodes that are tied: whoever ends, whoever is lost, each hears of it exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from roost import limits
from roost.cluster.node import Node
from roost.cluster.process_service import ProcessService
from roost.cluster.ties import SERVICE, RemoteTies
from roost.errors import BadMessage, NodeDown, Overloaded, ProcessDown, Refusal
from roost.otp import Down, Exit, GenServer, call, cast, info, remote_handle
from tests.cluster.flock import Flock, flock

A, B = "a@127.0.0.1", "b@127.0.0.1"


class Bankrupt(Refusal):
    """A declared reason of an end."""

    def __init__(self, owed: int) -> None:
        super().__init__(owed)
        self.owed = owed


class Worker(GenServer):
    """A process that others watch."""

    def init(self) -> None:
        self.heard: list[str] = []

    @call
    def me(self) -> Worker:
        return self.handle

    @call
    def hears(self) -> list[str]:
        return self.heard

    @cast
    def hear(self, word: str) -> None:
        self.heard.append(word)

    @call
    def tell(self, other: Worker, word: str) -> str:
        other.hear(word)
        return repr(other)

    @cast
    def fail(self) -> None:
        raise RuntimeError("on fire")

    @cast
    def break_up(self) -> None:
        raise Bankrupt(7)

    @cast
    def say_and_end(self, to: Watcher, words: int) -> None:
        for number in range(words):
            to.note(f"word {number}")
        self.exit("done")


class Watcher(GenServer):
    """A process that watches others, and writes down what it hears."""

    def init(self, trapping: bool = True) -> None:
        self.news: list[object] = []
        self.changed = asyncio.Event()
        self.trap_exits(trapping)
        self.monitors: list[object] = []

    @info
    def has_ended(self, message: Down) -> None:
        self._note(("down", repr(message.process), message.reason))

    @info
    def linked_ended(self, message: Exit) -> None:
        self._note(("exit", repr(message.process), message.reason))

    @cast
    def note(self, word: str) -> None:
        self._note(word)

    def _note(self, item: object) -> None:
        self.news.append(item)
        self.changed.set()


def inside(handle: GenServer) -> Watcher:
    server = handle._process.server
    assert isinstance(server, Watcher)
    return server


def reasons(news: list[object]) -> list[type]:
    """Of what classes the reasons are that a watcher has heard."""
    return [type(item[2]) for item in news if isinstance(item, tuple)]


class Pair:
    """Two nodes, a watcher on the first, a worker on the second."""

    def __init__(self, story: Flock, watcher: Watcher, worker: Worker) -> None:
        self.story, self.watcher, self.worker = story, watcher, worker
        with story["a"].entered():
            self.far = Worker.whereis("worker", node=B)

    def news(self) -> list[object]:
        return inside(self.watcher).news

    async def heard(self, count: int) -> list[object]:
        """What the watcher has heard, once it is so much."""
        await self.story.until(lambda: len(self.news()) >= count)
        return self.news()

    def leftovers(self) -> list[object]:
        """Everything that two nodes still keep about ties, of the kernel and of the service."""
        found: list[object] = []
        for node in self.story.nodes.values():
            for peer in ties(node)._peers.values():
                found += [*peer.watches.values(), *peer.watched.values(), *peer.away]
        for process in (self.watcher._process, self.worker._process):
            if process.ties is not None:
                found += [*process.ties.links, *process.ties.monitors, *process.ties.monitoring]
        return found


def ties(node: Node) -> RemoteTies:
    transport = node.scheduler.transport
    assert isinstance(transport, ProcessService)
    return transport._ties


@asynccontextmanager
async def pair(trapping: bool = True) -> AsyncIterator[Pair]:
    async with flock("a", "b", setup=lambda node: None) as story:
        with story["a"].entered():
            watcher = await Watcher.start(trapping)
        with story["b"].entered():
            worker = await Worker.start(name="worker")
        yield Pair(story, watcher, worker)


ENDS: list[tuple[Callable[[Pair], None], object]] = [
    (lambda two: two.worker.exit("enough"), "enough"),
    (lambda two: two.worker.exit("kill"), "killed"),
    (lambda two: two.far.exit("from afar"), "from afar"),
    (lambda two: two.far.fail(), "RuntimeError: on fire"),
]


@pytest.mark.parametrize("number", range(len(ENDS)))
@pytest.mark.parametrize("way", ["monitor", "link"])
async def test_an_end_is_told_once_with_its_reason(number: int, way: str) -> None:
    end, reason = ENDS[number]
    async with pair() as two:
        me = inside(two.watcher)
        me.monitor(two.far) if way == "monitor" else me.link(two.far)
        await two.far.hears()  # the tie has arrived: links keep their order
        end(two)
        kind = "down" if way == "monitor" else "exit"
        assert await two.heard(1) == [(kind, "<Worker 'worker' at b@127.0.0.1>", reason)]
        with two.story["b"].entered():
            await Worker.start(name="worker")
        await two.far.hears()
        assert len(two.news()) == 1
        assert two.leftovers() == []


async def test_a_declared_error_is_a_reason_that_crosses() -> None:
    async with pair() as two:
        inside(two.watcher).monitor(two.far)
        await two.far.hears()
        two.worker.exit(Bankrupt(7))
        [told] = await two.heard(1)
        assert isinstance(told, tuple)
        reason = told[2]
        assert isinstance(reason, Bankrupt)
        assert reason.owed == 7


async def test_nobody_is_there() -> None:
    async with pair() as two:
        with two.story["a"].entered():
            nobody = Worker.whereis("nobody", node=B)
            stranger = Worker.whereis("worker", node="c@127.0.0.1")
        me = inside(two.watcher)
        me.monitor(nobody)
        me.link(nobody)
        await two.heard(2)
        assert sorted(str(item) for item in two.news()) == [
            "('down', \"<Worker 'nobody' at b@127.0.0.1>\", 'noproc')",
            "('exit', \"<Worker 'nobody' at b@127.0.0.1>\", 'noproc')",
        ]
        me.monitor(stranger)
        me.link(stranger)
        assert reasons(await two.heard(4))[2:] == [NodeDown, NodeDown]
        assert two.leftovers() == []


async def test_a_link_kills_whoever_does_not_trap_exits() -> None:
    async with pair(trapping=False) as two:
        inside(two.watcher).link(two.far)
        await two.far.hears()
        down = two.watcher.down()
        two.worker.exit("enough")
        assert (await down).reason == "enough"
        assert two.leftovers() == []


async def test_a_link_works_in_the_other_direction() -> None:
    async with pair() as two:
        inside(two.watcher).link(two.far)
        await two.far.hears()
        down = two.worker.down()
        two.watcher.exit("kill")
        assert (await down).reason == "killed"
        assert two.leftovers() == []


async def test_a_normal_end_ends_no_other() -> None:
    async with pair(trapping=False) as two:
        inside(two.watcher).link(two.far)
        await two.far.hears()
        await two.far.stop()
        with two.story["b"].entered():
            await Worker.start(name="worker")
        await two.far.hears()
        assert two.watcher.is_alive()
        assert two.leftovers() == []


async def test_what_is_untied_leaves_nothing_and_says_nothing() -> None:
    async with pair() as two:
        me = inside(two.watcher)
        monitor = me.monitor(two.far)
        me.link(two.far)
        me.link(two.far)
        await two.far.hears()
        assert len(two.leftovers()) > 4
        monitor.cancel()
        me.unlink(two.far)
        await two.far.hears()
        assert two.leftovers() == []
        two.worker.exit("enough")
        with pytest.raises(Refusal):
            await two.far.hears()
        assert two.news() == []


async def test_a_watcher_that_ends_leaves_nothing() -> None:
    async with pair() as two:
        me = inside(two.watcher)
        me.monitor(two.far)
        await two.far.hears()
        two.watcher.exit("kill")
        await two.far.hears()
        assert two.leftovers() == []
        assert two.worker.is_alive()


async def test_a_lost_node_is_told_at_once_and_nothing_old_fires_when_it_is_back() -> None:
    async with pair() as two:
        me = inside(two.watcher)
        me.monitor(two.far)
        me.link(two.far)
        down = two.far.down()
        await two.far.hears()
        theirs = two.worker.down()
        two.story["b"].fabric._peers[A].hang_up("cut", abort=True)
        news = await two.heard(2)
        assert reasons(news) == [NodeDown, NodeDown]
        assert isinstance((await down).reason, NodeDown)
        assert isinstance((await theirs).reason, NodeDown), "a link has two sides"
        await two.story.meet()
        with two.story["b"].entered():
            await Worker.start(name="worker")
        await two.far.hears()
        assert len(two.news()) == 2
        assert two.leftovers() == []


async def test_a_signal_comes_after_what_was_said_before_it() -> None:
    async with pair() as two:
        inside(two.watcher).link(two.far)
        two.far.say_and_end(two.watcher, 50)
        news = await two.heard(51)
        assert news[:50] == [f"word {number}" for number in range(50)]
        assert news[50] == ("exit", "<Worker 'worker' at b@127.0.0.1>", "done")


async def test_a_handle_crosses_and_is_at_home_again_where_it_comes_from() -> None:
    async with pair() as two:
        there = await two.far.me()
        assert repr(there) == f"<Worker #{two.worker.pid} at b@127.0.0.1>"
        there.hear("of a number")
        assert await there.hears() == ["of a number"]
        with two.story["a"].entered():
            here = await Worker.start()
        assert await there.tell(here, "from b") == f"<Worker #{here.pid} at a@127.0.0.1>"
        assert await there.tell(there, "to itself") == repr(two.worker)
        await two.story.until(lambda: bool(vars(here._process.server)["heard"]))
        inside(two.watcher).monitor(there)
        await there.stop("over")
        assert await two.heard(1) == [("down", repr(there), "over")]
        for handle in (there, there.with_timeout(1.0)):
            with pytest.raises(ProcessDown, match="noproc"):
                await handle.hears()


async def test_a_handle_of_another_class_is_refused() -> None:
    async with pair() as two:
        with two.story["b"].entered():
            other = await Watcher.start()
        transport = two.story["a"].scheduler.transport
        assert transport is not None
        far = remote_handle(Watcher, other.pid, B, transport, two.story["b"].fabric.incarnation)
        with pytest.raises(BadMessage, match="is no Worker"):
            await two.far.tell(far, "wrong")  # type: ignore[arg-type]  # the mistake under test


async def test_a_number_of_an_earlier_boot_is_dead() -> None:
    async with pair() as two:
        there = await two.far.me()
        await two.story.stop("b")
        with pytest.raises(NodeDown):
            await there.hears()
        await two.story.start("b")
        await two.story.meet()
        with two.story["b"].entered():
            while two.story["b"].scheduler._pids < two.worker.pid:
                await Worker.start()
        with pytest.raises(ProcessDown, match="noproc"):
            await there.hears()
        there.hear("nothing")
        inside(two.watcher).monitor(there)
        assert await two.heard(1) == [("down", repr(there), "noproc")]


async def test_ties_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.cluster.ties.REMOTE_TIES_MAX", 2)
    async with pair() as two:
        me = inside(two.watcher)
        me.monitor(two.far)
        me.monitor(two.far)
        with pytest.raises(Overloaded):
            me.monitor(two.far)
        with pytest.raises(Overloaded):
            me.link(two.far)
    assert limits.REMOTE_TIES_MAX > 2


async def test_nonsense_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as two:
        two.story["a"].fabric.cast(B, SERVICE, msgspec.msgpack.encode([99]))
        with pytest.raises(BadMessage):
            await two.story["a"].fabric.call(B, SERVICE, b"\xc0")
        assert "no tie" in caplog.text
        assert await two.far.hears() == []


async def test_what_a_peer_that_does_not_keep_up_has_not_taken_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair() as two:
        fabric, choked = two.story["b"].fabric, [True]
        send_now = fabric.cast

        def send_later(peer: str, service: str, body: bytes) -> None:
            if choked[0]:
                raise Overloaded("the link", 0.1)
            send_now(peer, service, body)

        monkeypatch.setattr(fabric, "cast", send_later)
        inside(two.watcher).monitor(two.far)
        inside(two.watcher).link(two.far)
        await two.far.hears()
        two.worker.exit("enough")
        assert ties(two.story["b"])._courier.waiting(A) == 2
        choked[0] = False
        assert len(await two.heard(2)) == 2
