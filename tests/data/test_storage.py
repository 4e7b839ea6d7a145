"""What is told to be durable is on disk; a disk that refuses delays, and loses nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from roost.data import storage as storage_module
from roost.data.storage import FORMAT_KEY, Storage
from roost.errors import ConfigError, RoostError, StartFailed, StorageFailed
from roost.otp import Scheduler, Supervisor
from roost.runtime import Runtime
from roost.runtime.disk import Batch, Disk, FolderDisk, Store


class Slate:
    """A disk in memory whose commits wait for `allow`, and fail while `broken`."""

    def __init__(self) -> None:
        self.content: dict[bytes, bytes] = {}
        self.commits: list[list[bytes]] = []
        self.broken = False
        self.closed = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.committed = asyncio.Event()
        self.refused = asyncio.Event()

    def read(self, name: str) -> bytes | None:
        return None

    def write(self, name: str, data: bytes) -> None:
        raise OSError("no files here")

    async def open_store(self, name: str) -> Store:
        self.closed = False
        return self

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter([(key, value) for key, value in sorted(self.content.items()) if key.startswith(prefix)])

    async def commit(self, batch: Batch) -> None:
        await self.gate.wait()
        if self.broken:
            self.refused.set()
            raise OSError("broken")
        self.committed.set()
        self.commits.append([key for key, _ in batch])
        for key, value in batch:
            if value is None:
                self.content.pop(key, None)
            else:
                self.content[key] = value

    async def close(self) -> None:
        self.closed = True


class Told:
    """Who waits for durability, and what he was told."""

    def __init__(self) -> None:
        self.outcomes: list[RoostError | None] = []
        self._changed = asyncio.Event()

    def __call__(self, outcome: RoostError | None) -> None:
        self.outcomes.append(outcome)
        self._changed.set()

    async def count(self, count: int) -> list[RoostError | None]:
        while len(self.outcomes) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.outcomes


@asynccontextmanager
async def running(disk: Disk | None) -> AsyncIterator[Storage]:
    runtime = Runtime.real(disk)
    with Scheduler(runtime, "test").entered():
        storage = Storage(runtime)
        root = await Supervisor.start([storage.part()])
        try:
            yield storage
        finally:
            await root.stop("shutdown")


async def test_without_a_disk_everything_is_as_safe_as_it_gets() -> None:
    async with running(None) as storage:
        told = Told()
        storage.put(1, b"k", b"v")
        storage.when_durable(told)
        assert told.outcomes == [None]
        assert not storage.is_durable
        assert storage.get(1, b"k") == b"v"
        storage.delete(1, b"k")
        assert storage.get(1, b"k") is None
        assert storage.counts() == {}


async def test_a_slot_that_keeps_nothing_any_more_takes_no_memory() -> None:
    storage = Storage(Runtime.real())
    for number in range(100):
        storage.put(8, b"%d" % number, b"x")
    for number in range(100):
        storage.delete(8, b"%d" % number)
    assert storage.tables == {}


async def test_readers_see_a_write_before_it_is_durable() -> None:
    slate = Slate()
    async with running(slate) as storage:
        slate.gate.clear()
        told = Told()
        storage.put(1, b"k", b"v")
        storage.when_durable(told)
        assert storage.get(1, b"k") == b"v"
        assert told.outcomes == []
        slate.gate.set()
        assert await told.count(1) == [None]
        assert slate.content[b"\x00\x01k"] == b"v"


async def test_writers_share_a_commit() -> None:
    slate = Slate()
    async with running(slate) as storage:
        await _settled(storage)
        slate.commits.clear()
        slate.gate.clear()
        told = Told()
        storage.put(1, b"first", b"v")
        storage.when_durable(told)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for number in range(50):
            storage.put(2, b"%d" % number, b"v")
            storage.when_durable(told)
        slate.gate.set()
        await told.count(51)
        assert [len(commit) for commit in slate.commits] == [1, 50]


async def test_who_asks_during_a_commit_waits_for_what_is_in_it() -> None:
    slate = Slate()
    async with running(slate) as storage:
        await _settled(storage)
        slate.gate.clear()
        storage.put(1, b"k", b"v")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        told = Told()
        storage.when_durable(told)
        assert told.outcomes == []
        slate.gate.set()
        assert await told.count(1) == [None]
        assert slate.content[b"\x00\x01k"] == b"v"


async def test_a_disk_that_refuses_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    slate = Slate()
    with caplog.at_level(logging.CRITICAL):
        async with running(slate) as storage:
            await _settled(storage)
            slate.broken = True
            told = Told()
            storage.put(1, b"k", b"old")
            storage.put(1, b"other", b"v")
            storage.when_durable(told)
            (outcome,) = await told.count(1)
            assert isinstance(outcome, StorageFailed)
            assert storage.get(1, b"k") == b"old"
            slate.broken = False
            storage.put(1, b"k", b"new")
            storage.when_durable(told)
            assert (await told.count(2))[1] is None
            assert slate.content[b"\x00\x01k"] == b"new"
            assert slate.content[b"\x00\x01other"] == b"v"


async def test_a_refused_write_is_tried_again_without_another_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "COMMIT_RETRY_S", 0.0)
    slate = Slate()
    with caplog.at_level(logging.CRITICAL):
        async with running(slate) as storage:
            await _settled(storage)
            slate.broken = True
            slate.committed.clear()
            told = Told()
            storage.put(1, b"k", b"v")
            storage.when_durable(told)
            await told.count(1)
            slate.broken = False
            await slate.committed.wait()
            assert slate.content[b"\x00\x01k"] == b"v"


async def test_a_disk_that_refuses_is_left_alone_until_the_next_attempt(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "COMMIT_RETRY_S", 3600.0)
    slate = Slate()
    attempts: list[int] = []
    commit = slate.commit

    async def counted(batch: Batch) -> None:
        attempts.append(len(batch))
        await commit(batch)

    with caplog.at_level(logging.CRITICAL):
        async with running(slate) as storage:
            await _settled(storage)
            slate.commit = counted  # type: ignore[method-assign]  # counts the attempts
            slate.broken = True
            told = Told()
            for number in range(20):
                storage.put(1, b"%d" % number, b"v")
                storage.when_durable(told)
                await told.count(1)
                await asyncio.sleep(0)
            assert attempts == [1]
            slate.broken = False
        assert attempts == [1, 20]
        assert told.outcomes[1:] == [None] * 19


async def test_trouble_with_the_disk_is_logged_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "COMMIT_RETRY_S", 0.0)
    slate = Slate()
    attempts: asyncio.Queue[int] = asyncio.Queue()
    commit = slate.commit

    async def counted(batch: Batch) -> None:
        attempts.put_nowait(len(batch))
        await commit(batch)

    with caplog.at_level(logging.WARNING):
        async with running(slate) as storage:
            await _settled(storage)
            slate.commit = counted  # type: ignore[method-assign]  # counts the attempts
            slate.broken = True
            storage.put(1, b"k", b"v")
            for _ in range(5):
                await attempts.get()
            slate.broken = False
            slate.committed.clear()
            await slate.committed.wait()
    assert ["refuses" in line or "again; 1" in line for line in caplog.messages] == [True, True]


async def test_a_refused_write_does_not_overtake_a_later_one(caplog: pytest.LogCaptureFixture) -> None:
    slate = Slate()
    with caplog.at_level(logging.CRITICAL):
        async with running(slate) as storage:
            await _settled(storage)
            slate.gate.clear()
            storage.put(1, b"k", b"old")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            storage.put(1, b"k", b"new")
            told = Told()
            storage.when_durable(told)
            slate.broken = True
            slate.gate.set()
            await slate.refused.wait()
            slate.broken = False
            assert await told.count(1) == [None]
            assert slate.content[b"\x00\x01k"] == b"new"


async def test_what_is_left_is_written_when_the_node_stops() -> None:
    slate = Slate()
    async with running(slate) as storage:
        storage.put(1, b"k", b"v")
    assert slate.content[b"\x00\x01k"] == b"v"
    assert slate.closed


async def test_memory_comes_back_from_the_disk(tmp_path: Path) -> None:
    async with running(FolderDisk(tmp_path)) as storage:
        told = Told()
        storage.put(1, b"k", b"1")
        storage.put(513, b"k", b"2")
        storage.put(513, b"gone", b"3")
        storage.delete(513, b"gone")
        storage.put(0xFFFE, b"", b"4")
        storage.when_durable(told)
        assert await told.count(1) == [None]
    async with running(FolderDisk(tmp_path)) as storage:
        assert storage.tables == {1: {b"k": b"1"}, 513: {b"k": b"2"}, 0xFFFE: {b"": b"4"}}
        assert storage.counts() == {1: 1, 513: 1, 0xFFFE: 1}


async def test_others_have_their_turn_while_much_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "LOADED_PER_TURN", 10)
    slate = Slate()
    slate.content = {b"\x00\x08%03d" % number: b"x" for number in range(500)}
    slate.content[FORMAT_KEY] = storage_module.FORMAT
    storage = Storage(Runtime.real(slate))
    seen: list[int] = []

    def look() -> None:
        seen.append(sum(storage.counts().values()))
        if seen[-1] < 500:
            asyncio.get_running_loop().call_soon(look)

    look()
    await storage._load(slate)
    assert max(after - before for before, after in pairwise([*seen, 500])) <= 10


async def test_a_crash_of_its_process_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    slate = Slate()
    with caplog.at_level(logging.CRITICAL):
        async with running(slate) as storage:
            await _settled(storage)
            told = Told()
            commit = slate.commit
            crashes: list[Batch] = []

            async def crash(batch: Batch) -> None:
                crashes.append(batch)
                slate.commit = commit  # type: ignore[method-assign]  # once only
                raise RuntimeError("a bug")

            slate.commit = crash  # type: ignore[method-assign]  # a crash in the middle of a commit
            storage.put(1, b"k", b"v")
            storage.when_durable(told)
            assert await told.count(1) == [None]
            assert len(crashes) == 1
            assert slate.content[b"\x00\x01k"] == b"v"
            assert storage.get(1, b"k") == b"v"


async def test_memory_stays_ahead_of_the_disk_when_its_process_crashes(caplog: pytest.LogCaptureFixture) -> None:
    slate = Slate()
    with caplog.at_level(logging.CRITICAL):
        async with running(slate) as storage:
            storage.put(1, b"k", b"old")
            await _settled(storage)
            commit = slate.commit
            crashed = asyncio.Event()

            async def crash(batch: Batch) -> None:
                slate.commit = commit  # type: ignore[method-assign]  # once only
                slate.broken = True
                crashed.set()
                raise RuntimeError("a bug")

            slate.commit = crash  # type: ignore[method-assign]  # a crash in the middle of a commit
            storage.put(1, b"k", b"new")
            await crashed.wait()
            await slate.refused.wait()  # its end, and its new beginning, meet a disk that refuses
            slate.broken = False
            slate.committed.clear()
            await slate.committed.wait()
            assert storage.get(1, b"k") == b"new"
            assert slate.content[b"\x00\x01k"] == b"new"


async def test_data_of_another_version_is_refused() -> None:
    slate = Slate()
    slate.content[FORMAT_KEY] = b"99"
    with pytest.raises(StartFailed) as caught:
        async with running(slate):
            pass
    assert isinstance(caught.value.__cause__, ConfigError) or "another version" in str(caught.value)
    assert slate.closed


async def _settled(storage: Storage) -> None:
    """Until nothing is under way."""
    told = Told()
    storage.when_durable(told)
    await told.count(1)
