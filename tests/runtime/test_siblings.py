"""Slots of worker processes: each held by one process, vacant when that has ended, taken over by the next."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from roost.config import Address
from roost.errors import TooLarge
from roost.limits import NODES_MAX
from roost.runtime.entropy import SystemEntropy
from roost.runtime.siblings import (
    Server,
    SiblingFolder,
    crew_path,
    remove_abandoned_crews,
    server_of_this_process,
)

CLAIMANT = """
import sys
from pathlib import Path
from roost.runtime.siblings import SiblingFolder
slot = SiblingFolder(Path(sys.argv[1])).claim()
slot.note_port(4000 + slot.number)
slot.ready()
print(slot.number, flush=True)
sys.stdin.read()
"""


def process_with_a_slot(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIMANT, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_slots_are_numbered_and_a_slot_that_was_given_back_is_taken_over_with_what_was_noted(tmp_path: Path) -> None:
    folder = SiblingFolder(tmp_path / "crew")
    first, second = folder.claim(), folder.claim()
    assert (first.name, second.name) == ("w01@127.0.0.1", "w02@127.0.0.1")
    assert first.is_new
    assert first.port is None
    first.note_port(4100)
    first.release()
    assert (folder.living(), folder.vacant()) == ((2,), (1,))
    again = folder.claim()
    assert (again.number, again.port, again.is_new) == (1, 4100, False)
    again.release()
    second.release()


def test_who_claims_at_the_same_moment_gets_a_slot_of_its_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        slots = list(threads.map(lambda _: SiblingFolder(tmp_path / "crew").claim(), range(24)))
        assert sorted(slot.number for slot in slots) == list(range(1, 25))
        list(threads.map(lambda slot: slot.release(), slots))
    assert not (tmp_path / "crew").exists()


def test_a_process_that_is_killed_leaves_its_slot_at_once(tmp_path: Path) -> None:
    folder = SiblingFolder(tmp_path / "crew")
    own = folder.claim()
    process = process_with_a_slot(tmp_path / "crew")
    assert folder.living() == (1, 2)
    assert folder.ready() == {2: Address("127.0.0.1", 4002)}
    assert int((folder.slot_path(2) / "ready").read_bytes()) == process.pid
    kill(process)
    assert (folder.living(), folder.vacant(), folder.ready()) == ((1,), (2,), {})
    successor = folder.claim()
    assert (successor.number, successor.port) == (2, 4002)
    assert folder.ready() == {}
    successor.release()
    own.release()


FORKING = """
import os, sys
from pathlib import Path
from roost.runtime.siblings import SiblingFolder
slot = SiblingFolder(Path(sys.argv[1])).claim()
hear, tell = os.pipe()
if os.fork() == 0:
    os.write(tell, b"I am here")
    os.read(int(sys.argv[2]), 1)
    os._exit(0)
