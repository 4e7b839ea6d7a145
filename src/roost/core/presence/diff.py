"""What the clients of one topic have not heard yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import msgspec

from roost.core.presence.presence import Presence
from roost.limits import PRESENCE_DIFF_BYTES, PRESENCE_DIFF_MAX

_encode: Final = msgspec.json.Encoder().encode


class Diff:
    """Joins and leaves by reference. Who came and went in between is not mentioned, nor is who went and came back.

    So each join that is told has at most one leave, and no leave is without a join.
    """

    __slots__ = ("joins", "leaves")

    def __init__(self) -> None:
        self.joins: dict[str, Presence] = {}
        self.leaves: dict[str, Presence] = {}

    def __bool__(self) -> bool:
        return bool(self.joins or self.leaves)

    def join(self, presence: Presence) -> None:
        """Somebody is shown from now on."""
        if self.leaves.pop(presence.ref, None) is None:
            self.joins[presence.ref] = presence

    def leave(self, presence: Presence) -> None:
        """Somebody is not shown any more."""
        if self.joins.pop(presence.ref, None) is None:
            self.leaves[presence.ref] = presence

    def take(self) -> Diff:
        """All of it, or as much as one message may hold; the rest stays.

        What is said of one key stays together, so that who changes does not vanish in between, unless that alone is too
        much.
        """
        part = Diff()
        keys = {one.key: None for one in _some(chain(self.leaves.values(), self.joins.values()))}
        for its, mine in ((part.joins, self.joins), (part.leaves, self.leaves)):
            for presence in [*_some(one for one in mine.values() if one.key in keys)]:
                its[presence.ref] = mine.pop(presence.ref)
        return part


def _some(presences: Iterable[Presence]) -> Iterator[Presence]:
    """The first ones: as many as one side of a message may hold."""
    size_bytes = 0
    for number, presence in enumerate(presences):
        size_bytes += len(presence.meta) + len(_encode(presence.key))
        if number >= PRESENCE_DIFF_MAX or (number and size_bytes > PRESENCE_DIFF_BYTES):
            return
        yield presence
