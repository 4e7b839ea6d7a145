"""Folds: what a flow adds elements up to, per window and partition, and what it says of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import Any, NamedTuple, Protocol
from typing import cast as typed

from roost.core.window import WHOLE, Fire, FireKind, Fold, Panes, Window, WindowEffect
from roost.jobs.flow_line import End, Meter, failure, name_of
from roost.otp.isolation import hand_over

_log = logging.getLogger("roost.flow")


class Trigger(NamedTuple):
    """Why a fold is asked for what it adds up to.

    Attributes:
        kind: "done" when the window is closed, "every" after a number of elements, "periodic" after some time.
        window: the number of the window; windows of a whole stream have number 0.
        starts_at: where a fixed window begins, in seconds of event time; None of other windows.
        partition: the number of the partition.
    """

    kind: FireKind
    window: int
    starts_at: float | None
    partition: int


# Any: the accumulators and events of each fold have their own types
OnTrigger = Callable[[Any, Trigger], tuple[Iterable[Any], Any]]
"""Takes what was added up; returns the elements to send on, and what to go on with (after "done" nothing does)."""


class Folder(Protocol):
    """How elements are added up."""

    @property
    def name(self) -> str:
        """As the program says it."""

    @property
    def functions(self) -> tuple[Callable[..., object], ...]:
        """What it calls."""

    def initial(self) -> object:
        """The sum of nothing."""

    def fold(self, sum: object, stream: Iterable[object]) -> object:
        """Add all elements, and return the new sum."""

    @property
    def combines(self) -> bool:
        """Whether partial sums can be added."""

    def combine(self, sum: object, part: object) -> object:
        """Add a partial sum, made by `fold` from `initial`, and return the new sum."""

    def emit(self, sum: object, trigger: Trigger) -> tuple[Iterable[object], object]:
        """What to send on when nothing else is said, and what to go on with."""


@dataclass(frozen=True, slots=True)
class Reducing:
    """`reduce`: a function adds one element to the sum."""

    make: Callable[[], object]
    # Any: the application's own types
    function: Callable[[Any, Any], object]
    combiner: Callable[[Any, Any], object] | None = None

    @property
    def name(self) -> str:
        """As the program says it."""
        return f"reduce({name_of(self.function)})"

    @property
    def functions(self) -> tuple[Callable[..., object], ...]:
        """What it calls."""
        return (self.make, self.function) if self.combiner is None else (self.make, self.function, self.combiner)

    @property
    def combines(self) -> bool:
        """Whether there is a combiner."""
        return self.combiner is not None

    def initial(self) -> object:
        """The sum of nothing."""
        return self.make()

    def fold(self, sum: object, stream: Iterable[object]) -> object:
        """Add all elements."""
        return reduce(self.function, stream, sum)

    def combine(self, sum: object, part: object) -> object:
        """Add a partial sum."""
        assert self.combiner is not None
        return self.combiner(sum, part)

    def emit(self, sum: object, trigger: Trigger) -> tuple[Iterable[object], object]:
        """The sum, as one element; a copy when it grows on."""
        return (sum if trigger.kind == "done" else hand_over(sum),), sum


@dataclass(frozen=True, slots=True)
class Counting:
    """`count_by`: how often each key comes."""

    # Any: the application's own types
    key: Callable[[Any], Hashable] | None

    @property
    def name(self) -> str:
        """As the program says it."""
        return f"count_by({'' if self.key is None else name_of(self.key)})"

    @property
    def functions(self) -> tuple[Callable[..., object], ...]:
        """What it calls."""
        return (hash,) if self.key is None else (self.key,)

    @property
    def combines(self) -> bool:
        """Counts can be added."""
        return True

    def initial(self) -> object:
        """No counts."""
        return Counter[object]()

    def fold(self, sum: object, stream: Iterable[object]) -> object:
        """Count all elements, in C."""
        counts = typed("Counter[object]", sum)
        if self.key is None:
            counts.update(stream)
        else:
            end = End()
            counts.update(map(self.key, chain(stream, end)))
            end.check()
        return counts

    def combine(self, sum: object, part: object) -> object:
        """Add counts."""
        counts, more = typed("Counter[object]", sum), typed("dict[object, int]", part)
        counts.update(more)
        return counts

    def emit(self, sum: object, trigger: Trigger) -> tuple[Iterable[object], object]:
        """Pairs of key and count."""
        return list(typed("Counter[object]", sum).items()), sum


@dataclass(frozen=True, slots=True)
class Grouping:
    """`group_by`: the elements of each key."""

    # Any: the application's own types
    key: Callable[[Any], Hashable]
    value: Callable[[Any], object] | None

    @property
    def name(self) -> str:
        """As the program says it."""
        return f"group_by({name_of(self.key)})"

    @property
    def functions(self) -> tuple[Callable[..., object], ...]:
        """What it calls."""
        return (self.key,) if self.value is None else (self.key, self.value)

    @property
    def combines(self) -> bool:
        """Groups can be added."""
        return True

    def initial(self) -> object:
        """No groups."""
        return dict[object, list[object]]()

    def fold(self, sum: object, stream: Iterable[object]) -> object:
        """Put each element to its group."""
        groups, key, value = typed("dict[object, list[object]]", sum), self.key, self.value
        for item in stream:
            mine = item if value is None else value(item)
            group = groups.get(its := key(item))
            if group is None:
                groups[its] = [mine]
            else:
                group.append(mine)
        return groups

    def combine(self, sum: object, part: object) -> object:
        """Add groups."""
        groups = typed("dict[object, list[object]]", sum)
        for key, items in typed("dict[object, list[object]]", part).items():
            groups.setdefault(key, []).extend(items)
        return groups

    def emit(self, sum: object, trigger: Trigger) -> tuple[Iterable[object], object]:
        """Pairs of key and list."""
        return [(key, list(items)) for key, items in typed("dict[object, list[object]]", sum).items()], sum


class FoldNode:
    """A fold at work in one partition.

    Args:
        folder: how to add.
        window: what belongs together.
        on_trigger: what to send on; the folder's own way when None.
        partition: the number of the partition.
        parts: whether what comes are partial sums.
        meter: of the run.
    """

    def __init__(
        self,
        folder: Folder,
        window: Window,
        on_trigger: OnTrigger | None,
        partition: int,
        parts: bool,
        meter: Meter,
    ) -> None:
        self.name, self.functions = folder.name, folder.functions
        if window.by is not None:
            self.functions = (*self.functions, window.by)
        self._folder, self._window, self._partition, self._parts, self._meter = folder, window, partition, parts, meter
        self._on_trigger: OnTrigger = on_trigger or folder.emit
        if on_trigger is not None:
            self.functions = (*self.functions, on_trigger)
        self._panes = Panes(window)
        self._plain = window.is_plain
        self._sums: dict[int, object] = {WHOLE: folder.initial()} if window.kind == "whole" else {}

    @property
    def period_s(self) -> float | None:
        """How often it wants a `tick`."""
        return self._window.timer_s

    def take(self, stream: Iterable[object]) -> list[object]:
        """Add elements. Returns what is to be sent on."""
        if self._parts:
            for part in stream:
                self._sums[WHOLE] = self._folder.combine(self._sums[WHOLE], part)
            return []
        if self._plain:
            self._sums[WHOLE] = self._folder.fold(self._sums[WHOLE], stream)
            return []
        return self._perform(self._panes.take(list(stream)))

    def tick(self) -> list[object]:
        """A period is over.

        Raises:
            FlowFailed: when the function that says what to send on raised.
        """
        return self._careful(self._panes.tick())

    def end(self) -> list[object]:
        """The stream is over. Raises as `tick`."""
        return self._careful(self._panes.end())

    def _careful(self, effects: Iterator[WindowEffect]) -> list[object]:
        try:
            return self._perform(effects)
        except Exception as error:
            raise failure(error, "a window that is due", [(self.name, self.functions)]) from error

    def _perform(self, effects: Iterator[WindowEffect]) -> list[object]:
        made: list[object] = []
        for effect in effects:
            if isinstance(effect, Fold):
                sum = self._sums[effect.pane] if effect.pane in self._sums else self._folder.initial()
                self._sums[effect.pane] = self._folder.fold(sum, effect.events)
            elif isinstance(effect, Fire):
                made += self._fire(effect)
            else:
                if not self._meter.late:
                    _log.warning("%s: elements come after their window is closed; they are left out", self.name)
                self._meter.late += len(effect.events)
        return made

    def _fire(self, fire: Fire) -> Iterable[object]:
        starts_at = self._panes.starts_at(fire.pane) if self._window.kind == "fixed" else None
        trigger = Trigger(fire.kind, fire.pane, starts_at, self._partition)
        is_done = fire.kind == "done"
        # A sum that grows on is there afterwards in any case, for a flow that skips what fails.
        events, sum = self._on_trigger(self._sums.pop(fire.pane) if is_done else self._sums[fire.pane], trigger)
        if not is_done:
            self._sums[fire.pane] = sum
        return events
