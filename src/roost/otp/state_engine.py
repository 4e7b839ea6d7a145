"""What runs a state machine: its handlers, what they want, and what comes before its mailbox.

`roost.core.state_machine` decides what is next. It is put in front of the mailbox, one event at a time, so that calls,
deferred replies, crashes and stops are those of every process.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine, Mapping
from types import EllipsisType, FunctionType
from typing import TYPE_CHECKING, Final, Literal

from roost.core import state_machine as core
from roost.errors import BadMessage, BadTransition, NotSendable, Overloaded, Refusal, TooLarge
from roost.limits import STATE_POSTPONED_MAX, STATE_TIMEOUTS_MAX
from roost.otp.compiling import members
from roost.otp.crash import report_lost, report_stray
from roost.otp.declare import ASYNC, CONTROL, TOLD, Call, Cast, Info, Spec, local_names
from roost.otp.ending import LEAVE
from roost.otp.isolation import isolate
from roost.otp.matching import HANDLERS, Accepted, guarded
from roost.otp.outcome import NoReply
from roost.otp.process import Process
from roost.otp.reply import Caller, Deadline, TracedReply
from roost.otp.timers import ProcessTimer, check_moment, check_seconds

if TYPE_CHECKING:
    from roost.otp.state_machine import StateMachine

Handler = Callable[..., object]
Role = Literal["call", "cast", "info"]

RETRY_AFTER_S: Final = 1.0
"""When a caller whose call could not be postponed may come back."""


class Postpone(Exception):
    """Raised in a handler: not in this state. The event is handled again after the next change of state.

    The caller of a postponed call waits on; after his timeout he is gone, and the call is not made any more. The
    handler may have said `goto` before: then the event is handled again at once, in the new state.
    """


class _Kept:
    """A call or a cast that was postponed."""

    __slots__ = ("args", "caller", "deadline_s", "kwargs", "spec")

    def __init__(
        self,
        spec: Spec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        caller: Caller[object] | None,
        deadline_s: float | None,
    ) -> None:
        self.spec, self.args, self.kwargs = spec, args, kwargs
        self.caller, self.deadline_s = caller, deadline_s

    def restore(self, server: StateMachine) -> bool:
        """Put it in front of the mailbox. Returns False when its caller has given up."""
        process = server._process
        if self.caller is None:
            if self.spec.kind == TOLD and not self.kwargs:
                process._put(self.spec, (server, *self.args), first=True)
            else:
                process._put(self.spec.queued, ((server, *self.args), self.kwargs, None, None), first=True)
            return True
        reply_to = self.caller._take()
        if reply_to is None:
            return False
        if isinstance(reply_to, TracedReply):
            reply_to = reply_to._reply_to  # a tracer, if there still is one, will put itself in between again
        deadline = None if self.deadline_s is None else Deadline(self.deadline_s)
        process._put(self.spec, ((server, *self.args), self.kwargs, reply_to, deadline), first=True)
        return True


def _is_gone(event: object) -> bool:
    return isinstance(event, _Kept) and event.caller is not None and not event.caller.waits()


class Engine:
    """One machine at work: what its handlers want, until they have ended, and its timers."""

    __slots__ = (
        "acting",
        "core",
        "entering",
        "exiting",
        "handling",
        "machine",
        "process",
        "server",
        "timers",
        "transition",
    )

    def __init__(self, server: StateMachine) -> None:
        self.server, self.process = server, server._process
        self.machine = machine = type(server)
        self.core: core.StateMachine[object] = core.StateMachine(machine, STATE_POSTPONED_MAX, _is_gone)
        self.timers: dict[core.Key, ProcessTimer] = {}
        self.transition: core.Transition[object] | None = None
        self.handling = True
        self.entering = False
        self.acting = False
        """Whether the end of a handler means anything to the core."""
        self.exiting = False
        """Whether the machine wants to end: then nothing of its own comes any more."""

    def __repr__(self) -> str:
        return f"<{show(self.core.state)}>"

    # What handlers want

    def wanted(self, what: str) -> core.Transition[object]:
        """Where the handler that runs collects what it wants."""
        if not self.handling:
            raise self.bad(f"{what} outside of a handler")
        if self.transition is None:
            self.acting = True
            self.transition = core.Transition()
        return self.transition

    def bad(self, reason: str) -> BadTransition:
        """The error about something that cannot be."""
        return BadTransition(show(self.core.state), reason)

    def check_state(self, state: type) -> None:
        """Let a class be a state of this machine from now on."""
        machine = self.machine
        if not issubclass(state, machine):
            raise self.bad(f"{state.__name__} is not a subclass of {machine.__name__}")
        for mine, theirs in ((state.__calls__, machine.__calls__), (state.__casts__, machine.__casts__)):
            for name, spec in mine.items():
                declared = theirs.get(name)
                if declared is None:
                    raise self.bad(f"{spec!r} is not declared by {machine.__name__}, whose handle it would be on")
                if (spec.kind == ASYNC) != (declared.kind == ASYNC):
                    raise self.bad(f"{spec!r} and {declared!r} must both be async, or neither")
        own = members(state)
        for name, member in members(machine).items():
            if hasattr(member, "__spec__") and not hasattr(own[name], "__spec__"):
                raise self.bad(f"{state.__name__}.{name} is no handler: declare it as {machine.__name__} does")
        state.__info_in__(type(None))  # a handler whose annotation means nothing shows here
        try:
            machine.__new__(machine).__class__ = state
        except TypeError:
            raise self.bad(f"{state.__name__} has __slots__ of its own: declare them in {machine.__name__}") from None
        machine.__states__[state] = None

    def set_timeout(self, key: core.Key, delay_s: float | EllipsisType | None, message: object, absolute: bool) -> None:
        """Want something of a timeout."""
        wanted = self.wanted("a timeout")
        message = isolate(message, "a timeout's message")
        if isinstance(delay_s, EllipsisType):
            setting: core.Setting[object] = core.Setting(core.UNCHANGED, message)
        else:
            if delay_s is not None and absolute:
                check_moment("delay_s", delay_s, self.process.scheduler.runtime.clock.now())
            elif delay_s is not None:
                check_seconds("delay_s", delay_s)
            setting = core.Setting(delay_s, message, absolute)
        if delay_s is not None and key not in wanted.timeouts and not self.core.has_timeout(key):
            count = len(self.core.timeouts) + len(wanted.timeouts)
            if count >= STATE_TIMEOUTS_MAX:
                raise TooLarge("STATE_TIMEOUTS_MAX", count + 1, STATE_TIMEOUTS_MAX)
        wanted.set_timeout(key, setting)

    # What becomes of it

    def ended(self, event: object) -> None:
        """A handler has ended: of `event`, or, when there is none, the enter call."""
        self.handling = False
        transition, self.transition = self.transition, None
        happening: core.Happening[object]
        if self.entering:
            self.entering = False
            happening = core.Entered(transition or core.Transition())
        else:
            happening = core.Handled(event, transition or core.Transition())
        self.act(self.core.step(happening, self.process.scheduler.runtime.clock.now()))

    def failed(self, error: BaseException, event: object) -> None:
        """A handler has raised something. What it wanted still counts when the process lives on."""
        if isinstance(error, (NoReply, Refusal, NotSendable)):
            self.ended(event)
        else:
            self.handling = False

    def begin(self) -> None:
        """The first state is entered."""
        self.handling = False
        transition, self.transition = self.transition, None
        self.act(self.core.begin(transition or core.Transition()))

    def act(self, effects: list[core.Effect[object]]) -> None:
        """Do what the core has decided."""
        process = self.process
        for effect in effects:
            match effect:
                case core.SetTimer(key, number, delay_s):
                    self._end(key)
                    self.timers[key] = ProcessTimer(process, delay_s, core.Expired(key, number), bounded=False)
                case core.CancelTimer(key):
                    self._end(key)
                case core.Refuse(event):
                    self._refuse(event)
                case core.Enter():
                    self._become(self.core.state)
                    if type(self.server).__enter_call__ is None:
                        self.entering = True
                        self.ended(None)
                    else:
                        self._put(effect)
                case core.Handle():
                    self._put(effect)
        self.acting = not self.core.quiet

    def expired(self, message: core.Expired) -> None:
        """A timer has rung. When it is none of those that count any more, nothing happens."""
        effects = self.core.step(message, 0.0)
        if effects:
            del self.timers[message.key]
            self.act(effects)

    def _put(self, effect: core.Effect[object]) -> None:
        """Before the mailbox, unless the process is about to end by its own will or by a signal.

        A stop that somebody else has asked for is mail like any other.
        """
        mail = self.process.mail
        if not self.exiting and not (mail and mail[0] is LEAVE):
            self.process._put(GO_ON, (self, effect), first=True)

    def _become(self, state: object) -> None:
        kind = state if isinstance(state, type) else self.machine
        if type(self.server) is not kind:
            self.server.__class__ = kind

    def _refuse(self, event: object) -> None:
        if not isinstance(event, _Kept) or event.caller is None:
            what = event.spec.name if isinstance(event, _Kept) else repr(event)
            report_lost(self.process, f"{STATE_POSTPONED_MAX} events are postponed, so {what} is lost")
        else:
            full = Overloaded(f"what {self.process} has postponed", RETRY_AFTER_S)
            self.process._put(REFUSE, (event.caller, full), first=True)

    def _end(self, key: core.Key) -> None:
        timer = self.timers.pop(key, None)
        if timer is not None:
            timer.cancel()


def show(state: object) -> str:
    """A state as text: the name of its class, or its value."""
    return state.__name__ if isinstance(state, type) else str(state)


# A class becomes a machine


def declare_handlers(cls: type[StateMachine]) -> None:
    """Note what each message does in this state, and let the declarations ask the machine for its current state."""
    for name, member in list(vars(cls).items()):
        role: Role
        if isinstance(member, Call):
            role = "call"
        elif isinstance(member, Cast):
            role = "cast"
        elif isinstance(member, Info):
            role = "info"
        else:
            continue
        setattr(cls, _handler(name), member.function)
        member.function = _dispatching(member.function, name, name, role)
    for name, role in _MATCHING.items():
        function = vars(cls).get(name)
        if isinstance(function, FunctionType):
            scope = local_names(sys._getframe(2))
            raw = function if role == "info" else guarded(function, Accepted(function, scope), name)
            setattr(cls, _handler(name), raw)
            setattr(cls, name, _dispatching(function, name, HANDLERS.get(name, name), role))
    cls.__states__ = {}
    if "enter" in vars(cls):
        cls.__enter_call__ = ENTER_ASYNC if asyncio.iscoroutinefunction(cls.enter) else ENTER


_MATCHING: Final[Mapping[str, Role]] = {"handle_call": "call", "handle_cast": "cast", "handle_info": "info"}


def _handler(name: str) -> str:
    """Under which name a class keeps the handler itself; under its own name it has what asks the machine."""
    return f"__handle_{name}__"


def _dispatching(function: Handler, name: str, face: str, role: Role) -> Handler:
    """What the mailbox runs for a declared message: the handler of the current state, then what it wants."""
    handler = _handler(name)
    if asyncio.iscoroutinefunction(function):

        @functools.wraps(function)
        async def handle_async(self: StateMachine, /, *args: object, **kwargs: object) -> object:
            engine = self._engine
            engine.handling = True
            try:
                outcome = getattr(self, handler)(*args, **kwargs)
                assert isinstance(outcome, Coroutine)
                value: object = await outcome
            except Postpone:
                _postpone(self, face, role, args, kwargs)
                return None
            except BaseException as error:
                _failed(self, error, name)
                raise
            if engine.acting:
                engine.ended(None)
            engine.handling = False
            return value

        return handle_async

    @functools.wraps(function)
    def handle(self: StateMachine, /, *args: object, **kwargs: object) -> object:
        engine = self._engine
        engine.handling = True
        try:
            value = getattr(self, handler)(*args, **kwargs)
        except Postpone:
            _postpone(self, face, role, args, kwargs)
            return None
        except BaseException as error:
            _failed(self, error, name)
            raise
        if engine.acting:
            engine.ended(None)
        engine.handling = False
        return value

    return handle


def _failed(server: StateMachine, error: BaseException, name: str) -> None:
    """A handler has raised.

    Raises:
        BadMessage: when it was never called, because the arguments do not fit.
    """
    traceback = error.__traceback__
    if isinstance(error, TypeError) and traceback is not None and traceback.tb_next is None:
        server._engine.ended(None)
        raise BadMessage(f"{name}: {error}") from None
    server._engine.failed(error, None)


def _postpone(server: StateMachine, face: str, role: Role, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    """A handler has postponed its event.

    Raises:
        NoReply: when somebody waits.
    """
    engine, process = server._engine, server._process
    wanted = engine.wanted("Postpone")
    wanted.postpone = True
    if role == "call":
        caller: Caller[object] = server.caller()
        engine.ended(_Kept(process.calls[face], args, kwargs, caller, process.deadline))
        raise NoReply
    engine.ended(args[0] if role == "info" else _Kept(process.casts[face], args, kwargs, None, None))


# What is put before the mailbox


def _begin(process: Process, engine: Engine) -> None:
    engine.begin()


def _go_on(process: Process, engine: Engine, effect: core.Effect[object]) -> None:
    """It is the turn of an enter call, or of an event of the machine itself."""
    server = engine.server
    if isinstance(effect, core.Handle):
        event = effect.event
        if not isinstance(event, _Kept):
            _inform(server, event)
        elif not event.restore(server):
            engine.ended(None)
    elif type(server).__enter_call__ is ENTER:
        process._put(ENTER, (server,), first=True)
    else:
        process._put(ENTER_ASYNC, ((server,), {}, None, None), first=True)


def _inform(server: StateMachine, message: object) -> None:
    """Let the `@info` handler that the current state has for this message be next."""
    spec = type(server).__info_in__(type(message))
    if spec is None:
        report_stray(server._process, message)
        server._engine.ended(None)
    elif spec.kind == ASYNC:
        server._process._put(spec, ((server, message), {}, None, None), first=True)
    else:
        server._process._put(spec, (server, message), first=True)


def _arrive(server: StateMachine, message: object) -> None:
    if type(message) is core.Expired:
        server._engine.expired(message)
    else:
        _inform(server, message)


def _enter(server: StateMachine) -> None:
    engine = server._engine
    engine.handling = engine.entering = True
    try:
        server.enter()
    except Postpone:
        raise engine.bad("an enter call cannot be postponed") from None
    except BaseException as error:
        engine.failed(error, None)
        raise
    engine.ended(None)


async def _enter_async(server: StateMachine) -> None:
    engine = server._engine
    engine.handling = engine.entering = True
    try:
        outcome = server.enter()
        assert outcome is not None
        await outcome
    except Postpone:
        raise engine.bad("an enter call cannot be postponed") from None
    except BaseException as error:
        engine.failed(error, None)
        raise
    engine.ended(None)


def _refuse(process: Process, caller: Caller[object], error: Exception) -> None:
    caller.refuse(error)


def _spec(function: Handler, kind: int, name: str) -> Spec:
    function.__name__ = name
    return Spec(function, kind, "StateMachine", {})


BEGIN: Final = _spec(_begin, CONTROL, "begin")
"""Enter the first state, before anything in the mailbox."""
GO_ON: Final = _spec(_go_on, CONTROL, "go_on")
"""Handle what comes before the mailbox."""
REFUSE: Final = _spec(_refuse, CONTROL, "refuse")
"""Answer a call that was to be postponed with an error."""
ARRIVE: Final = _spec(_arrive, TOLD, "arrive")
"""A message without a reply has come to its turn: find its handler in the current state."""
ENTER: Final = _spec(_enter, TOLD, "enter")
"""The enter call."""
ENTER_ASYNC: Final = _spec(_enter_async, TOLD, "enter")
"""The same for a state whose `enter` is `async def`."""
