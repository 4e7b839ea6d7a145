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
    """What was decided when the folder was made, and stays so."""

    cluster: str
    nodes: int


class DataFolder:
    """A data folder that this process has to itself until `close`.

    Args:
        path: the folder; made, for its owner alone, when it is missing.
        birth: which cluster it must belong to.
        entropy: where a new cookie comes from.

    Raises:
        ConfigError: when it cannot be made or written, another process uses it, or it belongs to another cluster.
    """

    def __init__(self, path: Path, birth: Birth, entropy: Entropy) -> None:
        self.path = path
        try:
            disk = FolderDisk(path)
            self._lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(path, error) from None
        try:
            self._take()
            self._check_birth(disk, birth)
            self.cookie = _cookie(disk, entropy)
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
            born = msgspec.json.decode(found, type=Birth)
        except msgspec.MsgspecError:
            raise ConfigError(
                "--data", f"{self.path / BIRTH_FILE} is damaged: choose another folder with --data DIR"
            ) from None
        if born.cluster != wanted.cluster:
            raise ConfigError(
                "--data",
                f"{self.path} belongs to the cluster {born.cluster!r}, this one is {wanted.cluster!r}: "
                "choose another folder with --data DIR",
            )
        if born.nodes != wanted.nodes:
            raise ConfigError(
                "--data",
                f"{self.path} belongs to a cluster of {born.nodes} nodes: "
                f"use --nodes {born.nodes}, or another folder with --data DIR",
            )


def _cookie(disk: FolderDisk, entropy: Entropy) -> bytes:
    cookie = disk.read(COOKIE_FILE)
    if not cookie:
        cookie = entropy.token(COOKIE_BYTES).hex().encode()
        disk.write(COOKIE_FILE, cookie)
    return cookie.strip()


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "--data", f"cannot write to {path} ({error.strerror or error}): choose another folder with --data DIR"
    )
