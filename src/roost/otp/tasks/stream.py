"""A stream of outcomes: one task for each item, a bounded number of them at a time.

After Elixir's Task.async_stream. Items are taken only when there is room for their tasks, and only while somebody asks
for the next outcome, so the source may be endless. Whoever leaves early leaves nothing behind: the tasks end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, Literal, Self, TypeVar
from typing import cast as typed

from roost.errors import CallTimeout, ConfigError
from roost.otp.crash import report_bug
from roost.otp.scheduler import Scheduler
from roost.otp.tasks.process import Exited, Ok
from roost.otp.tasks.wait import settled
from roost.runtime.clock import Clock, Timer

if TYPE_CHECKING:
    from roost.otp.tasks.task import Task

T = TypeVar("T")
R = TypeVar("R")

OnTimeout = Literal["exit", "kill_task"]
"""What happens when a task takes too long: the stream ends with CallTimeout, or only that task ends."""

_NOTHING: Final = object()


class TaskStream(Generic[T, R]):
    """The outcomes of one task for each item; `async for` it, or `async with` and then `async for`.

    Args:
        start: starts the task for an item.
        items: the source, sync or async.
        max_concurrency: tasks that run at the same time; as many as the node has workers when None. With
            `ordered` as many results again may wait for an earlier one.
        ordered: whether outcomes come in the order of the items, or as the tasks end.
        timeout_s: seconds for each task; None lets it run.
        on_timeout: "exit" ends the stream with CallTimeout, "kill_task" yields Exited("timeout").

    Raises:
        ConfigError: when a setting makes no sense.
    """

    _closed = True  # for `__del__`, when there was nothing to begin with

    def __init__(
        self,
        start: Callable[[T], Task[R]],
        items: Iterable[T] | AsyncIterable[T],
        max_concurrency: int | None,
        ordered: bool,
        timeout_s: float | None,
        on_timeout: OnTimeout,
    ) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            raise ConfigError("max_concurrency", f"{max_concurrency} is less than 1")
        if on_timeout not in ("exit", "kill_task"):
            raise ConfigError("on_timeout", f"{on_timeout!r} is neither 'exit' nor 'kill_task'")
        scheduler = Scheduler.current()
        self._start, self._ordered, self._on_timeout = start, ordered, on_timeout
        self._room = max_concurrency or scheduler.runtime.cpu.workers
        self._timeout_s, self._clock = timeout_s, scheduler.runtime.clock
        self._bell: _Bell[T, R] = _Bell(keeps_ended=not ordered)
        self._source: _Feed[T, R] | _Shelf[T] = (
            _Feed(items, self._bell) if isinstance(items, AsyncIterable) else _Shelf(items)
        )
        # Every item that was taken and whose outcome was not yet given away, in their order.
        self._entries: dict[_Entry[T, R], None] = {}
        self._closed = self._advancing = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Ok[R] | Exited:
        """The next outcome. Exited has the item as its `input`.

        Raises:
            CallTimeout: a task took too long, and `on_timeout` is "exit"; all tasks have ended.
            Exception: what the source raises; all tasks have ended.
            RuntimeError: somebody waits for an outcome already.
        """
        if self._advancing:
            raise RuntimeError("somebody waits for the next outcome of this stream already")
        self._advancing = True
        try:
            while not self._closed:
                await self._fill()
                outcome = self._take()
                if outcome is not None:
                    return outcome
                if not self._entries and self._source.is_over:
                    break
                await self._bell.wait()
        except BaseException:
            await self.aclose()
            raise
        finally:
            self._advancing = False
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End all tasks and let go of the source; on return they have ended. Harmless when it is closed."""
        self._stop()
        entries, self._entries = self._entries, {}
        self._bell.ring()
        try:
            await self._source.close()
            await settled([entry.task for entry in entries], None)
        except BaseException:
            for entry in entries:
                entry.task.process.exit("kill")
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A loop that is left by `break` or an exception drops the stream without a word.
        if not self._closed:
            self._stop()

    def _stop(self) -> None:
        self._closed = True
        self._source.stop()
        for entry in self._entries:
            entry.disarm()
            entry.task.end()

    async def _fill(self) -> None:
        """Start tasks while there is room and an item."""
        while self._has_room():
            item = await self._source.take()
            if item is _NOTHING:
                return
            taken = typed("T", item)
            entry = _Entry(self._start(taken), taken, self._bell)
            self._entries[entry] = None
            if self._timeout_s is not None:
                entry.arm(self._clock, self._timeout_s)

    def _has_room(self) -> bool:
        taken = len(self._entries)
        if taken < self._room:
            return True
        if not self._ordered or taken >= 2 * self._room:
            return False
        # Results that wait for the first one take no room, up to a bound.
        first = next(iter(self._entries))
        return not first.task.done() and self._bell.running < self._room

    def _take(self) -> Ok[R] | Exited | None:
        """Give away an outcome, if there is one."""
        if self._bell.late is not None and self._on_timeout == "exit":
            raise CallTimeout(str(self._bell.late), self._timeout_s or 0.0)
        if self._bell.ended is not None:
            entry = self._bell.ended.popleft() if self._bell.ended else None
        else:
            first = next(iter(self._entries), None)
            entry = first if first is not None and first.task.done() else None
        if entry is None:
            return None
        del self._entries[entry]
        return entry.outcome()


