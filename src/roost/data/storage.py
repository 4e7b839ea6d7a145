"""What the vnodes of one node remember: in memory, and on disk when the node has one.

Reads come from memory. Every write goes to memory at once and into the next commit; while one commit runs, all further
writes gather for the one after it, so a hundred writers share one sync of the disk (group commit). Whoever needs
durability is called back when a commit that holds his write has ended.

When things fail: a power cut loses what no commit had finished, and nobody was told otherwise. A disk that refuses a
commit fails those who wait for it, and what it refused is tried again with the next commit: memory stays ahead of the
disk, never beside it. Memory belongs to the node, so a vnode or a process that crashes loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from roost.errors import ConfigError, RoostError, StorageFailed
from roost.limits import COMMIT_RETRY_S
from roost.otp import Child, GenServer, Reason, info, send

if TYPE_CHECKING:
    from roost.runtime import Runtime
    from roost.runtime.disk import Store

logger = logging.getLogger("roost.storage")

STORE: Final = "data"
SLOT_BYTES: Final = 2
FORMAT_KEY: Final = b"\xff\xffformat"
FORMAT: Final = b"2"
LOADED_PER_TURN: Final = 2000
"""Items that are loaded before everybody else has a turn."""

OnDurable = Callable[[RoostError | None], None]
"""Called exactly once: with None when a write is durable, or with what went wrong."""


class Storage:
    """The memory of one node.

    Args:
        runtime: the node's clock, and its disk, if it has one.

    Attributes:
        tables: for each slot that holds anything, its keys and values. To be read; `put` and `delete` write.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.tables: dict[int, dict[bytes, bytes]] = {}
        self._clock = runtime.clock
        self._disk = runtime.disk
        self._store: Store | None = None
        self._dirty: dict[bytes, bytes | None] = {}
        self._waiting: list[OnDurable] = []
        self._committer: Committer | None = None
        self._is_committing = False
        self._is_loaded = False
        self._trouble: StorageFailed | None = None

    @property
    def is_durable(self) -> bool:
        """Whether anything survives the end of the process."""
        return self._disk is not None

    def counts(self) -> Mapping[int, int]:
        """How many keys each slot holds, without those that hold none."""
        return {slot: len(table) for slot, table in self.tables.items()}

    def get(self, slot: int, key: bytes) -> bytes | None:
        """What is stored under a key of a slot, durable or not."""
        table = self.tables.get(slot)
        return None if table is None else table.get(key)

    def put(self, slot: int, key: bytes, value: bytes) -> None:
        """Store a value; readers see it from now on. Ask `when_durable` to know when it is safe."""
        table = self.tables.get(slot)
        if table is None:
            table = self.tables[slot] = {}
        table[key] = value
        if self._disk is not None:
            self._dirty[slot.to_bytes(SLOT_BYTES, "big") + key] = value
            self._commit_soon()

    def delete(self, slot: int, key: bytes) -> None:
        """Forget a key."""
        table = self.tables.get(slot)
        if table is None or table.pop(key, None) is None:
            return
        if not table:
            del self.tables[slot]
        if self._disk is not None:
            self._dirty[slot.to_bytes(SLOT_BYTES, "big") + key] = None
            self._commit_soon()

    def when_durable(self, on_durable: OnDurable) -> None:
        """Call back when everything that has been written until now is durable; at once when it is already."""
        if self._dirty or self._waiting or self._is_committing:
            self._waiting.append(on_durable)
            self._commit_soon()
        else:
            on_durable(None)

    def part(self) -> Child:
        """The process that loads and commits, as a part of the node."""
        return Committer.child(self, id="storage")

    # What the committer asks for.

    async def open(self, committer: Committer) -> None:
        """Load what is on disk; after a crash of the committer memory is ahead of the disk, and stays.

        Raises:
            OSError: when the disk fails.
            ConfigError: when the data is of another version of Roost.
        """
        self._committer = committer
        self._is_committing = False
        if self._disk is not None and self._store is None:
            store = await self._disk.open_store(STORE)
            try:
                if not self._is_loaded:
                    await self._load(store)
            except BaseException:
                await store.close()
                raise
            self._is_loaded = True
            self._store = store
        if self._dirty or self._waiting:
            self._commit_soon()

    async def commit(self) -> None:
        """Write until nothing waits, or the disk refuses: then what waits is left to the committer's next attempt."""
        self._is_committing = True
        while (self._dirty or self._waiting) and self._store is not None:
            if not await self._commit_batch(self._store):
                return  # still committing, so that no write asks for an attempt of its own
        self._is_committing = False

    async def _commit_batch(self, store: Store) -> bool:
        batch, self._dirty = self._dirty, {}
        waiting, self._waiting = self._waiting, []
        problem: RoostError | None = None
        try:
            if batch:
                await store.commit(list(batch.items()))
        except OSError as error:
            if self._trouble is None:
                logger.error("the disk refuses writes; they stay in memory and are tried again: %s", error)
            self._dirty = batch | self._dirty
            self._trouble = problem = StorageFailed(str(error))
        except BaseException:
            self._dirty = batch | self._dirty
            self._waiting = waiting + self._waiting
            raise
        else:
            if self._trouble is not None:
                logger.warning("the disk takes writes again; %d of them had waited", len(batch))
            self._trouble = None
        for on_durable in waiting:
            try:
                on_durable(problem)
            except Exception:
                logger.exception("a write that is durable now was not taken")
        return problem is None

    async def close(self) -> None:
        """Write what is left, and let go of the disk."""
        self._committer = None
        await self.commit()
        store, self._store = self._store, None
        for on_durable in self._waiting:
            on_durable(StorageFailed("the node stops"))
        self._waiting.clear()
        if store is not None:
            await store.close()

    @property
    def needs_commit(self) -> bool:
        """Whether something waits for the disk."""
        return bool(self._dirty or self._waiting)

    def _commit_soon(self) -> None:
        if not self._is_committing and self._committer is not None:
            self._is_committing = True
            send(self._committer, _Commit())

    async def _load(self, store: Store) -> None:
        found = dict(store.scan(FORMAT_KEY)).get(FORMAT_KEY)
        if found is None:
            await store.commit([(FORMAT_KEY, FORMAT)])
        elif found != FORMAT:
            raise ConfigError("data", f"the folder was written by another version of Roost (format {found.decode()})")
        for number, (key, value) in enumerate(store.scan(b"")):
            if number % LOADED_PER_TURN == 0:
                await self._clock.sleep(0)
            if key != FORMAT_KEY:
                slot = int.from_bytes(key[:SLOT_BYTES], "big")
                self.tables.setdefault(slot, {})[key[SLOT_BYTES:]] = value


class _Commit(msgspec.Struct, frozen=True):
    """Something waits for the disk."""


class Committer(GenServer):
    """Writes what waits, one batch after the other."""

    async def init(self, storage: Storage) -> None:
        self.trap_exits()
        self._storage = storage
        await storage.open(self.handle)

    @info
    async def commit(self, message: _Commit) -> None:
        """Write until nothing waits; try again after a pause when the disk refuses."""
        await self._storage.commit()
        if self._storage.needs_commit:
            self.send_after(COMMIT_RETRY_S, message)

    async def terminate(self, reason: Reason) -> None:
        """Nothing that was written is left behind."""
        await self._storage.close()
