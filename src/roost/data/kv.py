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

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from roost import limits
from roost.cluster.handoff import Handoffs
from roost.cluster.vnode import VnodeHost, encode
from roost.core import causality
from roost.core.context import Contexts
from roost.core.quorum import PutOp, check_quorum, majority
from roost.core.ring import Replica
from roost.data.bucket import Bucket
from roost.data.kv_operation import Order, Outcome, Write
from roost.data.kv_vnode import KvVnode, Merge, Receive
from roost.data.storage import Storage
from roost.errors import (
    BadMessage,
    CallTimeout,
    ConfigError,
    DeadlineExceeded,
    NoQuorum,
    RoostError,
)
from roost.wire.messages import Request

if TYPE_CHECKING:
    from roost.cluster.link import Link
    from roost.cluster.node import Node

SERVICE: Final = "kv"
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
        handoffs: what it gives back to other nodes.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.storage = Storage(node.runtime)
        self.contexts = Contexts(node.config.cookie)
        entropy = node.runtime.entropy
        self.host = VnodeHost(node, SERVICE, KvVnode, lambda: KvVnode(self.storage, entropy))
        self.handoffs = Handoffs(node, self.host, lambda items: encode(Receive(items)), self.storage.counts)
        self._buckets: dict[str, Bucket] = {}
        node.fabric.serve(SERVICE, self)
        for part in (self.storage.part(), self.host.part(), self.handoffs.part()):
            node.add_part(part)

    def bucket(
        self,
        name: str,
        *,
        n: int = limits.REPLICAS,
        r: int | None = None,
        w: int | None = None,
        merge: Merge | None = None,
        durable: bool | None = None,
    ) -> Bucket:
        """The bucket `name`; every node must describe it alike. Asking for it again changes nothing.

        Args:
            n: on how many nodes each value is kept; on all, in a cluster of fewer.
            r: how many must answer a read; more than half of n when not given.
            w: how many must store a write; more than half of n when not given.
            merge: makes one value of concurrent ones; it must not depend on their order, and merging a value with
                itself must change nothing. Without it a read of concurrent values raises Conflict.
            durable: whether a replica counts as having stored a write only when its disk has it; whether the node
                has a disk when not given.

        Raises:
            InvalidQuorum: when r or w is not between 1 and n.
            ConfigError: when the name is too long, or durable writes are asked for without a data folder.
        """
        known = self._buckets.get(name)
        if known is not None:
            return known
        if not 1 <= len(name.encode()) <= limits.NAME_BYTES_MAX:
            raise ConfigError("bucket", f"a name has from 1 to {limits.NAME_BYTES_MAX} bytes")
        if durable and not self.storage.is_durable:
            raise ConfigError("durable", f"bucket {name!r} wants a disk: give the node a data folder")
        for parameter, value in (("r", r), ("w", w)):
            check_quorum(parameter, majority(n) if value is None else value, n, max(n, 1))
        bucket = self._buckets[name] = Bucket(
            self, name, n, r, w, merge, self.storage.is_durable if durable is None else durable
        )
        return bucket

    def write(self, order: Order) -> Write | str:
        """Begin a write when this node holds a copy; otherwise name the node to pass it on to.

        Raises:
            NoQuorum: when fewer than w replicas are up.
            TooLarge: when there would be too much under the key.
            ProcessDown: when the vnode crashed on it, or does not run.
            Overloaded: when too many operations are under way.
        """
        node = self.node
        partition = node.placement.partition_of(order.bucket.encode(), order.key[order.key[0] + 1 :])
        replicas = node.placement.replicas(partition, order.n)
        if len(replicas) < order.w:
            raise NoQuorum(len(replicas), order.w)
        here: Replica | None = None
        others: list[Replica] = []
        for replica in replicas:
            if replica.node == node.name:
                here = replica
            else:
                others.append(replica)
        if here is None:
            return replicas[0].node
        operation = Write(self, PutOp(replicas, order.w, node.placement.spares(partition, order.n)), order.timeout_s)
        bucket = self._buckets.get(order.bucket)
        merge = None if bucket is None else bucket.merge
        try:
            written = self.host.vnode(here.partition).write(order.key, order.value, order.seen, merge)
        except RoostError:
            operation.operations.leave(operation)
            raise
        except Exception as error:
            operation.operations.leave(operation)
            raise self.host.crashed(here.partition, error) from error
        operation.begin(here, others, order.key, written, order.durable)
        return operation

    async def pass_on(self, node: str, order: Order) -> Outcome:
        """Let another node do a write.

        Raises:
            NodeDown: when it is lost; the write may have happened.
            DeadlineExceeded: when it does not answer in time.
            RoostError: what it refuses with.
        """
        try:
            reply = await self.node.fabric.call(node, SERVICE, encode(order), order.timeout_s)
        except CallTimeout:
            raise DeadlineExceeded(0, order.w, order.timeout_s) from None
        try:
            return _decode_outcome(reply)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"the outcome of a write: {error}") from None

    def on_request(self, link: Link, request: Request) -> None:
        """Another node passes a write on."""
        try:
            order = _decode_order(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a write: {error}") from None
        _check_order(order, len(self.node.ring.members))
        operation = self.write(order)
        if isinstance(operation, str):
            if order.hops >= HOPS_MAX:
                raise NoQuorum(0, order.w)
            onward = encode(msgspec.structs.replace(order, hops=order.hops + 1))
            self.node.fabric.request(operation, SERVICE, onward, order.timeout_s, partial(_relay, link, request.id))
            return
        under_way = operation

        def answered(_: object) -> None:
            error = under_way.answer.exception()
            if error is None:
                link.reply(request.id, encode(Outcome(under_way.nodes, under_way.clock)))
            else:
                link.refuse(request.id, error)

        under_way.answer.add_done_callback(answered)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Writes are answered."""
        raise BadMessage("the store takes questions only")


_decode_order = msgspec.msgpack.Decoder(Order).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


def _check_order(order: Order, members: int) -> None:
    check_quorum("w", order.w, order.n, members)
    size = order.key[0] if order.key else -1
    if order.key[1 : size + 1] != order.bucket.encode():
        raise BadMessage("a key that is not of its bucket")
    if order.seen is not None:
        causality.check_clock(order.seen)


def _relay(link: Link, request_id: int, outcome: msgspec.Raw | RoostError) -> None:
    if isinstance(outcome, RoostError):
        link.refuse(request_id, outcome)
    else:
        link.reply(request_id, bytes(outcome))
