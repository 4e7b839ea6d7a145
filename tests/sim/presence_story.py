"""A story of presences: real nodes under faults, hundreds of sessions, and a client on each node that forgives nothing.

It has three acts. In the first everything may break. In the second two nodes have no link with each other, and see each
other's presences through those that have one with both. In the third one node dies, or is stopped, and stays away for
a while.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from roost.cluster.node import Node
from roost.config import Config
from roost.errors import NodeCrashed, NodeDown, SimulationUnclean
from roost.live.presence import DIFF_EVENT, Presence
from roost.live.pubsub import PubSub
from roost.runtime import Runtime
from roost.sim.nemesis import Nemesis, Plan
from roost.sim.running import run
from roost.sim.world import World
from roost.wire.phoenix.ready import text_of

TOPICS: Final = ("room:1", "room:2", "lobby")
KINDS: Final = ("crash", "split", "one_way", "power_cut", "reset", "pause", "slow_node", "storm", "partial")
ACT_S: Final = 4.0
MENDED_S: Final = 10.0
"""How long a mended cluster may take until all see the same."""
GHOSTS_S: Final = 5.0
"""How long after the last fault somebody who is not there may be seen at most."""
LOST_S: Final = 2.5
"""The same after a node has died while nothing else is wrong: 2 s until it is noticed, and the ways."""


class Screen:
    """What a client on one node sees of one topic."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, None]] = {}
        self.wrong: list[str] = []

    def write(self, frame: bytes) -> None:
        _, _, _, event, diff = msgspec.json.decode(text_of(frame))
        assert event == DIFF_EVENT
        for side, act in (("joins", self._join), ("leaves", self._leave)):
            for key, entry in diff[side].items():
                for meta in entry["metas"]:
                    act(key, meta["phx_ref"])

    def flush(self) -> None:
        """Nothing is buffered."""

    def _join(self, key: str, ref: str) -> None:
        if ref in self.there.setdefault(key, {}):
            self.wrong.append(f"{key} joined twice")
        self.there[key][ref] = None

    def _leave(self, key: str, ref: str) -> None:
        if self.there.get(key, {}).pop(ref, "absent") == "absent":
            self.wrong.append(f"{key} left without having joined")

    def keys(self) -> set[str]:
        return {key for key, refs in self.there.items() if refs}


