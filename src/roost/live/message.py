"""The classes of messages that subscribers on other nodes can be sent: a closed table, filled by `@pubsub.message`."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import ClassVar, Final, TypeVar, overload

import msgspec

from roost.errors import ConfigError, NotDeclared, TooLarge
from roost.limits import NAME_BYTES_MAX

KindT = TypeVar("KindT", bound=type)

PLAIN: Final = (str, bytes, int, float, bool)
"""What needs no declaration."""


class Messages:
    """All declared messages of the program. A program declares them as it is imported, so all its nodes have them."""

    _names: ClassVar[dict[type, str]] = {kind: kind.__name__ for kind in PLAIN}
    _kinds: ClassVar[dict[str, type]] = {kind.__name__: kind for kind in PLAIN}

    @classmethod
    def add(cls, kind: type, name: str) -> None:
        """Take a class up. A module that is loaded anew replaces its own classes.

        Raises:
            ConfigError: when it can be changed, or another class has the name.
            TooLarge: when the name is over NAME_BYTES_MAX.
        """
        if not _cannot_change(kind):
            raise ConfigError(
                "message", f"a {kind.__name__} can be changed: declare it frozen, as a struct or dataclass"
            )
        if len(name.encode()) > NAME_BYTES_MAX:
            raise TooLarge("NAME_BYTES_MAX", len(name.encode()), NAME_BYTES_MAX)
        old = cls._kinds.get(name)
        if old is not None and _place(old) != _place(kind):
            raise ConfigError("message", f"two messages are called {name!r}: {_place(old)} has it")
        cls._kinds[name] = kind
        cls._names[kind] = name

    @classmethod
    def name_of(cls, message: object) -> str:
        """What the class of a message is called between nodes. Raises NotDeclared."""
        name = cls._names.get(type(message))
        if name is None:
            raise NotDeclared(type(message).__name__)
        return name

    @classmethod
    def find(cls, name: str) -> type | None:
        """The class that is called so, or None."""
        return cls._kinds.get(name)


def _cannot_change(kind: type) -> bool:
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_config__.frozen
    if is_dataclass(kind):
        return getattr(kind, "__dataclass_params__").frozen is True  # noqa: B009  # no type declares it
    return issubclass(kind, enum.Enum) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _place(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@overload
def message(kind: KindT, /) -> KindT: ...
@overload
def message(*, name: str) -> Callable[[KindT], KindT]: ...
def message(kind: KindT | None = None, /, *, name: str | None = None) -> object:
    """Let objects of a class be broadcast to processes on all nodes.

    ::

        @pubsub.message
        class Sold(msgspec.Struct, frozen=True):
            sku: str
            left: int

    What arrives on another node is checked against the types of its fields; what does not fit is dropped, and logged.

    Args:
        kind: a frozen struct, a frozen dataclass, a NamedTuple or an Enum.
        name: what it is called between nodes: its module and its own name, when not given.

    Raises:
        ConfigError: when it can be changed, or another class has the name.
    """
    if kind is None:
        return lambda kind: _declared(kind, name)
    return _declared(kind, name)


def _declared(kind: KindT, name: str | None) -> KindT:
    Messages.add(kind, name or _place(kind))
    return kind
