"""Agent: a process that keeps a state, and runs the functions that others give it on that state.

After Elixir's Agent. What is more than a state with a few functions over it deserves a GenServer of its own.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

from roost.errors import BadFunction
from roost.otp.closure import Closure
from roost.otp.declare import call
from roost.otp.declare import cast as told
from roost.otp.face import face
from roost.otp.gen_server import GenServer
from roost.otp.isolation import hand_over, isolate

if TYPE_CHECKING:
    from roost.otp.name import Name

State = TypeVar("State")
R = TypeVar("R")
P = ParamSpec("P")

_CONTAINERS: Final = (list, dict, set, deque, bytearray)
"""States that a function may change in place, and forget to return."""


class Agent(GenServer, Generic[State]):
    """Keeps one state.

    ::

        stock = await Agent.start_link(dict[str, int], name="stock")
        await stock.update(lambda state, item, n: state | {item: n}, "tea", 3)
        await stock.get(lambda state: state["tea"])

    The functions run inside the agent, one after the other. They may be `async def`: the agent then waits with the
    next one until they have returned. Further arguments cross as those of a call do, and so does what a function
    closes over: it is copied, or refused when it is no plain value.

    A function that raises a Refusal answers its caller with it. Any other exception is a crash of the agent: its
    caller gets ProcessDown, and its supervisor starts it with the state of the beginning.
    """

    if TYPE_CHECKING:
        # What runs is GenServer's own; here the first argument has a name, so that the state has a type.

        @overload  # type: ignore[override]  # narrower than the base: there must be an `initial`
        @classmethod
        async def start_link(
            cls: type[Agent[R]],
            initial: Callable[..., Coroutine[object, object, R]],
            *args: object,
            name: Name | None = None,
            start_timeout_s: float | None = None,
            **kwargs: object,
        ) -> Agent[R]: ...
        @overload
        @classmethod
        async def start_link(
            cls: type[Agent[R]],
            initial: Callable[..., R],
            *args: object,
            name: Name | None = None,
            start_timeout_s: float | None = None,
            **kwargs: object,
        ) -> Agent[R]: ...
        @classmethod
        # Any: what the two above say of the state
        async def start_link(
            cls,
            initial: Callable[..., object],
            *args: object,
            name: Name | None = None,
            start_timeout_s: float | None = None,
            **kwargs: object,
        ) -> Agent[Any]:
            """Start an agent, linked to the process that starts it when there is one.

            Args:
                initial: a function that returns the state; it runs inside the agent, at every start. May be
                    `async def`.
                args: its arguments.
                name: as for every process.
                start_timeout_s: as for every process.
                kwargs: more of its arguments.

            Raises:
                StartFailed: when `initial` raised, which is its `__cause__`, or took too long.
                NameTaken: when a live process has the name.
            """

        @overload  # type: ignore[override]  # narrower than the base: there must be an `initial`
        @classmethod
        async def start(
            cls: type[Agent[R]],
            initial: Callable[..., Coroutine[object, object, R]],
            *args: object,
            name: Name | None = None,
            start_timeout_s: float | None = None,
            **kwargs: object,
        ) -> Agent[R]: ...
        @overload
        @classmethod
        async def start(
            cls: type[Agent[R]],
            initial: Callable[..., R],
            *args: object,
            name: Name | None = None,
            start_timeout_s: float | None = None,
            **kwargs: object,
        ) -> Agent[R]: ...
        @classmethod
        # Any: what the two above say of the state
        async def start(
            cls,
            initial: Callable[..., object],
            *args: object,
            name: Name | None = None,
            start_timeout_s: float | None = None,
            **kwargs: object,
        ) -> Agent[Any]:
            """Start an agent that is linked to nobody; otherwise as `start_link`."""

    async def init(self, initial: Callable[..., object], *args: object, **kwargs: object) -> None:
        """Make the state of the beginning: a copy, so that no later start finds what became of it meanwhile."""
        state = initial(*args, **kwargs)
        if inspect.isawaitable(state):
            state = await state
        self._state = hand_over(state)

    # On a handle

    @overload
    def get(
        self,
        function: Callable[Concatenate[State, P], Coroutine[object, object, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Awaitable[R]: ...
    @overload
    def get(
        self, function: Callable[Concatenate[State, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[R]: ...
    @face
    def get(self, function: Callable[..., object], /, *args: object, **kwargs: object) -> Awaitable[object]:
        """What `function(state, *args, **kwargs)` returns, as a copy when it can change.

        It should leave the state alone; when it changes it in place, it is changed.

        Raises:
            BadFunction: when it is not a function, does not take these arguments, or returns something to await.
            NotSendable: when what it returns, an argument, or what it closes over cannot cross.
            CallTimeout, ProcessDown, Overloaded, CallCycle: as every call.
        """
        closure = Closure(function, args, kwargs)
        return (self._get_async if closure.is_async else self._get)(closure)

    @overload
    def update(
        self,
        function: Callable[Concatenate[State, P], Coroutine[object, object, State]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Awaitable[None]: ...
    @overload
    def update(
        self, function: Callable[Concatenate[State, P], State], /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[None]: ...
    @face
    def update(self, function: Callable[..., object], /, *args: object, **kwargs: object) -> Awaitable[None]:
        """Let `function(state, *args, **kwargs)` return the new state, and wait until it has.

        Raises:
            BadFunction: as `get`; and when it returned None in place of a list, dict or set: it has changed the old one
                in place, as `append` does, and should return it.
            NotSendable, CallTimeout, ProcessDown, Overloaded, CallCycle: as `get`.
        """
        closure = Closure(function, args, kwargs)
        return (self._update_async if closure.is_async else self._update)(closure)

    @overload
    def get_and_update(
        self,
        function: Callable[Concatenate[State, P], Coroutine[object, object, tuple[R, State]]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Awaitable[R]: ...
    @overload
    def get_and_update(
        self, function: Callable[Concatenate[State, P], tuple[R, State]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[R]: ...
    @face
    def get_and_update(self, function: Callable[..., object], /, *args: object, **kwargs: object) -> Awaitable[object]:
        """Let `function(state, *args, **kwargs)` return a reply and the new state, and get the reply.

        Raises:
            BadFunction: as `get` and `update`; and when it did not return two things.
            NotSendable, CallTimeout, ProcessDown, Overloaded, CallCycle: as `get`.
        """
        closure = Closure(function, args, kwargs)
        return (self._get_and_update_async if closure.is_async else self._get_and_update)(closure)

    @face
    def cast(  # type: ignore[override]  # an agent is told functions, not messages
        self,
        function: Callable[Concatenate[State, P], State | Coroutine[object, object, State]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """As `update`, without waiting and without hearing of a failure.

        Raises:
            BadFunction: when it is not a function.
            NotSendable: when an argument, or what the function closes over, cannot cross.
            Overloaded: when the mailbox is full.
        """
        closure = Closure(function, args, kwargs)
        if closure.is_async:
            self._cast_async(closure)
        else:
            self._cast(closure)

    # Inside

    @call
    def _get(self, closure: Closure) -> object:
        return closure.run(self._state)

    @call
    async def _get_async(self, closure: Closure) -> object:
        return await closure.run_async(self._state)

    @call
    def _update(self, closure: Closure) -> None:
        self._state = self._checked(closure, closure.run(self._state))

    @call
    async def _update_async(self, closure: Closure) -> None:
        self._state = self._checked(closure, await closure.run_async(self._state))

    @call
    def _get_and_update(self, closure: Closure) -> object:
        return self._part(closure, closure.run(self._state))

    @call
    async def _get_and_update_async(self, closure: Closure) -> object:
        return self._part(closure, await closure.run_async(self._state))

    @told
    def _cast(self, closure: Closure) -> None:
        self._state = self._checked(closure, closure.run(self._state))

    @told
    async def _cast_async(self, closure: Closure) -> None:
        self._state = self._checked(closure, await closure.run_async(self._state))

    def _checked(self, closure: Closure, state: object) -> object:
        """A state that a function has returned."""
        if state is None and isinstance(self._state, _CONTAINERS):
            raise BadFunction(repr(closure), f"returned None in place of the new {type(self._state).__name__}")
        return state

    def _part(self, closure: Closure, both: object) -> object:
        if not isinstance(both, tuple) or len(both) != 2:
            raise BadFunction(repr(closure), f"must return (reply, new state), and returned a {type(both).__name__}")
        reply, state = both
        reply = isolate(reply, f"the reply of {closure!r}")
        self._state = self._checked(closure, state)
        return reply
