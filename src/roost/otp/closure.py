"""Functions on their way to another process.

The code of a function never changes; what it carries along may. So its defaults and the variables that it closes over
cross as messages do: immutable values as they are, lists, dicts and sets as copies, anything else not at all. That is
what happens to a fun that is sent to a process of the BEAM. Globals stay what they are, the module's own affair.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import operator
from collections.abc import Awaitable, Callable, Coroutine
from types import BuiltinFunctionType, CellType, FunctionType, GenericAlias, MethodType, ModuleType
from typing import ClassVar, Final, TypeVar
from typing import cast as typed

from roost.errors import BadFunction
from roost.otp.display import display
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
            BadFunction: when it is not a function.
            NotSendable: when it or an argument carries a value that cannot cross.
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
        function: object = self.function
        while isinstance(function, functools.partial):
            function = function.func
        return getattr(function, "__qualname__", repr(function))

    def run(self, first: object) -> object:
        """Call the function with the argument that was missing.

        Returns: what it returns.

        Raises:
            BadFunction: when it does not take these arguments, or returns what would have to be awaited.
        """
        try:
            value = self.function(first, *self.args, **self.kwargs)
        except TypeError:
            self._check_arguments(first)
            raise
        return value if type(value) in ATOMS else self._settled(value)

    async def run_async(self, first: object) -> object:
        """The same for an `async def`."""
        try:
            coroutine = self.function(first, *self.args, **self.kwargs)
        except TypeError:
            self._check_arguments(first)
            raise
        return self._settled(await typed("Awaitable[object]", coroutine))

    def _check_arguments(self, first: object) -> None:
        """Refuse a function that has never begun, because the arguments are not its own."""
        try:
            signature = inspect.signature(self.function, follow_wrapped=False)
        except (TypeError, ValueError):  # one of those in C that do not tell
            return
        try:
            signature.bind(first, *self.args, **self.kwargs)
        except TypeError as misfit:
            raise BadFunction(repr(self), f"cannot be called so: {misfit}") from None

    def _settled(self, value: object) -> object:
        if discard(value):
            raise BadFunction(repr(self), "returned something to await: give an `async def` function, which awaits it")
        return value


def discard(value: object) -> bool:
    """End a coroutine or a future that nobody will ever await. Returns whether the value was meant to be awaited."""
    if not hasattr(type(value), "__await__"):
        return False
    if isinstance(value, Coroutine):
        value.close()
    elif isinstance(value, asyncio.Future):
        value.cancel()
    return True


def carried(function: F) -> F:
    """The function as another process may have it: itself when it carries nothing that can change, else a copy.

    Raises:
        BadFunction: when it is not a function.
        NotSendable: when it carries a value that cannot cross.
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
    if isinstance(function, BuiltinFunctionType):
        owner = function.__self__
        if type(owner) in ATOMS or isinstance(owner, (ModuleType, type)):
            return function
    if isinstance(function, MethodType):
        owner = function.__self__
        return function if isinstance(owner, type) else MethodType(function.__func__, isolate(owner, f"{function!r}"))
    if not callable(function):
        raise BadFunction(display(function, chars_max=80), "is not a function")
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
