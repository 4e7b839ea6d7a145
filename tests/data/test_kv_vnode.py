"""One partition of the store: dots, merges, limits, and what may be forgotten."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.cluster.vnode import LATER, Sender, encode
from roost.core.causality import Clock, decode, merge_encoded
from roost.core.causality import encode as encode_object
from roost.core.ring import partition_and_index
from roost.data.kv_vnode import NIL, Fetch, KvVnode, ListKeys, Store
from roost.data.storage import OnDurable, Storage
from roost.errors import RoostError, StorageFailed, TooLarge
from roost.limits import OBJECT_BYTES_MAX, VALUE_BYTES_MAX
from roost.runtime import Runtime

KEY = b"\x01bk"


class Numbers:
    """Entropy that counts."""

    def __init__(self) -> None:
        self._next = itertools.count(1)

    def token(self, size_bytes: int) -> bytes:
        return bytes(size_bytes)

    def number(self, bits: int) -> int:
        return next(self._next)

    def uniform(self, low: float, high: float) -> float:
        return low


class Slow(Storage):
    """Storage whose disk answers when it is told to."""

    def __init__(self) -> None:
        super().__init__(Runtime.real())
        self.waiting: list[OnDurable] = []

    def when_durable(self, on_durable: OnDurable) -> None:
        self.waiting.append(on_durable)

    def answer(self, outcome: RoostError | None = None) -> None:
        waiting, self.waiting = self.waiting, []
        for on_durable in waiting:
            on_durable(outcome)


def vnode(storage: Storage | None = None, entropy: Numbers | None = None, slot: int = 3) -> KvVnode:
    made = KvVnode(storage or Storage(Runtime.real()), entropy or Numbers())
    (made.partition, made.index), made.node = partition_and_index(slot), "a"
    made.init()
    return made


def ask(one: KvVnode, command: Fetch | Store) -> tuple[object, list[object]]:
    told: list[object] = []
    return one.handle_command(command, Sender("b", told.append)), told


def values(one: KvVnode, key: bytes = KEY) -> set[bytes]:
    found = one.fetch(key)
    return set() if found is None else set(decode(found).values())


def test_what_is_written_can_be_fetched() -> None:
    one = vnode()
    assert ask(one, Fetch(KEY)) == (NIL, [])
    encoded, clock = one.write(KEY, b"1", None, None)
    assert ask(one, Fetch(KEY))[0] == msgspec.Raw(encoded)
    assert decode(encoded).clock == clock == ((1, 1),)


def test_a_store_is_answered_when_it_is_as_safe_as_was_asked() -> None:
    slow = Slow()
    one = vnode(slow)
    written, _ = vnode(entropy=Numbers()).write(KEY, b"1", None, None)
    assert ask(one, Store(KEY, written, False)) == (NIL, [])
    reply, told = ask(one, Store(KEY, written, True))
    assert (reply, told) == (LATER, [])
    slow.answer()
    assert told == [NIL]
    _, told = ask(one, Store(KEY, written, True))
    slow.answer(StorageFailed("full"))
    assert [type(outcome) for outcome in told] == [StorageFailed]


def test_what_is_handed_over_is_acknowledged_when_it_is_durable() -> None:
    slow = Slow()
    one = vnode(slow)
    written, _ = vnode().write(KEY, b"1", None, None)
    told: list[object] = []
    one.receive([(KEY, written)], replace=False)
    one.when_durable(told.append)
    assert values(one) == {b"1"}
    assert told == []
    slow.answer()
    assert told == [None]


def test_a_store_merges_whatever_comes_in_whatever_order() -> None:
    entropy = Numbers()
    one, other = vnode(entropy=entropy), vnode(entropy=entropy)
    first, _ = one.write(KEY, b"1", None, None)
    second, _ = one.write(KEY, b"2", None, None)
    beside, _ = other.write(KEY, b"3", None, None)
    for story in itertools.permutations([first, second, beside]):
        three = vnode(entropy=entropy)
        for found in (*story, *story):
            three.store(KEY, found)
        assert values(three) == {b"2", b"3"}


def test_what_is_no_object_does_not_get_in() -> None:
    one = vnode()
    with pytest.raises(msgspec.MsgspecError):
        one.store(KEY, b"\x01")
    assert one.fetch(KEY) is None
    written, _ = one.write(KEY, b"1", None, None)
    with pytest.raises(msgspec.MsgspecError):
        one.store(KEY, b"\x01")
    assert one.fetch(KEY) == written


def test_a_new_life_never_gives_out_an_old_dot() -> None:
    storage, entropy = Storage(Runtime.real()), Numbers()
    first, _ = vnode(storage, entropy).write(KEY, b"1", None, None)
    storage.delete(3, KEY)  # the memory of that life is lost
    second, _ = vnode(storage, entropy).write(KEY, b"2", (), None)
    both = merge_encoded(first, second)
    assert both is not None
    assert set(decode(both).values()) == {b"1", b"2"}


def test_a_vnode_that_gave_keys_away_never_gives_out_an_old_dot() -> None:
    one = vnode()
    first, _ = one.write(KEY, b"1", None, None)
    one.forget([(KEY, first)])
    assert one.fetch(KEY) is None
    second, _ = one.write(KEY, b"2", (), None)
    both = merge_encoded(first, second)
    assert both is not None
    assert set(decode(both).values()) == {b"1", b"2"}


def test_only_what_has_not_changed_is_forgotten() -> None:
    one = vnode()
    first, _ = one.write(KEY, b"1", None, None)
    other, _ = one.write(KEY + b"2", b"x", None, None)
    one.write(KEY, b"2", None, None)
    one.forget([(KEY, first), (KEY + b"2", other), (KEY + b"3", b"never here")])
    assert values(one) == {b"2"}
    assert set(one.held()) == {KEY}


def test_siblings_are_settled_by_the_merge_function_in_a_write() -> None:
    one = vnode()
    pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode

    def union(found: tuple[object, ...]) -> object:
        return sorted({item for value in found if isinstance(value, list) for item in value})

    one.write(KEY, pack(["x"]), None, union)
    one.write(KEY, pack(["y"]), (), union)
    found = one.fetch(KEY)
    assert found is not None
    assert len(decode(found).versions) == 1
    assert unpack(decode(found).values()[0]) == ["x", "y"]
    seen: Clock = decode(found).clock
    one.write(KEY, None, seen, union)
    assert values(one) == set()


def test_everything_under_one_key_is_bounded() -> None:
    one = vnode()
    big = bytes(VALUE_BYTES_MAX)
    fitting = OBJECT_BYTES_MAX // VALUE_BYTES_MAX - 1
    for _ in range(fitting):
        one.write(KEY, big, (), None)
    with pytest.raises(TooLarge):
        one.write(KEY, big, (), None)
    assert len(decode(one.fetch(KEY) or b"").versions) == fitting
    one.write(KEY, big, None, None)


@given(st.binary(max_size=40), st.binary(max_size=40), st.booleans())
def test_commands_survive_the_wire(key: bytes, found: bytes, durable: bool) -> None:
    decoder = msgspec.msgpack.Decoder(Fetch | Store | ListKeys)
    for command in (Fetch(key), Store(key, found, durable), ListKeys(key)):
        assert decoder.decode(encode(command)) == command


def test_equal_objects_are_stored_once() -> None:
    one = vnode()
    written, _ = one.write(KEY, b"1", None, None)
    one.store(KEY, encode_object(decode(written)))
    assert one.fetch(KEY) is written
