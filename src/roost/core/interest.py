"""Which topics are wanted where, told in buckets: what a node keeps of it is bounded, however many topics there are.

A topic belongs to the bucket that the CRC-32 of its name says. A node wants a bucket while somebody there wants a topic
of it, and tells the others of buckets, never of topics. So a node may be sent what nobody there wants: with 100,000
topics somewhere, a topic that is not wanted there shares a bucket with one that is in 9 of 100 cases (1 - e^(-t/b),
t topics in b buckets). That costs a message, which is dropped where it arrives. Sixteen times as many buckets would
make it 0.6 of 100, and cost each node 16 MB for its own wishes and 16 MB for those of every eight peers, instead of
one. This is a Bloom filter of one hash, whose counting half stays at home (Fan et al., Summary Cache, 1998).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from zlib import crc32

BUCKETS: Final = 1 << 20
"""Into how many buckets the topics fall. Nodes that make it different numbers send each other everything."""
_MASK: Final = BUCKETS - 1
_FADING: Final = 255
"""In the place of a count: nobody here wants the bucket any more, but the others believe so, and may be told so."""
_CROWDED: Final = 254
"""The count of a bucket of so many topics, or more: then `_crowded` has the number."""
_PEERS_PER_COLUMN: Final = 8
_STRETCH: Final = 512
"""Buckets that are looked at together: most stretches are empty, and that is seen 50 times as fast at once."""
_EMPTY: Final = bytes(_STRETCH)
_find_wanted: Final = re.compile(rb"[^\0]").finditer


def bucket_of(topic: str) -> int:
    """The bucket of a topic."""
    return crc32(topic.encode()) & _MASK


class Part(NamedTuple):
    """What is wanted of the buckets from `first` to before `end`: exactly these."""

    first: int
    end: int
    wanted: list[int]


class Wishes:
    """The buckets that this node wants, and which of them the others have not been told."""

    __slots__ = ("_counts", "_crowded", "_fading", "_news")

    def __init__(self) -> None:
        self._counts = bytearray(BUCKETS)  # how many topics of each bucket are wanted here
        self._crowded: dict[int, int] = {}
        self._news: dict[int, None] = {}
        self._fading: dict[int, None] = {}

    def add(self, bucket: int) -> bool:
        """One more topic of the bucket is wanted. Returns whether the others must be told of the bucket."""
        count = self._counts[bucket]
        if count == 0:
            self._counts[bucket] = 1
            self._news[bucket] = None
            return True
        if count == _FADING:
            self._counts[bucket] = 1
            del self._fading[bucket]
        else:
            self._set(bucket, self._crowded.get(bucket, count) + 1)
        return False

    def remove(self, bucket: int) -> bool:
        """One topic less. Returns whether the others believe that the bucket is wanted, and it is not any more."""
        count = self._counts[bucket]
        left = self._crowded.get(bucket, count) - 1
        self._set(bucket, left)
        if left:
            return False
        if bucket in self._news:
            del self._news[bucket]
            return False
        self._fading[bucket] = None
        self._counts[bucket] = _FADING
        return True

    def is_news(self, bucket: int) -> bool:
        """Whether the others have not been told that the bucket is wanted."""
        return bucket in self._news

    def take_news(self) -> list[int]:
        """The buckets that are wanted, and of which the others were not told so far."""
        news, self._news = list(self._news), {}
        return news

    def take_faded(self) -> list[int]:
        """The buckets that the others believe to be wanted, and are not."""
        faded, self._fading = list(self._fading), {}
        for bucket in faded:
            self._counts[bucket] = 0
        return faded

    def part(self, first: int, size_max: int) -> Part:
        """All that is wanted, or fades, from the bucket `first` on, as far as `size_max` buckets go."""
        wanted: list[int] = []
        counts = self._counts
        for start in range(first - first % _STRETCH, BUCKETS, _STRETCH):
            if counts[start : start + _STRETCH] == _EMPTY:
                continue
            for found in _find_wanted(counts, max(first, start), start + _STRETCH):
                if len(wanted) == size_max:
                    return Part(first, found.start(), wanted)
                wanted.append(found.start())
        return Part(first, BUCKETS, wanted)

    def _set(self, bucket: int, count: int) -> None:
        if count < _CROWDED:
            self._crowded.pop(bucket, None)
            self._counts[bucket] = count
        else:
            self._crowded[bucket] = count
            self._counts[bucket] = _CROWDED


class _Names(dict[int, tuple[str, ...]]):
    """The peers that each combination of bits stands for, worked out when it is first seen."""

    __slots__ = ("of_bit",)

    def __init__(self) -> None:
        self.of_bit: dict[int, str] = {}

    def __missing__(self, bits: int) -> tuple[str, ...]:
        names = self[bits] = tuple([name for bit, name in self.of_bit.items() if bits & bit])
        return names


class _Slot:
    """Where the bits of one peer are, and how often it has begun to tell everything."""

    __slots__ = ("bit", "column", "rounds")

    def __init__(self, column: bytearray, bit: int) -> None:
        self.column, self.bit, self.rounds = column, bit, 0


class Interested:
    """Which peers want which buckets: for every eight peers a column of bytes, with one bit for each of the eight."""

    __slots__ = ("_columns", "_slots")

    def __init__(self) -> None:
        self._columns: list[tuple[bytearray, _Names]] = []
        self._slots: dict[str, _Slot] = {}

    def add(self, peer: str) -> None:
        """A peer that wants nothing so far; harmless when it is there."""
        if peer in self._slots:
            return
        found = next((column for column in self._columns if len(column[1].of_bit) < _PEERS_PER_COLUMN), None)
        if found is None:
            found = bytearray(BUCKETS), _Names()
            self._columns.append(found)
        column, names = found
        bit = next(bit for bit in (1 << at for at in range(_PEERS_PER_COLUMN)) if bit not in names.of_bit)
        names.of_bit[bit] = peer
        names.clear()
        self._slots[peer] = _Slot(column, bit)

    def add_all(self, peer: str) -> None:
        """A peer that is there wants everything from now on: it cannot say what."""
        slot = self._slots[peer]
        slot.column[:] = slot.column.translate(bytes([byte | slot.bit for byte in range(256)]))

    def forget(self, peer: str) -> None:
        """A peer is gone, and wants nothing; harmless when it is not there."""
        slot = self._slots.pop(peer, None)
        if slot is None:
            return
        column, bit = slot.column, slot.bit
        column[:] = column.translate(_without(bit))
        for at, (its, names) in enumerate(self._columns):
            if its is column:
                del names.of_bit[bit]
                names.clear()
                if not names.of_bit:
                    del self._columns[at]
                return

    def peers(self, bucket: int) -> tuple[str, ...]:
        """Who wants the bucket."""
        found: tuple[str, ...] = ()
        for column, names in self._columns:
            bits = column[bucket]
            if bits:
                found += names[bits]
        return found

    def replace(self, peer: str, part: Part) -> None:
        """Of these buckets, the peer wants what `part` says, and nothing else. The parts of a peer come in order."""
        slot = self._slots[peer]
        slot.rounds += part.first == 0
        if slot.rounds > 1:  # the first time there is nothing else
            slot.column[part.first : part.end] = slot.column[part.first : part.end].translate(_without(slot.bit))
        self.change(peer, part.wanted, ())

    def change(self, peer: str, wanted: Iterable[int], unwanted: Iterable[int]) -> None:
        """A peer wants other buckets than it did."""
        column, bit = self._slots[peer].column, self._slots[peer].bit
        for bucket in wanted:
            column[bucket] |= bit
        others = ~bit & 0xFF
        for bucket in unwanted:
            column[bucket] &= others

    def __contains__(self, peer: object) -> bool:
        return peer in self._slots


def _without(bit: int) -> bytes:
    return bytes([byte & ~bit for byte in range(256)])
