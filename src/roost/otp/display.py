"""Values as text for people: bounded, with secrets left out, and never an exception instead of the text."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections import ChainMap, UserDict, deque
from collections.abc import Callable, ItemsView, Iterable, Mapping, Sequence, ValuesView
from contextlib import suppress
from typing import Final

import msgspec

from roost.limits import REPORT_CHARS_MAX

SECRET = "***"
"""What stands in place of a redacted value."""
DEPTH_MAX = 12
"""Containers inside containers that are shown; what lies deeper is "..."."""
HELD: Final = (list, tuple, set, frozenset, deque)
"""Containers of values without names, and what is derived from them."""


def display(value: object, redacted: frozenset[str] = frozenset(), chars_max: int = REPORT_CHARS_MAX) -> str:
    """The value as `repr` would show it, more or less.

    Args:
        value: anything. A `__repr__` that raises is told in its place.
        redacted: names of keys, attributes, fields and arguments whose values are shown as "***", however deep.
        chars_max: characters; a longer text is cut, and the work for the rest is not done.
    """
    writer = _Writer(redacted, chars_max)
    with suppress(_Full):
        writer.value(value, 0)
    return writer.text(chars_max)


def display_call(
    function: Callable[..., object],
    args: Sequence[object],
    kwargs: Mapping[str, object],
    redacted: frozenset[str] = frozenset(),
    chars_max: int = REPORT_CHARS_MAX,
) -> str:
    """A message as the call of its handler, `reserve('cart-7', 2)`.

    Args:
        function: the handler; the names of its arguments decide which of `args` are redacted.
        args: the arguments, without the server itself.
        kwargs: more of them.
        redacted: as for `display`.
        chars_max: as for `display`.
    """
    name = getattr(function, "__name__", "handler")
    code = getattr(inspect.unwrap(function), "__code__", None)
    names: Sequence[str] = code.co_varnames[1 : code.co_argcount] if code is not None else ()
    writer = _Writer(redacted, chars_max)
    with suppress(_Full):
        writer.write(f"{name}(")
        writer.arguments(args, names, kwargs)
        writer.write(")")
    return writer.text(chars_max)


def cut(text: str, chars_max: int = REPORT_CHARS_MAX) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= chars_max else f"{text[:chars_max]}... ({len(text)} characters)"


def explain(reason: object) -> str:
    """The reason of an end in one line: a word as it is, an exception as its type and its text."""
    if isinstance(reason, BaseException):
        try:
            text = str(reason)
        except Exception as error:
            text = f"<not shown: {type(error).__name__}>"
        return f"{type(reason).__name__}: {text}" if text else type(reason).__name__
    return str(reason)


class _Full(Exception):
    """The text is long enough."""


class _Writer:
    """A text that grows until it is long enough."""

    __slots__ = ("_left", "_parts", "_redacted")

    def __init__(self, redacted: frozenset[str], chars_max: int) -> None:
        self._redacted = redacted
        self._left = chars_max
        self._parts: list[str] = []

    def text(self, chars_max: int) -> str:
        """What was written, at most `chars_max` characters of it."""
        text = "".join(self._parts)
        return text if len(text) <= chars_max else text[: chars_max - 3] + "..."

    def write(self, text: str) -> None:
        """Add `text`; raises _Full when it was the last that fits."""
        self._parts.append(text)
        self._left -= len(text)
        if self._left < 0:
            raise _Full

    def value(self, value: object, depth: int) -> None:
        """Add a value, or why it cannot be shown."""
        try:
            self._walk(value, depth)
        except _Full:
            raise
        except Exception as error:
            self.write(f"<{type(value).__name__} not shown: {explain(error)}>")

    def arguments(
        self, args: Sequence[object], names: Sequence[str], kwargs: Mapping[str, object], depth: int = 0
    ) -> None:
        """Add the arguments of a call; `names` are those of the positional ones, as far as they have one."""
        comma = ""
        for index, value in enumerate(args):
            self.write(comma)
            self._named(names[index] if index < len(names) else "", value, depth)
            comma = ", "
        for name, value in kwargs.items():
            self.write(f"{comma}{name}=")
            self._named(name, value, depth)
            comma = ", "

    def _named(self, name: object, value: object, depth: int) -> None:
        if isinstance(name, str) and name in self._redacted:
            self.write(SECRET)
        else:
            self.value(value, depth)

    def _walk(self, value: object, depth: int) -> None:
        if isinstance(value, (str, bytes, bytearray)):
            self.write(repr(value[: self._left + 1]))
        elif depth >= DEPTH_MAX:
            self.write("...")
        elif type(value) is dict:
            self._pairs("{", value.items(), "}", depth + 1)
        elif isinstance(value, dict):
            self._pairs(f"{type(value).__name__}({{", value.items(), "})", depth + 1)
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            self._fields(value, value._fields, depth + 1)
        elif isinstance(value, msgspec.Struct):
            self._fields(value, value.__struct_fields__, depth + 1)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            self._fields(value, [field.name for field in dataclasses.fields(value) if field.repr], depth + 1)
        elif type(value) is list:
            self._items("[", value, "]", depth + 1)
        elif type(value) is tuple:
            self._items("(", value, ",)" if len(value) == 1 else ")", depth + 1)
        elif type(value) is set and value:
            self._items("{", value, "}", depth + 1)
        elif isinstance(value, HELD):
            self._items(f"{type(value).__name__}([", value, "])", depth + 1)
        else:
            self._object(value, depth + 1)

    def _object(self, value: object, depth: int) -> None:
        """What is no container of its own kind, but may hold others whose `repr` knows of no secrets."""
        if isinstance(value, BaseException):
            self._call(type(value).__name__, value.args, {}, depth)
        elif isinstance(value, functools.partial):
            self._call("partial", (value.func, *value.args), value.keywords, depth)
        elif isinstance(value, types.SimpleNamespace):
            self._call("namespace", (), vars(value), depth)
        elif isinstance(value, (types.MappingProxyType, UserDict)):
            self._pairs(f"{type(value).__name__}({{", value.items(), "})", depth)
        elif isinstance(value, ChainMap):
            self._call("ChainMap", value.maps, {}, depth)
        elif isinstance(value, ItemsView):
            self._pairs("dict_items({", value, "})", depth)
        elif isinstance(value, ValuesView):
            self.write(f"<{len(value)} values of a dict>")  # their keys, which may be those of secrets, are not there
        else:
            self.write(repr(value))

    def _call(self, name: str, args: Sequence[object], kwargs: Mapping[str, object], depth: int) -> None:
        self.write(f"{name}(")
        self.arguments(args, (), kwargs, depth)
        self.write(")")

    def _pairs(self, begin: str, pairs: Iterable[tuple[object, object]], end: str, depth: int) -> None:
        self.write(begin)
        comma = ""
        for key, item in pairs:
            self.write(comma)
            self.value(key, depth)
            self.write(": ")
            self._named(key, item, depth)
            comma = ", "
        self.write(end)

    def _items(self, begin: str, items: Iterable[object], end: str, depth: int) -> None:
        self.write(begin)
        comma = ""
        for item in items:
            self.write(comma)
            self.value(item, depth)
            comma = ", "
        self.write(end)

    def _fields(self, value: object, names: Iterable[str], depth: int) -> None:
        self.write(f"{type(value).__name__}(")
        comma = ""
        for name in names:
            self.write(f"{comma}{name}=")
            self._named(name, getattr(value, name), depth)
            comma = ", "
        self.write(")")
