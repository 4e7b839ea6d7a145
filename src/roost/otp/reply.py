"""How an answer gets back to the one who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Protocol, TypeVar

from roost.errors import CallTimeout, InvariantViolated, ProcessDown, RoostError
from roost.otp.crash import report_bug
from roost.otp.isolation import isolate, isolate_error

if TYPE_CHECKING:
    from roost.otp.declare import Spec
    from roost.otp.modes import Tracer
    from roost.otp.process import Process
    from roost.runtime.clock import Clock, Timer

R = TypeVar("R")
# Any: an asyncio.Future calls with itself, of whatever type it is; nobody looks at it
WhenDone = Callable[[Any], object]


class Reply:
    """An answer that is already here: awaiting it does not give up the turn."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def give(self, reply_to: ReplyTo) -> None:
        """Hand it over."""
        reply_to.set_result(self.value)

    def __await__(self) -> Generator[object, None, object]:
        return self.value
        yield  # type: ignore[unreachable]  # a generator that ends before it begins


class Failed:
    """An error that is already here; it is raised where it is awaited.

    Args:
        error: what is raised.
        turn: whether awaiting it gives up the turn first, as whoever tries again and again must do once in a while.
    """

    __slots__ = ("_turn", "error")

    def __init__(self, error: Exception, turn: bool = False) -> None:
        self.error, self._turn = error, turn

    def give(self, reply_to: ReplyTo) -> None:
        """Hand it over."""
        reply_to.set_exception(self.error)

    def __await__(self) -> Generator[object, None, object]:
        if self._turn:
            yield None
        raise self.error


_GIVEN: Final = Reply(None)
"""Stands for an answer that was handed over."""


class ReplyTo(Protocol):
    """Who waits for the answer of a queued call; an asyncio.Future is one."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: object, /) -> None:
        """Hand over the reply."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Hand over the error."""

    def add_done_callback(self, function: WhenDone, /) -> None:
        """Call `function` when nobody waits any more."""

    def remove_done_callback(self, function: WhenDone, /) -> object:
        """Do not call it."""


class Patience(Protocol):
    """How long the caller of a queued call waits: a table of many calls, or a deadline of one."""

    def until(self, reply_to: ReplyTo, /) -> float | None:
        """When the time of this call is up; None when it is over."""

    def forget(self, reply_to: ReplyTo, /) -> object:
        """The call was answered."""

    def keep(self, reply_to: ReplyTo, target: Process, /) -> None:
        """The handler has ended, and the answer comes later: go on until then."""


class Callback:
    """A caller that is a function: the network side of a remote call."""

    __slots__ = ("_on_reply", "_when_done")

    def __init__(self, on_reply: Callable[[object, Exception | None], None]) -> None:
        self._on_reply: Callable[[object, Exception | None], None] | None = on_reply
        self._when_done: list[WhenDone] | None = None

    def add_done_callback(self, function: WhenDone, /) -> None:
        """Call `function` when it was answered."""
        if self._when_done is None:
            self._when_done = []
        self._when_done.append(function)

    def remove_done_callback(self, function: WhenDone, /) -> None:
        """Do not call it."""
        if self._when_done is not None and function in self._when_done:
            self._when_done.remove(function)

    def done(self) -> bool:
        """Whether it was answered."""
        return self._on_reply is None

    def set_result(self, result: object, /) -> None:
        """Answer with a value."""
        self._answer(result, None)

    def set_exception(self, exception: BaseException, /) -> None:
        """Answer with an error."""
        self._answer(None, exception if isinstance(exception, Exception) else ProcessDown("the process", "cancelled"))

    def _answer(self, result: object, error: Exception | None) -> None:
        on_reply, self._on_reply = self._on_reply, None
        if on_reply is None:
            return
        try:
            on_reply(result, error)
        except Exception as bug:  # its own affair: the process that has answered goes on
            report_bug("the receiver of a reply", bug)
        for function in self._when_done or ():
            function(self)


class _Forwarded:
    """An answer on its way to somebody else."""

    __slots__ = ("_reply_to",)

    def __init__(self, reply_to: ReplyTo) -> None:
        self._reply_to = reply_to

    def done(self) -> bool:
        """Whether nobody waits any more."""
        return self._reply_to.done()

    def add_done_callback(self, function: WhenDone, /) -> None:
        """Call `function` when nobody waits any more."""
        self._reply_to.add_done_callback(function)

    def remove_done_callback(self, function: WhenDone, /) -> None:
        """Do not call it."""
        self._reply_to.remove_done_callback(function)


