"""Windows: which events belong together, and when what they add up to is due.

The kinds are those of Elixir's Flow. Here is only the arithmetic, for one partition: which events go into which pane,
when a pane fires, and when it is closed. What a pane adds up to is kept by whoever asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from roost.errors import ConfigError

Kind = Literal["whole", "fixed", "periodic", "count"]
FireKind = Literal["every", "periodic", "done"]
"""Why a pane fires: a number of events, a period of time, or because it is closed."""


@dataclass(frozen=True, slots=True)
class Window:
    """How a stream is cut. Made by `whole`, `fixed`, `periodic` and `count`.

    Attributes:
        kind: which of them.
        size: seconds of a fixed or a periodic window, events of a count window.
        by: the time of an event, in seconds, of a fixed window.
        lateness_s: how long a fixed window waits for events that are late.
        every: fire also after so many events.
        every_s: fire also every so many seconds.
    """

    kind: Kind
    size: float = 0.0
    # Any: each application has its own class of events
    by: Callable[[Any], float] | None = None
    lateness_s: float = 0.0
    every: int | None = None
    every_s: float | None = None

    def __post_init__(self) -> None:
        sizes = {"size": self.size if self.kind != "whole" else 1, "every": self.every, "every_s": self.every_s}
        for setting, value in sizes.items():
            if value is not None and not value > 0:
                raise ConfigError(setting, f"{value} is not positive")
        if self.lateness_s < 0:
            raise ConfigError("lateness_s", f"{self.lateness_s} is negative")

    @classmethod
    def whole(cls, *, every: int | None = None, every_s: float | None = None) -> Window:
        """One window for the whole stream: its events are added up until the end.

        Args:
            every: fire also after each so many events.
            every_s: fire also every so many seconds, when there were events.

        Raises:
            ConfigError: when one of them is not positive.
        """
        return cls("whole", every=every, every_s=every_s)

    # Any: each application has its own class of events
    @classmethod
    def fixed(
        cls,
        size_s: float,
        by: Callable[[Any], float],
        *,
        lateness_s: float = 0.0,
        every: int | None = None,
        every_s: float | None = None,
    ) -> Window:
        """Windows of `size_s` seconds of the events' own time, aligned to its zero.

        A window is closed when an event has come whose time is `lateness_s` seconds after the end of the window, or
        when the stream ends. Events of a closed window are too late: they are left out, and counted.

        Args:
            size_s: seconds.
            by: the time of an event, in seconds.
            lateness_s: how much later than others an event may come, in seconds of event time.
            every: as for `whole`, for each window.
            every_s: as for `whole`.

        Raises:
            ConfigError: when a number makes no sense.
        """
        return cls("fixed", size_s, by, lateness_s, every, every_s)

    @classmethod
    def periodic(cls, size_s: float, *, every: int | None = None) -> Window:
        """A new window every `size_s` seconds of the clock; one without events is left out."""
        return cls("periodic", size_s, every=every)

    @classmethod
    def count(cls, events: int, *, every_s: float | None = None) -> Window:
        """A new window after each `events` events; the last one may be smaller."""
        return cls("count", events, every_s=every_s)

    @property
    def timer_s(self) -> float | None:
        """How often `Panes.tick` wants to be called; None for never."""
        return self.size if self.kind == "periodic" else self.every_s

    @property
    def is_plain(self) -> bool:
        """Whether it only fires once, at the end of the stream."""
        return self.kind == "whole" and self.every is None and self.every_s is None


class Fold(NamedTuple):
    """Effect: add these events to this pane."""

    pane: int
    events: Sequence[object]


class Fire(NamedTuple):
    """Effect: say what this pane adds up to; "done" closes it."""

    pane: int
    kind: FireKind


class Late(NamedTuple):
    """Effect: these events belong to windows that are closed."""

    events: Sequence[object]


WindowEffect = Fold | Fire | Late
WHOLE: Final = 0
"""The number of the only pane of a whole window."""


class Panes:
    """The open windows of one partition. Panes are numbered: a fixed one by its place in time, others one by one."""

    __slots__ = ("_closed", "_counts", "_first_end", "_fresh", "_now", "_window")

    def __init__(self, window: Window) -> None:
        self._window = window
        self._counts: dict[int, int] = {WHOLE: 0} if window.kind == "whole" else {}
        """Events in each open pane since it last fired after `every` of them; of a count window, all of them."""
        self._fresh: dict[int, None] = {}
        """Panes with events that no tick has told of."""
        self._now = 0
        """The pane that takes events, where only one does."""
        self._closed = float("-inf")
        """The greatest event time seen, less the lateness: windows that end before it are closed."""
        self._first_end = float("inf")
        """Where the first of the open fixed windows ends; no open one ends before it."""

    def take(self, events: Sequence[object]) -> Iterator[WindowEffect]:
        """Some events have come, in this order."""
        if self._window.kind == "fixed":
            yield from self._take_by_time(events)
        elif self._window.kind == "count":
            yield from self._take_by_number(events)
        else:
            yield from self._add(self._now, events)

    def tick(self) -> Iterator[WindowEffect]:
        """`Window.timer_s` seconds have passed."""
        if self._window.kind == "periodic":
            if self._now in self._counts:
                yield self._close(self._now)
            self._now += 1
            return
        fresh, self._fresh = self._fresh, {}
        for pane in fresh:
            if pane in self._counts:
                yield Fire(pane, "periodic")

    def end(self) -> Iterator[WindowEffect]:
        """The stream is over."""
        for pane in sorted(self._counts):
            yield self._close(pane)

    def starts_at(self, pane: int) -> float:
        """Where a fixed window begins, in seconds of event time."""
        return pane * self._window.size

    def _add(self, pane: int, events: Sequence[object]) -> Iterator[WindowEffect]:
        """Add to a pane, and fire it after each `every` events."""
        every, counts = self._window.every, self._counts
        if self._window.every_s is not None:
            self._fresh[pane] = None
        if every is None:
            yield Fold(pane, events)
            # Only now: events whose addition has failed are not in the pane.
            counts[pane] = counts.get(pane, 0) + len(events)
            return
        at = 0
        while at < len(events):
            count = counts.get(pane, 0)
            part = events[at : at + every - count]
            at += len(part)
            yield Fold(pane, part)
            counts[pane] = (count + len(part)) % every
            if counts[pane] == 0:
                yield Fire(pane, "every")

    def _take_by_number(self, events: Sequence[object]) -> Iterator[WindowEffect]:
        size = int(self._window.size)
        at = 0
        while at < len(events):
            part = events[at : at + size - self._counts.get(self._now, 0)]
            at += len(part)
            yield from self._add(self._now, part)
            if self._counts[self._now] == size:
                yield self._close(self._now)
                self._now += 1

    def _take_by_time(self, events: Sequence[object]) -> Iterator[WindowEffect]:
        """Add events to their windows, run by run, so that each closes exactly when its time is over."""
        by, size, lateness_s = self._window.by, self._window.size, self._window.lateness_s
        assert by is not None
        run: list[object] = []
        late: list[object] = []
        pane = 0
        for event in events:
            time = by(event)
            its = int(time // size)
            if (its + 1) * size <= time:  # 0.5 // 0.1 is 4.0
                its += 1
            if run and its != pane:
                yield from self._add(pane, run)
                run = []
            pane = its
            end = (its + 1) * size
            if end <= self._closed:
                late.append(event)
                continue
            run.append(event)
            if end < self._first_end:
                self._first_end = end
            if time - lateness_s > self._closed:
                self._closed = time - lateness_s
                if self._closed >= self._first_end:
                    yield from self._add(pane, run)
                    run = []
                    for number in sorted(self._counts):
                        if (number + 1) * size <= self._closed:
                            yield self._close(number)
                    self._first_end = min([(number + 1) * size for number in self._counts], default=float("inf"))
        if run:
            yield from self._add(pane, run)
        if late:
            yield Late(late)

    def _close(self, pane: int) -> Fire:
        del self._counts[pane]
        self._fresh.pop(pane, None)
        return Fire(pane, "done")
