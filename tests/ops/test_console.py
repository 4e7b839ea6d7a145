"""The console over real links: a node is asked, asks the others, and what it says is true."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from roost.cluster.console_link import ConsoleLink
from roost.cluster.node import Node
from roost.cluster.status import Handoff, MemberStatus, RingStatus
from roost.config import Config
from roost.errors import BadMessage, ConfigError, HandshakeRefused, NodeDown
from roost.ops.console import COMMANDS, SERVICE, console_child
from roost.ops.operator import first_answer
from roost.ops.runfile import RunFile
from roost.otp.process_info import ProcessInfo, ProcessTree, walk
from roost.runtime import Runtime
from tests.cluster.meadow import configs

A, B = "a@127.0.0.1", "b@127.0.0.1"
WAITING = Handoff(11, B, A, 3, 1, "a@127.0.0.1 is down")


def run_file(config: Config, cookie: str | None = None) -> RunFile:
    return RunFile(
        config.cluster,
        config.name,
        str(config.listen),
        "127.0.0.1:4000",
        config.cookie.decode() if cookie is None else cookie,
        os.getpid(),
        1.0,
    )


def make(config: Config) -> Node:
    node = Node(config, Runtime.real())
    node.add_part(console_child(node, lambda: (WAITING,) if config.name == B else ()))
    return node


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes that see each other."""
    first, second = (make(config) for config in configs("a", "b"))
    met = asyncio.Event()
    first.fabric.watch(lambda event: met.set())
    await first.start()
    await second.start()
    try:
        await met.wait()
        yield first, second
    finally:
        await second.stop()
        await first.stop()


async def test_members_are_up_for_each_other() -> None:
    async with cluster() as (a, b):
        for node in (a, b):
            status = await first_answer([run_file(node.config)], "member-status")
            assert isinstance(status, MemberStatus)
            assert (status.cluster, status.node) == ("meadow", node.name)
            assert [member.name for member in status.members] == [A, B]
            assert all(member.up and member.up_for and not member.down_for for member in status.members)
            assert sum(member.ring_percent for member in status.members) == pytest.approx(100.0)


async def test_a_member_that_left_is_down_for_who_is_left() -> None:
    async with cluster() as (a, b):
        gone = asyncio.Event()
        a.fabric.watch(lambda event: gone.set() if type(event).__name__ == "PeerDown" else None)
        await b.stop()
        await gone.wait()
        status = await first_answer([run_file(b.config), run_file(a.config)], "member-status")
        assert isinstance(status, MemberStatus)
        assert status.node == A
        assert [(member.up, member.up_for, member.down_for) for member in status.members] == [
            (True, (A,), ()),
            (False, (), (A,)),
        ]
        ring = await first_answer([run_file(a.config)], "ring-status")
        assert isinstance(ring, RingStatus)
        assert ring.unreachable == (B,)


async def test_the_ring_is_ready_and_every_node_s_handoffs_are_listed() -> None:
    async with cluster() as (a, b):
        for node in (a, b):
            status = await first_answer([run_file(node.config)], "ring-status")
            assert isinstance(status, RingStatus)
            assert status.ready
            assert (status.size, sum(share.partitions for share in status.shares)) == (64, 64)
            assert status.handoffs == (WAITING,)
            assert (status.unreachable, status.differing) == ((), ())


async def test_two_nodes_that_are_asked_at_once_do_not_wait_for_each_other() -> None:
    async with cluster() as (a, b):
        files = [run_file(node.config) for node in (a, b) for _ in range(4)]
        answers = await asyncio.gather(*[first_answer([file], "ring-status") for file in files])
        assert all(isinstance(answer, RingStatus) and answer.unreachable == () for answer in answers)


async def test_a_wrong_cookie_is_refused() -> None:
    async with cluster() as (a, _):
        with pytest.raises(NodeDown, match="cookie"):
            await first_answer([run_file(a.config, "wrong")], "member-status")


@pytest.mark.parametrize("body", [b"\xc0", msgspec.msgpack.encode({"command": "__class__"})])
async def test_what_is_no_command_is_refused(body: bytes) -> None:
    async with cluster() as (a, _):
        assert a.config.listen is not None
        async with ConsoleLink(
            Runtime.real(), a.config.listen, cluster=a.config.cluster, cookie=a.config.cookie
        ) as link:
            with pytest.raises(BadMessage):
                await link.call(SERVICE, body)


async def test_a_console_of_another_cluster_is_refused() -> None:
    async with cluster() as (a, _):
        assert a.config.listen is not None
        with pytest.raises((HandshakeRefused, NodeDown)):
            async with ConsoleLink(Runtime.real(), a.config.listen, cluster="other", cookie=a.config.cookie):
                pass


def test_every_command_tells_the_type_of_its_answer() -> None:
    assert {name: command.answer for name, command in COMMANDS.items()} == {
        "member-status": MemberStatus,
        "ring-status": RingStatus,
        "process-tree": ProcessTree,
        "process-info": ProcessInfo,
    }


async def test_the_processes_of_a_node_are_listed() -> None:
    async with cluster() as (a, b):
        for node in (a, b):
            tree = await first_answer([run_file(node.config)], "process-tree")
            assert isinstance(tree, ProcessTree)
            assert (tree.node, tree.count, tree.omitted) == (node.name, len(node.scheduler.processes), 0)
            found = {one.info.name: one.info for _, one in walk(tree.roots)}
            assert len(list(walk(tree.roots))) == tree.count
            assert found["root"].ancestors == ()
            console = found["console"]
            assert (console.status, console.handler) == ("running", "Console.answer")
            assert console.ancestors[-1] == "Supervisor 'root'"


async def test_one_process_is_told_about_by_name_or_number() -> None:
    async with cluster() as (a, _):
        for text in ("root", str(a.scheduler.names["root"].pid)):
            info = await first_answer([run_file(a.config)], "process-info", text)
            assert isinstance(info, ProcessInfo)
            assert (info.name, info.kind, info.node, info.status) == ("root", "Supervisor", A, "idle")
            assert info.memory is not None


@pytest.mark.parametrize("text", ["nobody", "", "99999999", "__class__", "x" * 1000])
async def test_a_process_that_is_not_there_is_the_asker_s_mistake(text: str) -> None:
    async with cluster() as (a, _):
        with pytest.raises(ConfigError, match=r"no process of a@127\.0\.0\.1 is called .*: see roost process-tree"):
            await first_answer([run_file(a.config)], "process-info", text)


async def test_a_question_of_an_older_console_is_about_nothing() -> None:
    async with cluster() as (a, _):
        assert a.config.listen is not None
        async with ConsoleLink(
            Runtime.real(), a.config.listen, cluster=a.config.cluster, cookie=a.config.cookie
        ) as link:
            body = await link.call(SERVICE, msgspec.msgpack.encode({"command": "process-tree"}))
            assert msgspec.msgpack.decode(body, type=ProcessTree).node == A
