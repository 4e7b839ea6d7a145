"""Where a node looks for keys: by the layout, and by who is up."""

from __future__ import annotations

from roost.cluster.fabric import Fabric
from roost.cluster.ring import Placement
from roost.config import Config
from roost.core.claim import claim
from roost.core.layout import Layout
from roost.core.ring import Replica, key_hash, preference_list, slot_of
from roost.runtime import Runtime
from tests.cluster.flock import flock


async def test_placement_follows_who_is_up() -> None:
    async with flock("a", "b", "c", setup=lambda node: None) as nodes:
        placement, ring = nodes["a"].placement, nodes["a"].ring
        names = nodes["a"].membership.members
        for partition in range(ring.size):
            assert placement.replicas(partition, 2) == preference_list(ring.order(partition), partition, 2, names)
            assert placement.replicas(partition, 2) is placement.replicas(partition, 2)
            assert len(placement.spares(partition, 2)) == 1
        await nodes.stop("b")
        for partition in range(ring.size):
            up = (names[0], names[2])
            assert placement.replicas(partition, 2) == preference_list(ring.order(partition), partition, 2, up)
            assert placement.spares(partition, 2) == ()
        await nodes.start("b")
        await nodes.meet()
        assert placement.replicas(1, 3) == preference_list(ring.order(1), 1, 3, names)


async def test_a_node_alone_holds_everything() -> None:
    config = Config(name="a@127.0.0.1")
    ring = claim(config.members, config.ring_size)
    placement = Placement(Layout.settled(ring), Fabric(config, Runtime.real(), b"id"))
    partition = placement.partition_of(b"bucket", b"key")
    assert partition == ring.partition_of(key_hash(b"bucket", b"key"))
    assert placement.replicas(partition, 3) == (Replica(slot_of(partition, 0), "a@127.0.0.1", True),)


async def test_a_layout_that_is_adopted_places_keys_at_once() -> None:
    async with flock("a", "b", "c", setup=lambda node: None) as nodes:
        placement, members = nodes["a"].placement, nodes["a"].membership.members
        before, told = placement.replicas(3, 2), []
        unwatch = placement.watch(lambda: told.append(placement.layout))
        alone = Layout.settled(claim(members[1:2], placement.size))
        placement.adopt(alone)
        assert placement.replicas(3, 2) == (Replica(slot_of(3, 0), members[1], True),) != before
        assert (placement.breadth(3), placement.holder(slot_of(3, 1)), told) == (1, None, [alone])
        unwatch()
        placement.adopt(Layout.settled(claim(members, placement.size)))
        assert (placement.replicas(3, 2), placement.breadth(3), len(told)) == (before, 3, 1)
