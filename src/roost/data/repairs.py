"""The repairs that reads have under way."""

from __future__ import annotations

from roost import limits


class Repairs:
    """How many replicas this node is bringing up to date after reads.

    A repair that finds no room is left out and counted: the next read of the key finds the same again.

    Attributes:
        under_way: those that are not answered yet.
        read_repairs: those that were begun since the node has started.
        read_repairs_dropped: those that were left out because REPAIRS_MAX were under way.
    """

    def __init__(self) -> None:
        self.under_way = 0
        self.read_repairs = 0
        self.read_repairs_dropped = 0

    def may_begin(self) -> bool:
        """Whether there is room for one more; then it is under way until `ended`."""
        if self.under_way >= limits.REPAIRS_MAX:
            self.read_repairs_dropped += 1
            return False
        self.under_way += 1
        self.read_repairs += 1
        return True

    def ended(self, outcome: object) -> None:
        """A replica has been repaired, or could not be: then the next read tries again."""
        self.under_way -= 1
