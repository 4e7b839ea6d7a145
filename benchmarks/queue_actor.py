"""The reference for local processes: an actor on an asyncio.Queue, as one writes it when one writes it well."""

from __future__ import annotations

import asyncio


class QueueActor:
    """A counter that one task owns; requests reach it through a queue, replies come back through futures."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[asyncio.Future[int] | None, int]] = asyncio.Queue()
        self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        count, get = 0, self._queue.get
        while True:
            reply, by = await get()
            count += by
            if reply is not None and not reply.done():
                reply.set_result(count)

    def increment(self, by: int) -> asyncio.Future[int]:
        """Add to the counter; the future holds its new value."""
        reply = self._loop.create_future()
        self._queue.put_nowait((reply, by))
        return reply

    def add(self, by: int) -> None:
        """Add to the counter, and do not wait."""
        self._queue.put_nowait((None, by))

    async def stop(self) -> None:
        """End the task."""
        self._task.cancel()
        await asyncio.wait([self._task])
