"""How an answer gets back to the one who asked."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Protocol

from roost.errors import CallTimeout, ProcessDown
from roost.otp.crash import report_bug

if TYPE_CHECKING:
    import asyncio

    from roost.runtime.clock import Clock, Timer


class Reply:
    """An answer that is already here: awaiting it does not give up the turn."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[object, None, object]:
        return self.value
        yield  # type: ignore[unreachable]  # a generator that ends before it begins


class Failed:
    """An error that is already here; it is raised where it is awaited."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __await__(self) -> Generator[object, None, object]:
        raise self.error
        yield  # type: ignore[unreachable]  # a generator that ends before it begins


class ReplyTo(Protocol):
    """Who waits for the answer of a queued call; an asyncio.Future is one."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: object, /) -> None:
        """Hand over the reply."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Hand over the error."""


class Callback:
    """A caller that is a function: the network side of a remote call."""

    __slots__ = ("_on_reply",)

    def __init__(self, on_reply: Callable[[object, Exception | None], None]) -> None:
        self._on_reply: Callable[[object, Exception | None], None] | None = on_reply

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

    def forget(self, future: ReplyTo) -> None:
        """The call was answered."""
        self._waiting.pop(future, None)  # type: ignore[call-overload]  # only futures are ever inside

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
