"""Coordinators: one request to the replicas of a key, and one answer to whoever asked.

An operation is no process: it is an object that is called back, which is what makes it cheap. It performs the effects
that the pure state machine of `core.quorum` decides on. Every operation ends by its deadline; one timer looks after all
of them every SWEEP_S, and only while there are any.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from roost import limits
from roost.cluster.hedges import Hedges
from roost.cluster.vnode import CommandT, ReplyT, Sender, Vnode, VnodeHost
from roost.core.quorum import Answer, Effects, PutOp, Repair, Send
from roost.core.ring import Replica
from roost.core.terms import (
    Count,
    Keeper,
    ReadOptions,
    Terms,
    TermsBook,
    WriteOptions,
    WriteTerms,
    resolve_read,
    resolve_write,
)
from roost.errors import CallTimeout, Overloaded, ProcessDown, Refusal, RoostError
from roost.otp import Child, GenServer, Reason
from roost.runtime.clock import Timer

if TYPE_CHECKING:
    from roost.cluster.node import Node
    from roost.cluster.ring import Placement

ONE: Terms = WriteTerms(1, 1)


def who(placement: Placement, partition: int, terms: Terms) -> tuple[Sequence[Replica], Sequence[str]]:
    """Who serves the copies of a partition for an operation, and who stands in for one of those that fails."""
    replicas = placement.replicas(partition, terms.n)
    if terms.is_sloppy:
        return replicas, placement.spares(partition, terms.n)
    return [replica for replica in replicas if replica.is_primary], ()


class Operation(ABC):
    """One request to several replicas.

    Args:
        operations: the book that it is entered in until it is over.
        quorum: its decisions.
        timeout_s: how long the caller waits.

    Attributes:
        answer: what the caller awaits; its error is the operation's.
        patience_s: how much of `timeout_s` was left when a replica was asked last; what that is told.
    """

    __slots__ = ("answer", "deadline", "operations", "patience_s", "quorum", "timeout_s")

    def __init__(self, operations: Operations, quorum: PutOp, timeout_s: float) -> None:
        self.operations = operations
        self.quorum = quorum
        self.timeout_s = self.patience_s = timeout_s
        self.answer: asyncio.Future[None] = operations.loop.create_future()
        self.deadline = operations.enter(self) + timeout_s

    @abstractmethod
    def ask(self, replica: Replica) -> None:
        """Send the request to one replica; exactly one reply or failure of it follows."""

    def repair(self, effect: Repair) -> None:  # noqa: B027  # only reads repair
        """Write what has been found to the replicas that hold less."""

    def perform(self, effects: Effects) -> None:
        """Do what has been decided."""
        for effect in effects:
            if type(effect) is Answer:
                if not self.answer.done():
                    if effect.error is None:
                        self.answer.set_result(None)
                    else:
                        self.answer.set_exception(effect.error)
            elif type(effect) is Send:
                self.patience_s = max(self.operations.left_s(self), 0.0)
                self.ask(effect.replica)
            elif type(effect) is Repair:
                self.repair(effect)
        if self.quorum.is_over:
            self.operations.leave(self)

    def failed(self, replica: Replica, error: RoostError) -> None:
        """A replica has not done what was asked."""
        if isinstance(error, CallTimeout) and self.operations.left_s(self) <= 0:
            return  # the next sweep ends it as what it is: late
        self.perform(self.quorum.failed(replica))

    def fail(self, error: RoostError) -> None:
        """End it with `error`, unless it is answered."""
        self.quorum.is_answered = True
        self.perform((Answer(error),))
        self.operations.leave(self)


class Operations:
    """The operations under way on one node. Its process is `part`; without it nothing may begin.

    Attributes:
        hedges: those that ask a further node when one is slow.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.hedges = Hedges(node.runtime.clock)
        self._clock = node.runtime.clock
        self._running: dict[Operation, None] = {}
        self._timer: Timer | None = None
        self._inline = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._running)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the node.

        Raises:
            ProcessDown: while the node does not run.
        """
        if self._loop is None:
            raise ProcessDown(f"the coordinator of {self.node.name}", "its node does not run")
        return self._loop

    def enter(self, operation: Operation) -> float:
        """Look after an operation until it leaves; return the time.

        Raises:
            Overloaded: when OPERATIONS_MAX operations are under way.
        """
        running = self._running
        if len(running) >= limits.OPERATIONS_MAX:
            raise Overloaded("the coordinator", limits.SWEEP_S)
        running[operation] = None
        if self._timer is None:
            self._timer = self._clock.call_later(limits.SWEEP_S, self._sweep)
        return self._clock.now()

    async def outcome(self, operation: Operation) -> None:
        """Wait for the answer of an operation; its error is raised.

        An operation that needs this node alone is answered before anybody waits. A tight loop of those yields now and
        then, as a loop of inline calls does.
        """
        if operation.answer.done():
            self._inline += 1
            if self._inline >= limits.REDUCTIONS_PER_TURN:
                self._inline = 0
                await self._clock.sleep(0)
        await operation.answer

    def leave(self, operation: Operation) -> None:
        """Nothing more is to be done for an operation."""
        self._running.pop(operation, None)

    def left_s(self, operation: Operation) -> float:
        """How long it is until the deadline of an operation, in seconds; less than 0 when it has passed."""
        return operation.deadline - self._clock.now()

    def part(self) -> Child:
        """The process that operations belong to, as a part of the node."""
        return Coordinator.child(self, id="coordinator")

    def open(self) -> None:
        """Let operations begin."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """End every operation, and let none begin."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.hedges.close()
        for operation in list(self._running):
            operation.fail(ProcessDown(f"the coordinator of {self.node.name}", "shutdown"))

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.now()
        for operation in [one for one in self._running if one.deadline <= now]:
            self.leave(operation)
            operation.perform(operation.quorum.deadline_passed(operation.timeout_s))
        if self._running and self._timer is None:
            self._timer = self._clock.call_later(limits.SWEEP_S, self._sweep)