class LastReply(_Forwarded):
    """The reply of a process that ends: its caller gets it instead of the news of the end."""

    __slots__ = ("_last",)

    def __init__(self, reply_to: ReplyTo, last: Reply | Failed) -> None:
        super().__init__(reply_to)
        self._last = last

    def set_result(self, result: object, /) -> None:
        """Hand over another reply; never asked for."""
        raise InvariantViolated("a process that ends has its last reply already")

    def set_exception(self, exception: BaseException, /) -> None:
        """The process has ended: now is the time."""
        self._last.give(self._reply_to)


class TracedReply(_Forwarded):
    """Tells a tracer what the caller gets. It stands for the caller's patience too, which does not know of it."""

    __slots__ = ("_patience", "_spec", "_tracer")

    def __init__(self, reply_to: ReplyTo, patience: Patience | None, spec: Spec, tracer: Tracer) -> None:
        super().__init__(reply_to)
        self._patience, self._spec, self._tracer = patience, spec, tracer

    def until(self, _: ReplyTo, /) -> float | None:
        """When the time of this call is up."""
        return None if self._patience is None else self._patience.until(self._reply_to)

    def forget(self, _: ReplyTo, /) -> None:
        """The call was answered."""
        if self._patience is not None:
            self._patience.forget(self._reply_to)

    def keep(self, _: ReplyTo, target: Process, /) -> None:
        """The answer comes later."""
        if self._patience is not None:
            self._patience.keep(self._reply_to, target)

    def set_result(self, result: object, /) -> None:
        """Tell, then hand over the reply."""
        self._tracer("out", self._spec, result)
        self._reply_to.set_result(result)

    def set_exception(self, exception: BaseException, /) -> None:
        """Tell, then hand over the error."""
        self._tracer("out", self._spec, exception)
        self._reply_to.set_exception(exception)


class Caller(Generic[R]):
    """Somebody who waits for a reply that was put off with `raise NoReply`.

    It may be kept, and sent to another process. When the process that owes the reply ends, the caller gets
    `ProcessDown`; after his timeout he is gone, and a reply is dropped. The handler that took it may answer too, and
    go on with its work: an async one is heard at once, a sync one when it has ended with `raise NoReply`.
    """

    __sendable__: ClassVar[bool] = True
    __slots__ = ("_answer", "_owing", "_reply_to")

    def __init__(self, owing: Process) -> None:
        self._owing = owing
        self._reply_to: ReplyTo | None = None
        self._answer: Reply | Failed | None = None
        if owing.serving is not None:  # that of an async handler; for a sync one nobody knows yet who waits
            self.bind(owing.serving)

    def waits(self) -> bool:
        """Whether somebody still waits for this reply."""
        if self._reply_to is None:
            return self._answer is None and self._is_being_put_off()
        return not self._reply_to.done()

    def reply(self, value: R) -> None:
        """Answer; harmless when nobody waits any more. A value that cannot cross answers with NotSendable."""
        if self.waits():
            try:
                self._give(Reply(isolate(value, f"a reply of {self._owing}")))
            except RoostError as error:
                self._give(Failed(error))

    def refuse(self, error: Exception) -> None:
        """Answer with an error, which is raised where the caller awaits; harmless when nobody waits any more."""
        if self.waits():
            self._give(Failed(isolate_error(error, f"a refusal of {self._owing}")))

    def _give(self, answer: Reply | Failed) -> None:
        if self._reply_to is None:
            self._answer = answer
            return
        if self._reply_to is self._owing.serving:
            self._owing.deadline = None  # the rest of the handler is nobody's wait
        reply_to, self._answer = self._take(), _GIVEN
        if reply_to is not None:
            answer.give(reply_to)

    def _is_being_put_off(self) -> bool:
        """Whether the handler that took this runs still."""
        modes = self._owing.modes
        return modes is not None and modes.deferring is self

    def owed(self) -> ReplyTo | None:
        """Who waits, when the process that owes the reply has ended."""
        return self._reply_to

    def bind(self, reply_to: ReplyTo) -> None:
        """The handler puts off its reply: from now on it is owed to `reply_to`."""
        if self._reply_to is reply_to or reply_to.done():
            return
        self._reply_to = reply_to
        if self._answer is not None:
            self._give(self._answer)
            return
        self._owing.moded.callers[self] = None
        reply_to.add_done_callback(self._forget)

    def _take(self) -> ReplyTo | None:
        reply_to, self._reply_to = self._reply_to, None
        self._forget()
        if reply_to is None:
            return None
        reply_to.remove_done_callback(self._forget)
        return None if reply_to.done() else reply_to

    def _forget(self, _: object = None) -> None:
        modes = self._owing.modes
        if modes is not None:
            modes.callers.pop(self, None)


