"""Who comes and goes leaves nothing behind, however often."""

from __future__ import annotations

import gc
from collections.abc import Callable

from roost import GenServer, info, pubsub
from roost.live.mail import Mail
from roost.live.presence import Presence
from roost.live.pubsub import PubSub
from tests.cluster.flock import flock
from tests.live.presence_world import World as Presences
from tests.live.test_pubsub import Inbox, World
from tests.live.test_topics import nothing

CYCLES = 2_000
SOME = 50
"""How many objects may be more: what the interpreter keeps for itself."""


def growth(cycle: Callable[[int], None], settle: Callable[[], None]) -> int:
    """How many objects are more after many cycles than after half as many."""
    for number in range(CYCLES):
        cycle(number)
    settle()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(CYCLES):
        cycle(CYCLES + number)
    settle()
    gc.collect()
    return len(gc.get_objects()) - before


def test_topics_that_come_and_go_leave_nothing() -> None:
    world = World("a", "b")
    node = world.nodes["a"]

    def cycle(number: int) -> None:
        topic, sinks = f"t{number}", [Inbox() for _ in range(number % 12 + 1)]
        for sink in sinks:
            node.subscribe(topic, sink, sink)
            node.when_settled(topic, lambda: None)
        if number % 7 == 0:
            world.flow()
            world.nodes["b"].broadcast(topic, "e", {"n": number})
        for sink in sinks:
            node.unsubscribe(topic, sink)

    def settle() -> None:
        for _ in range(3):
            world.flow()
            world.clock.advance(1.0)

    assert growth(cycle, settle) <= SOME
    assert node.sizes() == (0, 0)
    assert not any(world.nodes["b"]._interest.peers(bucket) for bucket in range(0, 1 << 20, 7))


def test_links_that_come_and_go_leave_nothing() -> None:
    world = World("a", "b", "c")
    inbox = world.inbox("a")

    def cycle(number: int) -> None:
        if number % 20 == 0:
            world.cables.pull("a", "b")
            world.nodes["b"].broadcast("t", "e", {"n": number})
            world.cables.plug("a", "b")
            world.flow()

    assert growth(cycle, world.flow) <= SOME
    assert inbox.got == []


def test_presences_that_come_and_go_leave_no_more_than_what_is_remembered() -> None:
    world = Presences("a", "b")
    presence = world.presence["a"]

    def cycle(number: int) -> None:
        id = presence.track(f"t{number % 100}", f"k{number}", {"n": number})
        presence.update(id, {"n": -number})
        if number % 50 == 0:
            world.settle()
        presence.untrack(id)

    assert growth(cycle, world.settle) <= SOME
    assert presence.own == 0
    for each in world.presence.values():
        assert each._state.news() == []
        assert not any(shard._topics or shard._own_counts for shard in each._state._shards)


class Visitor(GenServer):
    """Comes, hears and is shown."""

    def init(self) -> None:
        pubsub.subscribe("t")
        pubsub.subscribe("u")
        pubsub.unsubscribe("u")

    @info
    def hear(self, message: str) -> None:
        """Nothing."""


async def test_processes_that_come_and_go_leave_nothing() -> None:
    async with flock("a", setup=nothing) as story:
        node = story["a"]
        with node.entered():
            topics, mail = PubSub.of(node), Mail.of(node)
            presence = Presence(node.scheduler, node.fabric, topics)
            counts: list[int] = []
            for _ in range(3):
                for number in range(300):
                    visitor = await Visitor.start()
                    presence.track("t", str(number), {}, owner=visitor)
                    presence.track("t", str(number), {}, owner=visitor)
                    pubsub.broadcast("t", "hello")
                    await visitor.stop()
                gc.collect()
                counts.append(len(gc.get_objects()))
            assert topics.sizes() == (0, 0)
            assert (mail._subscriptions, mail._ears) == (0, {})
            assert (presence.own, presence._owners, presence._owner_of) == (0, {}, {})
            assert counts[2] - counts[1] <= SOME
