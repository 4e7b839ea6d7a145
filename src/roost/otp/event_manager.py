"""EventManager: one process, any number of event handlers, every event to each of them.

After OTP's gen_event. The handlers run one after the other inside the manager, the newest first; one that fails is
taken out, and the others do not notice. OTP takes it out in silence; here the log tells of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, ClassVar, Final, TypeVar, overload
from typing import cast as typed

import msgspec

from roost.errors import BadFunction, ConfigError, HandlerFailed, NoSuchHandler, Refusal, TooLarge
from roost.limits import EVENT_HANDLERS_MAX
from roost.otp.closure import discard
from roost.otp.crash import report_bug, report_lost
from roost.otp.declare import ASYNC, info
from roost.otp.declare import call as asked
from roost.otp.declare import cast as told
from roost.otp.display import display, explain
from roost.otp.event_handler import EventHandler, Plan, RemoveHandler, SwapHandler
from roost.otp.face import face
from roost.otp.gen_server import GenServer
from roost.otp.isolation import ATOMS, isolate
from roost.otp.outcome import NoReply
from roost.otp.reply import Caller
from roost.otp.request import Request
from roost.otp.ties import Exit, Reason

R = TypeVar("R")
T = TypeVar("T")

Waiting = Callable[[], Awaitable[object]]
"""An async method of a handler, ready to be called."""
Steps = Generator[Waiting, object, T]
"""Work on handlers: it stops at each async method, and goes on with what that has returned or raised."""

STOPPED: Final = "stop"
_CANCELLED: Final = "what it was waiting for was cancelled"


class HandlerGone(msgspec.Struct, frozen=True):
    """Told to the process that has added a supervised handler: it is not there any more.

    Attributes:
        manager: where it was.
        id: what it was called.
        reason: the exception that ended it; "normal" when it was deleted or has removed itself; "swapped:" and the id
            of its successor; "shutdown" when the manager ends.
    """

    __sendable__: ClassVar[bool] = True

    manager: GenServer
    id: str
    reason: Reason


class _Rest(msgspec.Struct, frozen=True):
    """Work that has come to an async method: the manager goes on with it before it handles any other mail."""

    __sendable__: ClassVar[bool] = True

    # Any: who waits knows of what type the result is
    steps: Generator[Waiting, object, Any]
    waiting: Waiting
    caller: Caller[Any] | None


class _Installed:
    """A handler, and the process that is told when it fails."""

    __slots__ = ("handler", "id", "supervisor")

    def __init__(self, handler: EventHandler, id: str, supervisor: GenServer | None) -> None:
        self.handler, self.id, self.supervisor = handler, id, supervisor

    def __repr__(self) -> str:
        """Its state as reports show it."""
        state = {name: value for name, value in vars(self.handler).items() if name not in ("id", "manager")}
        return display(state, self.handler.redacted)


class EventManager(GenServer):
    """Tells every event to every handler.

    ::

        events = await EventManager.start_link(name="events")
        await events.add_handler(Audit, "audit.log")
        events.notify(Paid("cart-7", 12))

    What reaches the process in another way is an event too: what is sent, by a timer or by hand, and the Exit of a
    linked process. A handler that takes long
    keeps the ones after it, and the next events, waiting: real work belongs into processes of its own.
    """

    def init(self) -> None:
        """Begin without handlers."""
        self.trap_exits()
        self._handlers: dict[str, _Installed] = {}
        self._order: list[_Installed] = []
        self._linked: dict[GenServer, None] = {}

    # On a handle

    @face
    def add_handler(
        self, kind: type[EventHandler], /, *args: object, id: str | None = None, **kwargs: object
    ) -> Awaitable[None]:
        """Make a handler of class `kind`, and put it before the others.

        Args:
            kind: the class.
            args: the arguments of its `init`; lists, dicts and sets are copied.
            id: what the manager calls it: the name of the class, when not given.
            kwargs: more arguments of its `init`.

        Raises:
            ConfigError: when there is a handler with this id, or `kind` is no class of event handlers.
            TooLarge: when there are EVENT_HANDLERS_MAX handlers.
            HandlerFailed: when its `init` raised, which is the `__cause__`; a Refusal is raised as it is.
            CallTimeout, ProcessDown, Overloaded, CallCycle: as every call.
        """
        return self._add(Plan(kind, id, args, kwargs), None)

    @face
    def add_sup_handler(
        self, kind: type[EventHandler], /, *args: object, id: str | None = None, **kwargs: object
    ) -> Awaitable[None]:
        """Add a handler that belongs to the process that calls this; otherwise as `add_handler`.

        When that process ends, the handler is taken out. When the handler is gone in another way, that process gets a
        HandlerGone. The two processes are linked, so when the manager ends, it gets an exit signal too.

        Raises:
            ConfigError: when no process runs here.
        """
        return self._add(Plan(kind, id, args, kwargs), _adder(self))

    @face
    def delete_handler(self, id: str, reason: object = "delete") -> Awaitable[object]:
        """Take a handler out.

        Returns: what its `terminate(reason)` returned.

        Raises:
            NoSuchHandler: when there is none with this id.
            HandlerFailed: when its `terminate` raised, which is the `__cause__`; it is out all the same.
            NotSendable: when what it returned cannot cross; it is out all the same.
        """
        return self._delete(id, reason)

    @face
    def swap_handler(
        self,
        old: str,
        kind: type[EventHandler],
        /,
        *args: object,
        id: str | None = None,
        reason: object = "swap",
        **kwargs: object,
    ) -> Awaitable[None]:
        """Put a new handler before the others, which takes over from the one called `old`.

        `terminate(reason)` of the old one runs, and what it returns is the `state` of `take_over` of the new one. As
        in OTP it is no mistake when there is no old one: then the state is None.

        Raises:
            ConfigError: when there is another handler with the id of the new one, or `kind` is no class of event
                handlers.
            HandlerFailed: when `take_over` raised; the old one is gone all the same.
        """
        return self._swap(old, reason, Plan(kind, id, args, kwargs), None)

    @face
    def swap_sup_handler(
        self,
        old: str,
        kind: type[EventHandler],
        /,
        *args: object,
        id: str | None = None,
        reason: object = "swap",
        **kwargs: object,
    ) -> Awaitable[None]:
        """Swap in a handler that belongs to the process that calls this: see `swap_handler` and `add_sup_handler`."""
        return self._swap(old, reason, Plan(kind, id, args, kwargs), _adder(self))

    @overload  # type: ignore[override]  # one of the handlers is asked, so there is one argument more
    def call(self, id: str, request: Request[R]) -> Awaitable[R]: ...
    @overload
    def call(self, id: str, request: object) -> Awaitable[object]: ...
    @face
    def call(self, id: str, request: object) -> Awaitable[object]:
        """Ask one handler; the reply is what its `handle_call` returns.

        Raises:
            NoSuchHandler: when there is none with this id.
            HandlerFailed: when it failed, and is out; the exception is the `__cause__`. A Refusal is raised as it is.
            CallTimeout, ProcessDown, Overloaded, CallCycle: as every call.
        """
        return self._ask(id, request)

    @told
    def notify(self, event: object) -> None:
        """Tell every handler, later.

        Raises:
            NotSendable: when the event cannot cross.
            Overloaded: when the mailbox is full.
        """
        self._run(self._tell(event), None)

    @asked
    def sync_notify(self, event: object) -> None:
        """Tell every handler, and wait until they have handled it. Nobody hears here of one that fails."""
        self._run(self._tell(event), self.caller)

    @asked
    def which_handlers(self) -> tuple[str, ...]:
        """The ids of the handlers, in the order in which they hear of an event."""
        return tuple([installed.id for installed in self._order])

    # Inside: what the handle asks for

    @asked
    def _add(self, plan: Plan, supervisor: GenServer | None) -> None:
        self._run(self._install(plan, supervisor, 0), self.caller)

    @asked
    def _delete(self, id: str, reason: object) -> object:
        return self._run(self._remove_asked(id, reason), self.caller)

    @asked
    def _swap(self, old: str, reason: object, plan: Plan, supervisor: GenServer | None) -> None:
        self._run(self._replace(self._handlers.get(old), reason, plan, supervisor, 0), self.caller)

    @asked
    def _ask(self, id: str, request: object) -> object:
        return self._run(self._request(id, request), self.caller)

    def handle_info(self, message: object) -> None:
        """Whatever arrives otherwise is an event."""
        self._run(self._tell(message), None)

    @info
    def _linked_ended(self, exit: Exit) -> None:
        self._linked.pop(exit.process, None)
        self._run(self._remove_all_of(exit), None)

    def terminate(self, reason: Reason) -> Awaitable[None] | None:
        """End every handler, the newest first."""
        steps = self._stop_all()
        waiting = next(steps, None)
        return None if waiting is None else _finish(steps, waiting)

    def show_state(self) -> object:
        """What reports show: the states of the handlers by id, the newest first, without their secrets."""
        return {installed.id: installed for installed in self._order}

    # Inside: how work on handlers runs

    def _run(self, steps: Steps[T], caller: Callable[[], Caller[T]] | None) -> T:
        """Do the work now when no handler waits for anything; else go on with it at once, and reply later."""
        try:
            waiting = next(steps)
        except StopIteration as done:
            return typed("T", done.value)
        self.continue_with(_Rest(steps, waiting, None if caller is None else caller()))
        raise NoReply

    @info
    async def _go_on(self, rest: _Rest) -> None:
        caller = rest.caller
        try:
            value = await _finish(rest.steps, rest.waiting)
        except Refusal as refusal:
            if caller is None:
                raise
            caller.refuse(refusal)
        else:
            if caller is not None:
                caller.reply(value)

    # Inside: the work

    def _tell(self, event: object) -> Steps[None]:
        shared = type(event) in ATOMS or isolate(event, "an event") is event
        for installed in list(self._order):
            if self._handlers.get(installed.id) is installed:
                yield from self._tell_one(installed, event if shared else isolate(event, "an event"))

    def _tell_one(self, installed: _Installed, event: object) -> Steps[None]:
        handler = installed.handler
        spec = type(handler).event_for(type(event))
        name = "handle_event" if spec is None else spec.name
        try:
            if spec is None:
                yield from _use(handler, name, event)
            else:
                yield from _call(spec.function, spec.kind == ASYNC, handler, event)
        except (RemoveHandler, SwapHandler) as outcome:
            yield from self._follow(installed, outcome)
        except Refusal as refusal:
            report_lost(self._process, f"handler {installed.id!r} refused an event in {name}: {explain(refusal)}")
        except Exception as error:
            yield from self._fail(installed, error, name, event)

    def _request(self, id: str, request: object) -> Steps[object]:
        installed = self._existing(id)
        try:
            reply = yield from _use(installed.handler, "handle_call", request)
        except (RemoveHandler, SwapHandler) as outcome:
            yield from self._follow(installed, outcome)
            reply = outcome.reply
        except Refusal:
            raise
        except Exception as error:
            yield from self._fail(installed, error, "handle_call", request)
            raise HandlerFailed(id, explain(error)) from error
        return isolate(reply, f"the reply of the event handler {id!r}")

    def _follow(self, installed: _Installed, outcome: RemoveHandler | SwapHandler) -> Steps[None]:
        """A handler has said what should become of it."""
        if isinstance(outcome, RemoveHandler):
            yield from self._remove(installed, "remove_handler", "normal")
            return
        try:
            place = self._order.index(installed)
            yield from self._replace(installed, outcome.reason, outcome.plan, installed.supervisor, place)
        except Refusal as refusal:
            report_lost(self._process, f"handler {installed.id!r} has no successor: {explain(refusal)}")

    def _install(
        self,
        plan: Plan,
        supervisor: GenServer | None,
        place: int,
        method: str = "init",
        state: tuple[object, ...] = (),
    ) -> Steps[None]:
        """Make a handler; it hears of nothing before its `init` has returned."""
        self._check_room(plan, None)
        handler = plan.make(self.handle)
        if supervisor is not None:
            self._tie(supervisor)
        try:
            yield from _use(handler, method, *state, *plan.args, **plan.kwargs)
        except Exception as error:
            self._untie(supervisor)
            if isinstance(error, Refusal):
                raise
            raise HandlerFailed(plan.id, explain(error)) from error
        installed = self._handlers[plan.id] = _Installed(handler, plan.id, supervisor)
        self._order.insert(place, installed)

    def _replace(
        self, old: _Installed | None, reason: object, plan: Plan, supervisor: GenServer | None, place: int
    ) -> Steps[None]:
        self._check_room(plan, old)
        state: object = None
        if old is not None:
            state, error = yield from self._remove(old, reason, f"swapped:{plan.id}")
            state = error or state
        yield from self._install(plan, supervisor, place, "take_over", (state,))

    def _check_room(self, plan: Plan, old: _Installed | None) -> None:
        """See whether a handler can come, in place of another one or besides all others."""
        if plan.id in self._handlers and (old is None or plan.id != old.id):
            raise ConfigError("id", f"there is a handler with the id {plan.id!r}")
        if old is None and len(self._order) >= EVENT_HANDLERS_MAX:
            raise TooLarge("EVENT_HANDLERS_MAX", len(self._order) + 1, EVENT_HANDLERS_MAX)

    def _remove_asked(self, id: str, reason: object) -> Steps[object]:
        result, error = yield from self._remove(self._existing(id), reason, "normal")
        if error is not None:
            raise HandlerFailed(id, explain(error)) from error
        return isolate(result, f"what the event handler {id!r} returned in terminate")

    def _remove_all_of(self, exit: Exit) -> Steps[None]:
        for installed in list(self._order):
            if installed.supervisor == exit.process:
                installed.supervisor = None
                yield from self._remove(installed, exit, "normal")
        yield from self._tell(exit)  # as in OTP, it is an event for those that stay

    def _stop_all(self) -> Steps[None]:
        self._linked.clear()  # who is linked shall get the exit signal
        for installed in list(self._order):
            yield from self._remove(installed, STOPPED, "shutdown")

    def _fail(self, installed: _Installed, error: Exception, during: str, what: object) -> Steps[None]:
        report_bug(
            f"{self._process}: the handler {installed.id!r}, which is taken out, in"
            f" {during}({display(what, installed.handler.redacted)}) with the state {installed!r}",
            error,
        )
        yield from self._remove(installed, error, error)

    def _remove(self, installed: _Installed, reason: object, gone: Reason) -> Steps[tuple[object, Exception | None]]:
        """Take a handler out. Returns what its `terminate` returned, and what it raised."""
        del self._handlers[installed.id]
        self._order.remove(installed)
        result: object = None
        failure: Exception | None = None
        try:
            result = yield from _use(installed.handler, "terminate", reason)
        except Exception as error:
            failure = error
            report_bug(f"{self._process}: the handler {installed.id!r} in terminate", error)
        supervisor = installed.supervisor
        if supervisor is not None:
            supervisor._process.inform(HandlerGone(self.handle, installed.id, gone), bounded=False)
            self._untie(supervisor)
        return result, failure

    def _existing(self, id: str) -> _Installed:
        installed = self._handlers.get(id)
        if installed is None:
            raise NoSuchHandler(id)
        return installed

    def _tie(self, supervisor: GenServer) -> None:
        if supervisor._process not in self._process.tied.links:
            self.link(supervisor)
            self._linked[supervisor] = None

    def _untie(self, supervisor: GenServer | None) -> None:
        if supervisor in self._linked and all(other.supervisor != supervisor for other in self._order):
            del self._linked[supervisor]
            self.unlink(supervisor)


def _adder(manager: GenServer) -> GenServer:
    process = manager._process.scheduler.running_process()
    if process is None:
        raise ConfigError("add_sup_handler", "no process runs here that the handler could belong to")
    return process.handle


def _use(handler: EventHandler, name: str, *args: object, **kwargs: object) -> Steps[object]:
    """Call a method of a handler, which may be an `async def`."""
    return _call(getattr(handler, name), name in handler.__async__, *args, **kwargs)


def _call(method: Callable[..., object], is_async: bool, *args: object, **kwargs: object) -> Steps[object]:
    if is_async:
        return (yield lambda: typed("Awaitable[object]", method(*args, **kwargs)))
    try:
        value = method(*args, **kwargs)
    except asyncio.CancelledError as error:
        raise RuntimeError(_CANCELLED) from error
    if value is not None and discard(value):
        raise BadFunction(
            method.__qualname__, "returned something to await: make it an `async def`, and await it there"
        )
    return value


async def _finish(steps: Steps[T], waiting: Waiting) -> T:
    """Do the work to its end, awaiting what it waits for."""
    try:
        while True:
            try:
                value = await waiting()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling() > 0:
                    raise  # the manager itself is being ended
                waiting = steps.throw(RuntimeError(_CANCELLED))
            except Exception as error:
                waiting = steps.throw(error)
            else:
                waiting = steps.send(value)
    except StopIteration as done:
        return typed("T", done.value)
    finally:
        steps.close()
