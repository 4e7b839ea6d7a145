"""Ties and groups of real nodes under every fault: each end is told once, both sides agree, and there are no ghosts."""

from __future__ import annotations

import asyncio
import random

import pytest

from roost.cluster import pg
from roost.cluster.node import Node
from roost.cluster.process_service import ProcessService
from roost.cluster.ties import RemoteTies, _Peer, _Watched
from roost.config import Config
from roost.core.process_group import Groups
from roost.errors import RoostError
from roost.otp import Down, Exit, GenServer, Monitor, Reason, Supervisor, call, info
from roost.otp.remote import target_of
from roost.runtime import Runtime
from roost.sim.nemesis import Nemesis, Plan
from roost.sim.running import run
from roost.sim.world import World, node_name

NAMES = ("a", "b", "c")
ACT_S = 8.0
SETTLE_S = 15.0
SEEDS = 30
MUTANT_SEEDS = 60


class Target(GenServer):
    """Ends again and again, and is started again."""

    def init(self) -> None:
        self.trap_exits()
        pg.join("targets", self.handle)

    @call
    def me(self) -> Target:
        return self.handle

    @info
    def ended(self, message: Exit) -> None:
        """Somebody who was linked."""


class Hub(GenServer):
    """Ties itself to targets of other nodes, and counts what it hears."""

    def init(self) -> None:
        self.trap_exits()
        self.watches: list[Watch] = []
        self.exits = 0

    @info
    def ended(self, message: Exit) -> None:
        self.exits += 1

    @call
    async def act(self, node: str, choice: float) -> None:
        try:
            await self.tie(Target.whereis("target", node=node), choice)
        except RoostError:
            return

    async def tie(self, far: Target, choice: float) -> None:
        if choice < 0.3:
            far = await far.with_timeout(1.0).me()
        if choice < 0.5:
            self.watches.append(Watch(far))
        elif choice < 0.6 and self.watches:
            self.watches[int(choice * 1000) % len(self.watches)].cancel()
        elif choice < 0.8:
            self.link(far)
        elif choice < 0.9:
            self.unlink(far)
        else:
            far.exit("kill")


class Watch:
    """One monitor, and how often it has fired."""

    def __init__(self, far: Target) -> None:
        self.fired = 0
        self.is_cancelled = False
        target = target_of(far)
        assert target is not None
        self.monitor: Monitor = target.transport.watch(target, far, None, self.fire)

    def fire(self, down: Down) -> None:
        self.fired += 1

    def cancel(self) -> None:
        self.is_cancelled = True
        self.monitor.cancel()


class TiedNode:
    """A node with a target and a hub."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.node = Node(config, runtime)
        self.node.add_child(Supervisor.child([Target.child(name="target")], max_restarts=1_000, id="mortals"))
        self.node.add_child(Hub.child(name="hub"))

    @classmethod
    async def boot(cls, config: Config, runtime: Runtime) -> TiedNode:
        self = cls(config, runtime)
        await self.node.start()
        return self

    async def stop(self) -> None:
        await self.node.stop()

    @property
    def ties(self) -> RemoteTies:
        transport = self.node.scheduler.transport
        assert isinstance(transport, ProcessService)
        return transport._ties

    @property
    def hub(self) -> Hub:
        server = self.node.scheduler.whereis("hub").server
        assert isinstance(server, Hub)
        return server

    async def act(self, draw: random.Random) -> None:
        other = node_name(draw.choice([name for name in NAMES if node_name(name) != self.node.name]))
        choice = draw.random()
        with self.node.entered():
            try:
                await Hub.whereis("hub").act(other, choice)
            except RoostError:
                return


async def _crowd(world: World[TiedNode], end_s: float) -> int:
    draw, acts = random.Random(f"{world.seed}/crowd"), 0
    while world.loop.time() < end_s:
        await asyncio.sleep(draw.expovariate(40.0))
        names = [name for name in world.running if not world.is_paused(name)]
        if names:
            acts += 1
            try:
                await world.on(draw.choice(names), lambda node: node.act(draw))
            except RoostError:
                continue
    return acts


def _agreed(world: World[TiedNode]) -> bool:
    """Whether both sides of every tie know the same, and every group is that of the processes that live."""
    if any(len(world.node(name).node.fabric.up()) != len(NAMES) for name in NAMES):
        return False
    for name in NAMES:
        node = world.node(name)
        with node.node.entered():
            if len(pg.members("targets")) != len(NAMES):
                return False
        for other in NAMES:
            if other != name and not _match(world, name, other):
                return False
    return True


def _match(world: World[TiedNode], here: str, there: str) -> bool:
    mine, theirs = world.node(here).ties._peers[node_name(there)], world.node(there).ties._peers[node_name(here)]
    if mine.watches.keys() != theirs.watched.keys():
        return False
    return _links(world, mine, there) == {(pid, other) for other, pid in _links(world, theirs, here)}


def _links(world: World[TiedNode], peer: _Peer, there: str) -> set[tuple[int, int]]:
    """The links over a peer, as pairs of numbers; a name stands for whoever has it."""
    found = set()
    for who, elsewhere in peer.away.items():
        pid = who if isinstance(who, int) else world.node(there).node.scheduler.whereis(who).pid
        found |= {(process.pid, pid) for process in elsewhere.tied.links}
    return found


async def _story() -> tuple[int, int, int]:
    async with World(*NAMES, boot=TiedNode.boot, drift=0.001) as world:
        await world.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(Nemesis(world, Plan.draw(world.seed)).rage(ACT_S))
            crowd = group.create_task(_crowd(world, world.loop.time() + ACT_S))
        await world.eventually(lambda: _agreed(world), SETTLE_S, "both sides of every tie, and every group, agree")
        fired = exits = 0
        for name in NAMES:
            node = world.node(name)
            waiting = {watch for peer in node.ties._peers.values() for watch in peer.watches.values()}
            for watch in node.hub.watches:
                assert watch.fired <= 1, "an end was told twice"
                assert watch.fired or watch.is_cancelled or watch.monitor in waiting, "an end was never told"
                assert not (watch.fired and watch.monitor in waiting)
                fired += watch.fired
            exits += node.hub.exits
        for name in NAMES:
            await world.stop(name)
        return crowd.result(), fired, exits


def test_every_end_is_told_once_and_both_sides_of_every_tie_agree() -> None:
    acts = fired = exits = 0
    for seed in range(SEEDS):
        try:
            told = run(seed, _story())
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        acts, fired, exits = acts + told[0], fired + told[1], exits + told[2]
    assert acts > 100 * SEEDS
    assert fired > 10 * SEEDS
    assert exits > 2 * SEEDS


def _caught() -> bool:
    for seed in range(MUTANT_SEEDS):
        try:
            run(seed, _story())
        except AssertionError:
            return True
    return False


def test_members_of_a_lost_node_that_stay_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Groups, "peer_down", lambda self, node: None)
    assert _caught()


def test_an_unlink_that_is_not_told_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RemoteTies, "_take_unlink", lambda *_: None)
    assert _caught()


def test_a_watch_that_outlives_its_link_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def fire(self: _Watched, reason: Reason) -> None:
        self.deliver(Down(self.handle, reason))

    monkeypatch.setattr(_Watched, "fire", fire)
    assert _caught()
