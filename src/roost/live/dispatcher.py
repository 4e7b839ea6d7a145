"""Functions that hand out messages of topics in another way than one to each subscriber: a closed table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from roost.errors import ConfigError, NoSuchDispatcher, TooLarge
from roost.limits import NAME_BYTES_MAX
from roost.otp import GenServer


class Subscriber(NamedTuple):
    """A subscribed process of this node, and what it has said of itself when it subscribed."""

    process: GenServer
    metadata: object


Dispatch = Callable[[Sequence[Subscriber], object], object]
"""Is given the subscribers of this node and the message, and does the rest: `send` to some of them, or nothing."""


class Dispatchers:
    """All dispatchers of the program. A program registers them as it is imported, so all its nodes have them."""

    _by_name: ClassVar[dict[str, Dispatch]] = {}

    @classmethod
    def add(cls, name: str, function: Dispatch) -> None:
        """Take a function up. A module that is loaded anew replaces its own.

        Raises:
            ConfigError: when the name is empty, or another function has it; when it is `async def`.
            TooLarge: when the name is over NAME_BYTES_MAX.
        """
        if not name:
            raise ConfigError("dispatcher", "it needs a name")
        if inspect.iscoroutinefunction(function):
            raise ConfigError("dispatcher", f"{name!r} is async, and nobody would await it")
        if len(name.encode()) > NAME_BYTES_MAX:
            raise TooLarge("NAME_BYTES_MAX", len(name.encode()), NAME_BYTES_MAX)
        old = cls._by_name.get(name)
        if old is not None and _place(old) != _place(function):
            raise ConfigError("dispatcher", f"two functions are called {name!r}: {_place(old)} has it")
        cls._by_name[name] = function

    @classmethod
    def find(cls, name: str) -> Dispatch:
        """The function of this name. Raises NoSuchDispatcher."""
        found = cls._by_name.get(name)
        if found is None:
            raise NoSuchDispatcher(name)
        return found


def _place(function: Dispatch) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


def dispatcher(name: str, function: Dispatch) -> None:
    """Register a function that hands out messages on each node; `broadcast(..., dispatcher=name)` asks for it.

    ::

        def first_only(subscribers, message):
            send(subscribers[0].process, message)

        pubsub.dispatcher("first only", first_only)

    It is called once per broadcast on each node with subscribers, in the turn of the delivery, with at least one
    subscriber. What it raises is logged and counted, and reaches nobody.

    Raises:
        ConfigError: when another function has the name, or this one is `async def`.
        TooLarge: when the name is over NAME_BYTES_MAX.
    """
    Dispatchers.add(name, function)
