"""Files and stores of a real folder: what a commit has written is there again, and a disk that failed may recover."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from roost.runtime.disk import FolderDisk

FULL_FOR_A_WHILE = """
import asyncio, resource, signal, sys
from pathlib import Path
from roost.runtime.disk import FolderDisk

def limit(size_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

async def story():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = await FolderDisk(Path(sys.argv[1])).open_store("data")
    await store.commit([(b"before", b"1")])
    limit(100_000)
    for _ in range(2):
        try:
            await store.commit([(b"large", bytes(200_000))])
        except OSError:
            print("refused")
    if sys.argv[2] == "recovers":
        limit(resource.RLIM_INFINITY)
        await store.commit([(b"after", b"2")])
        print("taken")
    await store.close()

asyncio.run(story())
"""


def full_for_a_while(folder: Path, end: str) -> list[str]:
    """In a process of its own, since the limit that stands for a full disk is one of the whole process."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_FOR_A_WHILE, str(folder), end], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


async def kept(folder: Path) -> dict[bytes, bytes]:
    store = await FolderDisk(folder).open_store("data")
    found = dict(store.scan(b""))
    await store.close()
    return found


async def test_what_was_committed_is_there_after_the_next_opening(tmp_path: Path) -> None:
    store = await FolderDisk(tmp_path).open_store("data")
    await store.commit([(b"b1", b"x"), (b"a", b""), (b"b2", b"y"), (b"c", b"z")])
    await store.commit([(b"b2", None), (b"b1", b"new")])
    assert list(store.scan(b"b")) == [(b"b1", b"new")]
    await store.close()
    assert await kept(tmp_path) == {b"a": b"", b"b1": b"new", b"c": b"z"}


async def test_a_store_is_opened_once(tmp_path: Path) -> None:
    disk = FolderDisk(tmp_path)
    store = await disk.open_store("data")
    with pytest.raises(OSError, match="data"):
        await disk.open_store("data")
    await store.close()


async def test_a_disk_that_was_full_takes_writes_again(tmp_path: Path) -> None:
    assert full_for_a_while(tmp_path, "recovers") == ["refused", "refused", "taken"]
    assert await kept(tmp_path) == {b"before": b"1", b"after": b"2"}


async def test_a_store_whose_disk_stays_full_closes_all_the_same(tmp_path: Path) -> None:
    assert full_for_a_while(tmp_path, "stays full") == ["refused", "refused"]
    assert await kept(tmp_path) == {b"before": b"1"}


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    disk = FolderDisk(tmp_path / "new")
    assert disk.read("ring") is None
    disk.write("ring", b"long content")
    disk.write("ring", b"short")
    assert disk.read("ring") == b"short"
    assert [path.name for path in disk.folder.iterdir()] == ["ring"]
    assert disk.folder.stat().st_mode & 0o777 == 0o700
