"""What every story with a changing cluster shares: who is inside, whether all agree, and the end of all changes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from roost.cluster.node import Node
from roost.core import handoff
from roost.core.membership import Cluster
from roost.sim.checkers import Broken
from roost.sim.chronicle import Chronicle
from roost.sim.cluster_checkers import claimants, forgotten, forked, late, moved_early, strays, unexplained, unsound
from roost.sim.cluster_checkers import values as values_of
from roost.sim.operators import Inhabitant, Operators
from roost.sim.world import World, node_name

NodeT = TypeVar("NodeT", bound=Inhabitant)

AGREE_S: Final = 10.0
"""How long a mended cluster may take until all of its nodes know the same, in virtual seconds."""
TRANSFER_S: Final = 40.0
"""How long it may take until nothing is under way any more."""
ANSWER_S: Final = 20.0
"""How long an operator may wait for an answer."""


class Assembly:
    """The nodes of a world, seen as the members of the cluster that was there at the beginning, and others.

    Args:
        world: with the nodes.
        operators: who change the cluster.
        seed: decides whom they ask in the end.
    """

    def __init__(self, world: World[NodeT], operators: Operators, seed: str) -> None:
        def node(machine: str) -> Node:
            return world.node(machine).node

        self._node = node
        self._world, self._operators = world, operators
        self._draw = random.Random(seed)
        self.id: bytes = self.cluster(world.names[0]).id

    def cluster(self, machine: str) -> Cluster:
        """What a node knows."""
        return self._node(machine).membership.cluster

    def inside(self) -> list[str]:
        """The machines whose nodes take themselves for members."""
        return [name for name in self._world.running if self.cluster(name).id == self.id]

    def outside(self) -> list[str]:
        """The machines whose nodes run, and take themselves for no members."""
        return [name for name in self._world.running if self.cluster(name).id != self.id]

    def known(self) -> Cluster:
        """What one of the members knows; it is what all know once they agree."""
        return self.cluster(self.inside()[0])

    def agrees(self) -> bool:
        """Whether all members that run know the same, and see each other."""
        inside = self.inside()
        clusters = [self.cluster(name) for name in inside]
        up = tuple(sorted(node_name(name) for name in inside))
        return (
            bool(inside)
            and all(cluster == clusters[0] for cluster in clusters)
            and all(self._node(name).fabric.up() == up for name in inside)
            and all(name in clusters[0].names for name in up)
        )

    def is_settled(self) -> bool:
        """Whether nothing is under way: partitions are where they belong, and nobody is leaving, or down."""
        if not self.agrees():
            return False
        cluster = self.known()
        return cluster.layout.is_settled and not cluster.having("leaving", "exiting", "down")

    async def agreement(self, when: str) -> None:
        """Wait until all agree.

        Raises:
            AssertionError: when that takes too long.
        """
        await self._world.eventually(self.agrees, AGREE_S, f"agreement {when}")

    async def settlement(self, when: str) -> None:
        """Wait until nothing is under way.

        Raises:
            AssertionError: when that takes too long.
        """
        await self._world.eventually(self.is_settled, TRANSFER_S, f"the end of all transfers {when}")

    async def let_back_in(self) -> None:
        """Who has lost its disk and was not given up in time is let in again under its old name. And one who asked a
        node that had just left is let go."""
        await self.agreement("with those who were given up")
        for name in self.outside():
            if len(self.cluster(name).names) > 1:
                await self._operators.ask(name, "clear", act=lambda one: one.clear())
            if self.known().has(node_name(name)):
                order = await self._operators.join(name, self._draw.choice(self.inside()))
                assert order.outcome == "done", f"a member that has lost its memory was not let in again: {order}"

    async def conclude(self) -> None:
        """Commit what is staged still, or take it back, and wait until nothing is under way."""
        await self.agreement("of the whole cluster")
        await self.settlement("of the whole cluster")
        if self.known().staged:
            asked = self._draw.choice(self.inside())
            await self._operators.ask(asked, "plan", act=lambda one: one.plan())
            order = await self._operators.ask(asked, "commit", act=lambda one: one.commit())
            if order.note == "not_reachable":
                order = await self._operators.ask(asked, "clear", act=lambda one: one.clear())
            assert order.outcome == "done", f"what is staged was not committed: {order}"
            await self.settlement("after the last commit")
        await self.agreement("in the end")

    async def belonging(self) -> None:
        """Wait until every node knows where it belongs.

        Raises:
            AssertionError: when that takes too long.
        """
        await self._world.eventually(lambda: not self._strays(), AGREE_S, "the end of all strays")

    def _strays(self) -> list[Broken]:
        return strays({node_name(name): self.cluster(name) for name in self._world.names})


def judged(chronicle: Chronicle, end_s: float) -> list[Broken]:
    """Every broken promise about membership in a whole story."""
    broken = forked(chronicle.sightings, chronicle.orders)
    broken += forgotten(chronicle.sightings)
    broken += claimants(chronicle.sightings)
    broken += late(chronicle.orders, ANSWER_S, end_s)
    main = chronicle.sightings[0].cluster.id
    for id, history in values_of(chronicle.sightings, chronicle.orders).items():
        if id == main:
            broken += unexplained(history, chronicle.orders)
            broken += moved_early(history, chronicle.gifts.values())
        for value in history:
            broken += unsound(value.cluster)
    return broken


@contextmanager
def small_batches(items: int) -> Iterator[None]:
    """Let handoffs send few items at a time, so that a handful of keys is as many messages as thousands would be."""
    names = ("HANDOFF_BATCH_ITEMS", "HANDOFF_OFFER_ITEMS")
    usual = [getattr(handoff, name) for name in names]
    try:
        for name, most in zip(names, usual, strict=True):
            setattr(handoff, name, min(items, most))
        yield
    finally:
        for name, most in zip(names, usual, strict=True):
            setattr(handoff, name, most)
