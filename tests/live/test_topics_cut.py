"""Topics over real sockets that are cut again and again: the promises of `tests.live.ledger` hold."""

from __future__ import annotations

import asyncio
import random

import pytest

from roost.cluster.node import Node
from tests.cluster.flock import Flock, flock
from tests.live.ledger import Party, Story, check, last_ears, last_words

ROUNDS = 12
ACTS = 120


async def _cut(draw: random.Random, node: Node) -> None:
    links = list(node.fabric._peers.values())
    if links:
        draw.choice(links).hang_up("cut", abort=draw.random() < 0.7)


async def _round(draw: random.Random, story: Story, cluster: Flock) -> None:
    """Everybody acts, while links are cut, and go on acting until everybody sees all again."""
    cuts = draw.sample(range(ACTS), 3)
    for act in range(ACTS):
        party = draw.choice(list(story.parties.values()))
        await party.act(draw)
        if act in cuts:
            await _cut(draw, party.node)
        if draw.random() < 0.5:
            await asyncio.sleep(0)
    await cluster.meet()


@pytest.mark.parametrize("seed", range(2))
async def test_topics_keep_their_promises_while_links_are_cut(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.live.pubsub.bucket_of", lambda topic: int(topic[-1]) % 3)
    monkeypatch.setattr("roost.live.interest.TOPIC_BUCKETS_PER_MESSAGE", 1)
    draw, story = random.Random(seed), Story()

    def setup(node: Node) -> None:
        Party(story, node)

    async with flock("a", "b", "c", setup=setup) as cluster:
        for round in range(ROUNDS):
            if round % 5 == 4:
                letter = draw.choice("abc")
                await cluster.stop(letter)
                await cluster.start(letter)
            await _round(draw, story, cluster)
        parties = list(story.parties.values())
        for party in parties:
            await last_ears(party)
        alive = [subscription for subscription in story.subscriptions if subscription.is_alive]
        await cluster.until(lambda: all(one.known == len(parties) - 1 for one in alive))
        for party in parties:
            await last_words(party)
        await cluster.until(lambda: not any(one.missing() for one in alive))
        assert check(story) > 20 * ROUNDS
