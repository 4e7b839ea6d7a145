"""Many processes suspended together, although some of them wait for others.

A process that is held answers nobody. So whoever is needed by one that is still busy, because that one waits for its
reply or for the reply of somebody who does, is held later, or is let go again until the busy one has come to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from roost.otp.ending import ORDER
from roost.otp.process import Process, hold

if TYPE_CHECKING:
    from roost.otp.scheduler import Scheduler

LOOK_S: Final = 0.002
"""How often it is looked whether all of them are held."""


class Hold:
    """Some processes of a scheduler, being suspended.

    Args:
        scheduler: of the processes.
        concerns: which ones. It is asked again and again, as new ones may start meanwhile.
    """

    def __init__(self, scheduler: Scheduler, concerns: Callable[[Process], bool]) -> None:
        self._scheduler, self._concerns = scheduler, concerns
        self._held: dict[Process, None] = {}
        self._ordered: dict[Process, asyncio.Future[None]] = {}

    def concerned(self) -> list[Process]:
        """All processes that are to be held, whether they are or not, oldest first."""
        return [process for process in self._scheduler.processes.values() if self._concerns(process)]

    async def take(self, timeout_s: float) -> Process | None:
        """Wait until all of them are suspended. Those that others have suspended stay so, and count.

        Returns: None; or, after `timeout_s` seconds, one that is still busy.
        """
        clock = self._scheduler.runtime.clock
        deadline = clock.now() + timeout_s
        while True:
            busy = [process for process in self.concerned() if not process.suspended]
            if not busy:
                return None
            if clock.now() >= deadline:
                return busy[0]
            needed = _needed(busy)
            ordered = [process for process in busy if process not in needed and process not in self._ordered]
            for process in ordered:
                self._order(process)
            for process in list(self._held):
                if process in needed:
                    self._let_go(process)
            at_once = any(process.task is None for process in ordered)
            await clock.sleep(0 if at_once else LOOK_S)

    def release(self) -> None:
        """Let all of them go on."""
        for future in self._ordered.values():
            future.cancel()
        self._ordered.clear()
        for process in list(self._held):
            self._let_go(process)

    def _order(self, process: Process) -> None:
        """Have it held after the message that it handles now, before the ones that wait."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ordered[process] = future
        future.add_done_callback(lambda done: self._over(process, done))
        process.post_control(ORDER, self._hold, future, first=True)

    def _over(self, process: Process, done: asyncio.Future[None]) -> None:
        self._ordered.pop(process, None)
        if not done.cancelled():
            done.exception()  # it has ended before it could be held

    def _hold(self, process: Process) -> None:
        busy = [other for other in self.concerned() if other is not process and not other.suspended]
        if process not in _needed(busy):
            hold(process)
            self._held[process] = None

    def _let_go(self, process: Process) -> None:
        del self._held[process]
        process.resume()


def _needed(busy: list[Process]) -> dict[Process, None]:
    """Everybody for whom one of these waits, directly or through others."""
    found: dict[Process, None] = {}
    front = list(busy)
    while front:
        process = front.pop()
        if process.ties is None or process.task is None:
            continue
        for future, target in process.ties.waits.items():
            if not future.done() and target not in found:
                found[target] = None
                front.append(target)
    return found
