"""The functions that other nodes may call: a closed table, filled by `@exported`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import ClassVar, Final, TypeVar, overload

from roost.errors import BadMessage, ConfigError, NotExported, TooLarge
from roost.limits import NAME_BYTES_MAX
from roost.otp import CallSpec
from roost.otp.declare import ASKED, local_names

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])

DEPTH: Final = 2
"""How far above `_export` the code is that declares the function."""


class Exported(CallSpec):
    """One function that other nodes may call: its name over there, and the types of what it takes and gives."""

    __slots__ = ("_shape",)

    def __init__(self, function: Callable[..., object], name: str, scope: Mapping[str, object]) -> None:
        super().__init__(function, ASKED, function.__module__, scope)
        self.name = name
        self._shape = inspect.signature(function)

    def __repr__(self) -> str:
        return self.name

    def _parameters(self) -> list[inspect.Parameter]:
        return list(self._shape.parameters.values())

    def check(self, args: tuple[object, ...]) -> None:
        """Refuse arguments that are too few or too many. Raises BadMessage."""
        try:
            self._shape.bind(*args)
        except TypeError as misfit:
            raise BadMessage(f"{self!r} cannot be called so: {misfit}") from None


class Exports:
    """All exported functions of the program. A program declares them as it is imported, so all its nodes have them."""

    _by_name: ClassVar[dict[str, Exported]] = {}

    @classmethod
    def add(cls, one: Exported) -> None:
        """Take a function up. A module that is loaded anew replaces its own functions.

        Raises:
            ConfigError: when another function has the name.
            TooLarge: when the name is over NAME_BYTES_MAX.
        """
        if len(one.name.encode()) > NAME_BYTES_MAX:
            raise TooLarge("NAME_BYTES_MAX", len(one.name.encode()), NAME_BYTES_MAX)
        old = cls._by_name.get(one.name)
        if old is not None and _place(old.function) != _place(one.function):
            raise ConfigError("exported", f"two functions are called {one.name!r}: {_place(old.function)} has it")
        cls._by_name[one.name] = one

    @classmethod
    def find(cls, function: str | Callable[..., object]) -> Exported:
        """What is exported under a name, or as this function.

        Raises:
            NotExported: when nothing is.
        """
        if isinstance(function, str):
            found = cls._by_name.get(function)
        else:
            name = getattr(function, "__exported__", None)
            found = cls._by_name.get(name) if isinstance(name, str) else None
        if found is None:
            raise NotExported(function if isinstance(function, str) else _place(function))
        return found


def _place(function: Callable[..., object]) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


@overload
def exported(function: FunctionT, /) -> FunctionT: ...
@overload
def exported(*, name: str) -> Callable[[FunctionT], FunctionT]: ...
def exported(function: FunctionT | None = None, /, *, name: str | None = None) -> object:
    """Let other nodes call a function, a `def` or an `async def`, with `rpc.call`.

    ::

        @exported
        def disk_free(folder: str) -> int: ...

    What arrives is converted to the types of its signature; what does not fit is refused. The function itself stays as
    it is.

    Args:
        function: the function.
        name: what it is called between nodes: its module and its own name, when not given.

    Raises:
        ConfigError: when another function has the name.
    """
    if function is not None:
        return _export(function, None)
    return lambda function: _export(function, name)


def _export(function: FunctionT, name: str | None) -> FunctionT:
    one = Exported(function, name or _place(function), local_names(sys._getframe(DEPTH)))
    Exports.add(one)
    function.__dict__["__exported__"] = one.name
    return function
