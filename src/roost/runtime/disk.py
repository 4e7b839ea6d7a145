"""The disk seam: the only place that touches files.

Two things are kept: small files that are replaced whole (the ring, a cookie), and ordered stores of keys and values
with atomic, durable batches. On a real machine a store is RocksDB; under `roost.sim` it is memory that forgets, on a
power cut, whatever was not yet durable.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rocksdict import Rdict

Batch = list[tuple[bytes, bytes | None]]
"""Writes of one commit, in order: a key with its new value, or with None to delete it."""


class Store(Protocol):
    """An ordered map of bytes to bytes on disk."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every durable pair whose key starts with `prefix`, in the order of the keys."""

    async def commit(self, batch: Batch) -> None:
        """Write all of `batch` or none of it; on return it survives a power cut.

        Raises:
            OSError: when the disk is full or failing; nothing of the batch may be relied on.
        """

    async def close(self) -> None:
        """Finish what runs and let go of the files."""


class Notes(Protocol):
    """Small files of one node."""

    def read(self, name: str) -> bytes | None:
        """The whole of a small file, or None when there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file atomically; on return it survives the end of the process. May block for a disk write.

        Raises:
            OSError: when the disk is full or failing; the old content stays.
        """


class Disk(Notes, Protocol):
    """A node's disk: a folder that no other node writes to. What is written survives a power cut, too."""

    async def open_store(self, name: str) -> Store:
        """Open, or create, an ordered store.

        Raises:
            OSError: when it is damaged, or another process has it open.
        """


class _RocksStore:
    """RocksDB. After a write that failed it takes no further one until it is opened anew, so that is done here."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._database = _open(path)
        self._has_failed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="roost-disk")

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._database.items(from_key=prefix):
            if not isinstance(key, bytes) or not key.startswith(prefix):
                return
            yield key, value

    async def commit(self, batch: Batch) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, batch)

    def _commit(self, batch: Batch) -> None:
        from rocksdict import WriteBatch, WriteOptions

        writes = WriteBatch(raw_mode=True)
        for key, value in batch:
            if value is None:
                writes.delete(key)
            else:
                writes.put(key, value)
        durable = WriteOptions()
        durable.sync = True
        try:
            if self._has_failed:
                self._let_go()
                self._database = _open(self._path)
                self._has_failed = False
            self._database.write(writes, durable)
        except Exception as error:
            self._has_failed = True
            raise OSError(str(error)) from error

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
        self._thread.shutdown(wait=False)

    def _let_go(self) -> None:
        # After a failed write closing fails too, although it frees the files; what commits have written is safe.
        with suppress(Exception):
            self._database.close()


def _open(path: str) -> Rdict:
    from rocksdict import Options, Rdict

    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_keep_log_file_num(2)
    return Rdict(path, options)


class FolderNotes:
    """Small files in a folder of the file system, which is made when it is missing, readable by its owner alone.

    They survive the end of any process, and not a power cut.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def read(self, name: str) -> bytes | None:
        """The whole of a small file, or None."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file: write beside it, and rename."""
        self._replace(name, data, is_durable=False)

    def _replace(self, name: str, data: bytes, *, is_durable: bool) -> None:
        target, draft = self.folder / name, self.folder / (name + ".draft")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        draft.replace(target)
        if is_durable:
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class FolderDisk(FolderNotes):
    """A folder of the file system, made when it is missing, readable by its owner alone."""

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file: write beside it, sync, rename, sync the folder."""
        self._replace(name, data, is_durable=True)

    async def open_store(self, name: str) -> Store:
        """Open a RocksDB database in the folder."""
        path = str(self.folder / name)
        try:
            return await asyncio.to_thread(_RocksStore, path)
        except Exception as error:
            raise OSError(f"{path}: {error}") from error
