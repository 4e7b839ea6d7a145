"""Buckets and rings as an application declares them, before any node runs: the same on each of its nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic

from roost.cluster.coordinator import VnodeRing
from roost.cluster.vnode import CommandT, ReplyT, Vnode
from roost.core.context import NOTHING_READ
from roost.data.bucket import Bucket, Found, PutResult
from roost.limits import OPERATION_TIMEOUT_S

if TYPE_CHECKING:
    from roost.core.ring import Replica
    from roost.web.app import RunningApp


class KeyValue:
    """A bucket of the node that the code runs on, made by `Roost.kv`. Its methods are those of `data.bucket.Bucket`.

    Use it in channels, children and requests of the application; elsewhere it raises RuntimeError.
    """

    def __init__(self, running: Callable[[], RunningApp], name: str) -> None:
        self._running = running
        self.name = name

    @property
    def bucket(self) -> Bucket:
        """The bucket on this node."""
        return self._running().buckets[self.name]

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
        """Write a value; see `Bucket.put`."""
        return await self.bucket.put(key, value, n=n, w=w, context=context, timeout_s=timeout_s)

    async def get(
        self, key: str, *, n: int | None = None, r: int | None = None, timeout_s: float | None = None
    ) -> Found | None:
        """Read a value, or None; see `Bucket.get`."""
        return await self.bucket.get(key, n=n, r=r, timeout_s=timeout_s)

    async def delete(
        self,
        key: str,
        *,
        n: int | None = None,
        w: int | None = None,
        context: str | None = None,
        timeout_s: float | None = None,
    ) -> PutResult:
        """Delete a value; see `Bucket.delete`."""
        return await self.bucket.delete(key, n=n, w=w, context=context, timeout_s=timeout_s)

    async def update(
        self, key: str, change: Callable[[object], object], *, timeout_s: float | None = None
    ) -> PutResult:
        """Write what `change` makes of the value there is, None when there is none.

        What others write between the read and the write is not lost: it becomes a sibling, which the bucket's merge
        function settles. Without one, the next `get` raises Conflict.

        Raises:
            whatever `get` and `put` raise.
        """
        bucket = self.bucket
        found = await bucket.get(key, timeout_s=timeout_s)
        if found is None:
            return await bucket.put(key, change(None), context=NOTHING_READ, timeout_s=timeout_s)
        return await bucket.put(key, change(found.value), context=found.context, timeout_s=timeout_s)

    def where(self, key: str, n: int | None = None) -> tuple[Replica, ...]:
        """Which nodes hold a key now; see `Bucket.where`."""
        return self.bucket.where(key, n)


class AppRing(Generic[CommandT, ReplyT]):
    """A ring of vnodes on the node that the code runs on. Made by `Roost.ring`; see `VnodeRing` for its methods."""

    def __init__(self, running: Callable[[], RunningApp], kind: type[Vnode[CommandT, ReplyT]], name: str) -> None:
        self._running = running
        self.kind = kind
        self.name = name

    # Any: a declaration of types that the class is generic over; the methods below give them back.
    @property
    def ring(self) -> VnodeRing[Any, Any]:
        """The ring on this node."""
        return self._running().rings[self.name]

    async def command(self, key: str, command: CommandT, timeout_s: float = OPERATION_TIMEOUT_S) -> ReplyT:
        """Let the first vnode of `key` that is up handle `command`; return its reply."""
        reply: ReplyT = await self.ring.command(key, command, timeout_s)
        return reply

    async def write(
        self,
        key: str,
        command: CommandT,
        *,
        n: int | None = None,
        w: int | None = None,
        timeout_s: float = OPERATION_TIMEOUT_S,
    ) -> list[ReplyT]:
        """Let the `n` vnodes of `key` handle `command`; return the first `w` replies."""
        return await self.ring.write(key, command, n=n, w=w, timeout_s=timeout_s)

    async def read(
        self,
        key: str,
        command: CommandT,
        *,
        n: int | None = None,
        r: int | None = None,
        timeout_s: float = OPERATION_TIMEOUT_S,
    ) -> list[ReplyT]:
        """As `write`, for a command that changes nothing."""
        return await self.ring.read(key, command, n=n, r=r, timeout_s=timeout_s)
