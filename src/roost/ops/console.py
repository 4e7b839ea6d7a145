"""The console's commands, and the service of a node that answers them.

One registry serves the command line and whatever else asks: a command is a name, a function of the node's desk and of
what the question is about, and the type of the data that it returns. What crosses the link is that data; how it is
shown is the asker's business.

When things fail: a node that does not answer another's question within a second counts as unreachable for it. The
command fails as a whole only when the asked node itself does.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from roost import limits
from roost.cluster.link import Link
from roost.cluster.status import Handoff, MemberStatus, RingStatus, member_status, ring_status
from roost.errors import BadMessage, ConfigError, Overloaded, RoostError
from roost.otp import Child, GenServer, cast
from roost.otp.process_info import ProcessInfo, ProcessTree, describe, find_process, process_tree
from roost.wire.messages import Request

if TYPE_CHECKING:
    # The operator's side reads the registry without loading what a node is made of.
    from roost.cluster.node import Node

SERVICE: Final = "console"
ASK_S: Final = 1.0

logger = logging.getLogger("roost.console")


class Question(msgspec.Struct, frozen=True):
    """What an operator, or another node on his behalf, asks: a command of `COMMANDS`, and about what."""

    command: str
    about: str = ""


class Handoffs(msgspec.Struct, frozen=True):
    """What waits on one node for its primaries."""

    handoffs: tuple[Handoff, ...]


Answer = MemberStatus | RingStatus | ProcessTree | ProcessInfo


@dataclass(frozen=True, slots=True)
class Command:
    """One command: how a node finds the answer, and of which type it is."""

    run: Callable[[Desk, str], Awaitable[Answer]]
    answer: type[Answer]


async def _member_status(desk: Desk, about: str) -> MemberStatus:
    node = desk.node
    return member_status(node.config.cluster, node.ring, node.membership, await node.membership.views())


async def _ring_status(desk: Desk, about: str) -> RingStatus:
    node = desk.node
    views = await node.membership.views()
    handoffs = list(desk.handoffs())
    question = msgspec.msgpack.encode(Question(HANDOFFS))
    for name in node.membership.members:
        if name != node.config.name and views.get(name) is not None:
            try:
                body = await node.fabric.call(name, SERVICE, question, ASK_S)
                handoffs += msgspec.msgpack.decode(body, type=Handoffs).handoffs
            except (RoostError, msgspec.MsgspecError) as error:
                logger.warning("%s does not tell its handoffs: %s", name, error)
                views[name] = None
    return ring_status(node.config.cluster, node.ring, node.membership, views, tuple(handoffs))


async def _process_tree(desk: Desk, about: str) -> ProcessTree:
    return process_tree(desk.node.scheduler)


async def _process_info(desk: Desk, about: str) -> ProcessInfo:
    process = find_process(desk.node.scheduler, about)
    if process is None:
        raise ConfigError("NAME", f"no process of {desk.node.name} is called {about!r}: see roost process-tree")
    return describe(process, with_memory=True)


COMMANDS: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "member-status": Command(_member_status, MemberStatus),
        "ring-status": Command(_ring_status, RingStatus),
        "process-tree": Command(_process_tree, ProcessTree),
        "process-info": Command(_process_info, ProcessInfo),
    }
)
"""Every command of an operator by name."""

HANDOFFS: Final = "handoffs"
"""What nodes ask each other. It is answered at once, so that two nodes that ask each other never wait in a circle."""


class Desk:
    """The service of a node: it takes questions, and keeps them until `Console` has the answers.

    Args:
        node: whose state the answers tell.
        handoffs: what waits on this node for its primaries.
    """

    def __init__(self, node: Node, handoffs: Callable[[], Sequence[Handoff]]) -> None:
        self.node = node
        self.handoffs = handoffs
        self.console: Console | None = None
        self._open: dict[int, tuple[Link, int]] = {}
        self._tickets = 0
        node.fabric.serve(SERVICE, self)

    def on_request(self, link: Link, request: Request) -> None:
        """Take a question."""
        try:
            question = msgspec.msgpack.decode(request.body, type=Question)
        except msgspec.MsgspecError as error:
            raise BadMessage(str(error)) from None
        if question.command == HANDOFFS:
            link.reply(request.id, msgspec.msgpack.encode(Handoffs(tuple(self.handoffs()))))
            return
        if question.command not in COMMANDS:
            raise BadMessage(f"there is no console command {question.command!r}")
        if self.console is None or len(self._open) >= limits.CONSOLES_MAX:
            raise Overloaded("the console", ASK_S)
        self._tickets += 1
        self._open[self._tickets] = (link, request.id)
        self.console.answer(self._tickets, question.command, question.about)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Nothing is told to this service without a question."""
        raise BadMessage("the console takes questions only")

    def settle(self, ticket: int, outcome: bytes | Exception) -> None:
        """Answer the question behind `ticket`; harmless when it was settled before."""
        link, request_id = self._open.pop(ticket, (None, 0))
        if link is None:
            return
        if isinstance(outcome, bytes):
            link.reply(request_id, outcome)
        else:
            link.refuse(request_id, outcome)

    def settle_all(self, error: Exception) -> None:
        """Refuse every question that is open."""
        for ticket in list(self._open):
            self.settle(ticket, error)


class Console(GenServer):
    """The process that runs the commands, one after the other."""

    def init(self, desk: Desk) -> None:
        self._desk = desk
        desk.console = self.handle

    @cast
    async def answer(self, ticket: int, command: str, about: str) -> None:
        """Run `command` about `about` and settle `ticket` with what it returns, or raises."""
        try:
            self._desk.settle(ticket, msgspec.msgpack.encode(await COMMANDS[command].run(self._desk, about)))
        except RoostError as error:
            self._desk.settle(ticket, error)

    def terminate(self, reason: object) -> None:
        """Nobody waits for an answer that will not come."""
        self._desk.console = None
        self._desk.settle_all(Overloaded("the console", ASK_S))


def console_child(node: Node, handoffs: Callable[[], Sequence[Handoff]]) -> Child:
    """The console of `node`, for a supervisor; `handoffs` as `Desk` takes it."""
    return Console.child(Desk(node, handoffs), name=SERVICE)
