"""Handles: what everybody but the process itself has of it."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Final, TypeVar
from typing import cast as typed

from roost.otp.face import is_face

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer
    from roost.otp.ties import Reason

ServerT = TypeVar("ServerT", bound="GenServer")

FACE: Final = frozenset(("with_timeout", "is_alive", "exit", "stop", "down", "pid"))
"""What the handle of every process offers beside the declared messages."""
OWN: Final = ("_process", "_timeout_s")
"""The two attributes that a handle has itself."""


class _Private:
    """An attribute that belongs to the process alone."""

    __slots__ = ("_below", "_name", "_owner")

    def __init__(self, owner: str, name: str, below: object) -> None:
        self._owner, self._name, self._below = owner, name, below

    def __get__(self, instance: object, owner: type) -> object:
        if instance is None:
            return self._below
        raise AttributeError(f"{self._owner}.{self._name}: the state of a process is private; ask with a call")

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError(f"{self._owner}.{self._name}: the state of a process is private; change it with a cast")


def build(kind: type[ServerT], process: object, timeout_s: float | None) -> ServerT:
    """A handle of class `kind`; `process` is what it stands for."""
    handle = kind.__new__(kind)
    object.__setattr__(handle, "_process", process)
    object.__setattr__(handle, "_timeout_s", timeout_s)
    return handle


def _set(self: GenServer, name: str, value: object) -> None:
    kind = type(self).__name__.removesuffix(" handle")
    raise AttributeError(f"{kind}.{name}: the state of a process is private; change it with a cast")


def _equal(self: GenServer, other: object) -> object:
    if type(other) is not type(self):
        return NotImplemented
    return self._process is other._process


def _hash(self: GenServer) -> int:
    return hash(self._process)


def _show(self: GenServer) -> str:
    return f"<{self._process}>"


def _exit(self: GenServer, reason: Reason) -> None:
    """Send an exit signal to the process."""
    self._process.exit(reason)


def private_members(cls: type[GenServer], shown: frozenset[str]) -> dict[str, object]:
    """A guard for each attribute of `cls` that a handle must not reach."""
    # The names that the code of `init` uses are a superset of the attributes that it sets. Looking at the first
    # instance would be exact, but an instance whose __dict__ was looked at is slower for ever.
    code = getattr(cls.init, "__code__", None)
    names = (*getattr(cls, "__annotations__", ()), *(code.co_names if code is not None else ()))
    guards: dict[str, object] = {
        name: _Private(cls.__name__, name, None)
        for name in names
        if not hasattr(cls, name) and not name.startswith("__")
    }
    for base in reversed(cls.__mro__[:-1]):
        for name, member in vars(base).items():
            if name in shown or name in FACE or name.startswith("__") or _is_open(member):
                guards.pop(name, None)  # a nearer class shows what a further one hides
            elif name not in OWN:
                guards[name] = _Private(cls.__name__, name, member)
    return guards


def _is_open(member: object) -> bool:
    """Whether a member touches no state of a process: it belongs to the class, or was made for handles."""
    return isinstance(member, (staticmethod, classmethod)) or is_face(member)


def handle_class(cls: type[GenServer], shown: frozenset[str]) -> type[GenServer]:
    """Make the class of the handles of `cls`; `shown` are its declared calls and casts."""
    namespace: dict[str, object] = {
        **private_members(cls, shown),
        "__slots__": (),
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
        "__handle_of__": cls,
        "__sendable__": True,
        "__setattr__": _set,
        "__eq__": _equal,
        "__hash__": _hash,
        "__repr__": _show,
        "exit": _exit,
    }
    return derive(cls, namespace)


def derive(cls: type[ServerT], namespace: dict[str, object]) -> type[ServerT]:
    """A subclass with the metaclass of `cls`, named as error messages should name it."""
    made = types.new_class(f"{cls.__name__} handle", (cls,), exec_body=lambda body: body.update(namespace))
    return typed("type[ServerT]", made)
