"""What nodes tell each other: fragments of what is known of one node, in messages of bounded size, and views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from roost.core.presence.presence import Origin, Presence
from roost.core.presence.spans import Spans
from roost.limits import PRESENCE_PART_BYTES, PRESENCE_PART_ROWS, PRESENCE_SHARDS, PRESENCES_MAX


class Fragment(NamedTuple):
    """Of the events in `spans`, these presences are left, and none of the dots in `removed` is.

    A whole state begins with the first event; then `removed` has nothing to add.
    """

    origin: Origin
    spans: Spans
    removed: tuple[int, ...]
    rows: tuple[Presence, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it says everything there is to say about its origin."""
        return bool(self.spans) and self.spans[0][0] == 0


class Part(msgspec.Struct, array_like=True, frozen=True, tag="part"):
    """A piece of a fragment. They come in order, by `number`; the `last` one says of which events all of it is."""

    shard: int
    origin: Origin
    number: int
    rows: tuple[Presence, ...]
    last: bool = True
    spans: Spans = ()
    removed: tuple[int, ...] = ()


class Known(msgspec.Struct, array_like=True, frozen=True):
    """What a node knows of another one, or of itself.

    `is_up`: they have a link. `clocks`: up to which event it has seen everything, in each shard. `goals`: which event
    there is at least, by the word of the other one; empty when that has not come.
    """

    origin: Origin
    is_up: bool
    clocks: tuple[int, ...]
    goals: tuple[int, ...] = ()


class View(msgspec.Struct, array_like=True, frozen=True, tag="view"):
    """What a node knows of all, itself included. `asks`: it has missed something; go on from these clocks."""

    known: tuple[Known, ...]
    asks: bool = False


def parts(shard: int, fragment: Fragment) -> Iterator[Part]:
    """Cut a fragment into messages."""
    chunk: list[Presence] = []
    size = number = 0
    for presence in fragment.rows:
        added = len(presence.topic) + len(presence.key) + len(presence.meta)
        if chunk and (len(chunk) >= PRESENCE_PART_ROWS or size + added > PRESENCE_PART_BYTES):
            yield Part(shard, fragment.origin, number, tuple(chunk), last=False)
            number += 1
            chunk, size = [], 0
        chunk.append(presence)
        size += added
    yield Part(shard, fragment.origin, number, tuple(chunk), True, fragment.spans, fragment.removed)


class Assembly:
    """The parts that have come from one peer, until their last ones come. It dies with the link.

    A peer sends what it has to say of a shard one fragment after the other, so one for each shard is all that waits.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Origin, int, list[Presence]]] = {}

    def add(self, part: Part) -> Fragment | None:
        """Take a part; return the fragment that it completes.

        A first part ends a fragment that was not completed, and what does not follow the part before it is dropped, as
        is what belongs to no shard.
        """
        origin, number, rows = self._waiting.pop(part.shard, (part.origin, 0, []))
        if not 0 <= part.shard < PRESENCE_SHARDS:
            return None
        if part.number == 0:
            rows = []
        elif (part.origin, part.number) != (origin, number) or len(rows) > PRESENCES_MAX:
            return None
        rows += part.rows
        if part.last:
            return Fragment(part.origin, part.spans, part.removed, tuple(rows))
        self._waiting[part.shard] = part.origin, part.number + 1, rows
        return None
