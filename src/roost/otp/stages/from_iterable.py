"""A producer from anything that can be iterated, sync or async, and no faster than it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from typing import Final

from roost.errors import ConfigError
from roost.otp.stages.producer import Producer

Items = Iterable[object] | AsyncIterable[object]

TURN_ITEMS: Final = 100
"""Items of an async iterable that are taken before everybody else gets a turn."""


class FromIterable(Producer[object]):
    """A producer of the items of an iterable; it ends "normal" when all of them are handled.

    ::

        lines = await FromIterable.start_link(open("words.txt"))

    Args of `init`:
        items: an iterable or async iterable, or a function that makes one. Items are taken when they are asked for, so
            it may be endless. Under a supervisor give a function: a restarted producer begins anew with it, while an
            iterator goes on where it was.

    An error of the iterable is a crash of the producer; what was taken before it is delivered.
    """

    def init(self, items: Items | Callable[[], Items]) -> None:
        """Begin to iterate."""
        if not isinstance(items, (Iterable, AsyncIterable)):
            items = items()
        self._iterator: Iterator[object] | None = None
        self._open = 0
        """Items that were asked for and not yet taken from an async iterable."""
        self._demanded = asyncio.Event()
        self._taken: list[object] = []
        if isinstance(items, AsyncIterable):
            self.activity(self._take_all(aiter(items)), "taking items")
        elif isinstance(items, Iterable):
            self._iterator = iter(items)
        else:
            raise ConfigError("items", f"{items!r} cannot be iterated")

    def handle_demand(self, demand: int) -> list[object]:
        """The next items; none yet of an async iterable, which are emitted when they come."""
        if self._iterator is None:
            self._open += demand
            self._demanded.set()
            return []
        items = list(islice(self._iterator, demand))
        if len(items) < demand:
            self.finish()
        return items

    async def _take_all(self, iterator: AsyncIterator[object]) -> None:
        count = 0
        try:
            while True:
                while not self._open:
                    self._demanded.clear()
                    await self._demanded.wait()
                try:
                    item = await anext(iterator)
                except StopAsyncIteration:
                    break
                self._open -= 1
                self._taken.append(item)
                if len(self._taken) == 1:
                    # Items that come without waiting leave together, at the end of the turn.
                    self.scheduler.runtime.clock.call_later(0.0, self._flush)
                count += 1
                if count % TURN_ITEMS == 0 or not self._open:
                    await asyncio.sleep(0)
        finally:
            self._flush()
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
        self.finish()

    def _flush(self) -> None:
        taken, self._taken = self._taken, []
        if taken and self._process.alive:
            self.emit(taken)
