"""What moves between a node and the others, as its console sees and limits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from roost.cluster.status import TransferStatus


class Movements(Protocol):
    """The transfers of one node, of all its rings."""

    outgoing_max: int
    incoming_max: int

    @property
    def outgoing(self) -> int:
        """How many transfers this node gives now."""

    @property
    def incoming(self) -> int:
        """How many it takes now."""

    def limit(self, *, outgoing: int | None = None, incoming: int | None = None) -> None:
        """Change how many transfers may be under way from now on, 0 for none; those that are go on."""

    def transfers(self) -> Sequence[TransferStatus]:
        """Every transfer that this node gives, or should give."""
