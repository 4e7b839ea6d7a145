"""Who gets which event: the three dispatchers of a producer.

The rules are GenStage's. `DemandDispatcher` gives each event to one consumer, the one that has asked for most;
`BroadcastDispatcher` gives each event to all, no faster than the slowest; `PartitionDispatcher` gives each event to
the consumer of its partition. Where GenStage's partition queues can grow without end, these are bounded: no event is
taken while as many wait in the queues as all consumers together still ask for.

Events travel in lots. A lot that comes back, because its consumer has crashed, keeps its place: the dispatcher says
who may have it next.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import inf
from typing import NamedTuple, Protocol

from roost.errors import ConfigError
from roost.limits import STAGE_ABSENT_MAX

Ref = tuple[int, int]
"""One subscription: the pid of the consumer, and its number there."""


class Lot(NamedTuple):
    """Events with one past.

    `crashes` is how many consumers have crashed while they handled them, `again` whether some consumer may have
    handled them before, and `origin` the input that they were made from, if any.
    """

    events: list[object]
    crashes: int = 0
    again: bool = False
    origin: int | None = None

    def split(self, count: int) -> tuple[Lot, Lot | None]:
        """The first `count` events, and the rest when there is one."""
        if count >= len(self.events):
            return self, None
        return self._replace(events=self.events[:count]), self._replace(events=self.events[count:])


@dataclass(frozen=True, slots=True)
class Place:
    """What a dispatcher may know of a subscription.

    Attributes:
        max_demand: the most events that are on their way at a time.
        partition: which partition it wants.
        selector: which events of a broadcast it wants; None wants all.
        key: under which name it comes back after a crash.
    """

    max_demand: int
    partition: Hashable = None
    selector: Callable[[object], bool] | None = None
    key: str | None = None


class Misrouted(NamedTuple):
    """An event that the application's function could not place, and why."""

    event: object
    why: str


class Dispatched(NamedTuple):
    """What became of one lot: `sent` to whom, how many events wait in queues, discarded, and not to be placed."""

    sent: list[tuple[Ref, Lot]]
    queued: int = 0
    discarded: int = 0
    misrouted: Sequence[Misrouted] = ()


class Dispatcher(Protocol):
    """What a producer asks of its dispatcher."""

    def subscribe(self, ref: Ref, place: Place) -> str | None:
        """Add a consumer, which has asked for nothing yet. Returns a warning, or None.

        Raises:
            ConfigError: when it cannot have this place.
        """

    def ask(self, ref: Ref, count: int) -> list[tuple[Ref, Lot]]:
        """The consumer wants `count` more events. Returns what has waited for it."""

    def room(self) -> int:
        """How many events can be dispatched now."""

    def dispatch(self, lot: Lot) -> Dispatched:
        """Give the events to consumers. There must be room for all of them."""

    def give_back(self, ref: Ref, lots: Sequence[Lot]) -> list[Lot]:
        """These were sent to `ref` and come back. Returns those that anybody may have, in order."""

    def cancel(self, ref: Ref, *, left: bool) -> list[Lot]:
        """Forget a consumer, which has `left` on purpose, or else has ended. Returns what now nobody can have."""

    def waiting(self) -> list[Lot]:
        """What waits inside for a certain consumer."""

    def give_up(self) -> list[Lot]:
        """Forget, and return, what waits for consumers that are away and for whom nobody can stand in."""


