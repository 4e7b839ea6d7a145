"""The other workers of the same server on the same machine, found by the folder in which each has a slot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from roost.config import Address
from roost.runtime.siblings import SiblingFolder


class Siblings:
    """Looks who is ready, again for every look.

    Args:
        folder: where the slots are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = SiblingFolder(folder, keeps=True)

    async def look(self) -> Sequence[Address]:
        """Where the nodes of the workers that live are, in the order of their slots.

        Raises:
            OSError: when the folder cannot be read.
        """
        return tuple(self._folder.ready().values())

    async def close(self) -> None:
        """It holds nothing."""
