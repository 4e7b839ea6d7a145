"""What other nodes, and subscribers, may do wrong, and whom it harms: themselves."""

from __future__ import annotations

import logging
from typing import cast

import msgspec
import pytest

from roost.cluster.fabric import Fabric
from roost.cluster.link import Link
from roost.core.interest import bucket_of
from roost.errors import BadMessage
from roost.live import interest
from roost.live.broadcast import Broadcast
from roost.live.pubsub import SERVICE, Publish, PubSub, encode
from roost.wire import phoenix
from roost.wire.handshake import FEATURES
from roost.wire.messages import Request
from tests.live.cable import CableFabric, CableLink
from tests.live.test_pubsub import World

GOOD = phoenix.V2.broadcast("t", "e", {"n": 1})


class Broken:
    """A subscriber that raises."""

    def write(self, frame: bytes) -> None:
        raise RuntimeError("broken sink")

    def flush(self) -> None:
        raise RuntimeError("broken flush")


def test_interest_that_makes_no_sense_is_refused() -> None:
    world = World("a", "b")
    link = cast("Link", CableLink(world.cables.fabrics["b"], world.cables.fabrics["a"]))
    for body in (b"", b"\xc0", msgspec.msgpack.encode((1, [1 << 20], [])), msgspec.msgpack.encode((2, -1, 5, []))):
        with pytest.raises(BadMessage):
            world.nodes["a"].on_request(link, Request(1, 1000, SERVICE, msgspec.Raw(body)))
    stranger = cast("Link", CableLink(CableFabric(world.cables, "stranger", 1), world.cables.fabrics["a"]))
    body = msgspec.msgpack.encode((1, [1], []))
    with pytest.raises(BadMessage, match="no peer"):
        world.nodes["a"].on_request(stranger, Request(1, 1000, SERVICE, msgspec.Raw(body)))


def test_a_node_that_divides_topics_in_another_way_is_sent_everything(caplog: pytest.LogCaptureFixture) -> None:
    world = World("a", "b")
    world.cables.fabric("other")
    world.cables.fabrics["other"].features = frozenset({"topics/16"})
    world.nodes["other"] = PubSub(cast("Fabric", world.cables.fabrics["other"]), world.clock)
    world.cables.plug("a", "other")
    settled: list[str] = []
    here, far = world.inbox("a"), world.inbox("other")
    world.nodes["a"].when_settled("t", lambda: settled.append("a"))
    world.nodes["other"].when_settled("t", lambda: settled.append("other"))
    world.flow()
    assert sorted(settled) == ["a", "other"]
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    world.nodes["other"].broadcast("t", "e", {"n": 2})
    world.nodes["a"].broadcast("nobody's", "e", {"n": 3})
    world.flow()
    assert (here.got, far.got) == ([1, 2], [2, 1])
    assert (world.nodes["other"].unwanted, world.nodes["b"].unwanted) == (1, 0)
    assert caplog.text.count("divides topics in another way") == 2
    world.cables.pull("a", "other")
    world.cables.fabrics["other"].features = frozenset(FEATURES)
    world.cables.plug("a", "other")
    world.flow()
    world.nodes["a"].broadcast("nobody's", "e", {"n": 4})
    world.nodes["a"].broadcast("t", "e", {"n": 5})
    world.flow()
    assert far.got == [2, 1, 5]
    assert world.nodes["other"].unwanted == 1


