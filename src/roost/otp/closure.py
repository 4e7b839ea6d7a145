"""Functions on their way to another process.

The code of a function never changes; what it carries along may. So its defaults and the variables that it closes over
cross as messages do: immutable values as they are, lists, dicts and sets as copies, anything else not at all. That is
what happens to a fun that is sent to a process of the BEAM. Globals stay what they are, the module's own affair.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Awaitable, Callable
from types import BuiltinFunctionType, CellType, FunctionType, GenericAlias, MethodType, ModuleType
from typing import ClassVar, Final, TypeVar
from typing import cast as typed

from roost.errors import NotSendable
from roost.otp.isolation import ATOMS, isolate

F = TypeVar("F", bound=Callable[..., object])

_STATELESS: Final = frozenset(
    (type(dict.get), type(object.__eq__), GenericAlias, operator.attrgetter, operator.itemgetter)
)
"""Types of callables that carry nothing which could change: methods of built-in types, `list[int]`, and two of
`operator`."""


class Closure:
    """A function and its arguments, but for the first, on their way: what they carried along is their own now."""

    __slots__ = ("args", "function", "is_async", "kwargs")

    __sendable__: ClassVar[bool] = True

    def __init__(self, function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        """Take `function` along.

        Raises:
            NotSendable: when it is not a function, or it or an argument carries a value that cannot cross.
        """
        self.function = carried(function)
        if type(function) is FunctionType:
            self.is_async = function.__code__.co_flags & inspect.CO_COROUTINE != 0
        else:
            self.is_async = inspect.iscoroutinefunction(function)
        for value in args:
            if type(value) not in ATOMS:
                args = tuple([isolate(value, f"argument {number} of {self!r}") for number, value in enumerate(args, 2)])
                break
        self.args = args
        self.kwargs = kwargs and {name: isolate(value, f"{name!r} of {self!r}") for name, value in kwargs.items()}

    def __repr__(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))

    async def result(self, first: object) -> object:
        """What an `async def` returns, called with the argument that was missing."""
        return await typed("Awaitable[object]", self.function(first, *self.args, **self.kwargs))


def carried(function: F) -> F:
    """The function as another process may have it: itself when it carries nothing that can change, else a copy.

    Raises:
        NotSendable: when it is not a function, or carries a value that cannot cross.
    """
    if type(function) is not FunctionType or function.__closure__ or function.__defaults__ or function.__kwdefaults__:
        return typed("F", _carry(function, {}))
    return function


def _carry(function: object, seen: dict[object, object]) -> object:
    if isinstance(function, FunctionType):
        return _carry_function(function, seen)
    if isinstance(function, type) or type(function) in _STATELESS:
        return function
    if isinstance(function, functools.partial):
        args = [_take(value, "an argument of a partial", seen) for value in function.args]
        named = {name: _take(value, f"{name!r} of a partial", seen) for name, value in function.keywords.items()}
        return functools.partial(typed("Callable[..., object]", _carry(function.func, seen)), *args, **named)
    if isinstance(function, BuiltinFunctionType) and isinstance(function.__self__, (ModuleType, type, type(None))):
        return function
    if isinstance(function, MethodType):
        owner = function.__self__
        return function if isinstance(owner, type) else MethodType(function.__func__, isolate(owner, f"{function!r}"))
    if not callable(function):
        raise NotSendable(type(function).__name__, "a function is expected")
    return isolate(function, "a callable")


def _carry_function(function: FunctionType, seen: dict[object, object]) -> FunctionType:
    cells = function.__closure__ or ()
    defaults, named = function.__defaults__, function.__kwdefaults__
    if function in seen:
        return typed("FunctionType", seen[function])
    names = function.__code__.co_freevars
    where = function.__qualname__
    copies = tuple([CellType() for _ in cells])
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, defaults, copies or None)
    seen[function] = copy
    for name, cell, own in zip(names, cells, copies, strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # a variable that has no value yet
            continue
        own.cell_contents = _take(value, f"{name!r}, which {where} closes over", seen)
    if defaults is not None:
        copy.__defaults__ = tuple([_take(value, f"a default of {where}", seen) for value in defaults])
    if named is not None:
        copy.__kwdefaults__ = {name: _take(value, f"a default of {where}", seen) for name, value in named.items()}
    copy.__qualname__, copy.__module__, copy.__doc__ = function.__qualname__, function.__module__, function.__doc__
    return copy


def _take(value: object, where: str, seen: dict[object, object]) -> object:
    if type(value) in ATOMS or isinstance(value, (type, ModuleType)):
        return value
    if isinstance(value, (FunctionType, BuiltinFunctionType, MethodType, functools.partial)) or (
        type(value) in _STATELESS
    ):
        return _carry(value, seen)
    return isolate(value, where)
