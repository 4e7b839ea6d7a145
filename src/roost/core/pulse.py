"""Who listens to whose heart, and when a silent node is lost: decided here, done by `roost.cluster.pulse`.

In a small cluster every node listens to every other one. Heartbeats on all links would make each node's traffic grow
with the cluster, so in a large one each node has a few *neighbours*, and only neighbours let each other hear a beat
all the time. Whoever misses one doubts it: it asks, and when no answer comes soon, tells everybody, who then ask, too.
A node is given up by each for itself, after its own question was not answered, and never on another's word.

Neighbours stand next to each other on a circle, in the order of the hashes of their names: machines with names in a
row often share a rack, and whoever has all of its neighbours in one rack is missed by nobody when that is cut off.
The scheme is that of SWIM's suspicion (Das, Gupta, Motivala, 2002), with fixed neighbours in place of random probes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import NamedTuple

from roost import limits


def neighbours(node: str, others: Collection[str]) -> frozenset[str]:
    """The nodes among `others` that `node` and they watch each other: WATCHERS_PER_SIDE on either side of it.

    The relation is mutual for all who see the same nodes.
    """
    if len(others) <= 2 * limits.WATCHERS_PER_SIDE:
        return frozenset(others)
    circle = sorted([node, *others], key=_position)
    at = circle.index(node)
    near = range(1, limits.WATCHERS_PER_SIDE + 1)
    return frozenset(circle[(at + side * step) % len(circle)] for step in near for side in (-1, 1))


def _position(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


class Verdict(NamedTuple):
    """What follows from one turn: of whom to tell the others, whom to give up, and whether to ask everybody."""

    told: tuple[str, ...]
    lost: tuple[str, ...]
    is_alarm: bool


class Doubts:
    """The nodes that have been asked whether they are there, and have not answered yet.

    Time is counted in turns of this node's own clock, not in seconds: a node that was held up itself has not given
    the others the time to answer.
    """

    def __init__(self) -> None:
        self._turns: dict[str, int] = {}
        self._own: set[str] = set()
        self._calm = 0

    def __contains__(self, peer: object) -> bool:
        return peer in self._turns

    def __len__(self) -> int:
        return len(self._turns)

    def begin(self, peer: str, *, own: bool) -> bool:
        """Doubt `peer` from now on; False when it is doubted already.

        Args:
            peer: who has just been asked.
            own: whether this node misses it; otherwise others have told so, or it is only looked at.
        """
        if peer in self._turns:
            return False
        self._turns[peer] = 0
        if own:
            self._own.add(peer)
        return True

    def end(self, peer: str) -> None:
        """It has answered, or its link is gone. Harmless when it is not doubted."""
        self._turns.pop(peer, None)
        self._own.discard(peer)

    def turn(self) -> Verdict:
        """One turn has passed for those who are still doubted.

        There is an alarm, at most every ALARM_TURNS, when two or more are silent for longer than an answer takes: then
        it may be the cable, and everybody should be asked.
        """
        self._calm = max(0, self._calm - 1)
        told: list[str] = []
        lost: list[str] = []
        for peer, turns in list(self._turns.items()):
            self._turns[peer] = turns = turns + 1
            if turns == limits.DOUBT_TOLD_TURNS and peer in self._own:
                told.append(peer)
            if turns >= limits.DOUBT_TURNS:
                self.end(peer)
                lost.append(peer)
        silent = sum(turns >= limits.DOUBT_TOLD_TURNS for turns in self._turns.values())
        is_alarm = silent > 1 and not self._calm
        if is_alarm:
            self._calm = limits.ALARM_TURNS
        return Verdict(tuple(told), tuple(lost), is_alarm)
