"""A process that watches the nodes is told what comes and goes, in order, until it ends or has enough."""

from __future__ import annotations

import asyncio

import pytest

from roost.cluster.node import Node
from roost.cluster.node_monitor import NodeIsDown, NodeIsUp, monitor_nodes
from roost.errors import ConfigError
from roost.otp import GenServer, call, info
from roost.runtime import Runtime
from tests.cluster.meadow import configs

A, B, C = "a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"


class Roster(GenServer):
    """Writes down what it is told."""

    def init(self, changed: asyncio.Event) -> None:
        self.told: list[NodeIsUp | NodeIsDown] = []
        self.changed = changed
        self.watch = monitor_nodes(self)

    @info
    def came(self, message: NodeIsUp) -> None:
        """A node is there."""
        self.told.append(message)
        self.changed.set()

    @info
    def went(self, message: NodeIsDown) -> None:
        """A node is gone."""
        self.told.append(message)
        self.changed.set()

    @call
    def enough(self) -> None:
        """Hear no more."""
        self.watch.cancel()
        self.watch.cancel()


async def told(roster: Roster, changed: asyncio.Event, count: int) -> list[NodeIsUp | NodeIsDown]:
    """What the roster was told, once that is so much."""
    server = roster._process.server
    assert isinstance(server, Roster)
    while len(server.told) < count:
        changed.clear()
        await changed.wait()
    return server.told


async def test_a_process_is_told_which_nodes_come_and_go_in_order() -> None:
    first, second = configs("a", "b")
    a, b = Node(first, Runtime.real()), Node(second, Runtime.real())
    await a.start()
    changed = asyncio.Event()
    with a.entered():
        early = await Roster.start(changed)
    await b.start()
    up = NodeIsUp(B, b.fabric.incarnation)
    assert await told(early, changed, 1) == [up]
    with a.entered():
        late = await Roster.start(changed)
    assert await told(late, changed, 1) == [up]
    await late.enough()
    await b.stop()
    down = NodeIsDown(B, b.fabric.incarnation, "shutdown")
    assert await told(early, changed, 2) == [up, down]
    again = Node(second, Runtime.real())
    await again.start()
    assert (await told(early, changed, 3))[2] == NodeIsUp(B, again.fabric.incarnation)
    assert await told(late, changed, 1) == [up]
    await asyncio.gather(a.stop(), again.stop())


async def test_a_watch_that_has_ended_leaves_nothing_behind() -> None:
    node = Node(configs("a")[0], Runtime.real())
    await node.start()
    before = dict(node.fabric._watchers)
    changed = asyncio.Event()
    with node.entered():
        ends, has_enough = await Roster.start(changed), await Roster.start(changed)
        assert len(node.fabric._watchers) == len(before) + 2
        await ends.stop()
        await has_enough.enough()
    await asyncio.sleep(0)
    assert node.fabric._watchers == before
    assert not has_enough._process.tied.monitors
    await node.stop()


async def test_a_process_of_another_node_watches_for_itself() -> None:
    first, second = configs("a", "b")
    a, b = Node(first, Runtime.real()), Node(second, Runtime.real())
    await a.start()
    with a.entered():
        roster = await Roster.start(asyncio.Event())
    with b.entered(), pytest.raises(ConfigError, match="does not live on b"):
        monitor_nodes(roster)
    with pytest.raises(RuntimeError, match="no node here"):
        monitor_nodes(roster)
    await a.stop()
