"""Who has a name in the whole cluster: what one register holds, and the changes that are allowed.

A name has one owner at a time. Each new owner gets a higher *epoch*, which he shows as a fencing token to whatever he
writes to: storage that refuses a lower epoch than it has seen is safe from an owner that has not noticed that he is
one no more (Kleppmann, "How to do distributed locking", 2016). The owner *renews*, which counts up; whoever has watched
the same owner and count for longer than a lease lasts may take the name from him.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

Change = Callable[[bytes | None], bytes | None]


class Owner(msgspec.Struct, array_like=True, frozen=True):
    """A process: its node, the boot of that, and its number there."""

    node: str
    incarnation: int
    pid: int


class Title(msgspec.Struct, array_like=True, frozen=True):
    """What the register of a name holds.

    Attributes:
        epoch: how many owners there have been; it never falls.
        renewal: how often the present one has renewed.
        owner: who it is; None when nobody has the name.
        members: who votes on what follows.
    """

    epoch: int
    renewal: int
    owner: Owner | None
    members: tuple[str, ...]


class Sighting(NamedTuple):
    """Which owner somebody has seen, and at which count of his."""

    epoch: int
    renewal: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Title).decode
NOBODY = Title(0, 0, None, ())


def title_of(value: bytes | None) -> Title:
    """What a register holds."""
    return NOBODY if value is None else _decode(value)


def voters(members: tuple[str, ...]) -> Callable[[bytes | None], frozenset[str]]:
    """Who votes on what follows a value: whom it names, or `members` when nothing is written yet."""
    first = frozenset(members)
    return lambda value: first if value is None else frozenset(_decode(value).members)


def claim(owner: Owner, members: tuple[str, ...], lapsed: Sighting | None) -> Change:
    """Take the name, unless somebody has it.

    Args:
        owner: who wants it.
        members: the members of the cluster now.
        lapsed: an owner whose lease is known to be over.
    """

    def change(value: bytes | None) -> bytes | None:
        found = title_of(value)
        if found.owner == owner:
            return _encode(Title(found.epoch, found.renewal + 1, owner, members))
        if found.owner is not None and lapsed != (found.epoch, found.renewal):
            return None
        return _encode(Title(found.epoch + 1, 0, owner, members))

    return change


def renew(owner: Owner, epoch: int, members: tuple[str, ...]) -> Change:
    """Have the name for another lease, unless it is lost."""

    def change(value: bytes | None) -> bytes | None:
        found = title_of(value)
        if found.owner != owner or found.epoch != epoch:
            return None
        return _encode(Title(epoch, found.renewal + 1, owner, members))

    return change


def release(owner: Owner, epoch: int, members: tuple[str, ...]) -> Change:
    """Give the name back, unless it is lost. The epoch stays, so that the next owner's is higher."""

    def change(value: bytes | None) -> bytes | None:
        found = title_of(value)
        if found.owner != owner or found.epoch != epoch:
            return None
        return _encode(Title(epoch, found.renewal, None, members))

    return change


def follow(members: tuple[str, ...]) -> Change:
    """Let `members` vote from now on; everything else stays."""

    def change(value: bytes | None) -> bytes | None:
        found = title_of(value)
        if value is None or found.members == members:
            return value
        return _encode(Title(found.epoch, found.renewal, found.owner, members))

    return change
