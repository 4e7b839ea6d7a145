"""Values on their way to a worker process of the operating system and back, every one as what it was.

What may cross between two processes of Roost may cross here, handles excepted: the immutable types of Python, lists,
dicts, sets, tuples, enums, frozen structs and frozen dataclasses. The bytes are MessagePack, whose own types carry most
of it; what it lacks (tuples, sets, large integers, dates, declared classes) is carried by its extension types.

A class travels as the name of the place where it is defined, so this is for a pipe to one's own child only. Between
nodes nothing is ever looked up by such a name.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final, NamedTuple, get_type_hints

import msgspec
from msgspec.msgpack import Ext

from roost.errors import NotSendable

PLAIN: Final[frozenset[type]] = frozenset((type(None), bool, int, float, str, bytes))
"""What MessagePack carries as it is; an int only within 64 bits."""
_KEYS: Final[frozenset[type]] = frozenset((type(None), bool, int, float, str, bytes))
_UNSIGNED: Final = 2**64
_SIGNED: Final = -(2**63)

# What an extension holds, by its code.
_TUPLE: Final = 1
_SET: Final = 2
_FROZENSET: Final = 3
_PAIRS: Final = 4
_INT: Final = 5
_ATOM: Final = 6
_MEMBER: Final = 7
_FIELDS: Final = 8
_ROWS: Final = 9


class _Atom(NamedTuple):
    """How one immutable type of Python is taken apart and put together."""

    code: int
    # Any: each line of the table has its own type
    take_apart: Callable[..., Sequence[object]]
    make: Callable[..., object]


def _zone(zone: zoneinfo.ZoneInfo) -> tuple[object, ...]:
    if zone.key is None:
        raise NotSendable("ZoneInfo without a key", "a value for a worker process")
    return (zone.key,)


def _moment(value: datetime.datetime) -> tuple[object, ...]:
    naive = value.replace(tzinfo=None, fold=0)
    return (naive.isoformat(), value.tzinfo, value.fold)


def _moment_of(text: str, zone: datetime.tzinfo | None, fold: int) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


def _time(value: datetime.time) -> tuple[object, ...]:
    return (value.hour, value.minute, value.second, value.microsecond, value.tzinfo, value.fold)


def _time_of(hour: int, minute: int, second: int, microsecond: int, zone: datetime.tzinfo | None, fold: int) -> object:
    return datetime.time(hour, minute, second, microsecond, zone, fold=fold)


def _offset(value: datetime.timezone) -> tuple[object, ...]:
    return (value.utcoffset(None), value.tzname(None))


def _offset_of(offset: datetime.timedelta, name: str) -> datetime.timezone:
    plain = datetime.timezone(offset)
    return plain if plain.tzname(None) == name else datetime.timezone(offset, name)


_ATOMS: Final[Mapping[type, _Atom]] = {
    complex: _Atom(1, lambda value: (value.real, value.imag), complex),
    decimal.Decimal: _Atom(2, lambda value: (str(value),), decimal.Decimal),
    fractions.Fraction: _Atom(3, lambda value: (value.numerator, value.denominator), fractions.Fraction),
    uuid.UUID: _Atom(4, lambda value: (value.bytes,), lambda data: uuid.UUID(bytes=data)),
    datetime.date: _Atom(5, lambda value: (value.toordinal(),), datetime.date.fromordinal),
    datetime.timedelta: _Atom(6, lambda v: (v.days, v.seconds, v.microseconds), datetime.timedelta),
    datetime.timezone: _Atom(7, _offset, _offset_of),
    zoneinfo.ZoneInfo: _Atom(8, _zone, zoneinfo.ZoneInfo),
    datetime.datetime: _Atom(9, _moment, _moment_of),
    datetime.time: _Atom(10, _time, _time_of),
    type(msgspec.UNSET): _Atom(11, lambda _: (), lambda: msgspec.UNSET),
}
_MAKERS: Final[Mapping[int, Callable[..., object]]] = {atom.code: atom.make for atom in _ATOMS.values()}

_encode: Final = msgspec.msgpack.Encoder().encode


class Cargo:
    """The two directions of one pipe.

    Args:
        name_of: where a class is defined, as "module:qualname"; raises LookupError when it cannot be found there.
        find: what is defined at such a place.
    """

    def __init__(self, name_of: Callable[[type], str], find: Callable[[str], object]) -> None:
        self._name_of, self._find = name_of, find
        self._decode: Callable[[bytes | memoryview], object] = msgspec.msgpack.Decoder(ext_hook=self._raise_up).decode

    # There

    def pack(self, value: object, where: str) -> bytes:
        """The bytes that carry `value`.

        Args:
            value: what travels.
            where: what it is to the reader of an error, such as "an argument of resize".

        Raises:
            NotSendable: when it, or something in it, could be changed from both sides, or is of no declared type.
        """
        try:
            return self._pack(value, where)
        except RecursionError:
            raise NotSendable(f"{type(value).__name__} nested too deeply", where) from None
        except UnicodeEncodeError:
            raise NotSendable("str with half of a surrogate pair", where) from None

    def _pack(self, value: object, where: str) -> bytes:
        try:
            return _encode(value if type(value) in PLAIN else self._lower(value, where, False))
        except OverflowError:  # an int beyond 64 bits somewhere in it: now each one is looked at
            return _encode(self._lower(value, where, True))

    def _lower(self, value: object, where: str, wide: bool) -> object:
        """The value in types of MessagePack; `wide` when there may be integers beyond 64 bits in it."""
        kind = type(value)
        if kind in PLAIN:
            return _int(value) if wide and kind is int else value
        if kind is list or kind is tuple:
            assert isinstance(value, (list, tuple))
            items = self._items(value, where, wide)
            return items if kind is list else Ext(_TUPLE, _encode(items))
        if kind is dict:
            assert isinstance(value, dict)
            return self._dict(value, where, wide)
        if kind is set or kind is frozenset:
            assert isinstance(value, (set, frozenset))
            return Ext(_SET if kind is set else _FROZENSET, _encode(self._items(list(value), where, wide)))
        return self._object(value, kind, where, wide)

    def _items(self, items: list[object] | tuple[object, ...], where: str, wide: bool) -> object:
        kinds = set(map(type, items))
        if kinds <= PLAIN and not wide:
            return items
        if len(kinds) == 1 and len(items) > 1 and not wide and _are_flat(kind := kinds.pop(), items):
            return Ext(_ROWS, _encode((self._place(kind, where), items)))
        return [self._lower(item, where, wide) for item in items]

    def _dict(self, value: dict[object, object], where: str, wide: bool) -> object:
        if not wide and set(map(type, value)) <= _KEYS:
            if set(map(type, value.values())) <= PLAIN:
                return value
            return {key: self._lower(item, where, wide) for key, item in value.items()}
        lower = self._lower
        return Ext(
            _PAIRS, _encode([(lower(key, where, wide), lower(item, where, wide)) for key, item in value.items()])
        )

    def _object(self, value: object, kind: type, where: str, wide: bool) -> Ext:
        atom = _ATOMS.get(kind)
        if atom is not None:
            parts = [self._lower(part, where, True) for part in atom.take_apart(value)]
            return Ext(_ATOM, _encode((atom.code, *parts)))
        if isinstance(value, enum.Enum):
            return Ext(_MEMBER, _encode((self._place(kind, where), self._lower(value.value, where, True))))
        names = _fields(kind)
        if names is None:
            raise NotSendable(kind.__name__, where)
        fields = value if isinstance(value, tuple) else [getattr(value, name) for name in names]
        return Ext(_FIELDS, _encode((self._place(kind, where), *[self._lower(field, where, wide) for field in fields])))

    def _place(self, kind: type, where: str) -> str:
        try:
            return self._name_of(kind)
        except LookupError:
            raise NotSendable(f"{kind.__qualname__} that is not defined at the top of a module", where) from None

    # And back

    def unpack(self, data: bytes | memoryview) -> object:
        """What `pack` has packed.

        Raises:
            ValueError: when these are no such bytes (`msgspec.DecodeError` is one).
            Exception: what a declared class raises that does not take what its fields hold.
        """
        return self._decode(data)

    def _raise_up(self, code: int, data: memoryview) -> object:
        if code == _ROWS:
            return self._rows(data)
        content = self._decode(data)
        if code == _INT:
            assert isinstance(content, str)
            return int(content, 16)
        assert isinstance(content, list)
        if code == _TUPLE:
            return tuple(content)
        if code == _SET:
            return set(content)
        if code == _FROZENSET:
            return frozenset(content)
        if code == _PAIRS:
            return dict(content)
        if code == _ATOM:
            return _MAKERS[content[0]](*content[1:])
        kind = self._find(content[0])
        assert isinstance(kind, type)
        if code == _MEMBER:
            return kind(content[1])
        return _put_together(kind, content[1:])

    def _rows(self, data: memoryview) -> object:
        name, rows = msgspec.msgpack.decode(data, type=tuple[str, msgspec.Raw])
        kind = self._find(name)
        assert isinstance(kind, type)
        return _row_decoder(kind)(rows)


def _int(value: object) -> object:
    assert isinstance(value, int)
    return value if _SIGNED <= value < _UNSIGNED else Ext(_INT, _encode(hex(value)))


@lru_cache(maxsize=1024)
def _fields(kind: type) -> tuple[str, ...] | None:
    """The names of the fields of a declared class that cannot change; None of any other class."""
    if issubclass(kind, tuple):
        names: object = getattr(kind, "_fields", None)
        return names if isinstance(names, tuple) else None
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__ if kind.__struct_config__.frozen else None
    parameters: object = getattr(kind, "__dataclass_params__", None)
    if getattr(parameters, "frozen", False):
        return tuple(field.name for field in dataclasses.fields(kind))  # type: ignore[arg-type]  # it is a dataclass
    return None


_FLAT: Final = (str, int, float, bool, bytes, type(None))


def _are_flat(kind: type, items: Iterable[object]) -> bool:
    """Whether a list of such structs can be encoded in one go: all that their fields hold is plain, and as declared."""
    columns = _flat_columns(kind)
    return columns is not None and all(set(map(type, map(column, items))) <= {its} for column, its in columns)


@lru_cache(maxsize=1024)
def _flat_columns(kind: type) -> tuple[tuple[Callable[[object], object], object], ...] | None:
    """How to get at each field of a struct, and its declared type; None when one of these is not plain."""
    if not issubclass(kind, msgspec.Struct) or not kind.__struct_config__.frozen:
        return None
    try:
        hints = get_type_hints(kind, include_extras=True)
    except Exception:  # an annotation that means nothing here
        return None
    columns = tuple([(attrgetter(name), hints.get(name)) for name in kind.__struct_fields__])
    return columns if all(its in _FLAT for _, its in columns) else None


@lru_cache(maxsize=1024)
def _row_decoder(kind: type) -> Callable[[bytes | msgspec.Raw], object]:
    # Any: mypy cannot know a type that is computed
    return msgspec.msgpack.Decoder(list[kind]).decode  # type: ignore[valid-type]  # the type is a value here


def _put_together(kind: type, values: list[object]) -> object:
    names = _fields(kind)
    assert names is not None
    if issubclass(kind, tuple):
        return tuple.__new__(kind, values)
    if issubclass(kind, msgspec.Struct):
        return kind(**dict(zip(names, values, strict=True)))
    made: object = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    return made
