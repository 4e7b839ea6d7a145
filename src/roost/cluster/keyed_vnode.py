"""Vnodes that keep values under keys, and whose values move with the partition by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

import msgspec

from roost.cluster.vnode import CommandT, ReplyT, Vnode
from roost.errors import ConfigError

ValueT = TypeVar("ValueT")

_encode = msgspec.msgpack.Encoder().encode


class KeyedVnode(Vnode[CommandT, ReplyT], Generic[CommandT, ReplyT, ValueT]):
    """A vnode whose state is `self.store`: values of a declared type under text keys.

    ::

        class Add(msgspec.Struct, frozen=True):
            key: str
            number: int

        class Counters(KeyedVnode[Add, int, int]):
            def handle_command(self, command: Add, sender: Sender) -> int:
                total = self.store.get(command.key, 0) + command.number
                self.store[command.key] = total
                return total

    When the partition moves to another node the store moves along, while commands go on; each has its effect exactly
    once, as long as a command changes the store in the turn in which it arrives and what it does depends on nothing
    but the command and the store. Anything else that the object keeps does not move.

    A node that stood in for the holder has a store of its own, which is handed to the holder when that is back. What to
    do with a key that both have is for `merge` to say.

    Attributes:
        store: the values. In memory: a vnode that crashes, or whose node stops, begins with an empty one.
    """

    store: dict[str, ValueT]
    _decoders: ClassVar[dict[type, msgspec.msgpack.Decoder[Any]]] = {}

    def __init__(self) -> None:
        self.store = {}
        if type(self) not in self._decoders:
            self._decoders[type(self)] = msgspec.msgpack.Decoder(_value_type(type(self)))
        self._decoder = self._decoders[type(self)]

    def merge(self, key: str, mine: ValueT, given: ValueT) -> ValueT:
        """Which value to keep of two: the one here, and one that a node had which stood in, or holds another copy.

        The one here, unless this is overridden.
        """
        return mine

    def held(self) -> AbstractSet[bytes]:
        """The keys of the store, encoded."""
        return _Encoded(self.store)

    def item_count(self) -> int:
        """How many keys the store has."""
        return len(self.store)

    def item(self, key: bytes) -> bytes | None:
        """The encoded value of a key."""
        name = key.decode()
        return _encode(self.store[name]) if name in self.store else None

    def receive(self, items: Sequence[tuple[bytes, bytes]], *, replace: bool) -> None:
        """Keep what another node hands over; all of it or, when something cannot be decoded, nothing."""
        given: Mapping[str, ValueT] = {key.decode(): self._decoder.decode(value) for key, value in items}
        for key, value in given.items():
            if replace or key not in self.store:
                self.store[key] = value
            else:
                self.store[key] = self.merge(key, self.store[key], value)

    def forget(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Another node has these items: forget those that have not changed since."""
        for key, value in items:
            if self.item(key) == value:
                del self.store[key.decode()]

    def drop(self, keys: Sequence[bytes]) -> None:
        """The node in charge has nothing under these keys."""
        for key in keys:
            self.store.pop(key.decode(), None)

    def clear(self) -> None:
        """The node in charge has all that it is to have."""
        self.store.clear()


class _Encoded(AbstractSet[bytes]):
    """The keys of a store, encoded one by one: a set of them all would hold up the node when there are many."""

    __slots__ = ("_store",)

    def __init__(self, store: Mapping[str, object]) -> None:
        self._store = store

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and key.decode() in self._store

    def __iter__(self) -> Iterator[bytes]:
        return map(str.encode, self._store)

    def __len__(self) -> int:
        return len(self._store)


def _value_type(kind: type) -> object:
    for base in kind.__mro__:
        for generic in vars(base).get("__orig_bases__", ()):
            if get_origin(generic) is KeyedVnode:
                value = get_args(generic)[2]
                if not isinstance(value, TypeVar):
                    return value
    raise ConfigError(kind.__name__, "it must name the type of its values: class Counters(KeyedVnode[Add, int, int])")
