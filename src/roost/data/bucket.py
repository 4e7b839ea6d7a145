"""Buckets: values under text keys, as an application uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost import limits
from roost.core import causality
from roost.core.quorum import GetOp, check_quorum, majority
from roost.core.ring import Replica
from roost.data.kv_operation import Order, Read
from roost.data.kv_vnode import Merge, decode_value, encode_value
from roost.errors import BadMessage, Conflict, NotSendable, TooLarge

if TYPE_CHECKING:
    from roost.data.kv import Kv


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
            BadMessage: a context that was not given for this key, or a number beyond 64 bits.
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
        operation = Read(kv, quorum, limits.OPERATION_TIMEOUT_S if timeout_s is None else timeout_s, full_key)
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
        seen = None if context is None else self._kv.contexts.parse(full_key, context)
        timeout_s = limits.OPERATION_TIMEOUT_S if timeout_s is None else timeout_s
        order = Order(self.name, full_key, value, seen, n, w, self._durable, timeout_s, 1)
        operation = self._kv.write(order)
        if isinstance(operation, str):
            passed = await self._kv.pass_on(operation, order)
            return PutResult(len(passed.nodes), passed.nodes, self._kv.contexts.text(full_key, passed.clock))
        await operation.operations.outcome(operation)
        nodes = operation.nodes
        return PutResult(len(nodes), nodes, self._kv.contexts.text(full_key, operation.clock))

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

    def _quorum(self, parameter: str, n: int | None, needed: int | None, usual: int) -> tuple[int, int]:
        if n is None:
            n = self._n
            if needed is None:
                return n, usual
        elif needed is None:
            needed = majority(n)
        check_quorum(parameter, needed, n, self._members)
        return n, needed


def _encode_value(value: object, bucket: str) -> bytes:
    try:
        return encode_value(value)
    except TypeError:
        raise NotSendable(type(value).__name__, f"a value of bucket {bucket!r}") from None
    except (OverflowError, ValueError, RecursionError) as error:
        raise BadMessage(f"a value of bucket {bucket!r}: {error}") from None
