"""Operators: they let nodes join, leave, replace each other, and declare the dead, while the world breaks.

They ask any node that runs, also on the wrong side of a netsplit, and make mistakes that are refused. What they never
do is what no cluster can survive: they declare nobody dead who is not, give up the disks of no more nodes than copies
can be lost, and leave at least KEPT nodes in charge.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from roost.cluster.joining import Joiner
from roost.cluster.membership import Membership
from roost.cluster.node import JOINER, Node
from roost.core.membership import Cluster
from roost.errors import ChangeFailed, NodeCrashed, Refusal, RoostError
from roost.sim.chronicle import IN_PLACE, Chronicle, Order, Verb
from roost.sim.nemesis import Nemesis
from roost.sim.world import Stoppable, World, address_of, node_name

KEPT: Final = 3
"""How many full members operators leave in any case."""
ANSWER_S: Final = 60.0
"""How long an operator waits at most, in seconds; every answer should come long before."""
DEAD_S: Final = 1.0
"""The mean time that a node is dead before operators notice."""
VERBS: Final[dict[Verb, float]] = {
    "join": 4.0,
    "leave": 2.5,
    "replace": 2.0,
    "force-replace": 1.0,
    "force-remove": 1.0,
    "down": 1.0,
    "set-zone": 0.4,
    "plan": 0.7,
    "commit": 4.0,
    "clear": 0.2,
}
"""How often each is drawn, relatively. A commit is mostly one behind a plan."""


class Inhabitant(Stoppable, Protocol):
    """What runs on a machine of this world."""

    @property
    def node(self) -> Node:
        """The node."""


NodeT = TypeVar("NodeT", bound=Inhabitant)


class Operators:
    """Ask for changes of the cluster until they are told to stop.

    Args:
        world: with the nodes.
        chronicle: where they note what they asked.
        nemesis: who breaks the world; machines that operators give up are condemned there.
        pause_s: the mean time between two orders.
        losses: how many disks may be given up.
        verbs: how often each verb is drawn, relatively.
    """

    def __init__(
        self,
        world: World[NodeT],
        chronicle: Chronicle,
        nemesis: Nemesis[NodeT],
        *,
        pause_s: float,
        losses: int = 1,
        verbs: dict[Verb, float] = VERBS,
    ) -> None:
        self._world, self._chronicle, self._nemesis = world, chronicle, nemesis
        self._pause_s, self._verbs = pause_s, verbs
        self._draw = random.Random(f"{world.seed}/operators")
        self._losses = losses
        self._is_declaring = False
        self._going: set[str] = set()

    async def work(self, end_s: float) -> None:
        """Give orders until `end_s`, several at a time when they take long."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self._draw.expovariate(1.0 / self._pause_s))
                if self._world.loop.time() >= end_s:
                    return
                if self._world.running:
                    group.create_task(self._order())

    async def _order(self) -> None:
        verbs = [*self._verbs]
        verb = self._draw.choices(verbs, [self._verbs[one] for one in verbs])[0]
        draw = self._draw
        asked = draw.choice(self._world.running)
        match verb:
            case "join":
                await self._join()
            case "commit" | "plan" if draw.random() < 0.95 and not self._known(asked).staged:
                return
            case "commit":
                if draw.random() < 0.9:
                    await self.ask(asked, "plan", act=lambda one: one.plan())
                await self.ask(asked, "commit", act=lambda one: one.commit())
            case "plan":
                await self.ask(asked, "plan", act=lambda one: one.plan())
            case "clear":
                await self.ask(asked, "clear", act=lambda one: one.clear())
            case "set-zone":
                subject, zone = node_name(self._draw.choice(self._world.names)), self._draw.choice(["north", "south"])
                await self.ask(asked, verb, subject, zone, act=lambda one: one.set_zone(subject, zone))
            case _:
                await self._let_go(asked, verb)

    async def _join(self) -> None:
        """One that is alone asks to be let in, mostly."""
        world, draw = self._world, self._draw
        alone = [name for name in world.running if not self._is_member(name)]
        inside = [name for name in world.running if self._is_member(name)]
        if inside and (alone or draw.random() < 0.1):
            newcomer = draw.choice(alone if alone and draw.random() < 0.95 else world.running)
            await self.join(newcomer, draw.choice(inside))

    async def join(self, newcomer: str, member: str) -> Order:
        """Let a node ask another one to be let in."""

        async def act(node: Node) -> None:
            with node.entered():
                await Joiner.whereis(JOINER).join(*address_of(member))

        order = await self._asked(newcomer, "join", node_name(newcomer), "", act)
        if order.outcome == "done":
            self._going.discard(node_name(newcomer))
        return order

    async def _let_go(self, asked: str, verb: Verb) -> None:
        """Somebody goes, willingly or not, if enough remain."""
        cluster = self._known(asked)
        subject = self._draw.choice(cluster.names)
        joining = [name for name in cluster.having("joining") if name != subject]
        if verb in ("replace", "force-replace") and not joining:
            return
        newcomer = self._draw.choice(joining) if joining else ""
        match verb:
            case "leave" if self._may_go(subject):
                await self.ask(asked, verb, subject, act=lambda one: one.leave(subject))
            case "replace" if self._may_go(subject):
                await self.ask(asked, verb, subject, newcomer, act=lambda one: one.replace(subject, newcomer))
            case "leave" | "replace":
                return
            case "down":
                await self._declare_down(asked)
            case _:
                await self._give_up(asked, verb, newcomer)

    async def _declare_down(self, asked: str) -> None:
        """Say that somebody is dead who is; he stays so until that is answered. One at a time."""
        dead = [name for name in self._world.down if name not in self._nemesis.condemned]
        if self._is_declaring or not dead:
            return
        self._is_declaring = True
        lost = self._draw.choice(dead)
        self._nemesis.condemned.add(lost)
        await self.ask(asked, "down", node_name(lost), act=lambda one: one.down(node_name(lost)))
        self._nemesis.condemned.discard(lost)
        self._is_declaring = False

    async def _give_up(self, asked: str, verb: Verb, newcomer: str) -> None:
        """A machine that is off never comes back as it was: it is removed by force, and has an empty disk later."""
        cluster = self._known(asked)
        dead = [name for name in self._world.down if name not in self._nemesis.condemned]
        if self._is_declaring or not dead or not self._losses or not cluster.has(node_name(dead[0])):
            return
        lost = dead[0]
        if not self._may_go(node_name(lost)):
            return
        self._losses -= 1
        self._nemesis.condemned.add(lost)
        self._world.platter(lost).wipe()
        self._chronicle.disk_lost(lost)
        name = node_name(lost)
        await asyncio.sleep(self._draw.expovariate(1.0 / DEAD_S))
        if asked not in self._world.running:
            return
        if verb == "force-replace":
            await self.ask(asked, verb, name, newcomer, act=lambda one: one.replace(name, newcomer, force=True))
        else:
            await self.ask(asked, verb, name, act=lambda one: one.force_remove(name))

    async def ask(
        self,
        machine: str,
        verb: Verb,
        subject: str = "",
        detail: str = "",
        *,
        act: Callable[[Membership], Awaitable[object]],
    ) -> Order:
        """Ask one node for a change, and note what it says."""
        return await self._asked(machine, verb, subject, detail, lambda node: act(node.membership))

    async def _asked(
        self, machine: str, verb: Verb, subject: str, detail: str, act: Callable[[Node], Awaitable[object]]
    ) -> Order:
        order = self._chronicle.begin(machine, verb, subject, detail)
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._world.on(machine, lambda one: act(one.node))
        except TimeoutError:
            self._chronicle.end(order, "unknown", note="timeout")
        except RoostError as error:
            certain = isinstance(error, Refusal) and verb != "join" and error.code not in (*IN_PLACE, ChangeFailed.code)
            self._chronicle.end(order, "refused" if certain else "unknown", note=error.code)
            if isinstance(error, NodeCrashed):
                order.note = "crashed"
        else:
            self._chronicle.end(order, "done", cluster=answer if isinstance(answer, Cluster) else None)
        return order

    def _may_go(self, subject: str) -> bool:
        """Whether enough stay when this one goes, too, with all who were ever told to and have not come back since."""
        known = [self._known(name) for name in self._world.running if self._is_member(name)]
        staying = {*max(known, key=_age).having("valid")} if known else set()
        if len(staying - self._going - {subject}) < KEPT:
            return False
        self._going.add(subject)
        return True

    def _known(self, machine: str) -> Cluster:
        return self._world.node(machine).node.membership.cluster

    def _is_member(self, machine: str) -> bool:
        return len(self._known(machine).names) > 1


def _age(cluster: Cluster) -> tuple[int, int]:
    return cluster.age
