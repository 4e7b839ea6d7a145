"""Erlang's external term format, as far as plain data needs it: what Phoenix signs into its tokens.

| Elixir                        | Python                                               |
|-------------------------------|------------------------------------------------------|
| `nil`, `true`, `false`        | `None`, `True`, `False`                              |
| any other atom                | `Atom`, a str; never made for a str                  |
| integer                       | `int`, of at most 255 bytes                          |
| float                         | `float`; there is no infinity and no NaN             |
| binary                        | `str` when it is UTF-8, otherwise `bytes`            |
| list                          | `list`                                               |
| tuple                         | `tuple`                                              |
| map                           | `dict`; keys that are equal in Python are refused    |

Everything else (pids, references, functions, bit strings, improper lists, compressed terms) is refused. Nothing is
made of a term but these values.

Source: "External Term Format", Erlang/OTP ERTS User's Guide, version 131.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Final

from roost.errors import BadMessage, TooLarge
from roost.limits import TERM_BYTES_MAX, TERM_DEPTH_MAX

VERSION: Final = 131

_NEW_FLOAT: Final = 70
_SMALL_INTEGER: Final = 97
_INTEGER: Final = 98
_ATOM_LATIN_1: Final = 100
_SMALL_TUPLE: Final = 104
_LARGE_TUPLE: Final = 105
_NIL: Final = 106
_STRING: Final = 107
_LIST: Final = 108
_BINARY: Final = 109
_SMALL_BIG: Final = 110
_SMALL_ATOM_LATIN_1: Final = 115
_MAP: Final = 116
_ATOM: Final = 118
_SMALL_ATOM: Final = 119
_WORDS: Final = {"nil": None, "true": True, "false": False}
_ATOM_CHARS_MAX: Final = 255

Term = object
"""A value of the table above."""


class Atom(str):
    """An atom of Elixir other than nil, true and false. It equals the str of the same letters."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Atom({str.__repr__(self)})"


def encode(term: Term) -> bytes:
    """One term, with its version in front.

    Raises:
        TypeError: a value, or one within it, that the table does not name.
        TooLarge: it is over TERM_BYTES_MAX, deeper than TERM_DEPTH_MAX, or has an integer of over 255 bytes.
    """
    out = bytearray([VERSION])
    _encode(out, term, 0)
    if len(out) > TERM_BYTES_MAX:
        raise TooLarge("TERM_BYTES_MAX", len(out), TERM_BYTES_MAX)
    return bytes(out)


def decode(data: bytes) -> Term:
    """The one term that `data` is.

    Raises:
        BadMessage: it is none of the table, or is followed by something.
        TooLarge: it is over TERM_BYTES_MAX.
    """
    if len(data) > TERM_BYTES_MAX:
        raise TooLarge("TERM_BYTES_MAX", len(data), TERM_BYTES_MAX)
    reader = _Reader(data)
    if reader.number(1) != VERSION:
        raise BadMessage("an external term: another version")
    term = reader.term(0)
    if reader.at != len(data):
        raise BadMessage("an external term: something follows it")
    return term


def _encode(out: bytearray, term: Term, depth: int) -> None:
    if depth > TERM_DEPTH_MAX:
        raise TooLarge("TERM_DEPTH_MAX", depth, TERM_DEPTH_MAX)
    match term:
        case None | True | False:
            _encode_atom(out, {None: "nil", True: "true", False: "false"}[term])
        case Atom():
            _encode_atom(out, term)
        case int():
            _encode_integer(out, term)
        case float():
            if not math.isfinite(term):
                raise TypeError(f"{term!r} is no term of Erlang")
            out += struct.pack(">Bd", _NEW_FLOAT, term)
        case str() | bytes():
            data = term.encode() if isinstance(term, str) else term
            out += struct.pack(">BI", _BINARY, len(data)) + data
        case list():
            if term:
                out += struct.pack(">BI", _LIST, len(term))
                _encode_all(out, term, depth)
            out.append(_NIL)
        case tuple():
            few = len(term) < 256
            out += struct.pack(">BB", _SMALL_TUPLE, len(term)) if few else struct.pack(">BI", _LARGE_TUPLE, len(term))
            _encode_all(out, term, depth)
        case dict():
            out += struct.pack(">BI", _MAP, len(term))
            for pair in term.items():
                _encode_all(out, pair, depth)
        case _:
            raise TypeError(f"a {type(term).__name__} is no term of Erlang")


def _encode_all(out: bytearray, terms: list[object] | tuple[object, ...], depth: int) -> None:
    for term in terms:
        _encode(out, term, depth + 1)


