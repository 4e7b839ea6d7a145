"""The other style: `handle_call`, `handle_cast` and `handle_info`, each one `match` over declared messages.

What such a handler takes is what its argument is annotated with. A message of another class never gets in: without
that, a `match` without a fitting case would answer None in silence.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Final, Union, get_args, get_origin, get_type_hints

from roost.errors import BadMessage

HANDLERS: Final = {"handle_call": "call", "handle_cast": "cast"}
"""The two that a handle offers, and as what."""


class Accepted:
    """Which classes of messages one handler takes; worked out at the first message, when all names exist."""

    __slots__ = ("_classes", "_function", "_known", "_scope")

    def __init__(self, function: Callable[..., object], scope: Mapping[str, object]) -> None:
        self._function, self._scope = function, scope
        self._classes: tuple[type, ...] | None = None
        self._known: dict[type, bool] = {}

    @property
    def classes(self) -> tuple[type, ...]:
        """What the annotation says; `object` when there is none.

        Raises:
            TypeError: when the handler does not take exactly one message, annotated with classes.
            NameError: when the annotation names something that does not exist.
        """
        if self._classes is None:
            self._classes = _classes(self._function, self._scope)
        return self._classes

    def check(self, message: object) -> None:
        """Let a message in.

        Raises:
            BadMessage: when the handler does not take it.
        """
        kind = type(message)
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = issubclass(kind, self.classes)
        if not known:
            takes = ", ".join(accepted.__name__ for accepted in self.classes)
            raise BadMessage(f"{self._function.__qualname__} takes {takes}, got a {kind.__name__}")


def guarded(function: Callable[..., object], accepted: Accepted, name: str) -> Callable[..., object]:
    """The handler under the name that its handle has for it; it refuses what it does not take."""
    check = accepted.check
    handler: Callable[..., object]
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def handle_async(self: object, message: object) -> object:
            check(message)
            return await function(self, message)

        handler = handle_async
    else:

        @functools.wraps(function)
        def handle(self: object, message: object) -> object:
            check(message)
            return function(self, message)

        handler = handle
    handler.__name__ = name
    return handler


def _classes(function: Callable[..., object], scope: Mapping[str, object]) -> tuple[type, ...]:
    parameters = list(inspect.signature(function).parameters)[1:]
    hints = get_type_hints(function, localns=dict(scope))
    if len(parameters) == 1:
        hint: object = hints.get(parameters[0], object)
        options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        classes = [get_origin(option) or option for option in options]
        if all(isinstance(option, type) for option in classes):
            return tuple(option for option in classes if isinstance(option, type))
    raise TypeError(f"{function.__qualname__} must take one message, annotated with the classes that it handles")
