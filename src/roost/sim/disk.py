"""The disk seam of simulated nodes: memory that forgets, on a crash, what was not yet durable.

A platter is a machine's disk and outlives its node; a `SimDisk` is one life's access to it. Batches become durable in
the order of their commits, each whole or not at all, because the store on a real machine writes ahead to one log. When
the node dies, a drawn number of the commits that nobody had been told about are durable after all.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import errno
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from roost.runtime.disk import Batch
from roost.sim.life import Life
from roost.sim.loop import SimLoop
from roost.sim.trace import Trace

LOST_IN_THE_DARK: Final = 0.75
"""The chance that a power cut loses all that no sync had reached."""


@dataclass(slots=True)
class DiskHealth:
    """How a disk behaves; to be changed while the world runs.

    Args:
        commit_min_s: the shortest commit, in seconds.
        commit_mean_s: what is added on average, exponentially distributed.
        slowness: factor on both; 1 is a good disk, 100 a gray one.
        full: commits and writes fail with ENOSPC.
        failing: commits and writes fail with EIO.
    """

    commit_min_s: float = 0.0003
    commit_mean_s: float = 0.0005
    slowness: float = 1.0
    full: bool = False
    failing: bool = False

    def check(self, what: str) -> None:
        """Raise what a full or failing disk raises."""
        if self.full:
            raise OSError(errno.ENOSPC, f"{what}: no space left on device")
        if self.failing:
            raise OSError(errno.EIO, f"{what}: input/output error")


class _Pending(NamedTuple):
    store: str
    batch: Batch
    done: asyncio.Future[None]


class Platter:
    """The disk of one machine.

    Args:
        loop: of the world.
        name: of the machine.
        trace: where commits are counted in.
    """

    def __init__(self, loop: SimLoop, name: str, trace: Trace) -> None:
        self.loop, self.name, self.trace = loop, name, trace
        self._context = contextvars.copy_context()
        self.health = DiskHealth()
        self.files: dict[str, bytes] = {}
        self.stores: dict[str, dict[bytes, bytes]] = {}
        self.commits = 0
        self.on_commit: Callable[[int], None] | None = None
        self._draw = random.Random(f"{loop.seed}/disk/{name}")
        self._log: collections.deque[_Pending] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None
        self._life: Life | None = None

    def disk(self, life: Life) -> SimDisk:
        """The access of one life; that of the life before it ends."""
        self._life = life
        return SimDisk(self, life)

    def cut(self, dark: bool = False) -> None:
        """The node died. What it wrote without being told that it is safe is kept up to a drawn point.

        Args:
            dark: the machine lost its power with it, so that mostly nothing of that is kept.
        """
        self._life = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lost = dark and self._draw.random() < LOST_IN_THE_DARK
        for pending in [*self._log][: 0 if lost else self._draw.randrange(len(self._log) + 1)]:
            self._apply(pending)
        self._log.clear()

    def wipe(self) -> None:
        """Lose everything: a new disk in the same machine."""
        self.files.clear()
        self.stores.clear()

    def serves(self, life: Life) -> bool:
        """Whether `life` still has access."""
        return self._life is life and not life.dead

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file, durably."""
        self.health.check(name)
        self.files[name] = data
        self.trace.add("file", self.name, name, data)

    def append(self, store: str, batch: Batch) -> asyncio.Future[None]:
        """Begin to make a batch durable; the future is done once it is."""
        done: asyncio.Future[None] = self.loop.create_future()
        self._log.append(_Pending(store, batch, done))
        if self._timer is None:
            self._sync_later()
        return done

    def _sync_later(self) -> None:
        health = self.health
        took_s = (health.commit_min_s + self._draw.expovariate(1.0) * health.commit_mean_s) * health.slowness
        self._timer = self.loop.call_later(took_s, self._sync, context=self._context)

    def _sync(self) -> None:
        """One sync: makes the oldest batch durable, or fails it."""
        self._timer = None
        pending = self._log.popleft()
        try:
            self.health.check(pending.store)
        except OSError as error:
            if not pending.done.done():
                pending.done.set_exception(error)
        else:
            self._apply(pending)
            if not pending.done.done():
                pending.done.set_result(None)
        if self._log:
            self._sync_later()

    def _apply(self, pending: _Pending) -> None:
        content = self.stores.setdefault(pending.store, {})
        for key, value in pending.batch:
            if value is None:
                content.pop(key, None)
            else:
                content[key] = value
            self.trace.add("disk", self.name, pending.store, key, value or b"")
        self.commits += 1
        if self.on_commit is not None:
            self.on_commit(self.commits)


class SimDisk:
    """One life's access to its machine's disk. Once that life is dead nothing it does reaches the disk."""

    def __init__(self, platter: Platter, life: Life) -> None:
        self._platter, self._life = platter, life
        self._open: dict[str, None] = {}

    def read(self, name: str) -> bytes | None:
        """The whole of a small file, or None."""
        return self._platter.files.get(name)

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file; on return it is durable.

        Raises:
            OSError: the disk is full or failing.
        """
        if self._platter.serves(self._life):
            self._platter.write(name, data)

    async def open_store(self, name: str) -> SimStore:
        """Open, or create, an ordered store.

        Raises:
            OSError: it is open already.
        """
        await asyncio.sleep(0)
        if name in self._open:
            raise OSError(errno.EAGAIN, f"{name}: locked")
        self._open[name] = None
        return SimStore(self._platter, self._life, name, self._open)


class SimStore:
    """An ordered map of bytes to bytes on a platter."""

    def __init__(self, platter: Platter, life: Life, name: str, locks: dict[str, None]) -> None:
        self._platter, self._life, self._name, self._locks = platter, life, name, locks
        self._last: asyncio.Future[None] | None = None

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every durable pair whose key starts with `prefix`, in the order of the keys."""
        content = self._platter.stores.get(self._name, {})
        return iter([(key, content[key]) for key in sorted(content) if key.startswith(prefix)])

    async def commit(self, batch: Batch) -> None:
        """Write all of `batch` or none of it; on return it is durable.

        Raises:
            OSError: the disk is full or failing, and nothing of the batch is written.
        """
        if self._name not in self._locks:
            raise OSError(errno.EBADF, f"{self._name}: closed")
        if not self._platter.serves(self._life):
            await self._platter.loop.create_future()
        self._last = self._platter.append(self._name, [*batch])
        await asyncio.shield(self._last)

    async def close(self) -> None:
        """Let what runs end, and let go of the store."""
        if self._last is not None and self._platter.serves(self._life) and not self._last.done():
            await asyncio.wait([self._last])
        self._locks.pop(self._name, None)