def _encode_atom(out: bytearray, name: str) -> None:
    data = name.encode()
    if len(data) > _ATOM_CHARS_MAX:
        raise TypeError(f"an atom of {len(data)} bytes: at most {_ATOM_CHARS_MAX}")
    out += struct.pack(">BB", _SMALL_ATOM, len(data)) + data


def _encode_integer(out: bytearray, number: int) -> None:
    if 0 <= number < 256:
        out += struct.pack(">BB", _SMALL_INTEGER, number)
    elif -(2**31) <= number < 2**31:
        out += struct.pack(">Bi", _INTEGER, number)
    else:
        size = (abs(number).bit_length() + 7) // 8
        if size > 255:
            raise TooLarge("bytes of an integer", size, 255)
        out += struct.pack(">BBB", _SMALL_BIG, size, number < 0) + abs(number).to_bytes(size, "little")


class _Reader:
    """Reads terms one after the other; never past the end, and never more than there is."""

    __slots__ = ("_data", "at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self._data):
            raise BadMessage("an external term: it ends early")
        return self._data[start : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def term(self, depth: int) -> Term:
        if depth > TERM_DEPTH_MAX:
            raise BadMessage(f"an external term: deeper than {TERM_DEPTH_MAX}")
        tag = self.number(1)
        read = _READERS.get(tag)
        if read is None:
            raise BadMessage(f"an external term: the tag {tag} is not read here")
        return read(self, depth)

    def small_integer(self, depth: int) -> int:
        return self.number(1)

    def integer(self, depth: int) -> int:
        return int.from_bytes(self.take(4), signed=True)

    def binary(self, depth: int) -> str | bytes:
        data = self.take(self.number(4))
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data

    def string(self, depth: int) -> list[int]:
        """How Erlang writes a list of small integers."""
        return list(self.take(self.number(2)))

    def nil(self, depth: int) -> list[Term]:
        return []

    def small_tuple(self, depth: int) -> tuple[Term, ...]:
        return tuple([self.term(depth + 1) for _ in range(self.number(1))])

    def large_tuple(self, depth: int) -> tuple[Term, ...]:
        return tuple([self.term(depth + 1) for _ in range(self.number(4))])

    def big(self, depth: int) -> int:
        size, sign = self.number(1), self.number(1)
        number = int.from_bytes(self.take(size), "little")
        return -number if sign else number

    def real(self, depth: int) -> float:
        number: float = struct.unpack(">d", self.take(8))[0]
        if not math.isfinite(number):
            raise BadMessage("an external term: a float that is no number")
        return number

    def proper_list(self, depth: int) -> list[Term]:
        items = [self.term(depth + 1) for _ in range(self.number(4))]
        if self.number(1) != _NIL:
            raise BadMessage("an external term: an improper list")
        return items

    def mapping(self, depth: int) -> dict[Term, Term]:
        found: dict[Term, Term] = {}
        for _ in range(self.number(4)):
            key = self.term(depth + 1)
            try:
                known = key in found
            except TypeError:
                raise BadMessage("an external term: a key that is a list or a map") from None
            if known:
                raise BadMessage("an external term: a map with two keys that are equal here")
            found[key] = self.term(depth + 1)
        return found

    def small_atom(self, depth: int) -> Term:
        return self._atom(1, "utf-8")

    def atom(self, depth: int) -> Term:
        return self._atom(2, "utf-8")

    def small_atom_latin_1(self, depth: int) -> Term:
        return self._atom(1, "latin-1")

    def atom_latin_1(self, depth: int) -> Term:
        return self._atom(2, "latin-1")

    def _atom(self, size: int, encoding: str) -> Term:
        try:
            name = self.take(self.number(size)).decode(encoding)
        except UnicodeDecodeError:
            raise BadMessage("an external term: an atom that is no UTF-8") from None
        return _WORDS[name] if name in _WORDS else Atom(name)


_READERS: Final[dict[int, Callable[[_Reader, int], Term]]] = {
    _NEW_FLOAT: _Reader.real,
    _SMALL_INTEGER: _Reader.small_integer,
    _INTEGER: _Reader.integer,
    _ATOM_LATIN_1: _Reader.atom_latin_1,
    _SMALL_TUPLE: _Reader.small_tuple,
    _LARGE_TUPLE: _Reader.large_tuple,
    _NIL: _Reader.nil,
    _STRING: _Reader.string,
    _LIST: _Reader.proper_list,
    _BINARY: _Reader.binary,
    _SMALL_BIG: _Reader.big,
    _SMALL_ATOM_LATIN_1: _Reader.small_atom_latin_1,
    _MAP: _Reader.mapping,
    _ATOM: _Reader.atom,
    _SMALL_ATOM: _Reader.small_atom,
}
