"""What hears the events of an `EventManager`: a class with a state, of which the manager keeps an instance."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

from roost.errors import BadMessage, ConfigError
from roost.otp.declare import Call, Cast, Info, Spec
from roost.otp.display import display
from roost.otp.isolation import hand_over

if TYPE_CHECKING:
    from roost.otp.event_manager import EventManager


class EventHandler:
    """The base of every event handler.

    ::

        class Audit(EventHandler):
            def init(self, path: str) -> None:
                self.file = open(path, "a")

            @info
            def paid(self, event: Paid) -> None:
                self.file.write(f"{event}\\n")

            def terminate(self, reason: object) -> int:
                self.file.close()
                return 0

    An event goes to the `@info` handler of its class, or of the nearest of its bases, else to `handle_event`. Every
    method may be `async def`; the manager then waits for it before the next handler, and the next event.

    What it raises ends this handler alone, but for a Refusal, which refuses one event or request.
    """

    manager: EventManager
    """The process that it lives in."""
    id: str
    """What that process calls it."""

    redacted: ClassVar[frozenset[str]] = frozenset()
    """Names of attributes whose values no report shows."""

    __events__: ClassVar[dict[type, Spec | None] | None] = None
    __async__: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            raise ConfigError("__init__", f"nobody would call that of {cls.__name__}: set up its state in `init`")
        for name, member in list(vars(cls).items()):
            if isinstance(member, (Call, Cast)):
                raise ConfigError(
                    name, f"{cls.__name__} is no process: take events with @info, requests in handle_call"
                )
            if isinstance(member, Info):
                setattr(cls, name, member.compile(cls.__name__)[1])
        cls.__events__ = None
        methods = {
            name: getattr(cls, name) for name in ("init", "take_over", "handle_event", "handle_call", "terminate")
        }
        if cls.take_over is EventHandler.take_over:
            methods["take_over"] = cls.init  # all that it does is to call that
        cls.__async__ = frozenset(name for name, method in methods.items() if inspect.iscoroutinefunction(method))

    # Any: each class has its own arguments, and only `*args: Any` lets an override take others.
    def init(self, *args: Any, **kwargs: Any) -> object:
        """Set up the state. Whoever adds the handler waits for it."""

    # Any: as for init
    def take_over(self, state: Any, *args: Any, **kwargs: Any) -> object:
        """Set up the state in place of another handler.

        Args:
            state: what the `terminate` of the other one returned, or raised; None when there was none.
            args: the arguments of the swap.
            kwargs: more of them.
        """
        return self.init(*args, **kwargs)

    # Any: an override says what it takes
    def handle_event(self, event: Any) -> object:
        """An event that no `@info` handler takes. When a class does not define it, such an event passes it by."""

    # Any: an override says what it takes
    def handle_call(self, request: Any) -> object:
        """Answer a request to this handler: what is returned is the reply.

        Raises:
            BadMessage: when a class does not define it.
        """
        raise BadMessage(f"{type(self).__name__} answers no requests, got a {type(request).__name__}")

    # Any: an override says what it takes
    def terminate(self, reason: Any) -> object:
        """Clean up. What it returns goes to whoever has deleted the handler, or to its successor.

        Args:
            reason: "remove_handler" when it has raised RemoveHandler; the exception that ended it; the Exit of the
                process that had added and supervised it; "stop" when the manager ends; else what `delete_handler`
                or the swap was given.
        """

    @classmethod
    def event_for(cls, kind: type) -> Spec | None:
        """The `@info` handler of events of one class; None when there is none."""
        table = cls.__events__
        if table is None:
            table = cls.__events__ = _event_table(cls)
        if kind not in table:
            table[kind] = next((spec for base in kind.__mro__[1:] if (spec := table.get(base)) is not None), None)
        return table[kind]


def _event_table(cls: type[EventHandler]) -> dict[type, Spec | None]:
    table: dict[type, Spec | None] = {}
    for base in reversed(cls.__mro__[:-1]):
        for member in vars(base).values():
            declared = getattr(member, "__spec__", None)
            if isinstance(declared, tuple) and declared[0] is Info:
                table[declared[1].message_type()] = declared[1]
    return table


class RemoveHandler(Exception):
    """Raised by an event handler: it has done its work. `terminate("remove_handler")` runs, then it is gone.

    Args:
        reply: in `handle_call`, the reply.
    """

    def __init__(self, reply: object = None) -> None:
        super().__init__(reply)
        self.reply = reply


class Plan:
    """A handler that does not exist yet: its class, what it will be called, and its arguments."""

    __slots__ = ("args", "id", "kind", "kwargs")

    __sendable__: ClassVar[bool] = True

    def __init__(
        self, kind: type[EventHandler], id: str | None, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> None:
        """Note them.

        Raises:
            ConfigError: when `kind` is no class of event handlers.
            TypeError, NameError: when the annotation of one of its `@info` handlers means nothing.
        """
        given: object = kind
        if not isinstance(given, type) or not issubclass(given, EventHandler):
            raise ConfigError("kind", f"{display(kind, chars_max=80)} is not a class of event handlers")
        kind.event_for(type(None))  # a handler whose annotation means nothing shows here, not when its event comes
        self.kind, self.id = kind, id or kind.__name__
        self.args = tuple([hand_over(value) for value in args])
        self.kwargs = {name: hand_over(value) for name, value in kwargs.items()}

    def __repr__(self) -> str:
        return f"{self.kind.__name__} {self.id!r}"

    def make(self, manager: EventManager) -> EventHandler:
        """The handler, before its `init`."""
        handler = self.kind.__new__(self.kind)
        handler.manager, handler.id = manager, self.id
        return handler


class SwapHandler(Exception):
    """Raised by an event handler: another one takes its place, in the order of the handlers too.

    `terminate(reason)` runs, and what it returns is handed to the `take_over` of the new one.

    Args:
        kind: the class of the new handler.
        args: its arguments, after the state that it takes over.
        id: what the new one is called: the name of its class, when not given.
        reason: for the `terminate` of the old one.
        reply: in `handle_call`, the reply.
        kwargs: more arguments.
    """

    def __init__(
        self,
        kind: type[EventHandler],
        /,
        *args: object,
        id: str | None = None,
        reason: object = "swap",
        reply: object = None,
        **kwargs: object,
    ) -> None:
        super().__init__(kind)
        self.plan = Plan(kind, id, args, kwargs)
        self.reason, self.reply = reason, reply
