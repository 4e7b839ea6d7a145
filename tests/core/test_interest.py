"""What a node wants, and what it believes of others, in buckets: against a model that keeps sets."""

from __future__ import annotations

import random

import pytest

from roost.core.interest import BUCKETS, Interested, Part, Wishes, bucket_of


def test_every_node_puts_a_topic_into_the_same_bucket() -> None:
    assert bucket_of("room:lobby") == 92_853
    assert bucket_of("räume:ü") == bucket_of("räume:ü")
    assert all(0 <= bucket_of(f"room:{number}") < BUCKETS for number in range(1000))


def test_the_buckets_of_many_topics_are_spread() -> None:
    buckets = {bucket_of(f"room:{number}") for number in range(100_000)}
    assert len(buckets) > 94_000


class Believer:
    """A peer: what it was told."""

    def __init__(self) -> None:
        self.wanted: set[int] = set()

    def replace(self, part: Part) -> None:
        self.wanted = {bucket for bucket in self.wanted if not part.first <= bucket < part.end} | set(part.wanted)


@pytest.mark.parametrize("seed", range(20))
def test_who_is_told_everything_that_is_news_or_faded_knows_what_is_wanted(seed: int) -> None:
    draw = random.Random(seed)
    wishes, topics, peer = Wishes(), dict.fromkeys((5, 6, 7, BUCKETS - 1), 0), Believer()
    for _ in range(600):
        bucket = draw.choice([*topics])
        act = draw.random()
        if act < 0.45:
            topics[bucket] += 1
            wishes.add(bucket)
        elif act < 0.8 and topics[bucket]:
            topics[bucket] -= 1
            wishes.remove(bucket)
        elif act < 0.9:
            peer.wanted |= set(wishes.take_news())
        elif act < 0.95:
            peer.wanted -= set(wishes.take_faded())
        else:
            peer = Believer()  # it was lost, and has come back
            peer.wanted |= set(wishes.take_news())
            at = 0
            while at < BUCKETS:
                part = wishes.part(at, 2)
                assert len(part.wanted) <= 2
                peer.replace(part)
                at = part.end
        missing = {bucket for bucket, count in topics.items() if count} - peer.wanted
        assert all(wishes.is_news(bucket) for bucket in missing)
    peer.wanted |= set(wishes.take_news())
    peer.wanted -= set(wishes.take_faded())
    assert peer.wanted == {bucket for bucket, count in topics.items() if count}


def test_a_bucket_of_many_topics_is_wanted_until_the_last_of_them_goes() -> None:
    wishes = Wishes()
    assert [wishes.add(9) for _ in range(1000)] == [True] + [False] * 999
    assert wishes.take_news() == [9]
    assert [wishes.remove(9) for _ in range(1000)] == [False] * 999 + [True]
    assert wishes.part(0, 10).wanted == [9]
    assert wishes.take_faded() == [9]
    assert wishes.part(0, 10) == Part(0, BUCKETS, [])


@pytest.mark.parametrize("seed", range(10))
def test_what_peers_want_is_kept_apart_however_many_they_are(seed: int) -> None:
    draw = random.Random(seed)
    interested, model = Interested(), dict[str, set[int]]()
    buckets = [0, 1, 2, 77, BUCKETS - 1]
    for _ in range(300):
        peer = f"node {draw.randrange(20)}"
        if peer not in interested:
            assert peer not in model
            interested.add(peer)
            interested.add(peer)
            interested.replace(peer, Part(0, 80, [2]))
            model[peer] = {2}
        elif draw.random() < 0.1:
            interested.forget(peer)
            interested.forget(peer)
            del model[peer]
        elif draw.random() < 0.2:
            wanted = draw.sample(buckets[:4], 2)
            interested.replace(peer, Part(0, 80, wanted))
            model[peer] = {bucket for bucket in model[peer] if bucket >= 80} | set(wanted)
        else:
            wanted, unwanted = draw.sample(buckets, 2), draw.sample(buckets, 1)
            interested.change(peer, wanted, unwanted)
            model[peer] = (model[peer] | set(wanted)) - set(unwanted)
        for bucket in buckets:
            expected = sorted(peer for peer, wanted in model.items() if bucket in wanted)
            assert sorted(interested.peers(bucket)) == expected
