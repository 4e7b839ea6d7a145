"""A node's desk: the service that takes questions, and the processes that find the answers.

Questions of operators are answered one after the other, those that change something in a line of their own, so that
the status can be seen while a change waits for a majority. What nodes ask each other is answered at once, so that two
nodes that ask each other never wait in a circle.

When things fail: a node that does not answer another's question within a second counts as unreachable for it. The
command fails as a whole only when the asked node itself does.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from roost import limits
from roost.cluster.link import Link
from roost.errors import BadMessage, Overloaded, RoostError
from roost.live.topic_counts import TopicCounts
from roost.ops import questions
from roost.ops.answers import NodeSockets, NodeTopics, OwnTransfersAre, Traffic
from roost.ops.console import ASK_S, SERVICE, command_of
from roost.ops.movements import Movements
from roost.ops.questions import OwnSockets, OwnTopics, OwnTraffic, OwnTransfers, Question
from roost.otp import Child, GenServer, Supervisor, cast
from roost.wire.messages import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from roost.cluster.node import Node
    from roost.web.socket_counts import SocketCounts

CHANGES: Final = "console changes"
"""The name of the process that makes changes."""

AnswerT = TypeVar("AnswerT", bound=msgspec.Struct)

logger = logging.getLogger("roost.console")


class Desk:
    """The service of a node: it takes questions, and keeps them until a `Console` has the answers.

    Args:
        node: whose state the answers tell.
        movements: what moves between it and other nodes.
        sockets: who is connected to it, for each endpoint.
        topics: what its topics are at.
    """

    def __init__(
        self,
        node: Node,
        movements: Movements,
        sockets: Callable[[], tuple[SocketCounts, ...]],
        topics: Callable[[], TopicCounts],
    ) -> None:
        self.node = node
        self._sockets, self._topics = sockets, topics
        self.movements = movements
        self.consoles: dict[bool, Console] = {}
        self._open: dict[int, tuple[Link, int, Question]] = {}
        self._tickets = 0
        node.fabric.serve(SERVICE, self)

    # What nodes tell each other

    def own_transfers(self) -> OwnTransfersAre:
        """What this node has to give."""
        return OwnTransfersAre(tuple(self.movements.transfers()))

    def own_traffic(self, question: OwnTraffic) -> Traffic:
        """Change the limits of this node, and say what they are."""
        moving = self.movements
        if (question.outgoing, question.incoming) != (None, None):
            moving.limit(outgoing=question.outgoing, incoming=question.incoming)
            logger.info(
                "%s: gives %d transfers at a time, takes %d", self.node.name, moving.outgoing_max, moving.incoming_max
            )
        return Traffic(self.node.name, moving.outgoing, moving.outgoing_max, moving.incoming, moving.incoming_max)

    def own_sockets(self) -> NodeSockets:
        """Who is connected to this node."""
        return NodeSockets(self.node.name, self._sockets())

    def own_topics(self) -> NodeTopics:
        """What the topics of this node are at."""
        return NodeTopics(self.node.name, self._topics())

    async def ask_all(
        self, names: tuple[str, ...], question: Question, answer: type[AnswerT]
    ) -> dict[str, AnswerT | None]:
        """What these other nodes say to a question, asked all at once; None for those that do not answer."""
        body = questions.encode(question)

        async def ask(name: str) -> AnswerT | None:
            try:
                return msgspec.msgpack.decode(await self.node.fabric.call(name, SERVICE, body, ASK_S), type=answer)
            except (RoostError, msgspec.MsgspecError) as error:
                logger.warning("%s does not answer the console: %s", name, error)
                return None

        return dict(zip(names, await asyncio.gather(*map(ask, names)), strict=True))

    # The service

    def on_request(self, link: Link, request: Request) -> None:
        """Take a question."""
        try:
            question = questions.decode(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a question for the console: {error}") from None
        match question:
            case OwnTransfers():
                link.reply(request.id, msgspec.msgpack.encode(self.own_transfers()))
            case OwnTraffic():
                link.reply(request.id, msgspec.msgpack.encode(self.own_traffic(question)))
            case OwnSockets():
                link.reply(request.id, msgspec.msgpack.encode(self.own_sockets()))
            case OwnTopics():
                link.reply(request.id, msgspec.msgpack.encode(self.own_topics()))
            case _:
                self._take(link, request.id, question)

    def _take(self, link: Link, request_id: int, question: Question) -> None:
        console = self.consoles.get(command_of(question).changes)
        if console is None or len(self._open) >= limits.CONSOLES_MAX:
            raise Overloaded("the console", ASK_S)
        self._tickets += 1
        self._open[self._tickets] = (link, request_id, question)
        console.answer(self._tickets)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Nothing is told to this service without a question."""
        raise BadMessage("the console takes questions only")

    def question(self, ticket: int) -> Question | None:
        """What is asked with a ticket; None when it was settled."""
        found = self._open.get(ticket)
        return None if found is None else found[2]

    def settle(self, ticket: int, outcome: bytes | Exception) -> None:
        """Answer the question behind `ticket`; harmless when it was settled before."""
        found = self._open.pop(ticket, None)
        if found is None:
            return
        link, request_id, _ = found
        if isinstance(outcome, bytes):
            link.reply(request_id, outcome)
        else:
            link.refuse(request_id, outcome)

    def settle_all(self, error: Exception, *, changes: bool) -> None:
        """Refuse every question of one line that is open."""
        for ticket, (_, _, question) in list(self._open.items()):
            if command_of(question).changes == changes:
                self.settle(ticket, error)


class Console(GenServer):
    """The process that runs the commands of one line, one after the other."""

    def init(self, desk: Desk, changes: bool) -> None:
        self._desk = desk
        self._changes = changes
        desk.consoles[changes] = self.handle

    @cast
    async def answer(self, ticket: int) -> None:
        """Run the command of a ticket, and settle it with what that returns, or raises."""
        question = self._desk.question(ticket)
        if question is None:
            return
        try:
            answer = await command_of(question).run(self._desk, question)
            self._desk.settle(ticket, msgspec.msgpack.encode(answer))
        except RoostError as error:
            self._desk.settle(ticket, error)

    def terminate(self, reason: object) -> None:
        """Nobody waits for an answer that will not come."""
        self._desk.consoles.pop(self._changes, None)
        self._desk.settle_all(Overloaded("the console", ASK_S), changes=self._changes)


def console_child(
    node: Node,
    movements: Movements | None = None,
    sockets: Callable[[], tuple[SocketCounts, ...]] = tuple,
    topics: Callable[[], TopicCounts] = TopicCounts,
) -> Child:
    """The console of a node, for a supervisor.

    Args:
        node: the node.
        movements: those of the node when not given.
        sockets: says who is connected, for each endpoint; nobody, when not given.
        topics: says what the topics are at; there are none, when not given.
    """
    desk = Desk(node, node.traffic if movements is None else movements, sockets, topics)
    return Supervisor.child(
        [
            Console.child(desk, False, name=SERVICE, id=SERVICE),
            Console.child(desk, True, name=CHANGES, id=CHANGES),
        ],
        id="consoles",
    )
