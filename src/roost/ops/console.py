"""The console's commands: one registry that serves the command line and whatever else asks.

A command is a question (`questions`), what a node does to answer it, and the type of the data that it returns. What
crosses the link is that data; how it is shown is the asker's business. The commands that change the cluster are in
`changes`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

from roost.cluster.status import (
    MemberStatus,
    RingStatus,
    Transfers,
    TransferStatus,
    member_status,
    ring_status,
)
from roost.errors import ChangeFailed, ConfigError, DeadlineExceeded, NoQuorum
from roost.ops import changes, questions
from roost.ops.answers import (
    Done,
    HandoffConfig,
    NodeSockets,
    NodeTopics,
    OwnTransfersAre,
    PlanStatus,
    Ready,
    SocketsStatus,
    TopicsStatus,
    Traffic,
)
from roost.ops.questions import Question
from roost.ops.table import count
from roost.otp.process_info import ProcessInfo, ProcessTree, describe, find_process, process_tree

if TYPE_CHECKING:
    # The operator's side reads the registry without loading what a node is made of.
    from roost.cluster.node import Node
    from roost.ops.desk import Desk

SERVICE: Final = "console"
ASK_S: Final = 1.0
"""How long another node may take to answer the one that is asked."""
LOOK_S: Final = 5.0
"""How long an operator waits for an answer."""
CHANGE_S: Final = 30.0
"""How long an operator waits for a change, which may have to wait for a majority."""

Answer = (
    MemberStatus
    | RingStatus
    | Transfers
    | Ready
    | Done
    | PlanStatus
    | HandoffConfig
    | ProcessTree
    | ProcessInfo
    | SocketsStatus
    | TopicsStatus
)
QuestionT = TypeVar("QuestionT", bound=Question)
OwnT = TypeVar("OwnT", NodeSockets, NodeTopics)


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what is asked, how a node finds the answer, of which type it is.

    Attributes:
        changes: whether it changes the cluster.
    """

    question: type[Question]
    run: Callable[[Desk, Question], Awaitable[Answer]]
    answer: type[Answer]
    changes: bool

    @property
    def name(self) -> str:
        """How an operator calls it."""
        return str(self.question.__struct_config__.tag)

    @property
    def timeout_s(self) -> float:
        """How long to wait for its answer."""
        return CHANGE_S if self.changes else LOOK_S


def _command(
    question: type[QuestionT], run: Callable[[Desk, QuestionT], Awaitable[Answer]], answer: type[Answer]
) -> Command:
    async def checked(desk: Desk, asked: Question) -> Answer:
        assert isinstance(asked, question)
        return await run(desk, asked)

    return Command(question, checked, answer, changes=False)


def _change(question: type[QuestionT], run: Callable[[Node, QuestionT], Awaitable[Done | PlanStatus]]) -> Command:
    async def checked(desk: Desk, asked: Question) -> Answer:
        assert isinstance(asked, question)
        try:
            return await run(desk.node, asked)
        except NoQuorum as error:
            reason = f"{error.got} of the {error.needed} voters that are needed answer, see roost member-status"
            raise ChangeFailed(reason) from None
        except DeadlineExceeded as error:
            raise ChangeFailed(str(error)) from None

    return Command(question, checked, PlanStatus if question is questions.PlanOf else Done, changes=True)


# What is known


async def _member_status(desk: Desk, asked: questions.MemberStatusOf) -> MemberStatus:
    node = desk.node
    return member_status(node.membership, await node.membership.views())


async def _ring_status(desk: Desk, asked: questions.RingStatusOf) -> RingStatus:
    node = desk.node
    views = await node.membership.views()
    found, silent = await _gather(desk, [name for name, view in views.items() if view is not None])
    views.update(dict.fromkeys(silent))
    return ring_status(node.membership, views, found, node.depth)


async def _transfers(desk: Desk, asked: questions.TransfersOf) -> Transfers:
    membership = desk.node.membership
    found, silent = await _gather(desk, membership.up())
    silent = sorted({*silent, *membership.unreachable()})
    cluster = membership.cluster
    return Transfers(cluster.name, desk.node.name, len(cluster.layout.moving()), found, tuple(silent))


async def _gather(desk: Desk, names: Iterable[str]) -> tuple[tuple[TransferStatus, ...], list[str]]:
    """What these nodes have to give, and who of them does not answer."""
    here = desk.node.name
    others = tuple(name for name in names if name != here)
    answers: dict[str, OwnTransfersAre | None] = {here: desk.own_transfers()}
    answers |= await desk.ask_all(others, questions.OwnTransfers(), OwnTransfersAre)
    found = [one for answer in answers.values() if answer is not None for one in answer.transfers]
    found.sort(key=lambda one: (one.source, one.ring, one.partition, one.index, one.target))
    return tuple(found), [name for name, answer in answers.items() if answer is None]


async def _ring_ready(desk: Desk, asked: questions.RingReadyOf) -> Ready:
    status = await _ring_status(desk, questions.RingStatusOf())
    dead = desk.node.membership.cluster.having("down")
    return Ready(status.cluster, status.node, RING_READY, *_verdict(_disagreements(status, dead)))


