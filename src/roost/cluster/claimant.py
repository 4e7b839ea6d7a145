"""The process that lets the cluster go on.

On the claimant it drives the changes, on every other node it watches for the claimant's end, and on each it tells what
has become of transfers, and gossips.

Everything that it does is decided by `core.claimant` and made by `Membership.change`, so two nodes that both take
themselves for the claimant do no harm. When it crashes it is started anew, and has forgotten nothing that matters:
givers say again what they have given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from roost.cluster.fabric import Fabric
from roost.cluster.membership import Membership
from roost.cluster.traffic import Traffic
from roost.cluster.voting import Change
from roost.core import membership as core
from roost.core.claimant import heir, next_step
from roost.core.membership import Cluster
from roost.errors import DeadlineExceeded, NoQuorum, Overloaded, RoostError
from roost.otp import GenServer, info

logger = logging.getLogger("roost.claimant")

TICK_S: Final = 0.2
"""How often the claimant looks what is to be done, and a giver says what it has given."""
GOSSIP_TICKS: Final = 5
"""Ticks between two words of gossip to nobody in particular."""
SUCCESSION_TICKS: Final = 5
"""Ticks without a sight of the claimant, after which the first of the others asks whether it is lost."""
TURNS_MAX: Final = 5
"""How many others may come first before a node asks."""


class _Tick(msgspec.Struct, frozen=True):
    """Time to look."""


class Claimant(GenServer):
    """Looks after the cluster, every TICK_S.

    Args of its init:
        membership: what this node knows.
        fabric: whom it can reach.
        traffic: what moves between this node and others.
        depth: how many copies anything on this node has at most.
    """

    def init(self, membership: Membership, fabric: Fabric, traffic: Traffic, depth: Callable[[], int]) -> None:
        self._membership, self._fabric, self._traffic, self._depth = membership, fabric, traffic, depth
        self._ticks = 0
        self._unseen = 0
        self._behind = 0
        self._is_in_trouble = False
        self.send_after(TICK_S, _Tick())

    @info
    async def tick(self, message: _Tick) -> None:
        """Look, and do what is to be done."""
        self.send_after(TICK_S, message)
        self._ticks += 1
        membership, cluster = self._membership, self._membership.cluster
        if not cluster.has(self._fabric.node):
            if self._fabric.node in cluster.left:
                membership.go_alone()
            return
        membership.win_vote()
        if self._ticks % GOSSIP_TICKS == 0:
            membership.gossip()
        self._report(cluster)
        try:
            await self._act(cluster)
        except (NoQuorum, DeadlineExceeded, Overloaded) as error:
            if not self._is_in_trouble:
                logger.warning("%s: the cluster cannot be changed now: %s", self._fabric.node, error)
            self._is_in_trouble = True
        except RoostError as error:
            logger.error("%s: the cluster cannot be changed: %s", self._fabric.node, error)
        else:
            self._is_in_trouble = False

    def _report(self, cluster: Cluster) -> None:
        me, layout = self._fabric.node, cluster.layout
        if not layout.is_settled:
            given = [
                (one.source, one.target, one.taker)
                for partition in self._traffic.given_partitions()
                for one in layout.transfers(partition, self._depth(), cluster.gone)
                if one.giver == me
            ]
            self._membership.report(given)
        if cluster.member(me).status == "exiting" and self._traffic.is_empty():
            self._membership.report_empty()

    async def _act(self, cluster: Cluster) -> None:
        membership, fabric = self._membership, self._fabric
        if membership.is_claimant:
            self._unseen = 0
            await self._drive(cluster)
            return
        self._unseen = 0 if fabric.is_up(cluster.claimant) else self._unseen + 1
        if self._is_time_to_succeed(cluster):
            views = await membership.views()
            seen = {name: view.up for name, view in views.items() if view is not None}
            if heir(cluster, seen) == fabric.node:
                logger.warning("%s: most cannot reach the claimant %s: succeeding it", fabric.node, cluster.claimant)
                await self._change(lambda now: self._succeeded(now, cluster.epoch))
        await self._catch_up()

    def _is_time_to_succeed(self, cluster: Cluster) -> bool:
        """One after the other asks around, so that in a large cluster not all do at once."""
        rivals = [name for name in cluster.having("valid") if self._fabric.is_up(name)]
        if self._fabric.node not in rivals:
            return False
        turn = 1 + min(rivals.index(self._fabric.node), TURNS_MAX)
        return self._unseen >= turn * SUCCESSION_TICKS and self._unseen % SUCCESSION_TICKS == 0

    async def _drive(self, cluster: Cluster) -> None:
        if self._step(cluster) is not cluster:
            await self._change(lambda now: self._step(now) if now.claimant == self._fabric.node else now)
        else:
            await self._catch_up()

    def _step(self, cluster: Cluster) -> Cluster:
        membership = self._membership
        return next_step(cluster, self._depth(), membership.reports, self._fabric.up(), membership.empty)

    def _succeeded(self, cluster: Cluster, epoch: int) -> Cluster:
        return core.succeed(cluster, self._fabric.node) if cluster.epoch == epoch else cluster

    async def _catch_up(self) -> None:
        """A vote of this node has come to nothing, or nobody has told it the outcome: find out."""
        self._behind = self._behind + 1 if self._membership.is_behind() else 0
        if self._behind >= SUCCESSION_TICKS and self._fabric.node in self._membership.cluster.voters:
            self._behind = 0
            await self._change(lambda cluster: cluster)

    async def _change(self, change: Change) -> None:
        """At once or not at all: the next tick tries again, and operators wait for their turn."""
        await self._membership.change(change, patience_s=0.0)
