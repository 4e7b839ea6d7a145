"""Latency: how long each node usually takes to answer, and so when it is late.

For every node one number is kept, about the 95th percentile of its recent answers: an answer that took longer moves it
up by RISE, one that took less moves it down by a nineteenth of that, and so it rests where 5 % take longer (Ma,
Muthukrishnan, Sandler: "Frugal Streaming for Estimating Quantiles", 2013, with relative steps). A node that is late
without having answered is taken to need twice the time that was waited, so that one or two silences are enough to
prefer another node; what is not confirmed is forgotten by and by, so that it is tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from roost.core.ring import Replica
from roost.limits import HEDGE_FIRST_S, HEDGE_LAST_S, NODES_MAX

RISE: Final = 1.1
FALL: Final = RISE ** (-1 / 19)
SLOW: Final = 3.0
"""A node that takes so many times as long as the quickest one is asked last."""
JUDGE_S: Final = 0.05
"""How often it is judged who is slow, unless somebody is late."""
FORGET_S: Final = 1.0
"""How long it takes until what a node was thought to need is halved, when nothing more is heard."""


class Latencies:
    """How long the nodes usually take, as one node sees them; of NODES_MAX nodes at most."""

    __slots__ = ("_judge_at", "_slow", "_usual")

    def __init__(self) -> None:
        self._usual: dict[str, tuple[float, float]] = {}
        """Per node the estimate, in seconds, and when it was last changed."""
        self._slow: frozenset[str] = frozenset()
        self._judge_at = 0.0

    def answered(self, node: str, took_s: float, now: float) -> None:
        """A node has answered after `took_s` seconds."""
        usual_s, _ = self._usual.get(node, (0.0, 0.0))
        if not usual_s:
            self._learn(node, took_s, now)
        else:
            self._usual[node] = (usual_s * (RISE if took_s > usual_s else FALL), now)

    def late(self, node: str, waited_s: float, now: float) -> None:
        """A node has not answered for `waited_s` seconds, which is longer than usual."""
        self._learn(node, max(self._estimate_s(node, now), 2 * waited_s), now)
        self._judge_at = now

    def patience_s(self, node: str, now: float) -> float:
        """How long to wait for a node before another one is asked too: from HEDGE_FIRST_S to HEDGE_LAST_S seconds."""
        return min(max(self._estimate_s(node, now), HEDGE_FIRST_S), HEDGE_LAST_S)

    def rank(self, replicas: Sequence[Replica], own: str, primaries_first: bool, now: float) -> Sequence[Replica]:
        """The replicas in the order in which to ask them: this node's own copy, then the others in their order, but
        slow ones last. So the load stays spread as the keys are.

        Args:
            own: this node.
            primaries_first: whether holders come before those that stand in for one.
        """
        if now >= self._judge_at:
            self._judge(now)
        slow = self._slow
        if slow or primaries_first:

            def place(replica: Replica) -> tuple[bool, bool, bool]:
                node = replica.node
                return primaries_first and not replica.is_primary, node in slow and node != own, node != own

            return sorted(replicas, key=place)
        for number, replica in enumerate(replicas):
            if replica.node == own:
                return (replica, *replicas[:number], *replicas[number + 1 :]) if number else replicas
        return replicas

    def _judge(self, now: float) -> None:
        """Say which nodes are slow beside the quickest of the others."""
        estimates = {node: self._estimate_s(node, now) for node in self._usual}
        quickest_s = min(estimates.values()) if len(estimates) > 1 else 0.0
        slow_s = SLOW * max(quickest_s, HEDGE_FIRST_S)
        self._slow = frozenset(node for node, usual_s in estimates.items() if usual_s > slow_s)
        self._judge_at = now + JUDGE_S

    def _estimate_s(self, node: str, now: float) -> float:
        usual = self._usual.get(node)
        if usual is None:
            return 0.0
        usual_s, changed_at = usual
        silent_s = now - changed_at
        return usual_s if silent_s < FORGET_S else usual_s * 0.5 ** min(silent_s / FORGET_S, 64.0)

    def _learn(self, node: str, usual_s: float, now: float) -> None:
        if node not in self._usual and len(self._usual) >= NODES_MAX:
            del self._usual[min(self._usual, key=lambda known: self._usual[known][1])]
        self._usual[node] = (usual_s, now)
