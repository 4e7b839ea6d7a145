"""Whose tasks they are outside of processes: a plain coroutine has a household, and it ends with the coroutine."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Protocol


class Endable(Protocol):
    """A task, as its household knows it."""

    def end(self) -> None:
        """End it."""


class Household:
    """The tasks of a plain coroutine: they are ended when its asyncio task has."""

    __slots__ = ("_head", "_tasks")

    _by_head: ClassVar[dict[asyncio.Task[object], Household]] = {}

    def __init__(self, head: asyncio.Task[object]) -> None:
        self._head = head
        self._tasks: dict[Endable, None] = {}

    @classmethod
    def of_current_task(cls) -> Household | None:
        """That of the running coroutine; None in a callback of the loop, which belongs to nobody."""
        head = asyncio.current_task()
        if head is None:
            return None
        found = cls._by_head.get(head)
        if found is None:
            found = cls._by_head[head] = cls(head)
            head.add_done_callback(found._head_done)
        return found

    def add(self, task: Endable) -> None:
        """It belongs to this coroutine."""
        self._tasks[task] = None

    def remove(self, task: Endable) -> None:
        """It belongs to nobody, or is no more."""
        self._tasks.pop(task, None)

    def _head_done(self, head: asyncio.Task[object]) -> None:
        del self._by_head[head]
        for task in [*self._tasks]:
            task.end()
