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

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from roost import limits
from roost.cluster.coordinator import Operation
from roost.cluster.handoff import Handoffs
from roost.cluster.vnode import Sender, VnodeHost, encode
from roost.core import causality
from roost.core.causality import Clock
from roost.core.quorum import GetOp, PutOp, Repair, check_quorum, majority
from roost.core.ring import Replica
from roost.data.kv_vnode import Fetch, KvVnode, Merge, Receive, Store, decode_value, encode_value
from roost.data.storage import Storage
from roost.errors import (
    BadMessage,
    CallTimeout,
    ConfigError,
    Conflict,
    DeadlineExceeded,
    NoQuorum,
    NotSendable,
    RoostError,
    TooLarge,
)
from roost.wire.messages import Request

if TYPE_CHECKING:
    from roost.cluster.link import Link
    from roost.cluster.node import Node

SERVICE: Final = "kv"
HOPS_MAX: Final = 2
"""How often a write may be passed on: nodes that see different peers could pass it round for ever."""
NIL: Final = b"\xc0"


@dataclass(frozen=True, slots=True)
class PutResult:
    """A write that enough replicas have stored: how many, which nodes, and the context that follows from it."""

    acks: int
    nodes: tuple[str, ...]
    context: str


@dataclass(frozen=True, slots=True)
class Found:
    """A value that was read, the context to write its successor with, and how many replicas answered."""

    value: object
    context: str
    replies: int


class _Passed(msgspec.Struct, array_like=True, frozen=True):
    """A write on its way to a node that holds a copy."""

    bucket: str
    key: bytes
    value: bytes | None
    seen: Clock | None
    n: int
    w: int
    durable: bool
    timeout_s: float
    hops: int


class _Written(msgspec.Struct, array_like=True, frozen=True):
    """The outcome of a write that was passed on."""

    nodes: tuple[str, ...]
    clock: Clock


