"""What other nodes, clients and hooks may do wrong about presences, and whom it harms."""

from __future__ import annotations

import logging

import msgspec
import pytest

from roost import limits
from roost.core.presence.fragment import Assembly, Part
from roost.core.presence.presence import Origin
from roost.live.presence_fetch import Fetch
from roost.live.presence_peers import SERVICE
from roost.wire.handshake import FEATURES
from tests.live.presence_world import TOPIC, World


def test_a_node_that_divides_presences_in_another_way_sees_none_and_shows_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World("a", "b")
    world.boot("other")
    world.cables.fabrics["other"].features = frozenset({"presences/16"})
    world.heal("other")
    world.track("a", "alex")
    world.track("other", "olga")
    world.wait()
    assert world.seen() == {"a": ["alex"], "b": ["alex"], "other": ["olga"]}
    assert caplog.text.count("divides presences in another way") == 4
    world.split("a", "other")
    world.split("b", "other")
    world.cables.fabrics["other"].features = frozenset(FEATURES)
    world.heal("other")
    world.wait()
    assert world.agreed() == ["alex", "olga"]


def test_messages_about_presences_that_are_none_are_counted_and_do_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    world = World("a", "b")
    bad = (b"\xc0", b"\xff", msgspec.msgpack.encode(("part", "x")), msgspec.msgpack.encode(("what", 1)))
    for number in range(1_000):
        world.cables.fabrics["a"].cast("b", SERVICE, bad[number % len(bad)])
    world.track("a", "alex")
    world.settle()
    assert world.agreed() == ["alex"]
    assert world.presence["b"].bad == 1_000
    assert len(caplog.records) == 10


def test_what_is_begun_and_never_completed_is_bounded() -> None:
    assembly = Assembly()
    for number in range(1_000):
        for shard in (number % limits.PRESENCE_SHARDS, -1, limits.PRESENCE_SHARDS, 1 << 40):
            assert assembly.add(Part(shard, Origin("a", number), 0, (), last=False)) is None
    assert len(assembly._waiting) == limits.PRESENCE_SHARDS


@pytest.mark.parametrize(
    ("topic", "key", "meta"), [("\ud800", "k", {}), (TOPIC, "\ud800", {}), (TOPIC, "k", {"a": "\ud800"})]
)
def test_text_that_cannot_be_sent_is_refused_and_holds_up_nobody(topic: str, key: str, meta: dict[str, object]) -> None:
    world = World("a", "b")
    with pytest.raises(ValueError, match="surrogates"):
        world.presence["a"].track(topic, key, meta)
    world.track("a", "alex")
    world.settle()
    assert world.agreed() == ["alex"]
    assert world.presence["a"].own == 1


def test_names_that_clients_choose_make_no_diff_too_large() -> None:
    world = World("a")
    long = "\x01" * (limits.TOPIC_BYTES_MAX - 5)
    ids = world.track("a", *(f"{long}{number:05}" for number in range(limits.PRESENCE_DIFF_MAX)))
    for _ in range(20):
        world.settle()
    assert len(world.agreed()) == limits.PRESENCE_DIFF_MAX
    for id in ids:
        world.presence["a"].update(id, {"away": True})
    for _ in range(20):
        world.settle()
    assert len(world.agreed()) == limits.PRESENCE_DIFF_MAX
    assert all("away" in meta for metas in world.viewers["a"].there.values() for meta in metas.values())


def test_a_topic_that_cannot_be_told_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def fetch_for(topic: str) -> Fetch | None:
        if topic == "bad":
            raise RuntimeError("no hook for this")
        return None

    world = World("a", fetch_for=fetch_for)
    viewer = world.viewers["a"]
    world.presence["a"]._pubsub.subscribe("bad", viewer, viewer)
    world.presence["a"].track("bad", "nobody", {})
    world.track("a", "alex")
    world.settle()
    assert world.agreed() == ["alex"]
    assert "no hook for this" in caplog.text
    assert TOPIC not in world.presence["a"]._state.news()
