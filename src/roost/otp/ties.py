"""What ties a process to others: links, monitors, and the messages that tell of an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer
    from roost.otp.process import Process
    from roost.otp.timers import Interval, ProcessTimer

Reason = str | BaseException
"""Why a process ended: "normal", "shutdown" (or "shutdown:..."), "killed", another word, or what it raised."""


class Exit(msgspec.Struct, frozen=True):
    """A linked process has ended, told to a process that traps exits."""

    __sendable__: ClassVar[bool] = True

    process: GenServer
    reason: Reason


class Down(msgspec.Struct, frozen=True):
    """A monitored process has ended, or was not there: then the reason is "noproc"."""

    __sendable__: ClassVar[bool] = True

    process: GenServer
    reason: Reason


class Monitor:
    """A one-way watch over a process; it ends with the Down it delivers, or with `cancel`."""

    __slots__ = ("deliver", "target", "watcher")

    def __init__(self, target: Process, watcher: Process | None, deliver: Callable[[Down], None]) -> None:
        self.target, self.watcher, self.deliver = target, watcher, deliver

    def cancel(self) -> None:
        """Stop watching; harmless when the process has ended."""
        self.deliver = _tell_nobody
        if self.target.ties is not None:
            self.target.ties.monitors.pop(self, None)
        if self.watcher is not None and self.watcher.ties is not None:
            self.watcher.ties.monitoring.pop(self, None)


def _tell_nobody(down: Down) -> None:
    """Where the news of a process goes that is just telling its monitors, when this one was cancelled."""


class Ties:
    """What binds a process to others: made with the first of them, as most processes have none.

    Each table is made when it is first looked at. A supervised process that does nothing yet has one, its links.
    """

    __slots__ = ("activities", "links", "monitoring", "monitors", "parent", "timers", "trapping", "waits")

    parent: Process | None
    trapping: bool
    links: dict[Process, None]
    monitors: dict[Monitor, None]
    monitoring: dict[Monitor, None]
    timers: dict[Interval | ProcessTimer, None]
    activities: dict[asyncio.Task[object], str]
    # Any: who waits does not ask of what type the reply is
    waits: dict[asyncio.Future[Any], Process]

    def __init__(self) -> None:
        self.parent = None
        self.trapping = False

    def __getattr__(self, name: str) -> dict[object, object]:
        # Python comes here only for a slot that was never set.
        if name not in Ties.__slots__:
            raise AttributeError(name)
        table: dict[object, object] = {}
        setattr(self, name, table)
        return table
