"""How the console finds the nodes that run on this machine: each leaves a file in a folder of its user.

The files hold the cookie, so the folder must be closed to everybody else; see `roost.runtime.run_folder`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from roost.config import Tls
from roost.errors import ConfigError
from roost.ops.plan import short
from roost.runtime.disk import FolderDisk
from roost.runtime.run_folder import check_private

SUFFIX = ".json"


class RunFile(msgspec.Struct, frozen=True):
    """One running node. `started_at` is in seconds since the epoch; `link` and `web` are host:port; `tls` are
    the files of its certificate, when its links have one; `is_alone` says that it is a cluster of its own, since it has
    not joined one yet, has left it, or was never meant to."""

    cluster: str
    node: str
    link: str
    web: str
    cookie: str
    pid: int
    started_at: float
    tls: Tls | None = None
    is_alone: bool = False


class RunFolder:
    """The run files of this user.

    Args:
        path: the folder, as `run_folder` names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, run: RunFile) -> None:
        """Say that a node runs; what an earlier process of the same id left is replaced.

        Raises:
            ConfigError: when the folder is not this user's own, or cannot be written.
        """
        try:
            disk = FolderDisk(self.path)
            check_private(self.path)
            disk.write(f"{run.pid}{SUFFIX}", msgspec.json.encode(run))
        except OSError as error:
            raise ConfigError("run folder", f"cannot write to {self.path}: {error.strerror or error}") from None

    def remove(self, pid: int) -> None:
        """Say that the node of process `pid` runs no more; harmless when nothing says that it does."""
        with suppress(OSError):
            (self.path / f"{pid}{SUFFIX}").unlink()

    def list(self, cluster: str | None = None, node: str | None = None) -> list[RunFile]:
        """The nodes that run: those of the cluster that was started last first, those in company first, then by name.

        The files of processes that are gone are removed. A file that cannot be read is left alone and left out.

        Args:
            cluster: only nodes of this cluster.
            node: only this node, by its whole name or by the part before the "@".

        Raises:
            ConfigError: when the folder is not this user's own.
        """
        try:
            check_private(self.path)
        except FileNotFoundError:
            return []
        runs: list[RunFile] = []
        for file in sorted(self.path.glob(f"*{SUFFIX}")):
            with suppress(OSError, msgspec.MsgspecError):
                run = msgspec.json.decode(file.read_bytes(), type=RunFile)
                if _alive(run.pid):
                    runs.append(run)
                else:
                    file.unlink(missing_ok=True)
        newest = {run.cookie: max(other.started_at for other in runs if other.cookie == run.cookie) for run in runs}
        runs = [run for run in runs if cluster in (None, run.cluster) and node in (None, run.node, short(run.node))]
        return sorted(runs, key=lambda run: (-newest[run.cookie], run.is_alone, run.node))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
