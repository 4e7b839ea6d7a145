"""StateMachine: a process whose handlers depend on its state, as OTP's gen_statem.

The rules (what is handled next, when postponed events come back, which timeouts end) are in
`roost.core.state_machine`; here is what the author of a machine writes and says.
"""

from __future__ import annotations

from collections.abc import Awaitable
from types import EllipsisType
from typing import ClassVar

import msgspec

from roost.core import state_machine as core
from roost.errors import TooLarge
from roost.limits import STATE_INSERTED_MAX
from roost.otp.declare import Spec
from roost.otp.gen_server import GenServer
from roost.otp.isolation import isolate
from roost.otp.modes import Timeout
from roost.otp.process import Process
from roost.otp.state import read_state
from roost.otp.state_engine import ARRIVE, BEGIN, Engine, declare_handlers, show
from roost.otp.ties import Reason


class StateTimeout(msgspec.Struct, frozen=True):
    """The machine was in one state for as long as `self.state_timeout` has said."""

    __sendable__: ClassVar[bool] = True


class NamedTimeout(msgspec.Struct, frozen=True):
    """The time of `self.timeout(name, ...)` is up."""

    __sendable__: ClassVar[bool] = True

    name: str


class StateMachine(GenServer):
    """A process with states.

    Everything that a GenServer can be asked and told, this can be too. What a handler does depends on the state, in
    one of two styles, which may be mixed:

    - A state is a subclass. What it overrides is how that state differs; the machine, which is the base class, says
      what is the same in all states, and is the first state when `init` chooses no other.
    - A state is any value, such as a member of an Enum, a word or a tuple, and the handlers look at `self.state`.

    ::

        class Door(StateMachine):
            def init(self, code: str) -> None:
                self.code = code
                self.goto(Locked)

            @call
            def unlock(self, code: str) -> bool:
                return True

        class Locked(Door):
            @call
            def unlock(self, code: str) -> bool:
                if code != self.code:
                    return False
                self.goto(Open)
                return True

        class Open(Door):
            def enter(self) -> None:
                self.state_timeout(10.0)

            @info
            def lock(self, timeout: StateTimeout) -> None:
                self.goto(Locked)

    What a handler wants (`goto`, timeouts, events) happens when it has returned or refused: the reply is sent, then
    come the enter call, the events of `continue_with`, the postponed events if the state has changed, timeouts of zero
    seconds, and then the mailbox.
    """

    __slots__ = ("_engine",)

    __states__: ClassVar[dict[type, None]] = {}
    """Those of the subclasses that have proved to be states of this machine."""
    __enter_call__: ClassVar[Spec | None] = None
    """How the enter call of this state is made; None when it has none."""

    _engine: Engine

    def __init_subclass__(cls, **kwargs: object) -> None:
        if "__handle_of__" not in vars(cls):
            declare_handlers(cls)
        super().__init_subclass__(**kwargs)

    # What a class may define

    def enter(self) -> Awaitable[None] | None:
        """The machine has come into this state: the first one, another one, or the same one by `repeat`.

        It may set timeouts and answer callers. May be `async def`.
        """

    # Inside, on self

    @property
    def state(self) -> object:
        """Inside: the current state. It changes when a handler that has said `goto` has ended."""
        return self._engine.core.state

    @property
    def previous(self) -> object:
        """Inside: the state before this one; itself in the first state, and when a handler has said `repeat`."""
        return self._engine.core.previous

    def goto(self, state: object) -> None:
        """Inside: be in `state` after this handler. In `init`, it is the first state.

        The same state is no change: there is no enter call, and postponed events stay. The last one counts.

        Args:
            state: a subclass of this machine, or any value that can be compared.

        Raises:
            BadTransition: in an enter call, or when a class is not a state of this machine.
            TypeError, NameError: when the annotation of one of its `@info` handlers means nothing.
        """
        engine = self._engine
        wanted = engine.wanted("goto")
        if isinstance(state, type):
            if state not in engine.machine.__states__:
                engine.check_state(state)
        elif isinstance(state, StateMachine):
            raise engine.bad(f"a state is the class {type(state).__name__}, not an instance of it")
        if engine.entering and state != engine.core.state:
            raise engine.bad(f"an enter call may not change the state (to {show(state)})")
        wanted.state = state

    def repeat(self) -> None:
        """Inside: make the enter call again although the state stays the same.

        Raises:
            BadTransition: outside of a handler.
        """
        self._engine.wanted("repeat").repeat = True

    def continue_with(self, message: object) -> None:
        """Inside: handle `message`, with the `@info` handler of its type, before the mailbox and postponed events.

        Several of one handler are handled in order.

        Raises:
            BadTransition: in an enter call, or outside of a handler.
            NotSendable: when the message cannot cross.
            TooLarge: when more than STATE_INSERTED_MAX of them wait.
        """
        engine = self._engine
        wanted = engine.wanted("continue_with")
        if engine.entering:
            raise engine.bad("an enter call may not insert events")
        if engine.core.inserted + len(wanted.events) >= STATE_INSERTED_MAX:
            raise TooLarge("STATE_INSERTED_MAX", STATE_INSERTED_MAX + 1, STATE_INSERTED_MAX)
        wanted.events.append(isolate(message, "what a state machine continues with"))

    def state_timeout(
        self,
        delay_s: float | EllipsisType | None = ...,
        message: object = StateTimeout(),
        *,
        absolute: bool = False,
    ) -> None:
        """Inside: handle `message` when the machine is still in this state after a while. A change of state ends it.

        With `goto` it is the new state's. There is one such timeout: setting it again replaces it.

        Args:
            delay_s: seconds after this handler and a following enter call. With 0 the message comes before the
                mailbox. None ends the timeout. Left out, the time stays and the message is exchanged; a timeout that
                does not run then comes at once.
            message: for the `@info` handler of its type.
            absolute: `delay_s` is a moment of `self.scheduler.runtime.clock` instead.

        Raises:
            BadTransition: outside of a handler.
            NotSendable: when the message cannot cross.
            ConfigError: when the delay is negative, or longer than TIMER_S_MAX.
        """
        self._engine.set_timeout(core.STATE, delay_s, message, absolute)

    def event_timeout(
        self,
        delay_s: float | EllipsisType | None = ...,
        message: object = Timeout(),
        *,
        absolute: bool = False,
    ) -> None:
        """Inside: handle `message` when nothing has happened for a while. Any event ends it, inserted ones too.

        Otherwise as `state_timeout`.
        """
        self._engine.set_timeout(core.EVENT, delay_s, message, absolute)

    def timeout(
        self,
        name: str,
        delay_s: float | EllipsisType | None = ...,
        message: object = None,
        *,
        absolute: bool = False,
    ) -> None:
        """Inside: handle `message` after a while, whatever happens. There is one timeout of each name.

        Otherwise as `state_timeout`.

        Args:
            name: what it is set again, exchanged and ended by.
            delay_s: as for `state_timeout`.
            message: `NamedTimeout(name)` when not given.
            absolute: as for `state_timeout`.

        Raises:
            TooLarge: when STATE_TIMEOUTS_MAX others run.
        """
        self._engine.set_timeout((name,), delay_s, NamedTimeout(name) if message is None else message, absolute)

    def exit(self, reason: Reason) -> None:
        """End a process: see `GenServer.exit`. On `self`, nothing that the machine has inserted comes any more."""
        self._engine.exiting = True
        super().exit(reason)

    def receive_timeout(self, timeout_s: float) -> None:
        """Inside: as `event_timeout(timeout_s)`."""
        self.event_timeout(timeout_s)

    def show_state(self) -> object:
        """What reports show: the name of the state, what is postponed, which timeouts run, and the attributes."""
        machine = self._engine.core
        return {
            "state": show(machine.state),
            "postponed": machine.postponed,
            "timeouts": [key if isinstance(key, str) else key[0] for key in machine.timeouts],
            **read_state(self),
        }

    @classmethod
    def info_for(cls, kind: type) -> Spec | None:
        """Any message gets in: whether there is a handler depends on the state in which it is handled."""
        cls.__info_in__(kind)  # a handler whose annotation means nothing shows here
        return ARRIVE

    @classmethod
    def __info_in__(cls, kind: type) -> Spec | None:
        return super().info_for(kind)

    @classmethod
    def __bind__(cls, process: Process) -> tuple[GenServer, GenServer]:
        server, handle = super().__bind__(process)
        assert isinstance(server, StateMachine)
        server._engine = engine = Engine(server)
        process._put(BEGIN, (engine,))
        return server, handle


# The engine is no part of the state. Whatever reads or writes the state of a process looks for its slots here.
del StateMachine.__slots__