class _Bell(Generic[T, R]):
    """Wakes whoever waits for the next outcome, and knows which tasks have ended.

    It knows no stream, and tasks know nothing else, so a stream that is dropped is gone at once.
    """

    __slots__ = ("_future", "_rung", "ended", "late", "running")

    def __init__(self, keeps_ended: bool) -> None:
        self.ended: deque[_Entry[T, R]] | None = deque() if keeps_ended else None
        self.late: Task[R] | None = None
        self.running = 0
        self._future: asyncio.Future[None] | None = None
        self._rung = False

    def ring(self) -> None:
        self._rung = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        """Until it rings, or at once when it has since the last time."""
        if not self._rung:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            finally:
                self._future = None
        self._rung = False


class _Entry(Generic[T, R]):
    """One item and its task."""

    __slots__ = ("_bell", "_is_late", "_timer", "item", "task")

    def __init__(self, task: Task[R], item: T, bell: _Bell[T, R]) -> None:
        self.task, self.item, self._bell = task, item, bell
        self._is_late = False
        self._timer: Timer | None = None
        bell.running += 1
        task.on_end(self._ended)

    def arm(self, clock: Clock, timeout_s: float) -> None:
        self._timer = clock.call_later(timeout_s, self._expire)

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        self._is_late = True
        self._bell.late = self.task
        self._bell.ring()
        self.task.end()

    def _ended(self) -> None:
        self.disarm()
        self._bell.running -= 1
        if self._bell.ended is not None:
            self._bell.ended.append(self)
        self._bell.ring()

    def outcome(self) -> Ok[R] | Exited:
        outcome = self.task.ended_with()
        if isinstance(outcome, Ok):
            return outcome
        return Exited("timeout" if self._is_late else outcome.reason, self.item)


class _Shelf(Generic[T]):
    """A source that has its items at hand."""

    __slots__ = ("_items", "is_over")

    def __init__(self, items: Iterable[T]) -> None:
        self._items: Iterator[T] = iter(items)
        self.is_over = False

    async def take(self) -> T | object:
        for item in self._items:
            return item
        self.is_over = True
        return _NOTHING

    def stop(self) -> None:
        self.is_over = True

    async def close(self) -> None:
        self.is_over = True


class _Feed(Generic[T, R]):
    """A source that has to be waited for. One asyncio task takes all its items, one whenever it is asked."""

    __slots__ = ("_asked", "_bell", "_error", "_items", "_taken", "_task", "is_over")

    def __init__(self, items: AsyncIterable[T], bell: _Bell[T, R]) -> None:
        self._items, self._bell = items, bell
        self._asked: asyncio.Future[None] | None = None
        self._taken: list[T] = []
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self.is_over = False

    async def take(self) -> T | object:
        """An item, if one has come; else one is asked for, and the bell rings when it is here."""
        if self._taken:
            return self._taken.pop()
        if self._error is not None:
            raise self._error
        if self._task is None and not self.is_over:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="the source of a task stream")
        elif self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
        return _NOTHING

    async def _run(self) -> None:
        items: AsyncIterator[T] = aiter(self._items)
        try:
            try:
                async for item in items:
                    self._taken.append(item)
                    self._asked = asyncio.get_running_loop().create_future()
                    self._bell.ring()
                    await self._asked
            finally:
                if isinstance(items, AsyncGenerator):
                    await items.aclose()
        except Exception as error:
            if self.is_over:
                report_bug("the source of a task stream, when it was closed,", error)
            else:
                self._error = error
        else:
            self.is_over = True
        self._bell.ring()

    def stop(self) -> None:
        self.is_over = True
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        self.stop()
        if self._task is not None:
            await asyncio.wait([self._task])