class _Write(Operation):
    """A write that this node coordinates."""

    __slots__ = ("_command", "_kv", "clock")

    quorum: PutOp

    def __init__(self, kv: Kv, quorum: PutOp, timeout_s: float) -> None:
        super().__init__(kv.node.operations, quorum, timeout_s)
        self._kv = kv
        self._command = b""
        self.clock: Clock = ()

    def begin(
        self, here: Replica, others: list[Replica], key: bytes, written: tuple[bytes, Clock], durable: bool
    ) -> None:
        """The local vnode has given the write its dot: let the others store it."""
        encoded, self.clock = written
        self._command = encode(Store(key, encoded, durable))
        for replica in others:
            self.ask(replica)
        if durable:
            self._kv.storage.when_durable(partial(self._heard, here))
        else:
            self._heard(here, None)

    def ask(self, replica: Replica) -> None:
        """Let a replica on another node store it."""
        kv = self._kv
        body = kv.host.envelope(replica.partition, self._command)
        kv.node.fabric.request(replica.node, kv.host.service, body, self.timeout_s, partial(self._heard, replica))

    def _heard(self, replica: Replica, outcome: msgspec.Raw | RoostError | None) -> None:
        if isinstance(outcome, RoostError):
            self.failed(replica, outcome)
        elif effects := self.quorum.replied(replica):
            self.perform(effects)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes whose answers made the quorum."""
        return self.quorum.nodes[: self.quorum.needed]


class _Read(Operation):
    """A read that this node coordinates."""

    __slots__ = ("_command", "_key", "_kv")

    quorum: GetOp

    def __init__(self, kv: Kv, quorum: GetOp, timeout_s: float, key: bytes) -> None:
        super().__init__(kv.node.operations, quorum, timeout_s)
        self._kv = kv
        self._key = key
        self._command = b""

    def ask(self, replica: Replica) -> None:
        """Ask the vnode here, or one on another node, what it holds."""
        kv = self._kv
        if replica.node == kv.node.name:
            try:
                found = kv.host.vnode(replica.partition).fetch(self._key)
                effects = self.quorum.found_at(replica, found)
            except RoostError:
                effects = self.quorum.failed(replica)
            except Exception as error:
                kv.host.crashed(replica.partition, error)
                effects = self.quorum.failed(replica)
            self.perform(effects)
            return
        command = self._command
        if not command:
            command = self._command = encode(Fetch(self._key))
        body = kv.host.envelope(replica.partition, command)
        kv.node.fabric.request(replica.node, kv.host.service, body, self.timeout_s, partial(self._heard, replica))

    def repair(self, effect: Repair) -> None:
        """Write what all replicas hold together to those that hold less; nobody waits for it."""
        kv = self._kv
        command = Store(self._key, effect.found, False)
        body = encode(command)
        for replica in effect.replicas:
            if replica.node == kv.node.name:
                kv.host.ask(replica.partition, command, Sender(replica.node, _ignore))
            else:
                envelope = kv.host.envelope(replica.partition, body)
                kv.node.fabric.request(replica.node, kv.host.service, envelope, self.timeout_s, _ignore)

    def _heard(self, replica: Replica, outcome: msgspec.Raw | RoostError) -> None:
        quorum = self.quorum
        if isinstance(outcome, RoostError):
            self.failed(replica, outcome)
            return
        found = bytes(outcome)
        try:
            effects = quorum.found_at(replica, None if found == NIL else found)
        except msgspec.MsgspecError:
            effects = quorum.failed(replica)
        self.perform(effects)


class Kv:
    """The store of one node; also the service that takes writes which other nodes pass on.

    Args:
        node: this node; it gets the storage, the vnodes and the handoff as parts.

    Attributes:
        storage: what this node remembers.
        host: its vnodes.
        handoffs: what it gives back to other nodes.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.storage = Storage(node.runtime)
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

    def write(self, order: _Passed) -> _Write | str:
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
        operation = _Write(self, PutOp(replicas, order.w, node.placement.spares(partition, order.n)), order.timeout_s)
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

    async def pass_on(self, node: str, order: _Passed) -> _Written:
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
            return _decode_written(reply)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"the outcome of a write: {error}") from None

    def on_request(self, link: Link, request: Request) -> None:
        """Another node passes a write on."""
        try:
            order = _decode_passed(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a write: {error}") from None
        _check_passed(order, len(self.node.ring.members))
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
                link.reply(request.id, encode(_Written(under_way.nodes, under_way.clock)))
            else:
                link.refuse(request.id, error)

        under_way.answer.add_done_callback(answered)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Writes are answered."""
        raise BadMessage("the store takes questions only")


class Bucket:
    """Values under text keys. Made by `Kv.bucket`.

    Values are what JSON can say, and bytes, sets and dates of messages; they come back as plain values.

    Attributes:
        name: what it is called.
        merge: what makes one value of concurrent ones, if there is such a function.
    """

    def __init__(
        self, kv: Kv, name: str, n: int, r: int | None, w: int | None, merge: Merge | None, durable: bool
    ) -> None:
        self.name = name
        self.merge = merge
        self._kv = kv
        self._bytes = name.encode()
        self._prefix = bytes([len(self._bytes)]) + self._bytes
        self._members = len(kv.node.ring.members)
        self._n = min(n, self._members)
        self._r = majority(self._n) if r is None else min(r, self._n)
        self._w = majority(self._n) if w is None else min(w, self._n)
        self._durable = durable

    async def put(
        self,
        key: str,
        value: object,
        *,
        n: int | None = None,
        w: int | None = None,
        context: str | None = None,
        timeout_s: float | None = None,
    ) -> PutResult:
        """Write a value.

        Args:
            key: up to KEY_BYTES_MAX bytes of UTF-8.
            value: up to VALUE_BYTES_MAX bytes when encoded.
            n: on how many nodes; the bucket's when not given.
            w: how many of them must have stored it; the bucket's, or more than half of `n`.
            context: that of the value that this one follows from. Without it the write replaces whatever the
                coordinating node holds; with it, what was written meanwhile stays beside it.
            timeout_s: how long to wait.

        Raises:
            InvalidQuorum: when this cluster can never satisfy n and w.
            TooLarge: the key, the value, or everything under the key together.
            NotSendable: a value that cannot be encoded.
            BadMessage: a context that no write has made, or a number beyond 64 bits.
            NoQuorum: fewer than w nodes could store it; some may have.
            DeadlineExceeded: fewer than w nodes stored it in time; some may have.
            Overloaded: too many operations are under way.
        """
        encoded = _encode_value(value, self.name)
        if len(encoded) > limits.VALUE_BYTES_MAX:
            raise TooLarge("a value", len(encoded), limits.VALUE_BYTES_MAX)
        return await self._write(key, encoded, n, w, context, timeout_s)

    async def delete(
        self,
        key: str,
        *,
        n: int | None = None,
        w: int | None = None,
        context: str | None = None,
        timeout_s: float | None = None,
    ) -> PutResult:
        """Delete a value; as `put`. A value that is written meanwhile stays. What was never there is no error."""
        return await self._write(key, None, n, w, context, timeout_s)

    async def get(
        self, key: str, *, n: int | None = None, r: int | None = None, timeout_s: float | None = None
    ) -> Found | None:
        """Read a value; None when there is none.

        Args:
            key: up to KEY_BYTES_MAX bytes of UTF-8.
            n: on how many nodes it is; the bucket's when not given.
            r: how many of them must answer; the bucket's, or more than half of `n`.
            timeout_s: how long to wait.

        Raises:
            InvalidQuorum: when this cluster can never satisfy n and r.
            TooLarge: the key.
            Conflict: there are concurrent values, and the bucket has no merge function.
            NoQuorum: fewer than r nodes could answer.
            DeadlineExceeded: fewer than r nodes answered in time.
            Overloaded: too many operations are under way.
        """
        kv = self._kv
        full_key, raw_key = self._full_key(key)
        n, r = self._quorum("r", n, r, self._r)
        placement = kv.node.placement
        partition = placement.partition_of(self._bytes, raw_key)
        replicas = placement.replicas(partition, n)
        quorum = GetOp(replicas, r, placement.spares(partition, n))
        operation = _Read(kv, quorum, limits.OPERATION_TIMEOUT_S if timeout_s is None else timeout_s, full_key)
        operation.perform(quorum.begin())
        if not quorum.is_answered:
            for replica in replicas:
                operation.ask(replica)
        await kv.node.operations.outcome(operation)
        if quorum.found is None:
            return None
        return self._found(key, causality.decode(quorum.found), r)

    def where(self, key: str, n: int | None = None) -> tuple[Replica, ...]:
        """The preference list of a key now: which nodes hold it, in the partition of which."""
        _, raw_key = self._full_key(key)
        placement = self._kv.node.placement
        n, _ = self._quorum("r", n, 1, 1)
        return placement.replicas(placement.partition_of(self._bytes, raw_key), n)

    async def _write(
        self, key: str, value: bytes | None, n: int | None, w: int | None, context: str | None, timeout_s: float | None
    ) -> PutResult:
        full_key, _ = self._full_key(key)
        n, w = self._quorum("w", n, w, self._w)
        seen = None if context is None else causality.parse_context(context)
        timeout_s = limits.OPERATION_TIMEOUT_S if timeout_s is None else timeout_s
        order = _Passed(self.name, full_key, value, seen, n, w, self._durable, timeout_s, 1)
        operation = self._kv.write(order)
        if isinstance(operation, str):
            passed = await self._kv.pass_on(operation, order)
            return PutResult(len(passed.nodes), passed.nodes, causality.context_text(passed.clock))
        await operation.operations.outcome(operation)
        nodes = operation.nodes
        return PutResult(len(nodes), nodes, causality.context_text(operation.clock))

    def _found(self, key: str, stored: causality.Versions, replies: int) -> Found | None:
        encoded = stored.values()
        if not encoded:
            return None
        context = causality.context_text(stored.clock)
        if len(encoded) == 1:
            return Found(decode_value(encoded[0]), context, replies)
        values = tuple(decode_value(one) for one in encoded)
        if self.merge is None:
            raise Conflict(key, values, context)
        return Found(self.merge(values), context, replies)

    def _full_key(self, key: str) -> tuple[bytes, bytes]:
        try:
            raw = key.encode()
        except UnicodeEncodeError:
            raise BadMessage("a key that is not text") from None
        if len(raw) > limits.KEY_BYTES_MAX:
            raise TooLarge("a key", len(raw), limits.KEY_BYTES_MAX)
        return self._prefix + raw, raw

    def _quorum(self, parameter: str, n: int | None, needed: int | None, usual: int) -> tuple[int, int]:
        if n is None:
            n = self._n
            if needed is None:
                return n, usual
        elif needed is None:
            needed = majority(n)
        check_quorum(parameter, needed, n, self._members)
        return n, needed


_decode_passed = msgspec.msgpack.Decoder(_Passed).decode
_decode_written = msgspec.msgpack.Decoder(_Written).decode


def _encode_value(value: object, bucket: str) -> bytes:
    try:
        return encode_value(value)
    except TypeError:
        raise NotSendable(type(value).__name__, f"a value of bucket {bucket!r}") from None
    except (OverflowError, ValueError, RecursionError) as error:
        raise BadMessage(f"a value of bucket {bucket!r}: {error}") from None


def _check_passed(order: _Passed, members: int) -> None:
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


def _ignore(outcome: object) -> None:
    """Nobody waits."""
