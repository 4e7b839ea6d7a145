"""Buckets: values under text keys, as an application uses them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack, cast

import msgspec

from roost import limits
from roost.cluster.coordinator import who
from roost.core import causality
from roost.core.quorum import GetOp
from roost.core.ring import Replica
from roost.core.terms import (
    READ_OPTIONS,
    WRITE_OPTIONS,
    Count,
    Keeper,
    ReadOptions,
    ReadTerms,
    TermsBook,
    WriteOptions,
    resolve_read,
    resolve_write,
)
from roost.data.kv_operation import VIEWS_MEET_S, HedgedRead, Order, Outcome, Read, Write
from roost.data.kv_vnode import ListKeys, Merge, decode_value, encode_value
from roost.errors import BadMessage, Conflict, DeadlineExceeded, NotSendable, TooLarge

if TYPE_CHECKING:
    from roost.data.kv import Kv


@dataclass(frozen=True, slots=True)
class PutResult:
    """A write that enough replicas have stored: how many, which nodes, and the context that follows from it.

    `values` is what is stored now where it was written, if that was asked for: one value, more when others have been
    written concurrently and the bucket does not merge.
    """

    acks: int
    nodes: tuple[str, ...]
    context: str
    values: tuple[object, ...] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A value that was read, the context to write its successor with, and how many replicas answered."""

    value: object
    context: str
    replies: int


class BucketOptions(TypedDict, total=False):
    """What the operations of a bucket need when they do not say it themselves; see WriteOptions and ReadOptions."""

    r: Count | None
    pr: Count | None
    w: Count | None
    dw: Count | None
    pw: Count | None
    node_confirms: Count | None
    notfound_ok: bool | None
    basic_quorum: bool | None
    sloppy: bool | None
    hedge: bool | None