class Deadline:
    """The end of one call's patience.

    Args:
        at: in monotonic seconds.
        timeout_s: how long the caller wanted to wait; None when the call around it sets the time.
    """

    __slots__ = ("_timeout_s", "_timer", "at")

    def __init__(self, at: float, timeout_s: float | None = None) -> None:
        self.at = at
        self._timeout_s = timeout_s
        self._timer: Timer | None = None

    def until(self, reply_to: ReplyTo, /) -> float | None:
        """When the time of this call is up."""
        return self.at

    def watch(self, reply_to: ReplyTo, target: Process) -> None:
        """Let the call fail with CallTimeout at the deadline."""
        clock = target.scheduler.runtime.clock
        left_s = max(self.at - clock.now(), 0.0)
        timeout_s = left_s if self._timeout_s is None else self._timeout_s

        def expire() -> None:
            if not reply_to.done():
                reply_to.set_exception(CallTimeout(str(target), timeout_s))

        self._timer = clock.call_later(left_s, expire)

    def forget(self, reply_to: ReplyTo, /) -> None:
        """The call was answered."""
        if self._timer is not None:
            self._timer.cancel()

    def keep(self, reply_to: ReplyTo, target: Process, /) -> None:
        """The answer comes later. A caller from outside counts his time himself, and is gone by the deadline."""
        if isinstance(reply_to, Callback) and self._timer is None:
            self.watch(reply_to, target)
        reply_to.add_done_callback(self.forget)


class Deadlines:
    """The queued calls that wait with the same timeout, oldest first: one timer for all of them.

    Calls of one timeout expire in the order in which they were made, so an insertion-ordered dict is the whole
    priority queue: O(1) to add, O(1) to take out when the reply comes first, which is nearly always.
    """

    __slots__ = ("_armed", "_clock", "_waiting", "timeout_s")

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._clock = clock
        self._waiting: dict[asyncio.Future[object], tuple[float, object]] = {}
        self._armed: Timer | None = None

    @property
    def idle(self) -> bool:
        """Whether no call waits and no timer runs."""
        return not self._waiting and self._armed is None

    def add(self, future: asyncio.Future[object], target: object) -> None:
        """Let `future` fail with CallTimeout when nobody has answered it `timeout_s` seconds from now."""
        self._waiting[future] = (self._clock.now() + self.timeout_s, target)
        if self._armed is None:
            self._armed = self._clock.call_later(self.timeout_s, self._expire)

    def until(self, future: ReplyTo, /) -> float | None:
        """When the time of a call is up; None when it is over."""
        waiting = self._waiting.get(future)  # type: ignore[call-overload]  # only futures are ever inside
        return None if waiting is None else waiting[0]

    def forget(self, future: ReplyTo, /) -> None:
        """The call was answered."""
        self._waiting.pop(future, None)  # type: ignore[call-overload]  # only futures are ever inside

    def keep(self, future: ReplyTo, target: Process, /) -> None:
        """The answer comes later."""
        future.add_done_callback(self.forget)

    def _expire(self) -> None:
        self._armed = None
        now = self._clock.now()
        gone: list[asyncio.Future[object]] = []
        for future, (deadline, target) in self._waiting.items():
            if not future.done():
                if deadline > now + 1e-6:
                    self._armed = self._clock.call_later(deadline - now, self._expire)
                    break
                future.set_exception(CallTimeout(str(target), self.timeout_s))
            gone.append(future)
        for future in gone:
            del self._waiting[future]
