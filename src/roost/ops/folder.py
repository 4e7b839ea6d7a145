"""The data folder of a cluster on one machine: its cookie, whose it is, and that only one Roost uses it at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from roost.errors import ConfigError
from roost.runtime.disk import FolderDisk
from roost.runtime.entropy import Entropy

COOKIE_FILE = "cookie"
COOKIE_BYTES = 32
BIRTH_FILE = "cluster.json"
LOCK_FILE = "lock"


class Birth(msgspec.Struct, frozen=True):
    """What was decided when the folder was made, and stays so: of which cluster it keeps how many nodes.

    Members of the cluster come and go; these nodes are those that were started with this folder at first.

    Attributes:
        first: the short name of the first node.
        is_joining: whether they were started to join a cluster that ran already.
    """

    cluster: str
    nodes: int
    first: str = "a"
    is_joining: bool = False


def born(path: Path) -> Birth | None:
    """What is kept in the folder; None when nothing is, or it cannot be read, which `DataFolder` complains about."""
    try:
        return msgspec.json.decode((path / BIRTH_FILE).read_bytes(), type=Birth)
    except (OSError, msgspec.MsgspecError):
        return None


class DataFolder:
    """A data folder that this process has to itself until `close`.

    Args:
        path: the folder; made, for its owner alone, when it is missing.
        birth: which cluster it must belong to, and which of its nodes.
        entropy: where a new cookie comes from.
        cookie: the secret of a cluster that runs already; None for one of its own.

    Raises:
        ConfigError: when it cannot be made or written, another process uses it, or it belongs to another cluster.
    """

    def __init__(self, path: Path, birth: Birth, entropy: Entropy, cookie: bytes | None = None) -> None:
        self.path = path
        try:
            disk = FolderDisk(path)
            self._lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(path, error) from None
        try:
            self._take()
            self._check_birth(disk, birth)
            self.cookie = self._cookie(disk, entropy, cookie)
        except OSError as error:
            self.close()
            raise _unusable(path, error) from None
        except ConfigError:
            self.close()
            raise

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def _take(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "--data", f"another Roost is using {self.path}: stop it, or choose another folder with --data DIR"
            ) from None

    def _check_birth(self, disk: FolderDisk, wanted: Birth) -> None:
        found = disk.read(BIRTH_FILE)
        if found is None:
            disk.write(BIRTH_FILE, msgspec.json.encode(wanted))
            return
        try:
            known = msgspec.json.decode(found, type=Birth)
        except msgspec.MsgspecError:
            raise ConfigError(
                "--data", f"{self.path / BIRTH_FILE} is damaged: choose another folder with --data DIR"
            ) from None
        if known.cluster != wanted.cluster:
            raise ConfigError(
                "--data",
                f"{self.path} belongs to the cluster {known.cluster!r}, this one is {wanted.cluster!r}: "
                "choose another folder with --data DIR",
            )
        if known.is_joining != wanted.is_joining:
            flags = "with --join" if known.is_joining else "without --join"
            raise ConfigError(
                "--data", f"{self.path} is for nodes that start {flags}: do so, or use another folder with --data DIR"
            )
        if known.first != wanted.first:
            raise ConfigError(
                "--data",
                f"{self.path} belongs to the node {known.first}: use --name {known.first}, or another folder with "
                "--data DIR",
            )
        if known.nodes != wanted.nodes:
            raise ConfigError(
                "--data",
                f"{self.path} belongs to a cluster of {known.nodes} nodes: use --nodes {known.nodes}, or another "
                "folder with --data DIR; further nodes come with --join",
            )

    def _cookie(self, disk: FolderDisk, entropy: Entropy, given: bytes | None) -> bytes:
        cookie = (disk.read(COOKIE_FILE) or b"").strip()
        if cookie and given not in (None, cookie):
            raise ConfigError(
                "--data", f"{self.path} belongs to another cluster of this name: choose another folder with --data DIR"
            )
        if not cookie:
            cookie = given or entropy.token(COOKIE_BYTES).hex().encode()
            disk.write(COOKIE_FILE, cookie)
        return cookie


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "--data", f"cannot write to {path} ({error.strerror or error}): choose another folder with --data DIR"
    )
