"""Topics of real nodes under every fault, in the simulator: the promises of `tests.live.ledger` hold.

The topics fall into three buckets, so that every bucket is shared.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from roost.cluster.node import Node
from roost.config import Config
from roost.core.interest import Wishes
from roost.errors import NodeCrashed
from roost.live.interest import Interest, _Peer
from roost.live.pubsub import PubSub
from roost.live.subscribers import Few, One
from roost.runtime import Runtime
from roost.sim.nemesis import Nemesis, Plan
from roost.sim.running import run
from roost.sim.world import World
from tests.live.ledger import Party, Story, check, last_ears, last_words

BUCKETS = 3
KINDS = ("crash", "split", "one_way", "reset", "pause", "slow_node", "storm", "partial")
ACT_S = 2.5
SETTLE_S = 15.0
SEEDS = 100
MUTANT_SEEDS = 20


async def _boot(story: Story, config: Config, runtime: Runtime) -> Party:
    party = Party(story, Node(config, runtime))
    await party.node.start()
    return party


async def _crowd(world: World[Party], end_s: float) -> int:
    draw, acts = random.Random(f"{world.seed}/crowd"), 0
    while True:
        await asyncio.sleep(draw.expovariate(100.0))
        if world.loop.time() >= end_s:
            return acts
        names = [name for name in world.running if not world.is_paused(name)]
        if names:
            acts += 1
            with suppress(NodeCrashed):  # what it did is gone with it
                await world.on(draw.choice(names), lambda party: party.act(draw))


async def _story(names: tuple[str, ...]) -> tuple[str, int, int]:
    story = Story()
    async with World(*names, boot=partial(_boot, story), drift=0.001) as world:
        await world.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(Nemesis(world, Plan.draw(world.seed, KINDS)).rage(ACT_S))
            crowd = group.create_task(_crowd(world, world.loop.time() + ACT_S))
        parties = [world.node(name) for name in names]
        await world.eventually(
            lambda: all(len(party.node.fabric.up()) == len(names) for party in parties), SETTLE_S, "everybody sees all"
        )
        for name in names:
            await world.on(name, last_ears)
        await asyncio.sleep(1.0)
        for name in names:
            await world.on(name, last_words)
        await asyncio.sleep(1.0)
        due = check(story)
        for name in names:
            await world.stop(name)
        return world.trace.digest, crowd.result(), due


def _run(seed: int) -> tuple[str, int, int]:
    return run(seed, _story(("a", "b", "c", "d", "e")[: 3 + seed % 3]))


@pytest.fixture(autouse=True)
def _few_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.live.pubsub.bucket_of", lambda topic: int(topic[-1]) % BUCKETS)
    monkeypatch.setattr("roost.live.interest.TOPIC_BUCKETS_PER_MESSAGE", 1)


def test_topics_keep_their_promises_under_every_fault() -> None:
    acts = due = 0
    for seed in range(SEEDS):
        try:
            _, did, owed = _run(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        acts, due = acts + did, due + owed
    assert acts > 100 * SEEDS
    assert due > 200 * SEEDS


def test_equal_seeds_have_equal_digests() -> None:
    assert [_run(seed) for seed in range(3)] == [_run(seed) for seed in range(3)]


def _settled_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Interest, "when_settled", lambda self, bucket, action: action())


def _a_peer_that_comes_up_is_told_nothing(patch: pytest.MonkeyPatch) -> None:
    def tell_everything(self: Interest, peer: _Peer) -> None:
        peer.hears, peer.knows = True, self._wave

    patch.setattr(Interest, "_tell_everything", tell_everything)


def _a_bucket_is_given_up_with_its_first_topic(patch: pytest.MonkeyPatch) -> None:
    def remove(self: Wishes, bucket: int) -> bool:
        if bucket in self._fading:
            return False
        self._counts[bucket] = 1
        return removed(self, bucket)

    removed = Wishes.remove
    patch.setattr(Wishes, "remove", remove)


def _what_fades_is_given_up_although_it_is_wanted_again(patch: pytest.MonkeyPatch) -> None:
    def add(self: Wishes, bucket: int) -> bool:
        if bucket in self._fading:
            revived.append(bucket)
        return added(self, bucket)

    revived: list[int] = []
    added, taken = Wishes.add, Wishes.take_faded
    patch.setattr(Wishes, "add", add)
    patch.setattr(Wishes, "take_faded", lambda self: taken(self) + revived)


def _who_unsubscribes_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(One, "remove", lambda self, key: self)


def _one_of_few_who_unsubscribes_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Few, "remove", lambda self, key: self)


def _a_bucket_is_delivered_as_one(patch: pytest.MonkeyPatch) -> None:
    def dispatch(self: PubSub, topic: str, frame: bytes, excluded: object) -> None:
        for other in list(self._topics):
            if int(other[-1]) % BUCKETS == int(topic[-1]) % BUCKETS:
                dispatched(self, other, frame, excluded)

    dispatched = PubSub._dispatch
    patch.setattr(PubSub, "_dispatch", dispatch)


def _messages_overtake_events(patch: pytest.MonkeyPatch) -> None:
    def cast(self: PubSub, peer: str, topic: str, body: bytes) -> None:
        if body[1] == 1:
            self.turn._clock.call_later(0.002, lambda: sent(self, peer, topic, body))
        else:
            sent(self, peer, topic, body)

    sent = PubSub._cast
    patch.setattr(PubSub, "_cast", cast)


@pytest.mark.parametrize(
    "plant",
    [
        _settled_at_once,
        _a_peer_that_comes_up_is_told_nothing,
        _a_bucket_is_given_up_with_its_first_topic,
        _what_fades_is_given_up_although_it_is_wanted_again,
        _who_unsubscribes_stays,
        _one_of_few_who_unsubscribes_stays,
        _a_bucket_is_delivered_as_one,
        _messages_overtake_events,
    ],
)
def test_a_planted_fault_comes_to_light(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):  # noqa: PT012  # any of these seeds may be the one
        for seed in range(MUTANT_SEEDS):
            _run(seed)
