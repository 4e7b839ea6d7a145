"""What one node knows of the presences of one boot of one node, in one shard."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import NamedTuple

from roost.core.presence.fragment import Fragment
from roost.core.presence.presence import Origin, Presence
from roost.core.presence.spans import END, Spans, beyond, clock_of, covers, joined, top_of
from roost.limits import PRESENCE_GAPS_MAX, PRESENCE_REMOVALS_KEPT


class Change(NamedTuple):
    """What a merge has changed: who has come, and who has gone."""

    came: list[Presence]
    gone: list[Presence]


class Replica:
    """Events seen, and the presences that are left of them.

    Invariants: a presence is there only if its event was seen. Whoever has seen a removal has not got what it removes,
    and has seen its dot, so that it can not come back. `rows` are in the order of their dots.

    Attributes:
        seen: the events: contiguous ones up to a clock, and a cloud of others.
        rows: who is there, by dot.
    """

    __slots__ = ("_floor", "_removals", "origin", "rows", "seen")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.seen: Spans = ()
        self.rows: dict[int, Presence] = {}
        self._removals: deque[tuple[int, int]] = deque()
        self._floor = 0

    @property
    def clock(self) -> int:
        """Up to which event nothing is missing."""
        return clock_of(self.seen)

    @property
    def has_gaps(self) -> bool:
        """Whether events are missing before others that were seen."""
        return len(self.seen) > 1 or bool(self.seen and self.seen[0][0])

    # What the writer does

    def add(self, presence: Presence) -> None:
        """The next event: a presence with the next dot."""
        self.rows[presence.dot] = presence
        self.seen = ((0, presence.dot),)

    def remove(self, dot: int) -> Presence:
        """The next event: it removes a presence.

        Raises:
            KeyError: when there is none with this dot.
        """
        gone = self.rows.pop(dot)
        event = self.clock + 1
        self.seen = ((0, event),)
        self._remember(event, (dot,))
        return gone

    # What everybody does

    def merge(self, fragment: Fragment) -> Change | None:
        """Take a fragment in. None, and nothing is changed, when that would leave too many gaps."""
        _, spans, removed, rows = fragment
        spans = joined(spans)
        dead = [(dot - 1, dot) for dot in removed if not covers(self.seen, dot)]
        seen = joined(self.seen, spans, dead)
        if len(seen) > PRESENCE_GAPS_MAX + 1:
            return None
        came = [row for row in rows if covers(spans, row.dot) and not covers(self.seen, row.dot)]
        gone = [self.rows[dot] for dot in self._missing(spans, removed, rows)]
        if seen == self.seen and not gone:
            return Change([], [])
        for presence in gone:
            del self.rows[presence.dot]
        self._insert(came)
        self.seen = seen
        if fragment.is_whole:
            # Of what was removed before it could be seen nothing is known: who is behind this has to be told all.
            self._forget(top_of(spans))
        else:
            self._remember(top_of(spans), (*removed, *(presence.dot for presence in gone)))
        return Change(came, gone)

    def after(self, clock: int) -> Fragment | None:
        """What somebody has to be told who has seen everything up to `clock`; None when there is nothing.

        It is a delta as long as the removals since then are remembered, else the whole state.
        """
        spans = beyond(self.seen, clock)
        if not spans:
            return None
        if clock < self._floor:
            return Fragment(self.origin, self.seen, (), tuple(self.rows.values()))
        removed = {dot: None for _, dot in takewhile(lambda kept: kept[0] > clock, reversed(self._removals))}
        dots = [*takewhile(lambda dot: dot > clock, reversed(self.rows))]
        return Fragment(self.origin, spans, tuple(removed), tuple([self.rows[dot] for dot in reversed(dots)]))

    def _missing(self, spans: Spans, removed: tuple[int, ...], rows: tuple[Presence, ...]) -> list[int]:
        """The dots here of which a fragment says that they are gone."""
        missing = {dot: None for dot in removed if dot in self.rows}
        lowest = spans[0][0] if spans else END
        left: set[int] | None = None
        for dot in takewhile(lambda dot: dot > lowest, reversed(self.rows)):
            if left is None:
                left = {presence.dot for presence in rows}
            if dot not in left and covers(spans, dot):
                missing[dot] = None
        return [*missing]

    def _insert(self, came: list[Presence]) -> None:
        last = next(reversed(self.rows), 0)
        is_ordered = True
        for presence in came:
            is_ordered = is_ordered and presence.dot > last
            last = presence.dot
            self.rows[last] = presence
        if not is_ordered:
            self.rows = dict(sorted(self.rows.items()))

    def _remember(self, event: int, dots: tuple[int, ...]) -> None:
        """Keep removals for who is behind.

        `event` is the removal itself, or a later one. A later one only makes more peers hear of it: whoever has seen
        all events up to it has seen the removal.
        """
        removals = self._removals
        if removals:
            event = max(event, removals[-1][0])
        removals.extend((event, dot) for dot in dots)
        if len(removals) > PRESENCE_REMOVALS_KEPT:
            self._forget(removals[-PRESENCE_REMOVALS_KEPT - 1][0])

    def _forget(self, event: int) -> None:
        """Whoever is behind `event` is told the whole state from now on."""
        self._floor = max(self._floor, event)
        while self._removals and self._removals[0][0] <= self._floor:
            self._removals.popleft()
