"""One copy of a partition of the key-value store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final

import msgspec

from roost.cluster.vnode import LATER, Later, Sender, Vnode
from roost.core import causality
from roost.core.causality import ACTOR_BITS, Clock
from roost.data.storage import OnDurable, Storage
from roost.errors import BadMessage, RoostError, TooLarge
from roost.limits import OBJECT_BYTES_MAX

if TYPE_CHECKING:
    from roost.runtime.entropy import Entropy

Merge = Callable[[tuple[object, ...]], object]
"""Makes one value of concurrent ones, the same whatever their order."""

LISTED_PER_STEP: Final = 500
"""Keys that a listing looks at before others have a turn."""

NIL: Final = msgspec.Raw(b"\xc0")

encode_value: Final = msgspec.msgpack.Encoder().encode
decode_value: Final = msgspec.msgpack.Decoder().decode


class Fetch(msgspec.Struct, array_like=True, tag=1, frozen=True, gc=False):
    """What is stored under `key`? The reply is the encoded object, or nil."""

    key: bytes


class Store(msgspec.Struct, array_like=True, tag=2, frozen=True, gc=False):
    """Merge `found`, an encoded object, into what is stored under `key`. The reply, nil, comes when that is done;
    when it is durable if `durable` says so."""

    key: bytes
    found: bytes
    durable: bool


class ListKeys(msgspec.Struct, array_like=True, tag=3, frozen=True, gc=False):
    """Coverage: which keys that begin with `prefix` have a value? The replies are what follows it."""

    prefix: bytes


KvCommand = Fetch | Store | ListKeys


class KvVnode(Vnode[KvCommand, msgspec.Raw]):
    """One copy of a partition of the key-value store.

    It gives every write that it coordinates a dot of its own life: it draws a new actor when it starts, and when it
    has given keys away, so that no dot is ever given out twice.

    Args:
        storage: the memory of the node.
        entropy: where actors come from.
    """

    def __init__(self, storage: Storage, entropy: Entropy) -> None:
        self._storage = storage
        self._entropy = entropy

    def init(self) -> None:
        """A new life: a new actor."""
        self._actor = self._entropy.number(ACTOR_BITS)

    def handle_command(self, command: KvCommand, sender: Sender) -> msgspec.Raw | Later:
        """Fetch or store."""
        if type(command) is Fetch:
            found = self._storage.get(self.slot, command.key)
            return NIL if found is None else msgspec.Raw(found)
        if type(command) is Store:
            self.store(command.key, command.found)
            return self._reply_when_durable(sender) if command.durable else NIL
        raise BadMessage(f"{type(command).__name__} is for a coverage")

    def fetch(self, key: bytes) -> bytes | None:
        """What is stored under a key: an encoded object."""
        return self._storage.get(self.slot, key)

    def store(self, key: bytes, found: bytes) -> None:
        """Merge an encoded object into what is stored. Nothing that was written here is lost by it."""
        stored = self._storage.get(self.slot, key)
        if stored is None:
            causality.decode(found)  # what is no object must not get in
            merged: bytes | None = found
        else:
            merged = causality.merge_encoded(stored, found)
        if merged is not None and merged != stored:
            self._storage.put(self.slot, key, merged)

    def write(self, key: bytes, value: bytes | None, seen: Clock | None, merge: Merge | None) -> tuple[bytes, Clock]:
        """Coordinate a write: give it a dot and store what follows.

        Args:
            key: the key.
            value: the encoded value; None deletes.
            seen: the clock of what the writer had read; None for one that read nothing.
            merge: what to do with siblings; without it they stay.

        Returns: the encoded object for the other replicas, and its clock.

        Raises:
            TooLarge: when there would be too many concurrent values under the key, or too much altogether.
        """
        stored = self._storage.get(self.slot, key)
        written = causality.update(None if stored is None else causality.decode(stored), seen, self._actor, value)
        if merge is not None and len(written.versions) > 1:
            values = written.values()
            if len(values) > 1:
                settled = encode_value(merge(tuple(decode_value(one) for one in values)))
                written = causality.update(written, None, self._actor, settled)
        encoded = causality.encode(written)
        if len(encoded) > OBJECT_BYTES_MAX:
            raise TooLarge("all values of one key together", len(encoded), OBJECT_BYTES_MAX)
        self._storage.put(self.slot, key, encoded)
        return encoded, written.clock

    def when_durable(self, on_durable: OnDurable) -> None:
        """Call back when everything that has been written until now is durable."""
        self._storage.when_durable(on_durable)

    merges = True

    def held(self) -> AbstractSet[bytes]:
        """The keys of everything that is stored here."""
        return self._storage.tables.get(self.slot, {}).keys()

    def item(self, key: bytes) -> bytes | None:
        """An encoded object."""
        return self._storage.get(self.slot, key)

    def receive(self, items: Sequence[tuple[bytes, bytes]], *, replace: bool) -> None:
        """Merge objects of another node into what is stored."""
        for key, found in items:
            self.store(key, found)

    def forget(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Another node has these items: forget those that have not changed since, and give out no dot of this life."""
        self._actor = self._entropy.number(ACTOR_BITS)
        for key, found in items:
            if self._storage.get(self.slot, key) == found:
                self._storage.delete(self.slot, key)

    def forwards(self, command: KvCommand) -> KvCommand | None:
        """Only what changes something."""
        return command if type(command) is Store else None

    def cover(self, command: KvCommand) -> Iterator[msgspec.Raw | Later]:
        """List keys."""
        if type(command) is not ListKeys:
            raise BadMessage(f"no coverage: {type(command).__name__}")
        start = command.prefix
        for number, key in enumerate(tuple(self.held())):
            if number % LISTED_PER_STEP == 0:
                yield LATER
            if key.startswith(start):
                found = self._storage.get(self.slot, key)
                if found is not None and causality.decode(found).values():
                    yield msgspec.Raw(encode_value(key[len(start) :]))

    def _reply_when_durable(self, sender: Sender) -> Later:
        def on_durable(error: RoostError | None) -> None:
            sender.reply(NIL if error is None else error)

        self._storage.when_durable(on_durable)
        return LATER