class Coordinator(GenServer):
    """The process that the operations of a node belong to."""

    def init(self, operations: Operations) -> None:
        self.trap_exits()
        self._operations = operations
        operations.open()

    def terminate(self, reason: Reason) -> None:
        """Nobody waits in vain."""
        self._operations.close()


class _Command(Operation):
    """A command to several vnodes, whose replies are kept."""

    __slots__ = ("_command", "_encoded", "_host", "replies")

    def __init__(
        self, operations: Operations, quorum: PutOp, timeout_s: float, host: VnodeHost[Any], command: object
    ) -> None:
        self._encoded = host.encode_command(command)
        super().__init__(operations, quorum, timeout_s)
        self._host = host
        self._command = command
        self.replies: list[object] = []

    def ask(self, replica: Replica) -> None:
        """Here in this very turn, or over the link."""
        node, heard = self.operations.node, partial(self._heard, replica)
        if replica.node == node.name:
            self._host.ask(replica.slot, self._command, Sender(node.name, heard))
        else:
            body = self._host.envelope(replica.slot, not replica.is_primary, self._encoded)
            node.fabric.request(replica.node, self._host.service, body, self.patience_s, heard)

    def _heard(self, replica: Replica, outcome: Any) -> None:
        quorum = self.quorum
        reply = outcome if replica.node == self.operations.node.name else self._host.decode_reply(outcome)
        if isinstance(reply, RoostError):
            if isinstance(reply, Refusal) and not quorum.is_answered:
                self.fail(reply)  # the vnode's own "no": another one would say the same
            else:
                self.failed(replica, reply)
        else:
            if not quorum.is_answered:
                self.replies.append(reply)
            self.perform(quorum.replied(replica))