class DemandDispatcher:
    """Each event to one consumer: the one that has asked for most; among equals, who has waited longest."""

    __slots__ = ("_line", "_max_demand", "_total")

    def __init__(self) -> None:
        self._line: list[tuple[int, Ref]] = []
        self._total = 0
        self._max_demand: int | None = None

    def subscribe(self, ref: Ref, place: Place) -> str | None:
        """Add a consumer."""
        self._join(0, ref)
        if self._max_demand is None:
            self._max_demand = place.max_demand
        if place.max_demand == self._max_demand:
            return None
        return (
            f"max_demand={place.max_demand} beside max_demand={self._max_demand}: "
            "the consumer that asks for more gets more than its share"
        )

    def ask(self, ref: Ref, count: int) -> list[tuple[Ref, Lot]]:
        """The consumer wants `count` more events."""
        self._total += count
        self._join(self._quit(ref) + count, ref)
        return []

    def room(self) -> int:
        """What all consumers together ask for."""
        return self._total

    def dispatch(self, lot: Lot) -> Dispatched:
        """The first in line gets as much as it has asked for, then the next."""
        sent: list[tuple[Ref, Lot]] = []
        rest: Lot | None = lot
        while rest is not None:
            asked, ref = self._line.pop(0)
            head, rest = rest.split(asked)
            self._total -= len(head.events)
            self._join(asked - len(head.events), ref)
            sent.append((ref, head))
        return Dispatched(sent)

    def give_back(self, ref: Ref, lots: Sequence[Lot]) -> list[Lot]:
        """Anybody may have them."""
        return list(lots)

    def cancel(self, ref: Ref, *, left: bool) -> list[Lot]:
        """Forget a consumer and what it asked for."""
        self._total -= self._quit(ref)
        return []

    def waiting(self) -> list[Lot]:
        """Nothing: whatever waits is for anybody."""
        return []

    def give_up(self) -> list[Lot]:
        """Nothing."""
        return []

    def _join(self, asked: int, ref: Ref) -> None:
        at = len(self._line)
        while at and self._line[at - 1][0] < asked:
            at -= 1
        self._line.insert(at, (asked, ref))

    def _quit(self, ref: Ref) -> int:
        for at, (asked, other) in enumerate(self._line):
            if other == ref:
                del self._line[at]
                return asked
        return 0


class _Listener:
    """One consumer of a broadcast; what it gets again comes before what is new."""

    __slots__ = ("again", "asked", "place")

    def __init__(self, place: Place, again: deque[Lot]) -> None:
        self.place, self.again, self.asked = place, again, 0


class BroadcastDispatcher:
    """Each event to every consumer, no faster than the slowest of them.

    A consumer with a selector gets, and pays demand for, only what it selects. The events on their way to a consumer
    that has crashed are nobody else's: they wait for it to come back under its name, and are given up when it has
    none, or when STAGE_ABSENT_MAX others have gone missing after it.
    """

    __slots__ = ("_absent", "_listeners")

    def __init__(self) -> None:
        self._listeners: dict[Ref, _Listener] = {}
        self._absent: dict[str, deque[Lot]] = {}

    def subscribe(self, ref: Ref, place: Place) -> str | None:
        """Add a consumer; what waits for its name is sent to it first.

        Raises:
            ConfigError: when this process is a consumer of it already.
        """
        if any(pid == ref[0] for pid, _ in self._listeners):
            raise ConfigError("subscribe", "this consumer is subscribed to this broadcast already")
        again = self._absent.pop(place.key, None) if place.key is not None else None
        self._listeners[ref] = _Listener(place, again or deque())
        return None

    def ask(self, ref: Ref, count: int) -> list[tuple[Ref, Lot]]:
        """The consumer wants `count` more events. Returns what it gets again."""
        listener = self._listeners[ref]
        listener.asked += count
        sent = [(ref, lot) for lot in _take(listener.again, listener.asked)]
        listener.asked -= _size(lot for _, lot in sent)
        return sent

    def room(self) -> int:
        """What the slowest asks for."""
        return min((listener.asked for listener in self._listeners.values()), default=0)

    def dispatch(self, lot: Lot) -> Dispatched:
        """Each consumer gets all that it selects."""
        sent: list[tuple[Ref, Lot]] = []
        misrouted: list[Misrouted] = []
        for ref, listener in self._listeners.items():
            selector = listener.place.selector
            mine = lot if selector is None else lot._replace(events=_select(selector, lot.events, misrouted))
            if mine.events:
                listener.asked -= len(mine.events)
                sent.append((ref, mine))
        return Dispatched(sent, misrouted=misrouted)

    def give_back(self, ref: Ref, lots: Sequence[Lot]) -> list[Lot]:
        """They wait for the same consumer."""
        self._listeners[ref].again.extendleft(reversed(lots))
        return []

    def cancel(self, ref: Ref, *, left: bool) -> list[Lot]:
        """Forget a consumer. What it has not handled waits for its name."""
        listener = self._listeners.pop(ref)
        key = listener.place.key
        if left or key is None or not listener.again:
            return list(listener.again)
        self._absent[key] = listener.again
        return list(self._absent.pop(next(iter(self._absent)))) if len(self._absent) > STAGE_ABSENT_MAX else []

    def waiting(self) -> list[Lot]:
        """What consumers that have crashed will get again."""
        queues = [*(listener.again for listener in self._listeners.values()), *self._absent.values()]
        return [lot for queue in queues for lot in queue]

    def give_up(self) -> list[Lot]:
        """What waits for those who have not come back."""
        absent, self._absent = self._absent, {}
        return [lot for queue in absent.values() for lot in queue]


