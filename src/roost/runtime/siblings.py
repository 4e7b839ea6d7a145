"""How the worker processes of one server on one machine know of each other: a folder with a slot for each.

A process holds its slot by a lock of the kernel (`flock`), which ends with the process however that ends. So whether
the process of a slot lives is known for certain, at once, and without asking it. A slot outlives its process: the one
that the server starts in its place takes it over, with its name, its port and what it has noted.

A process that this one forks is not this one: it lets go of the slot. And what lies in /tmp for days untouched the
cleaners of the system take away (systemd-tmpfiles, tmpreaper), so the folder has to be kept fresh: another lock file in
the place of one that is held would say that its process has ended.

Whatever is decided about slots is decided while the lock of the whole folder is held, which takes a millisecond.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from roost.config import Address
from roost.errors import TooLarge
from roost.limits import NODES_MAX
from roost.runtime.disk import FolderNotes
from roost.runtime.entropy import Entropy

HOST: Final = "127.0.0.1"
COOKIE_FILE: Final = "cookie"
COOKIE_BYTES: Final = 32
LOCK_FILE: Final = "lock"
PORT_FILE: Final = "port"
READY_FILE: Final = "ready"
SLOT: Final = re.compile(r"w(\d{2,3})")
CREW: Final = re.compile(r"(\d+)-(\d+)-.+")


class Server(NamedTuple):
    """The process that has started this one as a worker; `started` tells it from earlier ones with the same id."""

    pid: int
    started: int


def server_of_this_process(environ: Mapping[str, str]) -> Server | None:
    """Which server this process is a worker of; None when it is none, as far as can be seen.

    Uvicorn, hypercorn and granian start their workers with `multiprocessing`; gunicorn forks them, and says in
    SERVER_SOFTWARE who it is.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        return Server(parent.pid, _started(parent.pid) or 0)
    if environ.get("SERVER_SOFTWARE", "").startswith("gunicorn"):
        return Server(os.getppid(), _started(os.getppid()) or 0)
    return None


def _started(pid: int) -> int | None:
    """When a process was started, in ticks since the boot; None when it is gone, 0 when the system does not tell."""
    try:
        # man proc_pid_stat: the name, in brackets, may hold anything; the start is the 20th field after it.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return 0


class Slot:
    """One worker's place, held until `release`.

    Attributes:
        number: from 1 on.
        path: its own folder.
        is_new: whether no process has had it before.
    """

    def __init__(self, folder: SiblingFolder, number: int, lock: int, *, is_new: bool) -> None:
        self.number, self.path, self.is_new = number, folder.slot_path(number), is_new
        self._folder = folder
        self._lock: int | None = lock
        self._notes = FolderNotes(self.path)

    @property
    def name(self) -> str:
        """The name of the node in this slot."""
        return node_name(self.number)

    @property
    def port(self) -> int | None:
        """Where the node of this slot has listened before."""
        kept = self._notes.read(PORT_FILE) or b""
        return int(kept) if kept.isdigit() else None

    def note_port(self, port: int) -> None:
        """Remember where the node of this slot listens.

        Raises:
            OSError: when the disk fails.
        """
        self._notes.write(PORT_FILE, b"%d" % port)

    def ready(self) -> None:
        """Let the siblings find the node of this slot, and whoever looks its process.

        Raises:
            OSError: when the disk fails.
        """
        self._notes.write(READY_FILE, b"%d" % os.getpid())

    def release(self, *, forget: bool = False) -> None:
        """Let another process have the slot; the last one takes the folder away, unless that keeps data.

        Args:
            forget: nobody shall take the slot over: what was noted in it counts no more.
        """
        if forget:
            self._folder.forget(self.number)
        self._let_go()
        self._folder.released()

    def let_go_when_forked(self) -> None:
        """See to it that a process which this one forks does not hold the slot, too, and for longer."""
        os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


