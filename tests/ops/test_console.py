"""The console over real links: a node is asked, asks the others, and what it says is true."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from roost.cluster.console_link import ConsoleLink
from roost.cluster.node import Node
from roost.cluster.status import MemberStatus, RingStatus, Transfers, TransferStatus
from roost.config import Config
from roost.errors import (
    BadMessage,
    ChangeFailed,
    ConfigError,
    HandshakeRefused,
    IsClaimant,
    NodeDown,
    NodeIsUp,
    NothingPlanned,
    NotMember,
    NotReachable,
    NotSingleNode,
    RoostError,
    SelfJoin,
)
from roost.live.topic_counts import TopicCounts
from roost.ops import questions
from roost.ops.answers import (
    Done,
    HandoffConfig,
    NodeSockets,
    NodeTopics,
    PlanStatus,
    Ready,
    SocketsStatus,
    TopicsStatus,
    Traffic,
)
from roost.ops.console import COMMANDS, SERVICE
from roost.ops.desk import console_child
from roost.ops.operator import first_answer
from roost.ops.questions import (
    MemberStatusOf,
    ProcessInfoOf,
    ProcessTreeOf,
    Question,
    RingStatusOf,
    SocketsOf,
    TopicsOf,
)
from roost.ops.runfile import RunFile
from roost.otp.process_info import ProcessInfo, ProcessTree, walk
from roost.runtime import Runtime
from roost.web.socket_counts import SocketCounts
from tests.cluster.meadow import configs

A, B, D = "a@127.0.0.1", "b@127.0.0.1", "d@127.0.0.1"
WAITING = TransferStatus("hinted", 11, 0, B, A, "waiting", 0, 3, 0, 0.0, None, 1, "a@127.0.0.1 is busy", 0.0, "kv")
TOPICS = TopicCounts(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
COUNTS = SocketCounts("/socket", 5, 6, 1, 2, 3_000, 4, 5, 6)


class Moving:
    """Movements that a test decides on."""

    def __init__(self, *transfers: TransferStatus) -> None:
        self.outgoing_max = self.incoming_max = 2
        self.outgoing = self.incoming = 0
        self._transfers = transfers

    def limit(self, *, outgoing: int | None = None, incoming: int | None = None) -> None:
        self.outgoing_max = self.outgoing_max if outgoing is None else outgoing
        self.incoming_max = self.incoming_max if incoming is None else incoming

    def transfers(self) -> tuple[TransferStatus, ...]:
        return self._transfers


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
    node.add_part(
        console_child(node, Moving(WAITING) if config.name == B else Moving(), lambda: (COUNTS,), lambda: TOPICS)
    )
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
            status = await first_answer([run_file(node.config)], MemberStatusOf())
            assert isinstance(status, MemberStatus)
            assert (status.cluster, status.node) == ("meadow", node.name)
            assert [member.name for member in status.members] == [A, B]
            assert all(member.up and member.up_for and not member.down_for for member in status.members)
            assert sum(member.ring_percent for member in status.members) == pytest.approx(100.0)


async def test_the_sockets_of_all_nodes_that_answer_are_told() -> None:
    async with cluster() as (a, b):
        status = await first_answer([run_file(a.config)], SocketsOf())
        assert status == SocketsStatus("meadow", A, (NodeSockets(A, (COUNTS,)), NodeSockets(B, (COUNTS,))), ())
        gone = asyncio.Event()
        a.fabric.watch(lambda event: gone.set() if type(event).__name__ == "PeerDown" else None)
        await b.stop()
        await gone.wait()
        status = await first_answer([run_file(a.config)], SocketsOf())
        assert status == SocketsStatus("meadow", A, (NodeSockets(A, (COUNTS,)),), (B,))


async def test_the_topics_of_all_nodes_are_told() -> None:
    async with cluster() as (a, _):
        status = await first_answer([run_file(a.config)], TopicsOf())
        assert status == TopicsStatus("meadow", A, (NodeTopics(A, TOPICS), NodeTopics(B, TOPICS)), ())


async def test_a_member_that_left_is_down_for_who_is_left() -> None:
    async with cluster() as (a, b):
        gone = asyncio.Event()
        a.fabric.watch(lambda event: gone.set() if type(event).__name__ == "PeerDown" else None)
        await b.stop()
        await gone.wait()
        status = await first_answer([run_file(b.config), run_file(a.config)], MemberStatusOf())
        assert isinstance(status, MemberStatus)
        assert status.node == A
        assert [(member.up, member.up_for, member.down_for) for member in status.members] == [
            (True, (A,), ()),
            (False, (), (A,)),
        ]
        ring = await first_answer([run_file(a.config)], RingStatusOf())
        assert isinstance(ring, RingStatus)
        assert ring.unreachable == (B,)


async def test_the_ring_is_ready_and_every_node_s_transfers_are_listed() -> None:
    async with cluster() as (a, b):
        for node in (a, b):
            status = await first_answer([run_file(node.config)], RingStatusOf())
            assert isinstance(status, RingStatus)
            assert status.ready
            assert (status.size, sum(share.partitions for share in status.shares)) == (64, 64)
            assert status.transfers == (WAITING,)
            assert (status.unreachable, status.differing) == ((), ())


async def test_two_nodes_that_are_asked_at_once_do_not_wait_for_each_other() -> None:
    async with cluster() as (a, b):
        files = [run_file(node.config) for node in (a, b) for _ in range(4)]
        answers = await asyncio.gather(*[first_answer([file], RingStatusOf()) for file in files])
        assert all(isinstance(answer, RingStatus) and answer.unreachable == () for answer in answers)


async def test_a_wrong_cookie_is_refused() -> None:
    async with cluster() as (a, _):
        with pytest.raises(NodeDown, match="cookie"):
            await first_answer([run_file(a.config, "wrong")], MemberStatusOf())


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
    changes = "join leave replace force-remove force-replace set-zone down policy commit clear".split()
    assert {name: command.answer for name, command in COMMANDS.items()} == {
        "member-status": MemberStatus,
        "ring-status": RingStatus,
        "transfers": Transfers,
        "ringready": Ready,
        "settled": Ready,
        "handoff config": HandoffConfig,
        "process-tree": ProcessTree,
        "process-info": ProcessInfo,
        "sockets": SocketsStatus,
        "topics": TopicsStatus,
        "cluster plan": PlanStatus,
        **{f"cluster {name}": Done for name in changes},
    }
    assert {name for name, command in COMMANDS.items() if command.changes} == {
        name for name in COMMANDS if name.startswith("cluster ")
    }


async def test_the_processes_of_a_node_are_listed() -> None:
    async with cluster() as (a, b):
        for node in (a, b):
            tree = await first_answer([run_file(node.config)], ProcessTreeOf())
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
            info = await first_answer([run_file(a.config)], ProcessInfoOf(text))
            assert isinstance(info, ProcessInfo)
            assert (info.name, info.kind, info.node, info.status) == ("root", "Supervisor", A, "idle")
            assert info.memory is not None


@pytest.mark.parametrize("text", ["nobody", "", "99999999", "__class__", "x" * 1000])
async def test_a_process_that_is_not_there_is_the_asker_s_mistake(text: str) -> None:
    async with cluster() as (a, _):
        with pytest.raises(ConfigError, match=r"no process of a@127\.0\.0\.1 is called .*: see roost process-tree"):
            await first_answer([run_file(a.config)], ProcessInfoOf(text))


async def test_a_question_of_an_older_console_is_about_nothing() -> None:
    async with cluster() as (a, _):
        assert a.config.listen is not None
        async with ConsoleLink(
            Runtime.real(), a.config.listen, cluster=a.config.cluster, cookie=a.config.cookie
        ) as link:
            body = await link.call(SERVICE, msgspec.msgpack.encode({"command": "process-tree"}))
            assert msgspec.msgpack.decode(body, type=ProcessTree).node == A


async def ask(node: Node, question: Question) -> object:
    """What a node answers."""
    return await first_answer([run_file(node.config)], question)


async def until(node: Node, is_so: Callable[[], bool]) -> None:
    """Wait until something is so that changes with the cluster of a node."""
    changed = asyncio.Event()
    node.membership.watch(lambda _: changed.set())
    while not is_so():
        changed.clear()
        await changed.wait()


@asynccontextmanager
async def newcomer() -> AsyncIterator[Node]:
    """A node that is a cluster of its own."""
    (config,) = configs("d")
    node = make(config)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def test_a_node_joins_is_planned_and_committed_and_owns_its_share() -> None:
    async with cluster() as (a, b), newcomer() as d:
        assert a.config.listen is not None
        joined = await ask(d, questions.Join(*a.config.listen))
        assert isinstance(joined, Done)
        assert (joined.node, joined.staged) == (D, ("join d@127.0.0.1",))
        await until(b, lambda: b.membership.cluster.has(D))
        with pytest.raises(NothingPlanned, match="see it with roost cluster plan first"):
            await ask(b, questions.Commit())
        plan = await ask(b, questions.PlanOf())
        assert isinstance(plan, PlanStatus)
        assert [(change.action, change.node) for change in plan.changes] == [("join", D)]
        assert [(one.name, one.status, one.partitions) for one in plan.members] == [
            (A, "valid", 32),
            (B, "valid", 32),
            (D, "valid", 0),
        ]
        assert sorted(one.pending_partitions for one in plan.members) == [21, 21, 22]
        assert {flow.target for flow in plan.reassigned} == {D}
        assert sum(flow.count for flow in plan.reassigned) == plan.members[2].pending_partitions
        committed = await ask(b, questions.Commit())
        assert isinstance(committed, Done)
        assert committed.staged == ()
        await until(d, lambda: d.placement.layout.is_settled and d.placement.layout.counts().get(D, 0) > 0)
        status = await ask(d, MemberStatusOf())
        assert isinstance(status, MemberStatus)
        assert [member.status for member in status.members] == ["valid"] * 3
        assert all(member.ring_percent > 30 for member in status.members)


async def test_what_is_staged_is_shown_and_can_be_taken_back() -> None:
    async with cluster() as (a, _):
        staged = await ask(a, questions.Leave("b"))
        assert isinstance(staged, Done)
        assert (staged.done, staged.staged) == ("Staged: leave b@127.0.0.1", ("leave b@127.0.0.1",))
        await ask(a, questions.SetZone(A, "r1"))
        status = await ask(a, MemberStatusOf())
        assert isinstance(status, MemberStatus)
        assert status.staged == ("leave b@127.0.0.1", "set-zone a@127.0.0.1 to r1")
        cleared = await ask(a, questions.Clear())
        assert isinstance(cleared, Done)
        assert (cleared.done, cleared.staged) == ("Cleared: 2 staged changes", ())


@pytest.mark.parametrize(
    ("question", "error"),
    [
        (questions.Leave("nobody"), NotMember),
        (questions.ForceRemove("a"), IsClaimant),
        (questions.Down(("b",)), NodeIsUp),
        (questions.Commit(), NothingPlanned),
        (questions.PlanOf(), NothingPlanned),
        (questions.Join("127.0.0.1", 1), NotSingleNode),
        (questions.SetZone("a", "not a zone"), ConfigError),
        (questions.SetPolicy("whatever"), ConfigError),
        (questions.ConfigureHandoff(outgoing=1000), ConfigError),
        (questions.ConfigureHandoff(incoming=-1), ConfigError),
    ],
)
async def test_a_refusal_crosses_as_what_it_is(question: Question, error: type[RoostError]) -> None:
    async with cluster() as (a, _):
        with pytest.raises(error) as refused:
            await ask(a, question)
        assert "\n" not in str(refused.value)


async def test_a_node_does_not_join_itself_or_nobody() -> None:
    async with newcomer() as d:
        assert d.config.listen is not None
        with pytest.raises(SelfJoin):
            await ask(d, questions.Join(*d.config.listen))
        with pytest.raises(NotReachable):
            await ask(d, questions.Join("127.0.0.1", 1))


async def test_joins_are_committed_by_themselves_where_the_policy_says_so() -> None:
    async with cluster() as (a, _), newcomer() as d:
        await ask(a, questions.SetPolicy("auto"))
        assert a.config.listen is not None
        await ask(d, questions.Join(*a.config.listen))
        await until(d, lambda: d.membership.cluster.member(D).status == "valid")


async def test_transfers_of_all_nodes_are_gathered() -> None:
    async with cluster() as (a, b):
        for node in (a, b):
            answer = await ask(node, questions.TransfersOf())
            assert answer == Transfers("meadow", node.name, 0, (WAITING,), ())


async def test_a_ring_is_ready_when_all_agree_and_settled_when_nothing_waits() -> None:
    async with cluster() as (a, b):
        ready = await ask(a, questions.RingReadyOf())
        assert isinstance(ready, Ready)
        assert (ready.ready, ready.reasons) == (True, ())
        settled = await ask(a, questions.SettledOf())
        assert isinstance(settled, Ready)
        assert (settled.ready, settled.reasons) == (False, ("1 transfer on the way: a@127.0.0.1 is busy",))
        gone = asyncio.Event()
        a.fabric.watch(lambda event: gone.set() if type(event).__name__ == "PeerDown" else None)
        await b.stop()
        await gone.wait()
        alone = await ask(a, questions.RingReadyOf())
        assert isinstance(alone, Ready)
        assert (alone.ready, alone.reasons) == (False, ("b@127.0.0.1 does not answer",))


async def test_the_limits_of_handoff_change_on_every_node_or_on_those_that_are_named() -> None:
    async with cluster() as (a, _):
        assert await ask(a, questions.ConfigureHandoff()) == HandoffConfig(
            "meadow", A, (Traffic(A, 0, 2, 0, 2), Traffic(B, 0, 2, 0, 2)), ()
        )
        await ask(a, questions.ConfigureHandoff((), 5, None))
        await ask(a, questions.ConfigureHandoff(("b",), None, 0))
        assert await ask(a, questions.ConfigureHandoff()) == HandoffConfig(
            "meadow", A, (Traffic(A, 0, 5, 0, 2), Traffic(B, 0, 5, 0, 0)), ()
        )


async def test_without_a_majority_nothing_changes_until_an_operator_decides() -> None:
    async with cluster() as (a, b):
        gone = asyncio.Event()
        a.fabric.watch(lambda event: gone.set() if type(event).__name__ == "PeerDown" else None)
        await b.stop()
        await gone.wait()
        with pytest.raises(ChangeFailed, match="1 of the 2 voters that are needed answer, see roost member-status"):
            await ask(a, questions.Leave("b"))
        # Status can be seen while a change waits for its majority.
        change = asyncio.ensure_future(ask(a, questions.Down(("b",))))
        status = await ask(a, MemberStatusOf())
        assert isinstance(status, MemberStatus)
        assert not change.done()
        marked = await change
        assert isinstance(marked, Done)
        assert marked.done == "Marked as down: b@127.0.0.1. The claimant is a@127.0.0.1"
        ready = await ask(a, questions.RingReadyOf())
        assert isinstance(ready, Ready)
        assert ready.ready