os.read(hear, 1)
print(slot.number, flush=True)
sys.stdin.read()
"""


def test_a_process_that_a_worker_has_forked_does_not_hold_its_slot(tmp_path: Path) -> None:
    folder = SiblingFolder(tmp_path / "crew")
    mine = folder.claim()
    gate, opener = os.pipe()
    worker = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(tmp_path / "crew"), str(gate)],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, pass_fds=(gate,), text=True,
    )  # fmt: skip
    assert worker.stdout is not None
    assert worker.stdout.readline().strip() == "2"
    assert folder.living() == (1, 2)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert folder.living() == (1,)
    os.close(opener)
    os.close(gate)
    worker.communicate()
    mine.release()


def test_a_folder_is_kept_fresh_for_the_cleaners_of_the_system(tmp_path: Path) -> None:
    folder = SiblingFolder(tmp_path / "crew")
    slot = folder.claim()
    slot.note_port(4100)
    slot.ready()
    folder.cookie(SystemEntropy())
    everything = [path for path in (tmp_path / "crew").rglob("*") if path.is_file()]
    assert {path.name for path in everything} == {"lock", "port", "ready", "cookie"}
    for path in everything:
        os.utime(path, (0, 0))
    folder.keep_fresh()
    assert all(path.stat().st_mtime > 0 for path in everything)
    slot.release()
    folder.keep_fresh()  # nothing is there any more


def test_what_is_left_of_workers_that_have_all_ended_counts_for_nothing(tmp_path: Path) -> None:
    kill(process_with_a_slot(tmp_path / "crew"))
    slot = SiblingFolder(tmp_path / "crew").claim()
    assert (slot.number, slot.port, slot.is_new) == (1, None, True)
    slot.release()


def test_a_folder_that_keeps_data_loses_nothing(tmp_path: Path) -> None:
    slot = SiblingFolder(tmp_path / "data", keeps=True).claim()
    slot.note_port(4100)
    slot.release()
    slot = SiblingFolder(tmp_path / "data", keeps=True).claim()
    assert (slot.number, slot.port, slot.is_new) == (1, 4100, False)
    slot.release()


def test_a_slot_can_be_held_by_number_and_forgotten(tmp_path: Path) -> None:
    folder = SiblingFolder(tmp_path / "crew")
    assert folder.hold(1) is None
    own, other = folder.claim(), folder.claim()
    assert folder.hold(2) is None
    other.release()
    held = folder.hold(2)
    assert held is not None
    third = folder.claim()
    assert third.number == 3, "a slot that is held is not taken over"
    held.release(forget=True)
    assert (folder.living(), folder.vacant()) == ((1, 3), ())
    third.release()
    own.release()


def test_only_their_user_can_read_what_workers_share(tmp_path: Path) -> None:
    folder = SiblingFolder(tmp_path / "crew")
    slot = folder.claim()
    cookie = folder.cookie(SystemEntropy())
    assert len(cookie) == 64
    assert SiblingFolder(tmp_path / "crew").cookie(SystemEntropy()) == cookie
    slot.note_port(4100)
    slot.ready()
    for path in [tmp_path / "crew", *(tmp_path / "crew").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    slot.release()


def test_there_are_no_more_slots_than_members(tmp_path: Path) -> None:
    folder = SiblingFolder(tmp_path / "crew")
    slots = [folder.claim() for _ in range(NODES_MAX)]
    with pytest.raises(TooLarge):
        folder.claim()
    for slot in slots:
        slot.release()


def test_what_a_server_has_left_that_is_gone_is_removed_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-S", "-c", ""])
    gone.wait()
    ours = server_in_child(tmp_path)
    dead, recycled, orphaned, living = (
        crew_path(tmp_path, server, "chat")
        for server in (Server(gone.pid, 7), Server(os.getpid(), 7), Server(gone.pid, 8), ours)
    )
    for path in (dead, recycled, living):
        SiblingFolder(path, keeps=True).claim().release()
    orphan = SiblingFolder(orphaned).claim()
    (tmp_path / "something else").mkdir()
    remove_abandoned_crews(tmp_path)
    assert not dead.exists()
    assert recycled.exists() == (ours.started == 0), "where the system does not tell, an id is all there is"
    assert orphaned.exists()
    assert living.exists()
    assert (tmp_path / "something else").exists()
    orphan.release()


def tell_server(path: str) -> None:
    server = server_of_this_process({})
    assert server is not None
    Path(path).write_text(f"{server.pid} {server.started}")


def server_in_child(tmp_path: Path) -> Server:
    """What a child that multiprocessing has made of this process takes for its server."""
    told = tmp_path / "told"
    child = multiprocessing.get_context("spawn").Process(target=tell_server, args=(str(told),))
    child.start()
    child.join()
    pid, started = told.read_text().split()
    return Server(int(pid), int(started))


def test_a_worker_knows_its_server(tmp_path: Path) -> None:
    assert server_of_this_process({}) is None
    assert server_in_child(tmp_path).pid == os.getpid()
    forked = server_of_this_process({"SERVER_SOFTWARE": "gunicorn/23.0.0"})
    assert forked is not None
    assert forked.pid == os.getppid()


def test_the_name_of_an_application_is_no_way_out_of_the_folder(tmp_path: Path) -> None:
    assert crew_path(tmp_path, Server(1, 2), "../../etc").parent == tmp_path