class VnodeRing(Generic[CommandT, ReplyT]):
    """A ring of vnodes as an application uses it: `ring = app.ring(PingVnode)`.

    Where a key lies depends on the name of the ring too, so that two rings spread their keys independently.

    Args:
        node: this node; it gets the ring's vnodes as a part.
        kind: the class of the vnodes; every node must add the same.
        name: what the ring is called; the name of the class when not given.
        n: how many vnodes may handle one command.

    Raises:
        InvalidQuorum: when n is not from 1 to REPLICAS_MAX.
    """

    def __init__(
        self, node: Node, kind: type[Vnode[CommandT, ReplyT]], name: str | None = None, n: int = limits.REPLICAS
    ) -> None:
        self.name = name or kind.__name__
        node.needs_copies(n)
        keeper = Keeper(f"the ring {self.name!r}", n)
        self._writes = TermsBook(resolve_write, WriteOptions(), keeper)
        self._reads = TermsBook(resolve_read, ReadOptions(), keeper)
        self.host = VnodeHost(node, self.name, kind, kind)
        self._node = node
        node.add_part(self.host.part())

    def partition(self, key: str) -> int:
        """The partition that owns `key`."""
        return self._node.placement.partition_of(self.name.encode(), key.encode())

    async def command(self, key: str, command: CommandT, timeout_s: float = limits.OPERATION_TIMEOUT_S) -> ReplyT:
        """Let the first vnode of `key` that is up handle `command`; return its reply.

        When that node is lost meanwhile the next one is asked, so it may be handled twice.

        Raises:
            Refusal: the vnode's own.
            NoQuorum: when no vnode could answer.
            DeadlineExceeded: when none answered in time.
        """
        return (await self._run(self.partition(key), command, ONE, timeout_s))[0]

    async def write(
        self,
        key: str,
        command: CommandT,
        *,
        n: int | None = None,
        w: Count | None = None,
        pw: Count | None = None,
        node_confirms: Count | None = None,
        sloppy: bool = True,
        timeout_s: float = limits.OPERATION_TIMEOUT_S,
    ) -> list[ReplyT]:
        """Let the `n` vnodes of `key` handle `command`; return the replies, `w` of them or more.

        Args:
            n: how many vnodes; as many as the ring declares when not given, or all when there are fewer nodes.
            w: how many replies to wait for; more than half of n when not given.
            pw: how many of them must be of vnodes on their own node, not of those that stand in for one.
            node_confirms: how many different nodes must have replied.
            sloppy: whether other nodes stand in for those that are down.

        Raises:
            InvalidQuorum: when this cluster can never satisfy the numbers.
            NoQuorum: when too few can answer; some may have handled it.
            DeadlineExceeded: when too few answer in time; some may have handled it.
        """
        options = WriteOptions(n=n, w=w, pw=pw, node_confirms=node_confirms, sloppy=sloppy)
        partition = self.partition(key)
        terms = self._writes.terms(options, self._node.placement.breadth(partition))
        return await self._run(partition, command, terms, timeout_s)

    async def read(
        self,
        key: str,
        command: CommandT,
        *,
        n: int | None = None,
        r: Count | None = None,
        pr: Count | None = None,
        node_confirms: Count | None = None,
        sloppy: bool = True,
        timeout_s: float = limits.OPERATION_TIMEOUT_S,
    ) -> list[ReplyT]:
        """As `write`, for a command that changes nothing."""
        options = ReadOptions(n=n, r=r, pr=pr, node_confirms=node_confirms, sloppy=sloppy)
        partition = self.partition(key)
        terms = self._reads.terms(options, self._node.placement.breadth(partition))
        return await self._run(partition, command, terms, timeout_s)

    async def coverage(
        self, command: CommandT, *, n: int | None = None, timeout_s: float = limits.OPERATION_TIMEOUT_S
    ) -> AsyncGenerator[ReplyT, None]:
        """Ask one vnode of every partition; give all replies as they come, in no particular order.

        Args:
            command: what their `cover` takes.
            n: how many copies there are to choose from; those that the ring declares when not given.
            timeout_s: how long one node may take for some hundred replies.

        Raises:
            Refusal: a vnode's own.
            CoverageFailed: at the end, when no node could answer for some partitions.
        """
        copies = self._reads.terms({"n": n, "r": 1}, self._reads.keeper.copies).n
        async with aclosing(self.host.coverages.run(command, copies, timeout_s)) as replies:
            async for reply in replies:
                found: Any = reply
                yield found

    async def _run(self, partition: int, command: CommandT, terms: Terms, timeout_s: float) -> list[ReplyT]:
        replicas, spares = who(self._node.placement, partition, terms)
        quorum = PutOp(replicas, terms, spares)
        operation = _Command(self._node.operations, quorum, timeout_s, self.host, command)
        operation.perform(quorum.begin())
        if not quorum.is_answered:
            for replica in replicas:
                operation.ask(replica)
        await self._node.operations.outcome(operation)
        replies: list[Any] = operation.replies
        return replies
