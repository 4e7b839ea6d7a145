"""Workers of one server become one cluster by themselves; a place that stays empty is given up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from roost.cluster.node import Node
from roost.config import Config
from roost.limits import SIBLING_ABSENT_S
from roost.runtime.siblings import Server
from roost.web import siblings
from roost.web.app import Roost
from roost.web.siblings import Sibling
from tests.cluster.meadow import turns_until


@pytest.fixture
def as_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process takes itself for a worker of a server; the environment that says where workers meet."""
    monkeypatch.setattr(siblings, "server_of_this_process", lambda environ: Server(os.getpid(), 0))
    for name in os.environ:
        if name.startswith("ROOST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return {"XDG_RUNTIME_DIR": str(tmp_path)}


class Worker:
    """One worker. All of them run in this process; that is no difference to them."""

    def __init__(self, sibling: Sibling, absent_s: float) -> None:
        self.sibling, self._absent_s = sibling, absent_s
        self.node = Node(sibling.config, sibling.runtime)

    @classmethod
    async def claim(cls, environ: dict[str, str], absent_s: float = SIBLING_ABSENT_S) -> Worker:
        sibling = await Sibling.claim("chat", Config.from_env(environ), environ)
        assert sibling is not None
        return cls(sibling, absent_s)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        await self.sibling.wait_for_the_first()
        await self.node.start()
        with self.node.entered():
            await self.sibling.meet(self.node, self._absent_s)
        try:
            yield self.node
        finally:
            with self.node.entered():
                await self.sibling.leave()
            await self.node.stop()
            self.sibling.release()

    async def until(self, members: set[str]) -> None:
        """Wait until these are the members, all of them are there to stay, and linked."""
        membership, fabric = self.node.membership, self.node.fabric
        is_so = asyncio.Event()

        def look(_: object = None) -> None:
            if set(membership.members) == set(membership.cluster.having("valid")) == set(fabric.up()) == members:
                is_so.set()

        ends = [membership.watch(look), fabric.watch(look)]
        look()
        await is_so.wait()
        for end in ends:
            end()


def find(environ: dict[str, str], name: str) -> list[Path]:
    return list(Path(environ["XDG_RUNTIME_DIR"]).rglob(name))


def names(*numbers: int) -> set[str]:
    return {f"w{number:02}@127.0.0.1" for number in numbers}


async def test_workers_become_one_cluster_and_are_linked_when_they_serve(as_worker: dict[str, str]) -> None:
    workers = [await Worker.claim(as_worker) for _ in range(3)]
    async with AsyncExitStack() as stack:
        for number, worker in enumerate(workers, start=1):
            node = await stack.enter_async_context(worker.running())
            assert set(node.fabric.up()) == names(*range(1, number + 1))
        for worker in workers:
            await worker.until(names(1, 2, 3))
        cookies = {worker.sibling.config.cookie for worker in workers}
        assert len(cookies) == 1


async def test_a_new_worker_lets_the_first_one_begin(as_worker: dict[str, str]) -> None:
    first, second = await Worker.claim(as_worker), await Worker.claim(as_worker)
    waiting = asyncio.create_task(second.sibling.wait_for_the_first())
    await asyncio.sleep(0)
    assert not waiting.done()
    async with first.running():
        await waiting
    second.sibling.release()


async def test_a_new_worker_does_not_wait_for_one_that_has_ended_before_it_was_ready(as_worker: dict[str, str]) -> None:
    first, second = await Worker.claim(as_worker), await Worker.claim(as_worker)
    first.sibling.release()
    await second.sibling.wait_for_the_first()
    second.sibling.release()


async def test_a_worker_keeps_what_they_share_fresh(as_worker: dict[str, str]) -> None:
    worker = await Worker.claim(as_worker)
    [cookie] = find(as_worker, "cookie")
    os.utime(cookie, (0, 0))
    async with worker.running():
        await turns_until(lambda: cookie.stat().st_mtime > 0)


async def test_a_worker_that_comes_back_is_the_same_member_again(as_worker: dict[str, str]) -> None:
    first, second = await Worker.claim(as_worker), await Worker.claim(as_worker)
    async with first.running():
        async with second.running() as node:
            await second.until(names(1, 2))
            identity, incarnation = node.membership.cluster.id, node.fabric.incarnation
        again = await Worker.claim(as_worker)
        async with again.running() as node:
            assert (node.name, node.membership.cluster.id) == ("w02@127.0.0.1", identity)
            assert node.fabric.incarnation != incarnation
            assert set(node.fabric.up()) == names(1, 2)


async def test_the_first_worker_comes_back_to_the_others(as_worker: dict[str, str]) -> None:
    first, second = await Worker.claim(as_worker), await Worker.claim(as_worker)
    async with AsyncExitStack() as stack:
        async with first.running():
            await stack.enter_async_context(second.running())
            await second.until(names(1, 2))
        async with (await Worker.claim(as_worker)).running() as node:
            assert node.name == "w01@127.0.0.1"
            assert set(node.fabric.up()) == names(1, 2)


@pytest.mark.parametrize("gone", [1, 2, 3])
async def test_a_place_that_stays_empty_is_given_up(gone: int, as_worker: dict[str, str]) -> None:
    workers = {number: await Worker.claim(as_worker, 0.0) for number in (1, 2, 3)}
    async with AsyncExitStack() as staying, AsyncExitStack() as going:
        for number, worker in workers.items():
            await (going if number == gone else staying).enter_async_context(worker.running())
        for worker in workers.values():
            await worker.until(names(1, 2, 3))
        await going.aclose()
        del workers[gone]
        for worker in workers.values():
            await worker.until(names(*workers))
        newcomer = await Worker.claim(as_worker, 0.0)
        async with newcomer.running() as node:
            await newcomer.until({*names(*workers), node.name})


async def test_the_last_of_two_goes_on_alone_although_it_is_no_majority(as_worker: dict[str, str]) -> None:
    first, second = await Worker.claim(as_worker, 0.0), await Worker.claim(as_worker, 0.0)
    async with AsyncExitStack() as staying:
        async with first.running():
            await staying.enter_async_context(second.running())
            await second.until(names(1, 2))
        await second.until(names(2))
        third = await Worker.claim(as_worker, 0.0)
        async with third.running():
            assert third.node.name == "w03@127.0.0.1", "who joins is called later than whom it joins"
            await third.until(names(2, 3))


async def test_with_a_data_folder_each_worker_has_its_own_and_nobody_is_given_up(
    tmp_path: Path, as_worker: dict[str, str]
) -> None:
    environ = {**as_worker, "ROOST_DATA": str(tmp_path / "data")}
    identities = set()
    for _ in range(2):
        workers = [await Worker.claim(environ, 0.0) for _ in range(2)]
        async with AsyncExitStack() as stack:
            for worker in workers:
                await stack.enter_async_context(worker.running())
            for worker in workers:
                await worker.until(names(1, 2))
                identities.add(worker.node.membership.cluster.id)
    assert len(identities) == 1
    assert (tmp_path / "data" / "w02" / "cluster").exists()


@pytest.mark.parametrize(
    "setting",
    [
        {"ROOST_LISTEN": "127.0.0.1:4100", "ROOST_COOKIE": "x"},
        {"ROOST_LISTEN": "127.0.0.1:4100", "ROOST_COOKIE": "x", "ROOST_JOIN": "127.0.0.1:4101"},
        {"ROOST_SIBLINGS": "off"},
    ],
)
async def test_a_worker_whose_companions_are_set_looks_for_no_others(
    setting: dict[str, str], as_worker: dict[str, str]
) -> None:
    environ = {**as_worker, **setting}
    assert await Sibling.claim("chat", Config.from_env(environ), environ) is None


async def test_a_process_that_is_no_worker_is_alone(tmp_path: Path) -> None:
    assert await Sibling.claim("chat", Config(), {"XDG_RUNTIME_DIR": str(tmp_path)}) is None
    assert os.listdir(tmp_path) == []


async def test_a_worker_without_a_private_folder_is_alone_and_says_so(
    tmp_path: Path, as_worker: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "roost").mkdir(mode=0o755)
    async with Roost("chat").lifespan() as running:
        assert running.node.name == "roost@127.0.0.1"
    assert "chat is alone in a worker of its server" in caplog.text
    assert "closed to others" in caplog.text


async def test_workers_of_two_applications_are_two_clusters(as_worker: dict[str, str]) -> None:
    async with Roost("chat").lifespan() as chat, Roost("shop").lifespan() as shop:
        assert (chat.node.name, shop.node.name) == ("w01@127.0.0.1", "w01@127.0.0.1")
        assert chat.node.config.cookie != shop.node.config.cookie


async def test_a_worker_whose_port_was_taken_meanwhile_listens_elsewhere(as_worker: dict[str, str]) -> None:
    first, second = await Worker.claim(as_worker), await Worker.claim(as_worker)
    async with first.running():
        async with second.running():
            await first.until(names(1, 2))
        listen = second.sibling.config.listen
        assert listen is not None
        async with await asyncio.start_server(lambda _, writer: writer.close(), *listen):
            again = await Worker.claim(as_worker)
            async with again.running() as node:
                assert node.config.listen != listen
                await again.until(names(1, 2))
                await first.until(names(1, 2))
