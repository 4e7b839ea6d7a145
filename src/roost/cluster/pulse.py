"""The heartbeats of a fabric's links, and what is done about a peer that is silent.

Peers of version 1 know no questions: each hears a heartbeat on an idle link all the time, and is given up after
HEARTBEATS_MISSED_MAX of them. So is a guest. The others are treated as `roost.core.pulse` decides:

 - Neighbours let each other hear something at every other beat, at least. The rest only now and then: one of them is
   asked every PROBE_BEATS beats, in turn, so that what a node sends does not grow with the cluster.
 - Whoever should have been heard, and was not for DOUBT_BEATS, is doubted: a neighbour, or a peer to which something
   was said that it has not answered by a single byte.

A node that hangs or is cut off is given up by everybody within 2 s; a cable between two peers that are no neighbours,
and do not talk, within half a second after their next question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from roost import limits
from roost.cluster.link import Link
from roost.core.pulse import Doubts, neighbours


class Pulse:
    """What one node hears of the others' hearts.

    Args:
        node: this node's name.
        peers: its open links to members, by name; always as they are now.
    """

    def __init__(self, node: str, peers: Mapping[str, Link]) -> None:
        self._node = node
        self._peers = peers
        self._doubts = Doubts()
        self._near: frozenset[str] = frozenset()
        self._far: tuple[str, ...] = ()
        self._seen: tuple[str, ...] | None = None
        self._beats = 0

    def beat(self, up: tuple[str, ...], now: float, *, lagged: bool) -> None:
        """Called every HEARTBEAT_S: let every peer hear from this node that has to, and doubt those who are silent.

        Args:
            up: the nodes that can be reached from here.
            now: what the clock says.
            lagged: this node itself was late, so it has no right to doubt anybody.
        """
        if up is not self._seen:
            self._seen = up
            self._near = neighbours(self._node, self._peers.keys())
            self._far = tuple(sorted(self._peers.keys() - self._near))
        for link in list(self._peers.values()):
            if not link.knows_probe:
                link.beat(now, lagged=lagged)
            elif link.is_overdue(now, lagged=lagged, watched=link.peer in self._near):
                self._doubt(link, own=True)
        self._beats += 1
        if self._far:
            turn, early = divmod(self._beats, max(limits.PROBE_BEATS, limits.PROBE_BEATS_MIN // len(self._far)))
            link_to_ask = self._peers.get(self._far[turn % len(self._far)])
            if not early and link_to_ask is not None and link_to_ask.knows_probe:
                link_to_ask.probe()

    def turn(self) -> None:
        """Called every EXPIRE_S: see who of the doubted has answered, and give up who has not."""
        if not len(self._doubts):
            return
        for link in self._peers.values():
            if link.peer in self._doubts and link.has_answered:
                self._doubts.end(link.peer)
        told, lost, is_alarm = self._doubts.turn()
        for peer in told:
            self._each(self._peers.keys() - {peer, *lost}, lambda link, peer=peer: link.tell_doubt(peer))  # type: ignore[misc]  # lambda
        for peer in lost:
            self._each([peer], lambda link: link.hang_up("silence", abort=True))
        if is_alarm:
            self._each(self._peers.keys(), lambda link: self._doubt(link, own=False))

    def told(self, peer: str) -> None:
        """Another node misses `peer`: ask it, too."""
        self._each([peer], lambda link: self._doubt(link, own=False))

    def gone(self, peer: str) -> None:
        """Its link is down."""
        self._doubts.end(peer)

    def _doubt(self, link: Link, *, own: bool) -> None:
        if self._doubts.begin(link.peer, own=own):
            link.probe(expecting=True)

    def _each(self, names: Iterable[str], act: Callable[[Link], None]) -> None:
        for name in sorted(names):
            link = self._peers.get(name)
            if link is not None and link.knows_probe:
                act(link)
