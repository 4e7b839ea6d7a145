"""Process groups over real nodes."""

from __future__ import annotations

import asyncio

import pytest

from roost.cluster import pg
from roost.cluster.process_group import SERVICE, GroupChanged
from roost.errors import BadMessage, NotLocal, Overloaded, ProcessDown
from roost.otp import GenServer, call, info
from tests.cluster.flock import Flock, flock

B = "b@127.0.0.1"


class Worker(GenServer):
    def init(self, *groups: str) -> None:
        for group in groups:
            pg.join(group, self.handle)

    @call
    def where(self) -> str:
        return self.scheduler.name


class Ear(GenServer):
    def init(self, group: str) -> None:
        self.news: list[tuple[int, int]] = []
        self.members, self.watch = pg.monitor(group, self.handle)

    @info
    def changed(self, message: GroupChanged) -> None:
        self.news.append((len(message.joined), len(message.left)))

    @call
    def heard(self) -> tuple[int, list[tuple[int, int]]]:
        return len(self.members), self.news

    @call
    def stop_watching(self) -> None:
        self.watch.cancel()


def nothing(node: object) -> None:
    """No setup."""


def counts(story: Flock, group: str = "g") -> list[int]:
    found = []
    for node in story.nodes.values():
        with node.entered():
            found.append(len(pg.members(group)))
    return found


async def test_members_of_all_nodes_are_found_and_called() -> None:
    async with flock("a", "b", "c", setup=nothing) as story:
        for letter in "abc":
            with story[letter].entered():
                await Worker.start("g")
        await story.until(lambda: counts(story) == [3, 3, 3])
        with story["a"].entered():
            members = pg.members("g", Worker)
            assert sorted([await worker.where() for worker in members]) == sorted(
                node.name for node in story.nodes.values()
            )
            [mine] = pg.local_members("g", Worker)
            assert mine.is_alive()
            assert pg.which_groups() == ["g"]
            assert pg.which_groups(scope="other") == []
            [there] = [worker for worker in members if await worker.where() == B]
            with pytest.raises(NotLocal):
                pg.join("g", there)


async def test_who_ends_or_whose_node_is_lost_is_gone_at_once() -> None:
    async with flock("a", "b", setup=nothing) as story:
        with story["a"].entered():
            ear = await Ear.start("g")
            mine = await Worker.start("g", "g")
        with story["b"].entered():
            theirs = await Worker.start("g")
            await Worker.start("g")
        await story.until(lambda: counts(story) == [4, 4])
        with story["a"].entered():
            mine.exit("kill")
            assert len(pg.members("g")) == 2
            with pytest.raises(ProcessDown):
                pg.join("g", mine)
        theirs.exit("kill")
        await story.until(lambda: counts(story) == [1, 1])
        await story.stop("b")
        assert counts(story) == [0]
        await story.start("b")
        await story.meet()
        with story["b"].entered():
            await Worker.start("g")
        await story.until(lambda: counts(story) == [1, 1])
        before, news = await ear.heard()
        assert before == 0
        assert sum(joined for joined, _ in news) == 5
        assert sum(left for _, left in news) == 4
        await ear.stop_watching()
        with story["a"].entered():
            last = await Worker.start("g")
            assert pg.leave("g", last)
            assert not pg.leave("g", last)
            assert last._process.ties is None or not last._process.ties.monitors
        assert (await ear.heard())[1] == news


async def test_what_has_missed_something_is_told_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.cluster.process_group.WAITING_MAX", 2)
    async with flock("a", "b", setup=nothing) as story:
        fabric, choked = story["a"].fabric, asyncio.Event()
        send_now = fabric.cast

        def send(peer: str, service: str, body: bytes) -> None:
            if service == SERVICE and not choked.is_set():
                raise Overloaded("the link", 0.1)
            send_now(peer, service, body)

        with story["a"].entered():
            monkeypatch.setattr(fabric, "cast", send)
            for _ in range(9):
                await Worker.start("g")
            assert counts(story) == [9, 0]
            choked.set()
            await story.until(lambda: counts(story) == [9, 9])
            with pytest.raises(BadMessage):
                await fabric.call(B, SERVICE, b"\xc0")
