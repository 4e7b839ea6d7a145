"""A hundred nodes and 512 partitions: a change is known soon, and what they say about it does not grow with them."""

from __future__ import annotations

import logging

import pytest

from roost.cluster.claimant import GOSSIP_TICKS, TICK_S
from roost.cluster.fabric import Fabric
from roost.cluster.membership import SERVICE
from roost.cluster.node import Node
from roost.config import Config
from roost.runtime import Runtime
from roost.sim.running import run
from roost.sim.upheaval import BareNode
from roost.sim.world import World, node_name

ROUND_S = TICK_S * GOSSIP_TICKS
ROUNDS_MAX = 5
LOOK_S = 5.0


async def boot(config: Config, runtime: Runtime) -> BareNode:
    node = Node(config, runtime)
    await node.start()
    return BareNode(node)


async def _told(count: int, ring_size: int, said: list[int]) -> tuple[float, float]:
    """How many words about membership one idle node says in a second, and how long until all know of a change."""
    names = [f"n{number:02}" for number in range(count)]
    async with World(*names, boot=boot, ring_size=ring_size) as world:

        def everywhere(version: int) -> bool:
            return all(world.node(name).node.membership.cluster.version >= version for name in names)

        await world.start()
        await world.eventually(lambda: all(len(world.node(name).node.fabric.up()) == count for name in names), 10.0)
        began_s = world.loop.time()
        await world.eventually(lambda: world.loop.time() > began_s + 1.0, 2.0)
        said[0], began_s = 0, world.loop.time()
        await world.eventually(lambda: world.loop.time() > began_s + LOOK_S, 2 * LOOK_S)
        words = said[0] / count / (world.loop.time() - began_s)
        cluster = await world.on(names[1], lambda one: one.node.membership.set_zone(node_name(names[0]), "north"))
        began_s = world.loop.time()
        await world.eventually(lambda: everywhere(cluster.version), ROUND_S * ROUNDS_MAX, "a change known to all")
        known_s = world.loop.time() - began_s
        await world.on(names[2], lambda one: one.node.membership.leave(node_name(names[3])))
        await world.on(names[2], lambda one: one.node.membership.plan())
        await world.on(names[2], lambda one: one.node.membership.commit())
        gone = node_name(names[3])
        await world.eventually(lambda: not world.node(names[0]).node.membership.cluster.has(gone), 20.0)
        return words, known_s


def test_a_hundred_nodes_say_no_more_than_ten_and_learn_as_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [0]
    cast, request = Fabric.cast, Fabric.request

    def counted_cast(self: Fabric, peer: str, service: str, body: bytes) -> None:
        said[0] += service == SERVICE
        cast(self, peer, service, body)

    def counted_request(self: Fabric, peer: str, service: str, *rest: object) -> None:
        said[0] += service == SERVICE
        request(self, peer, service, *rest)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(Fabric, "cast", counted_cast)
    monkeypatch.setattr(Fabric, "request", counted_request)
    logging.disable()
    try:
        few, _ = run(0, _told(10, 64, said))
        many, known_s = run(0, _told(100, 512, said))
    finally:
        logging.disable(logging.NOTSET)
    assert many < 1.5 * few
    assert known_s <= ROUND_S * ROUNDS_MAX