class SiblingFolder:
    """The slots of the workers of one server.

    Args:
        path: the folder; made, for its owner alone, when it is missing.
        keeps: whether it outlives its server, as a data folder does.

    Raises:
        OSError: when it cannot be made.
    """

    def __init__(self, path: Path, *, keeps: bool = False) -> None:
        self._path, self._keeps = path, keeps

    def slot_path(self, number: int) -> Path:
        """The folder of one slot."""
        return self._path / f"w{number:02}"

    def claim(self) -> Slot:
        """Take a slot: the first that nobody holds any more, or else a new one.

        What is left of workers that have all ended counts for nothing, unless the folder keeps data.

        Raises:
            OSError: when the folder cannot be written.
            TooLarge: when there are NODES_MAX slots already.
        """
        while True:
            FolderNotes(self._path)
            with self._locked() as is_there:
                if is_there:
                    slot = self._claim()
                    slot.let_go_when_forked()
                    return slot

    def _claim(self) -> Slot:
        numbers = self._numbers()
        if not self._keeps and not any(map(self._is_held, numbers)):
            for number in numbers:
                shutil.rmtree(self.slot_path(number), ignore_errors=True)
            numbers = []
        for number in numbers:
            lock = self._take(number)
            if lock is not None:
                (self.slot_path(number) / READY_FILE).unlink(missing_ok=True)
                return Slot(self, number, lock, is_new=False)
        number = max(numbers, default=0) + 1
        if number > NODES_MAX:
            raise TooLarge("workers of one server", number, NODES_MAX)
        FolderNotes(self.slot_path(number))
        lock = self._take(number)
        assert lock is not None, "a slot that did not exist is held"
        return Slot(self, number, lock, is_new=True)

    def hold(self, number: int) -> Slot | None:
        """Take this very slot; None when a process has it, or there is none."""
        with self._locked() as is_there:
            if not is_there or number not in self._numbers():
                return None
            lock = self._take(number)
            return None if lock is None else Slot(self, number, lock, is_new=False)

    def living(self) -> tuple[int, ...]:
        """The numbers of the slots whose processes live, in order."""
        return self._census()[0]

    def vacant(self) -> tuple[int, ...]:
        """The numbers of the slots whose processes have ended, in order."""
        return self._census()[1]

    def ready(self) -> dict[int, Address]:
        """Where the nodes are that live and can be reached."""
        found: dict[int, Address] = {}
        for number in self.living():
            path = self.slot_path(number)
            with suppress(OSError, ValueError):
                if (path / READY_FILE).exists():
                    found[number] = Address(HOST, int((path / PORT_FILE).read_bytes()))
        return found

    def cookie(self, entropy: Entropy) -> bytes:
        """The secret of these workers, which their user alone can read; made when there is none yet.

        Raises:
            OSError: when the disk fails.
        """
        notes = FolderNotes(self._path)
        with self._locked():
            cookie = notes.read(COOKIE_FILE)
            if not cookie:
                cookie = entropy.token(COOKIE_BYTES).hex().encode()
                notes.write(COOKIE_FILE, cookie)
            return cookie

    def keep_fresh(self) -> None:
        """Touch everything that is in it, unless it is a folder for data, which nobody cleans."""
        with self._locked() as is_there:
            if is_there and not self._keeps:
                for path in self._path.rglob("*"):
                    with suppress(FileNotFoundError):  # one that is being written anew
                        os.utime(path)

    def remove_abandoned(self) -> None:
        """Take the folder away when no process of it lives."""
        with self._locked() as is_there:
            if is_there and not any(map(self._is_held, self._numbers())):
                shutil.rmtree(self._path, ignore_errors=True)

    def forget(self, number: int) -> None:
        """Take a slot away that is held by this process."""
        with self._locked() as is_there:
            if is_there:
                shutil.rmtree(self.slot_path(number), ignore_errors=True)

    def released(self) -> None:
        """A slot was given back."""
        if not self._keeps:
            self.remove_abandoned()

    def _census(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        with self._locked() as is_there:
            numbers = self._numbers() if is_there else []
            held = tuple(number for number in numbers if self._is_held(number))
            return held, tuple(number for number in numbers if number not in held)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the lock of the folder; False when the folder has just been taken away."""
        try:
            lock = os.open(self._path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            yield False
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield os.fstat(lock).st_nlink > 0
        finally:
            os.close(lock)

    def _numbers(self) -> list[int]:
        found = (SLOT.fullmatch(name) for name in os.listdir(self._path))
        return sorted(int(match[1]) for match in found if match)

    def _is_held(self, number: int) -> bool:
        lock = self._take(number)
        if lock is None:
            return True
        os.close(lock)
        return False

    def _take(self, number: int) -> int | None:
        lock = os.open(self.slot_path(number) / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock


def node_name(number: int) -> str:
    """The name of the node in a slot; names are in the order of the numbers as long as there are fewer than 100."""
    return f"w{number:02}@{HOST}"


def crew_path(crews: Path, server: Server, app: str) -> Path:
    """The folder for the workers of one server that run one application."""
    return crews / f"{server.pid}-{server.started}-{re.sub(r'[^A-Za-z0-9_.-]', '_', app)[:64] or '_'}"


def remove_abandoned_crews(crews: Path) -> None:
    """Take away what workers have left whose server is gone, as after a power cut or `kill -9`."""
    for path in crews.iterdir():
        match = CREW.fullmatch(path.name)
        if match and _started(int(match[1])) != int(match[2]):
            with suppress(OSError):
                SiblingFolder(path).remove_abandoned()
