"""Buckets and rings as an application declares them, before any node runs: the same on each of its nodes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, Unpack

from roost.cluster.coordinator import VnodeRing
from roost.cluster.vnode import CommandT, ReplyT, Vnode
from roost.core.context import NOTHING_READ
from roost.core.terms import Count, ReadOptions, WriteOptions
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
        context: str | None = None,
        return_value: bool = False,
        timeout_s: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> PutResult:
        """Write a value; see `Bucket.put`."""
        return await self.bucket.put(
            key, value, context=context, return_value=return_value, timeout_s=timeout_s, **options
        )

    async def get(self, key: str, *, timeout_s: float | None = None, **options: Unpack[ReadOptions]) -> Found | None:
        """Read a value, or None; see `Bucket.get`."""
        return await self.bucket.get(key, timeout_s=timeout_s, **options)

    async def delete(
        self,
        key: str,
        *,
        context: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> PutResult:
        """Delete a value; see `Bucket.delete`."""
        return await self.bucket.delete(key, context=context, timeout_s=timeout_s, **options)

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
        w: Count | None = None,
        pw: Count | None = None,
        node_confirms: Count | None = None,
        sloppy: bool = True,
        timeout_s: float = OPERATION_TIMEOUT_S,
    ) -> list[ReplyT]:
        """Let the `n` vnodes of `key` handle `command`; return `w` replies or more; see `VnodeRing.write`."""
        return await self.ring.write(
            key, command, n=n, w=w, pw=pw, node_confirms=node_confirms, sloppy=sloppy, timeout_s=timeout_s
        )

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
        timeout_s: float = OPERATION_TIMEOUT_S,
    ) -> list[ReplyT]:
        """As `write`, for a command that changes nothing."""
        return await self.ring.read(
            key, command, n=n, r=r, pr=pr, node_confirms=node_confirms, sloppy=sloppy, timeout_s=timeout_s
        )

    async def coverage(
        self, command: CommandT, *, n: int | None = None, timeout_s: float = OPERATION_TIMEOUT_S
    ) -> AsyncGenerator[ReplyT, None]:
        """Ask one vnode of every partition; give all replies as they come, in no particular order."""
        async with aclosing(self.ring.coverage(command, n=n, timeout_s=timeout_s)) as replies:
            async for reply in replies:
                yield reply