async def _settled(desk: Desk, asked: questions.SettledOf) -> Ready:
    status = await _ring_status(desk, questions.RingStatusOf())
    cluster = desk.node.membership.cluster
    reasons = _disagreements(status)
    reasons += [f"{name} is {cluster.member(name).status}" for name in cluster.having("leaving", "exiting")]
    reasons += [
        f"{count(len(one.partitions), 'partition')} on the way from {one.owner} to {one.next_owner}: {one.why}"
        for one in status.pending
    ]
    hinted = [one for one in status.transfers if one.kind != "ownership"]
    if hinted:
        reasons.append(f"{count(len(hinted), 'transfer')} on the way: {hinted[0].reason or hinted[0].phase}")
    return Ready(status.cluster, status.node, SETTLED, *_verdict(reasons))


RING_READY: Final = "all nodes agree on the ring"
SETTLED: Final = "all data is where it belongs"


def _disagreements(status: RingStatus, but: Container[str] = ()) -> list[str]:
    """Who does not answer, or knows something else; `but` those of whom nothing is expected."""
    reasons = [f"{name} does not answer" for name in status.unreachable if name not in but]
    reasons += [f"{name} knows another version of the cluster" for name in status.differing]
    return reasons


def _verdict(reasons: list[str]) -> tuple[bool, tuple[str, ...]]:
    return not reasons, tuple(reasons)


async def _handoff_config(desk: Desk, asked: questions.ConfigureHandoff) -> HandoffConfig:
    node = desk.node
    cluster = node.membership.cluster
    for value, flag in ((asked.outgoing, "--outgoing"), (asked.incoming, "--incoming")):
        if value is not None and not 0 <= value <= changes.TRANSFERS_MAX:
            raise ConfigError(flag, f"{value} is not from 0 to {changes.TRANSFERS_MAX}")
    names = [changes.whole_name(cluster, text) for text in asked.members] or list(cluster.names)
    question = questions.OwnTraffic(asked.outgoing, asked.incoming)
    others = tuple(name for name in names if name != node.name)
    answers = await desk.ask_all(others, question, Traffic)
    if node.name in names:
        answers[node.name] = desk.own_traffic(question)
    known = tuple(traffic for _, traffic in sorted(answers.items()) if traffic is not None)
    silent = tuple(sorted(name for name, traffic in answers.items() if traffic is None))
    return HandoffConfig(cluster.name, node.name, known, silent)


async def _process_tree(desk: Desk, asked: questions.ProcessTreeOf) -> ProcessTree:
    return process_tree(desk.node.scheduler)


async def _process_info(desk: Desk, asked: questions.ProcessInfoOf) -> ProcessInfo:
    process = find_process(desk.node.scheduler, asked.about)
    if process is None:
        raise ConfigError("NAME", f"no process of {desk.node.name} is called {asked.about!r}: see roost process-tree")
    return describe(process, with_memory=True)


async def _sockets(desk: Desk, asked: questions.SocketsOf) -> SocketsStatus:
    known, silent = await _everybody(desk, desk.own_sockets(), questions.OwnSockets())
    return SocketsStatus(desk.node.membership.cluster.name, desk.node.name, known, silent)


async def _topics(desk: Desk, asked: questions.TopicsOf) -> TopicsStatus:
    known, silent = await _everybody(desk, desk.own_topics(), questions.OwnTopics())
    return TopicsStatus(desk.node.membership.cluster.name, desk.node.name, known, silent)


async def _everybody(desk: Desk, own: OwnT, question: Question) -> tuple[tuple[OwnT, ...], tuple[str, ...]]:
    """What every node says, by name, and who says nothing."""
    membership, here = desk.node.membership, desk.node.name
    answers: dict[str, OwnT | None] = {here: own}
    others = tuple(name for name in membership.up() if name != here)
    answers |= await desk.ask_all(others, question, type(own))
    silent = {name for name, answer in answers.items() if answer is None} | set(membership.unreachable())
    return tuple(answer for _, answer in sorted(answers.items()) if answer is not None), tuple(sorted(silent))


_ALL: Final = (
    _command(questions.MemberStatusOf, _member_status, MemberStatus),
    _command(questions.RingStatusOf, _ring_status, RingStatus),
    _command(questions.TransfersOf, _transfers, Transfers),
    _command(questions.RingReadyOf, _ring_ready, Ready),
    _command(questions.SettledOf, _settled, Ready),
    _command(questions.ConfigureHandoff, _handoff_config, HandoffConfig),
    _command(questions.ProcessTreeOf, _process_tree, ProcessTree),
    _command(questions.ProcessInfoOf, _process_info, ProcessInfo),
    _command(questions.SocketsOf, _sockets, SocketsStatus),
    _command(questions.TopicsOf, _topics, TopicsStatus),
    _change(questions.Join, changes.join),
    _change(questions.Leave, changes.leave),
    _change(questions.Replace, changes.replace),
    _change(questions.ForceRemove, changes.force_remove),
    _change(questions.ForceReplace, changes.force_replace),
    _change(questions.SetZone, changes.set_zone),
    _change(questions.Down, changes.down),
    _change(questions.SetPolicy, changes.set_policy),
    _change(questions.PlanOf, changes.plan),
    _change(questions.Commit, changes.commit),
    _change(questions.Clear, changes.clear),
)

COMMANDS: Final[Mapping[str, Command]] = MappingProxyType({command.name: command for command in _ALL})
"""Every command of an operator by name."""


def command_of(question: Question) -> Command:
    """The command that answers a question of an operator."""
    return COMMANDS[str(question.__struct_config__.tag)]
