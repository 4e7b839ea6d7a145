"""The key-value store: buckets of values, each kept on `n` nodes, written to `w` and read from `r` of them.

A write is coordinated by a node that holds a copy: its vnode gives the write its dot, and the object that follows is
encoded once and sent to the others. Any other node passes the write on. A read may be coordinated anywhere. Values
carry their causal history (`core.causality`): concurrent writes are kept side by side until somebody settles them, or
the bucket's merge function does.

When things fail: a netsplit lets each side go on as far as its nodes suffice for w and r; what was written on both
sides meets when it has healed. A write that failed may have happened. A node that comes back gets what was kept for it
(`cluster.handoff`), and every read repairs the replicas that are behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Unpack

import msgspec

from roost import limits
from roost.cluster.coordinator import who
from roost.cluster.vnode import VnodeHost, encode
from roost.core import causality
from roost.core.context import Contexts
from roost.core.quorum import PutOp
from roost.core.ring import Replica
from roost.core.terms import Keeper, check_terms
from roost.data.bucket import Bucket, BucketOptions
from roost.data.kv_operation import VIEWS_MEET_S, Order, Outcome, Write
from roost.data.kv_vnode import KvVnode, Merge
from roost.data.passage import SERVICE, Passage
from roost.data.repairs import Repairs
from roost.data.storage import Storage
from roost.errors import BadMessage, ConfigError, DeadlineExceeded, NoQuorum, RoostError
from roost.wire.messages import Request

if TYPE_CHECKING:
    from roost.cluster.link import Link
    from roost.cluster.node import Node

VIEWS_TRIES_MAX: Final = 25
HOPS_MAX: Final = 2
"""How often a write may be passed on: nodes that see different peers could pass it round for ever."""


class Kv:
    """The store of one node; also the service that takes writes which other nodes pass on.

    Args:
        node: this node; it gets the storage, the vnodes and the handoff as parts.

    Attributes:
        storage: what this node remembers.
        contexts: what clients hand back with a write.
        host: its vnodes.
        handoffs: what moves between it and other nodes.
        repairs: what its reads bring up to date, counted.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.storage = Storage(node.runtime)
        self.contexts = Contexts(node.config.cookie)
        entropy = node.runtime.entropy
        self.host = VnodeHost(node, SERVICE, KvVnode, lambda: KvVnode(self.storage, entropy), self.storage.counts)
        self.handoffs = self.host.handoffs
        self.repairs = Repairs()
        self._buckets: dict[str, Bucket] = {}
        node.fabric.serve(SERVICE, self)
        for part in (self.storage.part(), self.host.part()):
            node.add_part(part)

    def bucket(
        self,
        name: str,
        *,
        n: int = limits.REPLICAS,
        merge: Merge | None = None,
        durable: bool | None = None,
        **usual: Unpack[BucketOptions],
    ) -> Bucket:
        """The bucket `name`; every node must describe it alike. Asking for it again changes nothing.

        Args:
            n: on how many nodes each value is kept; on all, in a cluster of fewer.
            merge: makes one value of concurrent ones; it must not depend on their order, and merging a value with
                itself must change nothing. Without it a read of concurrent values raises Conflict.
            durable: whether a replica counts as having stored a write only when its disk has it; whether the node
                has a disk when not given.
            usual: what its reads and writes need when they do not say it themselves.

        Raises:
            InvalidQuorum: when n is not between 1 and REPLICAS_MAX, or another number not possible with n.
            ConfigError: when the name is too long, or durable writes are asked for without a data folder.
            TypeError: when there is no such option.
        """
        known = self._buckets.get(name)
        if known is not None:
            return known
        if not 1 <= len(name.encode()) <= limits.NAME_BYTES_MAX:
            raise ConfigError("bucket", f"a name has from 1 to {limits.NAME_BYTES_MAX} bytes")
        has_disk = self.storage.is_durable
        if durable and not has_disk:
            raise ConfigError("durable", f"bucket {name!r} wants a disk: give the node a data folder")
        self.node.needs_copies(n)
        keeper = Keeper(f"the bucket {name!r}", n, has_disk if durable is None else durable, has_disk)
        bucket = self._buckets[name] = Bucket(self, name, keeper, merge, usual)
        return bucket

    def write(self, order: Order, partition: int, timeout_s: float) -> Write | tuple[str, ...]:
        """Begin a write when this node holds a copy; otherwise name those that do, to pass it on to.

        Args:
            order: the write.
            partition: to which its key belongs.
            timeout_s: how long it may take.

        Raises:
            NoQuorum: when too few replicas are up.
            TooLarge: when there would be too much under the key.
            ProcessDown: when the vnode crashed on it, or does not run.
            Overloaded: when too many operations are under way.
        """
        node, terms = self.node, order.terms
        replicas, spares = who(node.placement, partition, terms)
        quorum = PutOp(replicas, terms, spares)
        refusal = quorum.refusal()
        if refusal is not None:
            raise refusal
        here: Replica | None = None
        others: list[Replica] = []
        for replica in replicas:
            if replica.node == node.name:
                here = replica
            else:
                others.append(replica)
        if here is None:
            return tuple(replica.node for replica in replicas)
        operation = Write(self, quorum, timeout_s)
        bucket = self._buckets.get(order.bucket)
        merge = None if bucket is None else bucket.merge
        try:
            written = self.host.vnode(here.slot).write(order.key, order.value, order.seen, merge)
        except RoostError:
            operation.operations.leave(operation)
            raise
        except Exception as error:
            operation.operations.leave(operation)
            raise self.host.crashed(here.slot, error) from error
        operation.begin(here, others, order.key, written, terms)
        return operation

    async def pass_on(self, holders: Sequence[str], order: Order) -> Outcome:
        """Let one of `holders` do a write, or say that its sender has to look again.

        Raises:
            OutcomeUnknown: when the one that was asked is lost; the write may have happened.
            NodeDown: when all were lost before they could be asked.
            DeadlineExceeded: when it does not answer in time; the write may have happened.
            RoostError: what it refuses with.
        """
        answer: asyncio.Future[msgspec.Raw] = self.node.operations.loop.create_future()

        def on_outcome(outcome: msgspec.Raw | RoostError) -> None:
            if answer.done():
                return  # the caller has given up
            if isinstance(outcome, RoostError):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        Passage(self.node, holders, order, on_outcome).go()
        try:
            outcome = _decode_outcome(await answer)
            if order.return_value:
                causality.decode(outcome.found or b"")  # what is no object must not be taken for one
            return outcome
        except msgspec.MsgspecError as error:
            raise BadMessage(f"the outcome of a write: {error}") from None

    def on_request(self, link: Link, request: Request) -> None:
        """Another node passes a write on."""
        try:
            order = _decode_order(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a write: {error}") from None
        _check_order(order, self.node.depth)
        self._passed(
            order, link, request.id, self.node.runtime.clock.now() + request.timeout_ms / 1000, VIEWS_TRIES_MAX
        )

    def _passed(self, order: Order, link: Link, request_id: int, deadline: float, tries: int) -> None:
        """Coordinate a write that was passed on, pass it on further, or wait until the other node sees what this one
        sees: while a partition changes hands two nodes may each take the other for the one that holds it."""
        placement, clock = self.node.placement, self.node.runtime.clock
        partition = placement.partition_of(order.bucket.encode(), order.key[order.key[0] + 1 :])
        timeout_s = min(order.timeout_s, deadline - clock.now())
        if timeout_s <= 0:
            link.refuse(request_id, DeadlineExceeded(0, order.terms.needed, order.timeout_s))
            return
        breadth = placement.breadth(partition)
        if order.terms.n == order.breadth < breadth:
            # As few copies as in the smaller cluster that its sender still sees; those who read here would miss them.
            self.node.membership.compare(link.peer)
            link.reply(request_id, encode(Outcome((), ())))
            return
        try:
            operation = (link.peer,) if breadth < order.terms.n else self.write(order, partition, timeout_s)
        except RoostError as error:
            link.refuse(request_id, error)
            return
        if isinstance(operation, Write):
            _answer_later(operation, order, link, request_id)
        elif (link.peer in operation or order.hops >= HOPS_MAX) and tries:
            self.node.membership.compare(link.peer)
            clock.call_later(VIEWS_MEET_S, partial(self._passed, order, link, request_id, deadline, tries - 1))
        elif order.hops >= HOPS_MAX:
            link.refuse(request_id, NoQuorum(0, order.terms.needed))
        else:
            onward = msgspec.structs.replace(order, hops=order.hops + 1, timeout_s=timeout_s)
            Passage(self.node, operation, onward, partial(_relay, link, request_id)).go()

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Writes are answered."""
        raise BadMessage("the store takes questions only")


_decode_order = msgspec.msgpack.Decoder(Order).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


def _check_order(order: Order, members: int) -> None:
    check_terms(order.terms, members)
    size = order.key[0] if order.key else -1
    if order.key[1 : size + 1] != order.bucket.encode():
        raise BadMessage("a key that is not of its bucket")
    if order.seen is not None:
        causality.check_clock(order.seen)


def _answer_later(write: Write, order: Order, link: Link, request_id: int) -> None:
    def answered(_: object) -> None:
        error = write.answer.exception()
        if error is None:
            link.reply(request_id, encode(write.outcome(order.return_value)))
        else:
            link.refuse(request_id, error)

    write.answer.add_done_callback(answered)


def _relay(link: Link, request_id: int, outcome: msgspec.Raw | RoostError) -> None:
    if isinstance(outcome, RoostError):
        link.refuse(request_id, outcome)
    else:
        link.reply(request_id, bytes(outcome))