class _Partition:
    """One partition: who has it, what that one asks for, and what waits while it asks for nothing."""

    __slots__ = ("asked", "queue", "ref")

    def __init__(self) -> None:
        self.ref: Ref | None = None
        self.asked = 0
        self.queue: deque[Lot] = deque()


class PartitionDispatcher:
    """Each event to the consumer of its partition, in order.

    Args:
        partitions: how many, numbered from 0; or their names.
        hash: the partition of an event, or None to discard it. When not given, a hash of the event itself that is
            the same in every run. An event for which it raises, or names no partition, is reported as undelivered.

    Raises:
        ConfigError: when there is no partition.
    """

    __slots__ = ("_asked", "_hash", "_partitions", "_queued", "_refs")

    # Any: each application has its own class of events.
    def __init__(self, partitions: int | Sequence[Hashable], hash: Callable[..., Hashable] | None = None) -> None:
        names = range(partitions) if isinstance(partitions, int) else partitions
        self._partitions: dict[Hashable, _Partition] = {name: _Partition() for name in names}
        if not self._partitions:
            raise ConfigError("partitions", "there must be at least one")
        self._hash = hash or spread(list(self._partitions))
        self._refs: dict[Ref, _Partition] = {}
        self._asked = 0
        self._queued = 0

    def subscribe(self, ref: Ref, place: Place) -> str | None:
        """Give a partition to a consumer.

        Raises:
            ConfigError: when there is no such partition, or when another consumer has it.
        """
        if place.partition not in self._partitions:
            names = ", ".join(map(repr, self._partitions))
            raise ConfigError("partition", f"{place.partition!r} is not one of {names}")
        partition = self._partitions[place.partition]
        if partition.ref is not None:
            raise ConfigError("partition", f"{place.partition!r} has a consumer already")
        partition.ref = ref
        self._refs[ref] = partition
        return None

    def ask(self, ref: Ref, count: int) -> list[tuple[Ref, Lot]]:
        """The consumer wants `count` more events. Returns what has waited in its queue."""
        partition = self._refs[ref]
        partition.asked += count
        sent = [(ref, lot) for lot in _take(partition.queue, partition.asked)]
        size = _size(lot for _, lot in sent)
        partition.asked -= size
        self._queued -= size
        self._asked += count - size
        return sent

    def room(self) -> int:
        """What all together ask for, less what waits in queues."""
        return max(0, self._asked - self._queued)

    def dispatch(self, lot: Lot) -> Dispatched:
        """Sort the events by partition; what its consumer has not asked for waits in its queue."""
        by_name: dict[Hashable, list[object]] = {}
        misrouted: list[Misrouted] = []
        for event in lot.events:
            try:
                by_name.setdefault(self._hash(event), []).append(event)
            except Exception as error:
                misrouted.append(Misrouted(event, f"{type(error).__name__}: {error}"))
        discarded = len(by_name.pop(None, ())) if None not in self._partitions else 0
        sent: list[tuple[Ref, Lot]] = []
        queued = 0
        for name, events in by_name.items():
            partition = self._partitions.get(name)
            if partition is None:
                misrouted += [Misrouted(event, f"there is no partition {name!r}") for event in events]
                continue
            rest: Lot | None = lot._replace(events=events)
            if partition.asked and partition.ref is not None:
                head, rest = lot._replace(events=events).split(partition.asked)
                partition.asked -= len(head.events)
                self._asked -= len(head.events)
                sent.append((partition.ref, head))
            if rest is not None:
                partition.queue.append(rest)
                queued += len(rest.events)
        self._queued += queued
        return Dispatched(sent, queued, discarded, misrouted)

    def give_back(self, ref: Ref, lots: Sequence[Lot]) -> list[Lot]:
        """They wait for the consumer of the same partition, before everything else."""
        self._refs[ref].queue.extendleft(reversed(lots))
        self._queued += _size(lots)
        return []

    def cancel(self, ref: Ref, *, left: bool) -> list[Lot]:
        """Take the partition from a consumer; its queue waits for the next one."""
        partition = self._refs.pop(ref)
        self._asked -= partition.asked
        partition.ref, partition.asked = None, 0
        return []

    def waiting(self) -> list[Lot]:
        """What waits in the queues."""
        return [lot for partition in self._partitions.values() for lot in partition.queue]

    def give_up(self) -> list[Lot]:
        """Nothing: whoever takes the partition gets it."""
        return []


