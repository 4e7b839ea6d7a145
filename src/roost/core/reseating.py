"""Reseating: who moves, and where to, when nodes come and go.

The seats of those that have gone are free; those that have more than their share give some up; and all of these seats
go to the nodes that have less. That fixes how many move. Which ones do, and who takes which, is chosen in two steps.
First one after the other: each seat goes to a taker that it crowds least, and the seats that are given up are chosen
evenly around the ring, so that the next newcomer finds room, too. Then a descent: two seats at a time are
given differently, for as long as that makes the ring less crowded and moves no more.

Invariant: a seat moves only from a node that has gone, or had more than its share, and only to one that had less; so
nothing could be in order with less movement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from roost.core.seating import Seating

PASSES_MAX: Final = 4
"""How often the descent goes over all seats; it is usually done after two."""


class _Turns:
    """Whose turn is next, when each is to have a number of turns, spread evenly."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}
        self._all: dict[int, int] = {}

    def add(self, who: int, turns: int) -> None:
        """So many turns more for one."""
        self._all[who] = self._all.get(who, 0) + turns
        self._taken.setdefault(who, 0)

    def when(self, who: int) -> float:
        """When the next turn of one is, from 0 to 1."""
        return (2 * self._taken[who] + 1) / (2 * self._all[who])

    def take(self, who: int) -> bool:
        """One has had a turn. Returns whether more are left."""
        self._taken[who] += 1
        return self._taken[who] < self._all[who]


class Reseating:
    """A ring on which nodes find seats.

    Attributes:
        seating: who sits where by now.
    """

    def __init__(self, before: Sequence[int], zones: Sequence[int]) -> None:
        """Begin with everybody at the old seat.

        Args:
            before: who sat where; -1 for one that has gone.
            zones: the zone of each node that stays or comes, as a number.
        """
        self.seating = Seating(before, zones)
        self._before = before
        self._zones = zones
        self._floor, extra = divmod(len(before), len(zones))
        self._counts = [0] * len(zones)
        for owner in before:
            if owner >= 0:
                self._counts[owner] += 1
        self._quotas = [self._floor] * len(zones)
        for node in sorted(range(len(zones)), key=lambda node: -self._counts[node])[:extra]:
            self._quotas[node] += 1

    def settle(self, start: int, grain: int) -> None:
        """Give everybody a share.

        Args:
            start: where on the ring to begin.
            grain: differences of crowding below this one are left to the descent when free seats are given away: 1
                parts neighbours best where room is scarce, more spreads the shares of unequal zones better.
        """
        self._fill(start, grain)
        self._take(start)
        self._descend()

    def _put(self, position: int, node: int) -> None:
        owner = self.seating.owners[position]
        if owner >= 0:
            self._counts[owner] -= 1
        self._counts[node] += 1
        self.seating.put(position, node)

    def _fill(self, start: int, grain: int) -> None:
        """Give each free seat to one that lacks seats: where it is crowded least, then to the zone whose turn it is."""
        nodes, zones, takers = _Turns(), _Turns(), set[int]()
        for node, lack in enumerate(self._lacks()):
            if lack > 0:
                takers.add(node)
                nodes.add(node, lack)
                zones.add(self._zones[node], lack)
        free = [position for position, owner in enumerate(self._before) if owner < 0]
        for position in sorted(free, key=lambda position: (position - start) % len(self._before)):
            near = self.seating.near[position]
            ranks = ((near[node] // grain, zones.when(self._zones[node]), nodes.when(node), node) for node in takers)
            taker = min(ranks)[3]
            self._put(position, taker)
            zones.take(self._zones[taker])
            if not nodes.take(taker):
                takers.remove(taker)

    def _lacks(self) -> list[int]:
        """How many seats each node has too few, or below 0 too many."""
        return [quota - count for quota, count in zip(self._quotas, self._counts, strict=True)]

    def _take(self, start: int) -> None:
        """Let those that still lack seats take them in turn, evenly around the ring, from those with too many."""
        turns = self._turns()
        size = len(self._before)
        for turn, taker in enumerate(turns):
            self._put(self._best(start + turn * size // len(turns), taker), taker)

    def _turns(self) -> list[int]:
        """Every node as often as it lacks seats, its turns spread evenly among those of the others."""
        lacks = enumerate(self._lacks())
        return [
            node for _, node in sorted(((2 * turn + 1) / lack, node) for node, lack in lacks for turn in range(lack))
        ]

    def _best(self, goal: int, taker: int) -> int:
        """The seat to give up for `taker`: where that crowds the ring least, then the one nearest to `goal`."""
        size, near = len(self._before), self.seating.near
        rich = {node for node, lack in enumerate(self._lacks()) if lack < 0}
        ranks = (
            (
                near[position][taker] - near[position][owner],
                min((position - goal) % size, (goal - position) % size),
                position,
            )
            for position, owner in enumerate(self.seating.owners)
            if owner in rich
        )
        return min(ranks)[2]

    def _descend(self) -> None:
        """Give seats differently, two at a time, for as long as that makes the ring less crowded."""
        for _ in range(PASSES_MAX):
            improved = False
            for position, owner in enumerate(self._before):
                if self.seating.owners[position] != owner:
                    improved |= self._better(position)
            if not improved:
                return

    def _better(self, one: int) -> bool:
        """Make the best change of the seat `one`, which has moved, together with another; whether there is any."""
        owners, near = self.seating.owners, self.seating.near
        taker = owners[one]
        calm = not near[one][taker]
        most, best = 0, (one, taker, taker)
        for other, owner in enumerate(owners):
            if owner == taker or (calm and not near[other][owner]):
                continue
            seats = self._instead(one, other)
            if seats is not None:
                gain = self.seating.gain(one, seats[0], other, seats[1])
                if gain > most:
                    most, best = gain, (other, *seats)
        if not most:
            return False
        other, first, second = best
        self._put(one, first)
        self._put(other, second)
        return True

    def _instead(self, one: int, other: int) -> tuple[int, int] | None:
        """Who could sit at `one`, which has moved, and at `other` instead, with no more movement; None when nobody."""
        taker, owner = self.seating.owners[one], self.seating.owners[other]
        if owner != self._before[other]:
            return (owner, taker)
        giver = self._before[one]
        if giver < 0:
            return None
        if giver != owner and not self._counts[giver] == self._floor == self._counts[owner] - 1:
            return None  # one of them would have a seat too few or too many
        return (giver, taker)
