"""Causality: which of several values of a key is newer, and which were written without knowing of each other.

An object is a set of versions, each with the *dot* that its write was given, and a clock that covers every write that
the object has ever seen. These are dotted version vector sets (Almeida, Baquero, Gonçalves, Preguiça, Fonte:
"Scalable and Accurate Causality Tracking for Eventually Consistent Stores", DAIS 2014), with the dots spelled out.

A dot is an actor and a counter. An actor is one life of one vnode, so that a vnode that has lost its memory never gives
out a dot again. A deleted value is a version without a value: a tombstone, which is kept.

Invariants: an object's versions have distinct dots, its clock covers them all, and both are sorted, so that equal
objects are equal bytes. `merge` is commutative, associative and idempotent.
"""

from __future__ import annotations

from typing import Final

import msgspec

from roost.errors import BadMessage, TooLarge
from roost.limits import SIBLINGS_MAX

ACTOR_BITS: Final = 64
COUNTER_MAX: Final = 2**53

Clock = tuple[tuple[int, int], ...]
"""Pairs of an actor and the highest of its counters that is covered, sorted by actor."""


class Version(msgspec.Struct, array_like=True, frozen=True, gc=False, order=True):
    """One value as it was written. `value` is its encoded bytes, or None for a tombstone."""

    actor: int
    counter: int
    value: bytes | None


class Versions(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Everything that is known under one key."""

    clock: Clock
    versions: tuple[Version, ...]

    def values(self) -> tuple[bytes, ...]:
        """The values that no other write has replaced, each once, without tombstones.

        A value that was written while another client deleted the key stays.
        """
        if len(self.versions) == 1:
            value = self.versions[0].value
            return () if value is None else (value,)
        return tuple(dict.fromkeys(version.value for version in self.versions if version.value is not None))


encode = msgspec.msgpack.Encoder().encode
"""The bytes of a Versions; equal objects have equal bytes."""

decode = msgspec.msgpack.Decoder(Versions).decode
"""The Versions of bytes; raises msgspec.MsgspecError for anything else."""


def update(stored: Versions | None, seen: Clock | None, actor: int, value: bytes | None) -> Versions:
    """What is known once `value` has been written.

    Args:
        stored: what the replica that coordinates the write holds.
        seen: the clock of what the writer had read; its versions are superseded, and all others become siblings of
            the new one. None for a writer that read nothing: it supersedes whatever is stored here.
        actor: who gives the write its dot: this life of this replica, which never forgets a dot that it has given.
        value: the new value; None deletes.

    Raises:
        TooLarge: when there would be more than SIBLINGS_MAX versions.
    """
    clock = {} if stored is None else dict(stored.clock)
    survivors: list[Version] = []
    if seen is not None:
        covered = dict(seen)
        if stored is not None:
            survivors = [one for one in stored.versions if one.counter > covered.get(one.actor, 0)]
            if len(survivors) >= SIBLINGS_MAX:
                raise TooLarge("concurrent values of one key", len(survivors) + 1, SIBLINGS_MAX)
        for other, counter in seen:
            if counter > clock.get(other, 0):
                clock[other] = counter
    counter = clock.get(actor, 0) + 1
    clock[actor] = counter
    new = Version(actor, counter, value)
    versions = (new,) if not survivors else tuple(sorted([*survivors, new], key=_dot))
    return Versions(tuple(clock.items()) if len(clock) == 1 else tuple(sorted(clock.items())), versions)


def merge(one: Versions, other: Versions) -> Versions:
    """What is known once two replicas have told each other everything."""
    if one == other:
        return one
    mine, theirs = dict(one.clock), dict(other.clock)
    kept = {
        (version.actor, version.counter): version
        for version in one.versions
        if version.counter > theirs.get(version.actor, 0) or version in other.versions
    }
    for version in other.versions:
        if version.counter > mine.get(version.actor, 0):
            kept[version.actor, version.counter] = version
    for actor, counter in other.clock:
        if counter > mine.get(actor, 0):
            mine[actor] = counter
    return Versions(tuple(sorted(mine.items())), tuple(version for _, version in sorted(kept.items())))


def merge_encoded(one: bytes | None, other: bytes | None) -> bytes | None:
    """`merge` of encoded objects; None stands for a replica that holds nothing."""
    if other is None or one == other:
        return one
    if one is None:
        return other
    return encode(merge(decode(one), decode(other)))


def settle(siblings: Versions, value: bytes, actor: int) -> Versions:
    """One version in place of all: what a merge function has made of the siblings, under a new dot."""
    return update(siblings, None, actor, value)


def check_clock(clock: Clock) -> None:
    """Refuse a clock that `update` cannot have made.

    Raises:
        BadMessage: when it is not sorted, or a number is out of range.
    """
    previous = -1
    for actor, counter in clock:
        if not previous < actor < 2**ACTOR_BITS or not 0 < counter < COUNTER_MAX:
            raise BadMessage("a context that no write has made")
        previous = actor


def _dot(version: Version) -> tuple[int, int]:
    return version.actor, version.counter