def spread(partitions: Sequence[Hashable]) -> Callable[[object], Hashable]:
    """A function that gives each value one of the partitions, evenly, and the same one in every run.

    Equal numbers, texts, tuples and frozensets get the same one, whatever their types are. What a class of an
    application prints as (its `repr`) must be equal when it is. Python's own hash of text differs from run to run.
    """
    count = len(partitions)

    def partition(value: object) -> Hashable:
        if type(value) is not int and type(value) is not str:
            value = _plain(value)
        if isinstance(value, int):
            return partitions[value % count]
        text = value if isinstance(value, str) else repr(value)
        return partitions[zlib.crc32(text.encode("utf-8", "surrogatepass")) % count]

    return partition


def _plain(value: object) -> object:
    """The same for all that are equal: an int for numbers that are whole, str for text, and so on inside of tuples."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, tuple):
        return tuple([_plain(part) for part in value])
    if isinstance(value, frozenset):
        return sorted([repr(_plain(part)) for part in value])
    if isinstance(value, complex) and not value.imag:
        value = value.real
    if isinstance(value, (int, float, Decimal, Fraction)):
        if value != value:
            return 0  # what is not a number is not even equal to itself
        # The hash of a number, unlike that of text, is the same in every run, and for equal numbers.
        return hash(value) if value in (inf, -inf) or value != int(value) else int(value)
    return value


def _select(selector: Callable[[object], bool], events: list[object], misrouted: list[Misrouted]) -> list[object]:
    selected: list[object] = []
    for event in events:
        try:
            if selector(event):
                selected.append(event)
        except Exception as error:
            misrouted.append(Misrouted(event, f"{type(error).__name__}: {error}"))
    return selected


def _take(queue: deque[Lot], count: int) -> list[Lot]:
    """Up to `count` events from the front of a queue."""
    taken: list[Lot] = []
    while queue and count > 0:
        head, rest = queue.popleft().split(count)
        count -= len(head.events)
        taken.append(head)
        if rest is not None:
            queue.appendleft(rest)
    return taken


def _size(lots: Iterable[Lot]) -> int:
    return sum(len(lot.events) for lot in lots)
