"""The folder in which a user's running nodes leave word for each other.

What is in it holds secrets, so it must belong to the user and be closed to everybody else: with anything else, a
symbolic link put there by another user for one, nothing is written and nothing is believed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from roost.errors import ConfigError


def run_folder(environ: Mapping[str, str]) -> Path:
    """Where it is: $XDG_RUNTIME_DIR/roost, or roost-<uid> in /tmp when the user has no such folder."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and os.path.isdir(runtime) and os.stat(runtime).st_uid == os.geteuid():
        return Path(runtime) / "roost"
    return Path("/tmp") / f"roost-{os.geteuid()}"


def check_private(path: Path) -> None:
    """See that a folder is the user's own, and closed to others.

    Raises:
        ConfigError: when it is not.
        FileNotFoundError: when there is none.
    """
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigError(
            "run folder",
            f"{path} must be a folder that belongs to you and is closed to others: remove it or fix its mode",
        )