class LiveNode:
    """A node with presences, and a client's screen for each topic."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.node = Node(config, runtime)
        self.pubsub = PubSub(self.node.fabric, runtime.clock)
        self.presence = Presence(self.node.scheduler, self.node.fabric, self.pubsub)
        self.screens = {topic: Screen() for topic in TOPICS}
        self.tracked: dict[int, tuple[str, str]] = {}
        for topic, screen in self.screens.items():
            self.pubsub.subscribe(topic, screen, screen)

    @classmethod
    async def boot(cls, config: Config, runtime: Runtime) -> LiveNode:
        self = cls(config, runtime)
        await self.node.start()
        return self

    async def stop(self) -> None:
        self.tracked.clear()
        self.presence.stop()
        await self.node.stop()

    async def come(self, keys: list[str], topic: str) -> None:
        for key in keys:
            self.tracked[self.presence.track(topic, key, {"mood": 0})] = topic, key

    async def change(self, draw: random.Random) -> None:
        for id in draw.sample([*self.tracked], min(3, len(self.tracked))):
            self.presence.update(id, {"mood": draw.random()})

    async def go(self, draw: random.Random) -> None:
        for id in draw.sample([*self.tracked], draw.randrange(len(self.tracked) + 1)):
            del self.tracked[id]
            self.presence.untrack(id)

    def seen(self, topic: str) -> set[str]:
        """Whom the client sees. Between two ticks the node may know more."""
        return self.screens[topic].keys()


@dataclass
class Outcome:
    """What came about in one world."""

    seed: int
    broken: list[str] = field(default_factory=list)
    sessions: int = 0
    deploys: int = 0
    passed_on: int = 0
    digest: str = ""
    fired: Counter[str] = field(default_factory=Counter)


class Story:
    """One world, and what is done in it."""

    def __init__(self, world: World[LiveNode], outcome: Outcome) -> None:
        self.world, self.outcome = world, outcome
        self.draw = random.Random(f"{world.seed}/crowd")

    # The crowd

    async def crowd(self, length_s: float, *, deploys: bool) -> None:
        """People come, change and go, in groups; now and then a node is deployed."""
        loop, draw = self.world.loop, self.draw
        end_s = loop.time() + length_s
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(draw.expovariate(12.0))
                if loop.time() >= end_s:
                    return
                able = [name for name in self.world.running if not self.world.is_paused(name)]
                if able and deploys and draw.random() < 0.03:
                    group.create_task(self._deploy(draw.choice(able)))
                elif able:
                    with suppress(NodeCrashed, NodeDown):  # what it did is gone with it
                        await self._act(draw.choice(able))

    async def _act(self, name: str) -> None:
        choice, draw = self.draw.random(), self.draw
        if choice < 0.5:
            first = self.outcome.sessions
            self.outcome.sessions += draw.randrange(1, 25)
            keys = [f"{name}/{number}" for number in range(first, self.outcome.sessions)]
            topic = draw.choice(TOPICS)
            await self.world.on(name, lambda node: node.come(keys, topic))
        elif choice < 0.7:
            await self.world.on(name, lambda node: node.change(draw))
        else:
            await self.world.on(name, lambda node: node.go(draw))

    async def _deploy(self, name: str) -> None:
        with suppress(NodeCrashed, NodeDown, AssertionError, SimulationUnclean):
            await self.world.stop(name)
            self.outcome.deploys += 1
            await asyncio.sleep(self.draw.uniform(0.0, 1.0))
            if self.world.is_off(name):
                await self.world.try_restart(name)

    # Judging

    def truth(self, topic: str) -> set[str]:
        """Who is there."""
        running = [self.world.node(name) for name in self.world.running]
        return {key for node in running for its, key in node.tracked.values() if its == topic}

    def agrees(self) -> bool:
        """Whether every client sees who is there."""
        return all(
            self.world.node(name).seen(topic) == self.truth(topic) == {*self.world.node(name).presence.list(topic)}
            for name in self.world.running
            for topic in TOPICS
        )

    def judge(self, when: str) -> None:
        """Note ghosts, and whatever clients found wrong."""
        for name in self.world.running:
            node = self.world.node(name)
            for topic in TOPICS:
                ghosts = (node.seen(topic) | {*node.presence.list(topic)}) - self.truth(topic)
                if ghosts:
                    self.outcome.broken.append(f"{when}: {name} sees {len(ghosts)} ghosts in {topic}")
            for screen in node.screens.values():
                self.outcome.broken += [f"{when}: on {name} {wrong}" for wrong in screen.wrong[:1]]

    async def agreement(self, within_s: float, when: str) -> None:
        """Wait until all see the same; note it when that takes too long."""
        try:
            await self.world.eventually(self.agrees, within_s, "agreement")
        except AssertionError as error:
            self.outcome.broken.append(f"{when}: {error}")

    # The acts

    async def faults(self) -> None:
        """Everything may break."""
        nemesis = Nemesis(self.world, Plan.draw(self.world.seed, KINDS))
        async with asyncio.TaskGroup() as group:
            group.create_task(nemesis.rage(ACT_S))
            group.create_task(self.crowd(ACT_S, deploys=self.draw.random() < 0.5))
        self.outcome.fired += Counter(nemesis.fired)
        await nemesis.mend()
        await asyncio.sleep(GHOSTS_S)
        self.judge("after the faults")
        await self.agreement(MENDED_S - GHOSTS_S, "after the faults")

    async def partial_split(self) -> None:
        """Two nodes cannot reach each other; everybody else can."""
        one, other = self.draw.sample(self.world.names, 2)
        self.world.split({one}, {other})
        await self.crowd(2.0, deploys=False)
        await asyncio.sleep(GHOSTS_S / 2)
        await self.agreement(GHOSTS_S / 2, "in a partial netsplit")
        self.judge("in a partial netsplit")
        self.outcome.passed_on += any(
            self.world.node(name).presence._state._reach._relayed for name in self.world.running
        )

    async def loss(self) -> None:
        """One node, split from another or not, dies or stops, and is away."""
        if self.draw.random() < 0.5:
            self.world.heal()
            await self.agreement(MENDED_S, "after the heal")
        lost = self.draw.choice(self.world.names)
        if self.draw.random() < 0.7:
            self.world.crash(lost)
        else:
            await self.world.stop(lost)
        await asyncio.sleep(LOST_S)
        self.judge(f"after the loss of {lost}")
        self.world.heal()
        await self.world.restart(lost)
        await self.agreement(MENDED_S, "in the end")
        self.judge("in the end")


async def _tell(outcome: Outcome) -> None:
    machines = "abcde"[: random.Random(f"{outcome.seed}/machines").randrange(3, 6)]
    async with World(*machines, boot=LiveNode.boot, drift=0.001) as world:
        story = Story(world, outcome)
        await world.start()
        await story.faults()
        await story.partial_split()
        await story.loss()
        for name in machines:
            await world.stop(name)
        outcome.digest = world.trace.digest


def tell(seed: int) -> Outcome:
    """Tell the story of one seed."""
    outcome = Outcome(seed)
    run(seed, _tell(outcome))
    return outcome
