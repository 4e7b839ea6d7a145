"""Under which name a process is found: a word of this node's own table, or a place in a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer


class Via(Protocol):
    """A name that somebody else keeps, as a `Registry` does. `str()` of it is what logs show."""

    def register(self, process: GenServer, /) -> None:
        """Take the name for a process that is about to run its `init`; it is free again when the process ends.

        Raises:
            NameTaken: when a live process has it.
        """

    def whereis(self) -> GenServer | None:
        """Who has the name; None when nobody has."""


Name = str | Via
"""What `name=` of `start_link` takes."""