def test_the_slowest_of_many_peers_is_looked_for_once_in_a_wave(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{number}" for number in range(20)]
    world = World(*names)
    looks: list[int] = []
    look = interest._slowest

    def counted(peers: dict[str, interest._Peer]) -> interest._Peer:
        looks.append(len(peers))
        return look(peers)

    monkeypatch.setattr(interest, "_slowest", counted)
    settled: list[str] = []
    for number in range(5):
        world.inbox("n0", f"t{number}")
        world.nodes["n0"].when_settled(f"t{number}", lambda: settled.append("yes"))
        world.flow()
    assert settled == ["yes"] * 5
    assert len(looks) <= 2 * 5


def test_a_peer_that_is_behind_for_long_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    world = World("a", "b")
    world.cables.fabrics["a"].choked.add("b")
    world.inbox("a")
    world.flow()
    for _ in range(100):
        world.clock.advance(interest.RESYNC_S)
        world.flow()
    assert caplog.text.count("does not know which topics") == 7
    world.cables.fabrics["a"].choked.clear()
    world.clock.advance(interest.RESYNC_S)
    world.flow()
    assert world.nodes["b"]._interest.peers(bucket_of("t")) == ("a",)


@pytest.mark.parametrize("beside", [0, 1, 3, 20])
def test_a_subscriber_that_raises_harms_nobody_else(beside: int, caplog: pytest.LogCaptureFixture) -> None:
    world = World("a")
    node, broken = world.nodes["a"], Broken()
    first = world.inbox("a")
    node.subscribe("t", broken, broken)
    others = [first, *(world.inbox("a") for _ in range(beside))]
    node.unsubscribe("t", first) if not beside else None
    alone = world.inbox("a", "another topic")
    node.broadcast("t", "e", {"n": 1})
    node.broadcast("t", "e", {"n": 2}, excluded=first)
    node.broadcast("another topic", "e", {"n": 3})
    world.flow()
    assert [inbox.got for inbox in others[1:]] == [[1, 2]] * beside
    assert all(inbox.flushed for inbox in others[1:])
    assert (alone.got, alone.flushed) == ([3], 1)
    assert "broken sink" in caplog.text
    assert "broken flush" in caplog.text


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x81",
        b"\x88\x00",
        GOOD[:-1],
        GOOD + b"\x88\x00",
        b"\x81\x7e\x00",
        b"\x81\x7e\x00\x02{",
        b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x03{}",
        b"\x81\x82abcd{}",
    ],
)
def test_what_is_no_ready_frame_gets_to_no_client(frame: bytes, caplog: pytest.LogCaptureFixture) -> None:
    world = World("a", "b")
    inbox = world.inbox("b")
    world.flow()
    world.cables.fabrics["a"].cast("b", SERVICE, encode(Publish("t", frame)))
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    world.flow()
    assert inbox.got == [1]
    assert world.nodes["b"].bad == 1
    assert "a has sent what is no broadcast" in caplog.text


def test_messages_that_are_none_are_counted_and_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    world = World("a", "b")
    inbox = world.inbox("b")
    world.flow()
    for number in range(1_000):
        body = (b"\xc0", b"\xff", msgspec.msgpack.encode((9, "t")), msgspec.msgpack.encode((1, b"\xff", 2)))[number % 4]
        world.cables.fabrics["a"].cast("b", SERVICE, body)
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    world.flow()
    assert inbox.got == [1]
    assert world.nodes["b"].bad == 1_000
    assert len(caplog.records) == 10


@pytest.mark.parametrize(
    "frame",
    [
        phoenix.text_frame(b'[null,null,"t","e",[1]]'),
        phoenix.text_frame(b'[null,null,"t","e",{"a":"\xff"}]'),
        phoenix.text_frame(b'[null,null,"t","e",1]'),
        phoenix.binary_frame(b""),
        phoenix.binary_frame(b"\x02\x01"),
        phoenix.binary_frame(b"\x02\x01\x01t"),
    ],
)
def test_a_payload_that_no_client_could_have_sent_is_a_bad_message(frame: bytes) -> None:
    with pytest.raises(BadMessage):
        assert Broadcast("t", frame).payload


def test_a_topic_that_is_no_text_leaves_nothing_behind() -> None:
    world = World("a")
    with pytest.raises(UnicodeEncodeError):
        world.inbox("a", "\ud800")
    assert world.nodes["a"].subscribers("\ud800") == 0
