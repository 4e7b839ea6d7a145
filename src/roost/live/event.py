"""What a channel does with the events of its client, and with those that are broadcast: declared on its methods."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, TypeVar
from typing import cast as typed

from roost.live.reply import NOTHING_ASKED, UNANSWERED
from roost.otp import NoReply, Reason
from roost.otp.compiling import info_table
from roost.otp.declare import ASKED, TOLD, Spec

if TYPE_CHECKING:
    from roost.live.channel import Channel

HandlerT = TypeVar("HandlerT", bound=Callable[..., object])

_EVENT = "__event__"
_INTERCEPT = "__intercept__"
_IN_TIME = "__in_time__"


def event(name: str) -> Callable[[HandlerT], HandlerT]:
    """Declare the handler of one event of the client.

    It takes the payload: a dict that is its own, or bytes when the client has sent those. It returns the payload of
    the reply, None for an empty one, or a `Status`; it raises a Refusal for an error reply, NoReply for none. A class
    that declares an event twice is refused with TypeError; one that inherits it may declare it anew.
    """
    return _mark(_EVENT, name)


def intercept(name: str) -> Callable[[HandlerT], HandlerT]:
    """Declare what happens when an event is broadcast on the topic: the method is called instead of the client.

    It takes the payload, a dict that is its own or bytes, and may `push` what this client is to have of it, or nothing.
    Each channel of the class does so for each such broadcast, in the order of its mailbox: what every client may have
    unchanged is a good deal cheaper without it.
    """
    return _mark(_INTERCEPT, name)


def _mark(kind: str, name: str) -> Callable[[HandlerT], HandlerT]:
    def declare(function: HandlerT) -> HandlerT:
        function.__dict__[kind] = name
        return function

    return declare


def events_of(cls: type[Channel]) -> Mapping[str, Spec]:
    """The handlers of the client's events by name; each takes the payload, and the reference of the message."""
    return {name: asked(function, cls) for name, function in _declared(cls, _EVENT)}


def intercepts_of(cls: type[Channel]) -> Mapping[str, Spec]:
    """The handlers of broadcast events by name."""
    return {name: Spec(function, TOLD, cls.__name__, {}) for name, function in _declared(cls, _INTERCEPT)}


def hears_messages(cls: type[Channel]) -> bool:
    """Whether a class handles messages of any kind, so that it is to get those that are broadcast on its topic."""
    table = cls.__infos__
    if table is None:
        table = cls.__infos__ = info_table(cls)
    return any(spec is not None for spec in table.values())


def asked(function: Callable[..., object], cls: type[Channel]) -> Spec:
    """A handler that also takes, as its last argument, the reference of the client's message it answers."""
    handler: Callable[..., object]
    if inspect.iscoroutinefunction(function):
        wait = typed("Callable[..., Awaitable[object]]", function)

        @functools.wraps(function)
        async def handle_async(self: Channel, *given: object) -> object:
            self._asked = given[-1]
            try:
                return await wait(self, *given[:-1])
            except NoReply:
                return _put_off(self)
            finally:
                self._asked = NOTHING_ASKED

        handler = handle_async
    else:

        @functools.wraps(function)
        def handle(self: Channel, *given: object) -> object:
            self._asked = given[-1]
            try:
                return function(self, *given[:-1])
            except NoReply:
                return _put_off(self)
            finally:
                self._asked = NOTHING_ASKED

        handler = handle
    return Spec(handler, ASKED, cls.__name__, {})


def in_time(
    terminate: Callable[[Channel, Reason], Awaitable[None] | None],
) -> Callable[[Channel, Reason], Awaitable[None] | None]:
    """The `terminate` of a class; while it waits for something, its time runs."""
    if getattr(terminate, _IN_TIME, False):
        return terminate  # inherited

    @functools.wraps(terminate)
    def terminate_in_time(self: Channel, reason: Reason) -> Awaitable[None] | None:
        outcome = terminate(self, reason)
        if outcome is not None:
            self._seat.hurry()
        return outcome

    setattr(terminate_in_time, _IN_TIME, True)
    return terminate_in_time


def _put_off(channel: Channel) -> object:
    """A handler has raised NoReply: nothing is answered now."""
    modes = channel._process.modes
    if modes is not None and modes.deferring is not None:
        raise NoReply  # it has taken `self.caller()`, which answers in its own way
    return UNANSWERED


def _declared(cls: type[Channel], kind: str) -> Iterator[tuple[str, FunctionType]]:
    for base in reversed(cls.__mro__):
        names: dict[str, FunctionType] = {}
        for member in vars(base).values():
            name = getattr(member, kind, None)
            if isinstance(name, str) and isinstance(member, FunctionType):
                other = names.setdefault(name, member)
                if other is not member:
                    raise TypeError(f"{base.__name__}: {other.__name__} and {member.__name__} both declare {name!r}")
                yield name, member