class Bucket:
    """Values under text keys. Made by `Kv.bucket`.

    Values are what JSON can say, and bytes, sets and dates of messages; they come back as plain values.

    Attributes:
        name: what it is called.
        merge: what makes one value of concurrent ones, if there is such a function.
    """

    def __init__(self, kv: Kv, name: str, keeper: Keeper, merge: Merge | None, usual: BucketOptions) -> None:
        self.name = name
        self.merge = merge
        self._kv = kv
        self._bytes = name.encode()
        self._prefix = bytes([len(self._bytes)]) + self._bytes
        writes, reads = _split(usual)
        self._writes = TermsBook(resolve_write, writes, keeper)
        self._reads = TermsBook(resolve_read, reads, keeper)

    async def put(
        self,
        key: str,
        value: object,
        *,
        context: str | None = None,
        return_value: bool = False,
        timeout_s: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> PutResult:
        """Write a value.

        Args:
            key: up to KEY_BYTES_MAX bytes of UTF-8.
            value: up to VALUE_BYTES_MAX bytes when encoded.
            context: that of the value that this one follows from. Without it the write replaces whatever the
                coordinating node holds; with it, what was written meanwhile stays beside it.
            return_value: whether the result tells the values that are stored now.
            timeout_s: how long to wait.
            options: n, w, dw, pw, node_confirms and sloppy; see `core.terms.WriteOptions`.

        Raises:
            InvalidQuorum: when this cluster can never do what the options say; it names the one.
            TooLarge: the key, the value, or everything under the key together.
            NotSendable: a value that cannot be encoded.
            BadMessage: a context that was not given for this key, or a number beyond 64 bits.
            NoQuorum: too few nodes could store it; some may have.
            DeadlineExceeded: too few nodes stored it in time; some may have.
            OutcomeUnknown: the node that was to coordinate it is lost; it may have been written.
            Overloaded: too many operations are under way.
        """
        encoded = _encode_value(value, self.name)
        if len(encoded) > limits.VALUE_BYTES_MAX:
            raise TooLarge("a value", len(encoded), limits.VALUE_BYTES_MAX)
        return await self._write(key, encoded, context, timeout_s, return_value, options)

    async def delete(
        self,
        key: str,
        *,
        context: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> PutResult:
        """Delete a value; as `put`. A value that is written meanwhile stays. What was never there is no error."""
        return await self._write(key, None, context, timeout_s, False, options)

    async def get(self, key: str, *, timeout_s: float | None = None, **options: Unpack[ReadOptions]) -> Found | None:
        """Read a value; None when there is none.

        Args:
            key: up to KEY_BYTES_MAX bytes of UTF-8.
            timeout_s: how long to wait.
            options: n, r, pr, node_confirms, notfound_ok, basic_quorum, sloppy and hedge; see
                `core.terms.ReadOptions`.

        Raises:
            InvalidQuorum: when this cluster can never do what the options say; it names the one.
            TooLarge: the key.
            Conflict: there are concurrent values, and the bucket has no merge function.
            NoQuorum: too few nodes could answer.
            DeadlineExceeded: too few nodes answered in time.
            Overloaded: too many operations are under way.
        """
        kv = self._kv
        full_key, raw_key = self._full_key(key)
        placement = kv.node.placement
        partition = placement.partition_of(self._bytes, raw_key)
        terms = self._reads.terms(options, placement.breadth(partition))
        replicas, spares = who(placement, partition, terms)
        if timeout_s is None:
            timeout_s = limits.OPERATION_TIMEOUT_S
        if terms.is_hedged:
            operation = self._hedged(full_key, terms, replicas, spares, timeout_s)
        else:
            operation = Read(kv, GetOp(replicas, terms, spares), timeout_s, full_key)
            _begin(operation, replicas)
        await kv.node.operations.outcome(operation)
        quorum = operation.quorum
        if quorum.found is None:
            return None
        return self._found(key, causality.decode(quorum.found), quorum.counted)

    def where(self, key: str, n: int | None = None) -> tuple[Replica, ...]:
        """The preference list of a key now: which nodes hold it, in the partition of which."""
        _, raw_key = self._full_key(key)
        placement = self._kv.node.placement
        partition = placement.partition_of(self._bytes, raw_key)
        terms = self._reads.terms({"n": n, "r": 1}, placement.breadth(partition))
        return placement.replicas(partition, terms.n)

    async def keys(self, timeout_s: float = limits.OPERATION_TIMEOUT_S) -> AsyncGenerator[str, None]:
        """Every key that has a value, in no particular order, from one holder of each partition.

        A key that is written or deleted meanwhile may be there or not. A holder that has missed writes does not know
        their keys until it was repaired.

        Args:
            timeout_s: how long one node may take for some hundred keys.

        Raises:
            CoverageFailed: at the end, when no node could answer for some partitions.
        """
        kv = self._kv
        copies = self._reads.keeper.copies
        async with aclosing(kv.host.coverages.run(ListKeys(self._prefix), copies, timeout_s)) as replies:
            async for found in replies:
                if isinstance(found, msgspec.Raw):
                    yield msgspec.msgpack.decode(found, type=bytes).decode()

    async def _write(
        self,
        key: str,
        value: bytes | None,
        context: str | None,
        timeout_s: float | None,
        return_value: bool,
        options: WriteOptions,
    ) -> PutResult:
        kv = self._kv
        full_key, raw_key = self._full_key(key)
        placement = kv.node.placement
        partition = placement.partition_of(self._bytes, raw_key)
        breadth = placement.breadth(partition)
        terms = self._writes.terms(options, breadth)
        seen = None if context is None else kv.contexts.parse(full_key, context)
        timeout_s = limits.OPERATION_TIMEOUT_S if timeout_s is None else timeout_s
        order = Order(self.name, full_key, value, seen, terms, timeout_s, 1, breadth, return_value)
        operation = kv.write(order, partition, timeout_s)
        if isinstance(operation, Write):
            await operation.operations.outcome(operation)
            nodes = operation.nodes
            found, clock = operation.written
        else:
            outcome = await self._pass_on(operation, order, partition, options)
            nodes, clock, found = outcome.nodes, outcome.clock, outcome.found or b""
        context = kv.contexts.text(full_key, clock)
        if not return_value:
            return PutResult(len(nodes), nodes, context)
        values = tuple(decode_value(one) for one in causality.decode(found).values())
        return PutResult(len(nodes), nodes, context, values)

    async def _pass_on(self, holders: Sequence[str], order: Order, partition: int, options: WriteOptions) -> Outcome:
        """Let one of `holders` do a write. When it knows of more nodes than this one, look again and ask for as many
        copies as they can keep: a cluster that grows tells its nodes one after the other."""
        kv, timeout_s = self._kv, order.timeout_s
        clock, placement = kv.node.runtime.clock, kv.node.placement
        ends = clock.now() + timeout_s
        while not (outcome := await kv.pass_on(holders, order)).nodes:
            await clock.sleep(VIEWS_MEET_S)
            left_s = ends - clock.now()
            if left_s <= 0:
                raise DeadlineExceeded(0, order.terms.needed, timeout_s)
            breadth = placement.breadth(partition)
            terms = self._writes.terms(options, breadth)
            order = msgspec.structs.replace(order, terms=terms, breadth=breadth, timeout_s=left_s)
            operation = kv.write(order, partition, left_s)
            if isinstance(operation, Write):  # the partition has come here meanwhile
                await operation.operations.outcome(operation)
                return operation.outcome(order.return_value)
            holders = operation
        return outcome

    def _found(self, key: str, stored: causality.Versions, replies: int) -> Found | None:
        encoded = stored.values()
        if not encoded:
            return None
        context = self._kv.contexts.text(self._prefix + key.encode(), stored.clock)
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

    def _hedged(
        self, key: bytes, terms: ReadTerms, replicas: Sequence[Replica], spares: Sequence[str], timeout_s: float
    ) -> Read:
        """Begin a read that asks as many nodes as must answer, and further ones only when one is slow."""
        kv = self._kv
        node = kv.node
        latencies = node.operations.hedges.latencies
        ranked = latencies.rank(replicas, node.name, terms.primaries > 0, node.runtime.clock.now())
        first = max(terms.needed, terms.primaries, terms.nodes)
        operation = HedgedRead(kv, GetOp(ranked[:first], terms, spares, ranked[first:]), timeout_s, key)
        _begin(operation, ranked[:first])
        operation.watch()
        return operation


def _begin(operation: Read, replicas: Sequence[Replica]) -> None:
    refusal = operation.quorum.begin()
    if refusal:
        operation.perform(refusal)
        return
    for replica in replicas:
        operation.ask(replica)


def _split(usual: BucketOptions) -> tuple[WriteOptions, ReadOptions]:
    """What a bucket declares of its writes and of its reads."""
    known = WRITE_OPTIONS | READ_OPTIONS
    for name in usual:
        if name not in known:
            raise TypeError(f"a bucket has no option {name!r}")
    writes = {name: value for name, value in usual.items() if name in WRITE_OPTIONS}
    reads = {name: value for name, value in usual.items() if name in READ_OPTIONS}
    return cast(WriteOptions, writes), cast(ReadOptions, reads)


def _encode_value(value: object, bucket: str) -> bytes:
    try:
        return encode_value(value)
    except TypeError:
        raise NotSendable(type(value).__name__, f"a value of bucket {bucket!r}") from None
    except (OverflowError, ValueError, RecursionError) as error:
        raise BadMessage(f"a value of bucket {bucket!r}: {error}") from None
