"""Whose presences may be shown: those of nodes that this node has a link with, and of those that a peer has one with.

The second makes presences pass through a common peer in a partial netsplit. It goes one step and no further: what a
peer says of its own links is taken back by it within the time in which it notices that a link is down, or the link with
the peer goes down, and its word with it. So nobody is shown who could not be reached by anybody within that time, and
no two nodes can keep each other believing in a third one that is dead.
"""

from __future__ import annotations

from typing import NamedTuple

from roost.core.presence.fragment import View
from roost.core.presence.presence import Origin


class Route(NamedTuple):
    """Which boot of a node is alive, and by whose word."""

    origin: Origin
    source: str


class _Word:
    """What one peer has said last of itself and the others."""

    __slots__ = ("clocks", "goals", "up")

    def __init__(self) -> None:
        self.up: dict[str, tuple[Origin, int]] = {}
        self.clocks: dict[Origin, tuple[int, ...]] = {}
        self.goals: dict[Origin, tuple[int, ...]] = {}


class Reach:
    """The links of this node, and what its peers say of theirs.

    Args:
        node: this node.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._direct: dict[str, Origin] = {}
        self._words: dict[str, _Word] = {}
        self._told = 0
        self._cut_off: dict[tuple[str, Origin], None] = {}
        self._relayed: dict[str, list[Origin]] = {}

    def up(self, origin: Origin) -> None:
        """This node has a link with that one. Its word comes later."""
        self.down(origin.node)
        self._direct[origin.node] = origin

    def down(self, node: str) -> None:
        """The link is gone, and what was said over it counts no more."""
        self._direct.pop(node, None)
        self._words.pop(node, None)

    def hear(self, peer: str, view: View) -> None:
        """A peer that is connected says what it sees."""
        before, word = self._words.get(peer), _Word()
        for known in view.known:
            origin = known.origin
            word.clocks[origin], word.goals[origin] = known.clocks, known.goals
            if known.is_up and origin.node != self._node:
                said = before.up.get(origin.node) if before is not None else None
                if said is None or said[0] != origin:
                    self._told += 1
                    said = origin, self._told
                word.up[origin.node] = said
        self._words[peer] = word

    @property
    def direct(self) -> dict[str, Origin]:
        """The peers that this node has links with."""
        return self._direct

    def has_word(self, peer: str) -> bool:
        """Whether a peer has said what it sees, since it is connected."""
        return peer in self._words

    def routes(self) -> dict[str, Route]:
        """Every node that is alive, but this one. An own link decides; else whoever has learned of a boot last."""
        latest: dict[str, int] = {}
        routes: dict[str, Route] = {}
        for peer, word in self._words.items():
            for node, (origin, told) in word.up.items():
                if node not in self._direct and told > latest.get(node, 0):
                    latest[node] = told
                    routes[node] = Route(origin, peer)
        for node, origin in self._direct.items():
            routes[node] = Route(origin, node)
        return routes

    def clock(self, peer: str, origin: Origin, shard: int) -> int:
        """Up to which event of an origin a peer has said that it has seen everything."""
        word = self._words.get(peer)
        clocks = () if word is None else word.clocks.get(origin, ())
        return clocks[shard] if shard < len(clocks) else 0

    def goals(self, peer: str, origin: Origin) -> tuple[int, ...]:
        """Which events of an origin there are, in each shard, as far as a peer knows; empty when it does not."""
        word = self._words.get(peer)
        return () if word is None else word.goals.get(origin, ())

    def look(self) -> bool:
        """See which peers have no links with each other; returns whether there are any.

        Those that had none already when this was last called have their changes passed on from now on: nodes that just
        start need nothing of the kind.
        """
        before = self._cut_off
        self._cut_off = {
            (peer, origin): None
            for peer in self._words
            for origin in self._direct.values()
            if origin.node != peer and self._is_cut_off(peer, origin)
        }
        self._relayed = {}
        for peer, origin in self._cut_off:
            if (peer, origin) in before:
                self._relayed.setdefault(peer, []).append(origin)
        return bool(self._cut_off)

    def relayed(self, peer: str) -> list[Origin]:
        """Whose changes this node has to pass on to `peer`: of those that it has a link with and `peer` has not, if no
        node with a smaller name can do it."""
        relayed = self._relayed.get(peer)
        if not relayed:
            return []
        return [origin for origin in relayed if self._is_cut_off(peer, origin)]

    def _is_cut_off(self, peer: str, origin: Origin) -> bool:
        theirs, its = self._words.get(peer), self._words.get(origin.node)
        if theirs is None or its is None or self._direct.get(origin.node) != origin:
            return False
        said = theirs.up.get(origin.node)
        if said is not None and said[0] == origin:
            return False
        common = (theirs.up.keys() & its.up.keys() & self._direct.keys()) - {peer, origin.node}
        return all(self._node < other for other in common)
