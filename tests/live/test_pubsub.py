"""Topics on one node and between nodes."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest

from roost.errors import TooLarge
from roost.limits import MESSAGE_BYTES_MAX
from roost.live import interest
from roost.live.broadcast import Broadcast
from roost.live.interest import FADE_S, RESYNC_S
from roost.live.pubsub import SERVICE, PubSub
from roost.live.subscribers import FEW_MAX
from roost.wire import phoenix
from tests.live.cable import Cables
from tests.web.stage import HandClock


class Inbox:
    """A subscriber: the payloads it was sent."""

    def __init__(self) -> None:
        self.got: list[object] = []
        self.flushed = 0

    def write(self, frame: bytes) -> None:
        self.got.append(msgspec.json.decode(phoenix.text_of(frame))[4]["n"])

    def flush(self) -> None:
        self.flushed += 1


class World:
    """Nodes with their topics, all connected."""

    def __init__(self, *names: str) -> None:
        self.cables, self.clock = Cables(), HandClock()
        self.nodes = {name: PubSub(self.cables.fabric(name), self.clock) for name in names}
        for number, left in enumerate(names):
            for right in names[number + 1 :]:
                self.cables.plug(left, right)
        self.flow()

    def flow(self) -> None:
        """Let this turn end, and what it sends arrive."""
        self.clock.advance(0.0)
        self.cables.flow()
        self.clock.advance(0.0)
        self.cables.flow()

    def inbox(self, node: str, topic: str = "t") -> Inbox:
        inbox = Inbox()
        self.nodes[node].subscribe(topic, inbox, inbox)
        return inbox


def count_interest(world: World) -> list[tuple[str, str]]:
    """Who tells whom what is wanted, from now on."""
    told: list[tuple[str, str]] = []
    for name, fabric in world.cables.fabrics.items():
        request = fabric.request

        def counted(peer: str, *rest: Any, name: str = name, request: Any = request) -> None:
            told.append((name, peer))
            request(peer, *rest)

        fabric.request = counted  # type: ignore[assignment,method-assign]  # a spy
    return told


def test_subscribers_here_get_a_broadcast_in_the_turn_of_the_caller() -> None:
    world = World("a")
    one, two, other = world.inbox("a"), world.inbox("a"), world.inbox("a", "u")
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    assert (one.got, two.got, other.got) == ([1], [1], [])


def test_nothing_is_delivered_after_unsubscribing() -> None:
    world = World("a")
    one, two = world.inbox("a"), world.inbox("a")
    world.nodes["a"].unsubscribe("t", one)
    world.nodes["a"].unsubscribe("t", one)
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    assert (one.got, two.got) == ([], [1])
    three = world.inbox("a")
    world.nodes["a"].broadcast("t", "e", {"n": 2})
    world.nodes["a"].unsubscribe("t", three)
    world.nodes["a"].broadcast("t", "e", {"n": 3})
    assert (two.got, three.got) == ([1, 2, 3], [2])
    assert world.nodes["a"].subscribers("t") == 1


def test_one_can_be_left_out() -> None:
    world = World("a", "b")
    one, two, far = world.inbox("a"), world.inbox("a"), world.inbox("b")
    world.flow()
    world.nodes["a"].broadcast("t", "e", {"n": 1}, excluded=one)
    world.flow()
    assert (one.got, two.got, far.got) == ([], [1], [1])


def test_a_key_has_one_sink() -> None:
    world = World("a")
    old, new = world.inbox("a"), Inbox()
    world.nodes["a"].subscribe("t", old, new)
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    assert (old.got, new.got) == ([], [1])


def test_sinks_are_flushed_once_at_the_end_of_the_turn() -> None:
    world = World("a", "b")
    one, two = world.inbox("a"), world.inbox("b")
    world.flow()
    for number in range(3):
        world.nodes["a"].broadcast("t", "e", {"n": number})
    world.cables.flow()
    assert (one.flushed, two.flushed) == (0, 0)
    world.clock.advance(0.0)
    assert (one.flushed, two.flushed) == (1, 1)
    world.clock.advance(1.0)
    assert (one.flushed, two.flushed) == (1, 1)


def test_a_broadcast_goes_once_to_each_node_that_wants_it_and_to_no_other() -> None:
    world = World("a", "b", "c")
    near, far, far_too = world.inbox("a"), world.inbox("b"), world.inbox("b")
    world.inbox("c", "another topic")
    world.flow()
    world.cables.counted.clear()
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    world.flow()
    assert near.got == far.got == far_too.got == [1]
    assert world.cables.counted == [("a", "b", SERVICE)]


def test_a_local_broadcast_stays_here() -> None:
    world = World("a", "b")
    near, far = world.inbox("a"), world.inbox("b")
    world.flow()
    world.nodes["a"].local_broadcast("t", "e", {"n": 1})
    world.flow()
    assert (near.got, far.got) == ([1], [])


def test_the_order_of_one_publisher_is_kept_everywhere() -> None:
    world = World("a", "b", "c")
    inboxes = [world.inbox(name) for name in "abc"]
    world.flow()
    for number in range(50):
        world.nodes["b"].broadcast("t", "e", {"n": number})
    world.flow()
    assert all(inbox.got == list(range(50)) for inbox in inboxes)


def test_when_settled_nothing_is_missed() -> None:
    world = World("a", "b", "c")
    far = world.inbox("a")
    settled: list[bool] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    assert settled == []
    world.flow()
    assert settled == [True]
    world.nodes["b"].broadcast("t", "e", {"n": 2})
    world.nodes["c"].broadcast("t", "e", {"n": 3})
    world.flow()
    assert far.got == [2, 3]


def test_it_is_settled_at_once_for_the_second_subscriber_and_without_peers() -> None:
    world = World("a", "b")
    world.inbox("a")
    world.flow()
    world.inbox("a")
    settled: list[int] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(1))
    lonely = World("z")
    lonely.inbox("z")
    lonely.nodes["z"].when_settled("t", lambda: settled.append(2))
    world.nodes["a"].when_settled("nobody wants this", lambda: settled.append(3))
    assert settled == [1, 2, 3]


def test_one_that_fails_when_it_is_settled_keeps_nobody_else_waiting(caplog: pytest.LogCaptureFixture) -> None:
    world = World("a", "b")
    world.inbox("a")
    settled: list[bool] = []

    def fail() -> None:
        raise ValueError("on purpose")

    world.nodes["a"].when_settled("t", fail)
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    world.flow()
    assert settled == [True]
    assert "on purpose" in caplog.text


def test_a_node_that_goes_down_is_not_waited_for() -> None:
    world = World("a", "b", "c")
    world.inbox("a")
    settled: list[bool] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    world.cables.pull("a", "b")
    assert settled == []
    world.flow()
    assert settled == [True, True]


def test_a_node_that_comes_up_later_is_waited_for_too() -> None:
    world = World("a", "b")
    here = world.inbox("a")
    world.flow()
    world.cables.pull("a", "b")
    world.cables.plug("a", "b")
    settled: list[bool] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    assert settled == []
    world.flow()
    assert settled == [True]
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    world.flow()
    assert here.got == [1]


def test_the_last_to_unsubscribe_tells_the_others() -> None:
    world = World("a", "b")
    one, two = world.inbox("a"), world.inbox("a")
    world.flow()
    world.nodes["a"].unsubscribe("t", one)
    world.nodes["a"].unsubscribe("t", two)
    world.clock.advance(FADE_S)
    world.flow()
    world.cables.counted.clear()
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    assert world.cables.counted == []


def test_a_netsplit_loses_and_the_heal_mends() -> None:
    world = World("a", "b")
    kept, dropped = world.inbox("a"), world.inbox("a", "dropped")
    world.flow()
    world.cables.pull("a", "b")
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    world.nodes["a"].unsubscribe("dropped", dropped)
    new = world.inbox("a", "new")
    world.clock.advance(FADE_S)
    world.cables.plug("a", "b")
    world.flow()
    world.cables.counted.clear()
    for topic in ("t", "dropped", "new"):
        world.nodes["b"].broadcast(topic, "e", {"n": 2})
    world.flow()
    assert (kept.got, dropped.got, new.got) == ([2], [], [2])
    assert len(world.cables.counted) == 2


def test_many_topics_are_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "TOPIC_BUCKETS_PER_MESSAGE", 3)
    world = World("a", "b")
    world.cables.pull("a", "b")
    inboxes = [world.inbox("a", f"t{number}") for number in range(7)]
    world.cables.plug("a", "b")
    world.flow()
    for number in range(7):
        world.nodes["b"].broadcast(f"t{number}", "e", {"n": number})
    world.flow()
    assert [inbox.got for inbox in inboxes] == [[number] for number in range(7)]


def test_everybody_is_told_in_the_one_message_of_a_turn() -> None:
    world = World("a", "b")
    told = count_interest(world)
    for number in range(500):
        world.inbox("a", f"t{number}")
    world.flow()
    assert told == [("a", "b")]


def test_who_comes_back_at_once_costs_no_message_and_waits_for_nobody() -> None:
    world = World("a", "b")
    inbox = world.inbox("a")
    world.flow()
    told = count_interest(world)
    world.nodes["a"].unsubscribe("t", inbox)
    settled: list[bool] = []
    again = world.inbox("a")
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    assert settled == [True]
    world.clock.advance(FADE_S)
    world.flow()
    assert told == []
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    world.flow()
    assert again.got == [1]


def test_who_comes_and_goes_in_one_turn_leaves_nobody_waiting() -> None:
    world = World("a", "b")
    inbox = world.inbox("a")
    settled: list[int] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(1))
    world.nodes["a"].unsubscribe("t", inbox)
    world.nodes["a"].when_settled("t", lambda: settled.append(2))
    world.flow()
    assert settled == [2, 1]


def test_topics_of_one_bucket_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.live.pubsub.bucket_of", lambda topic: 7)
    world = World("a", "b")
    one, two = world.inbox("a", "one"), world.inbox("a", "two")
    world.flow()
    world.nodes["b"].broadcast("one", "e", {"n": 1})
    world.nodes["b"].broadcast("nobody's", "e", {"n": 2})
    world.flow()
    assert (one.got, two.got, world.nodes["a"].unwanted) == ([1], [], 1)
    world.nodes["a"].unsubscribe("one", one)
    world.clock.advance(FADE_S)
    world.flow()
    world.nodes["b"].broadcast("two", "e", {"n": 3})
    world.flow()
    assert two.got == [3]


def test_nothing_is_missed_while_a_peer_is_told_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "TOPIC_BUCKETS_PER_MESSAGE", 3)
    world = World("a", "b")
    inboxes = [world.inbox("a", f"t{number}") for number in range(20)]
    world.flow()
    world.cables.fabrics["a"].choked.add("b")
    late = world.inbox("a", "late")
    world.flow()
    world.cables.fabrics["a"].choked.clear()
    world.clock.advance(RESYNC_S)
    for number in range(40):
        world.cables.flow(1)
        world.nodes["b"].broadcast(f"t{number % 20}", "e", {"n": number})
    world.flow()
    assert [inbox.got for inbox in inboxes] == [[number, number + 20] for number in range(20)]
    world.nodes["b"].broadcast("late", "e", {"n": 1})
    world.flow()
    assert late.got == [1]


def test_what_changes_while_a_peer_is_told_everything_is_known_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "TOPIC_BUCKETS_PER_MESSAGE", 3)
    for moment in range(12):
        world = World("a", "b")
        world.cables.pull("a", "b")
        old = [world.inbox("a", f"old {number}") for number in range(20)]
        world.cables.plug("a", "b")
        world.cables.flow(moment)
        for number in range(0, 20, 2):
            world.nodes["a"].unsubscribe(f"old {number}", old[number])
        new = [world.inbox("a", f"new {number}") for number in range(20)]
        settled: list[bool] = []
        world.nodes["a"].when_settled("new 7", lambda settled=settled: settled.append(True))  # type: ignore[misc]  # lambda
        world.clock.advance(0.0)
        world.cables.flow(moment)
        world.clock.advance(FADE_S)
        world.flow()
        world.cables.counted.clear()
        for number in range(20):
            world.nodes["b"].broadcast(f"old {number}", "e", {"n": number})
            world.nodes["b"].broadcast(f"new {number}", "e", {"n": number})
        world.flow()
        assert settled == [True]
        assert [inbox.got for inbox in new] == [[number] for number in range(20)]
        assert [inbox.got for inbox in old] == [[number] if number % 2 else [] for number in range(20)]
        assert len(world.cables.counted) == 30


def test_it_is_settled_when_a_peer_was_told_everything_and_no_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "TOPIC_BUCKETS_PER_MESSAGE", 3)
    world = World("a", "b")
    world.cables.pull("a", "b")
    inboxes = [world.inbox("a", f"t{number}") for number in range(20)]
    world.clock.advance(0.0)
    world.cables.plug("a", "b")
    settled: list[int] = []
    for number in range(20):
        world.nodes["a"].when_settled(f"t{number}", partial(settled.append, number))
    inboxes.append(world.inbox("a", "t20"))
    world.nodes["a"].when_settled("t20", partial(settled.append, 20))
    due: list[list[int]] = [[] for _ in inboxes]
    for round in range(100):
        world.clock.advance(0.0)
        world.cables.flow(1)
        for number in settled:
            due[number].append(round)
            world.nodes["b"].broadcast(f"t{number}", "e", {"n": round})
        if len(settled) == 21:
            break
    world.flow()
    assert sorted(settled) == list(range(21))
    assert [inbox.got for inbox in inboxes] == due


def test_a_reply_from_before_a_new_beginning_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interest, "TOPIC_BUCKETS_PER_MESSAGE", 3)
    world = World("a", "b")
    world.cables.pull("a", "b")
    for number in range(20):
        world.inbox("a", f"t{number}")
    world.clock.advance(0.0)
    world.cables.plug("a", "b")
    world.cables.fabrics["a"].choked.add("b")
    world.inbox("a", "t20")
    world.clock.advance(0.0)
    world.cables.fabrics["a"].choked.clear()
    told = count_interest(world)
    world.clock.advance(RESYNC_S)  # the first part of the first time, and its reply, are still on their way
    world.flow()
    assert told == [("a", "b")] * 7


def test_a_node_whose_topics_come_later_is_told_when_it_speaks() -> None:
    cables, clock = Cables(), HandClock()
    early = PubSub(cables.fabric("a"), clock)
    late = cables.fabric("b")
    inbox = Inbox()
    early.subscribe("t", inbox, inbox)
    cables.plug("a", "b")
    cables.flow()
    clock.advance(RESYNC_S)
    assert not cables.on_the_way
    there = PubSub(late, clock)
    cables.flow()
    there.broadcast("t", "e", {"n": 1})
    cables.flow()
    assert inbox.got == [1]


def test_what_is_too_large_for_a_link_is_refused_even_if_nobody_is_far_away() -> None:
    world = World("a")
    inbox = world.inbox("a")
    with pytest.raises(TooLarge):
        world.nodes["a"].broadcast("t", "e", {"n": "x" * MESSAGE_BYTES_MAX})
    assert inbox.got == []


def test_many_subscribers_are_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("a")
    inboxes = [world.inbox("a") for _ in range(2 * FEW_MAX)]
    expected: list[list[object]] = [[] for _ in inboxes]
    for number in range(2 * FEW_MAX):
        world.nodes["a"].broadcast("t", "e", {"n": number}, excluded=inboxes[-1] if number % 2 else None)
        for at, got in enumerate(expected):
            if at >= number and not (number % 2 and at == len(inboxes) - 1):
                got.append(number)
        world.nodes["a"].unsubscribe("t", inboxes[number])
        world.clock.advance(0.0)
    assert [inbox.got for inbox in inboxes] == expected
    assert all(inbox.flushed for inbox in inboxes[1:])
    assert world.nodes["a"].subscribers("t") == 0


def test_a_sink_that_unsubscribes_others_is_no_trouble() -> None:
    world = World("a")
    others: list[Inbox] = []

    class Killer(Inbox):
        def write(self, frame: bytes) -> None:
            super().write(frame)
            for other in others:
                world.nodes["a"].unsubscribe("t", other)

    killer = Killer()
    world.nodes["a"].subscribe("t", killer, killer)
    others += [world.inbox("a") for _ in range(5)]
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    world.nodes["a"].broadcast("t", "e", {"n": 2})
    assert killer.got == [1, 2]
    assert all(2 not in other.got for other in others)


def test_a_peer_that_could_not_be_told_is_told_everything_later() -> None:
    world = World("a", "b")
    world.cables.fabrics["a"].choked.add("b")
    inbox = world.inbox("a")
    settled: list[bool] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    world.flow()
    assert settled == [True]
    world.cables.fabrics["a"].choked.clear()
    world.clock.advance(RESYNC_S)
    world.flow()
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    world.flow()
    assert inbox.got == [1]


def test_what_is_not_wanted_any_more_is_told_later_too() -> None:
    world = World("a", "b")
    inbox = world.inbox("a")
    world.flow()
    world.cables.fabrics["a"].choked.add("b")
    world.nodes["a"].unsubscribe("t", inbox)
    world.clock.advance(FADE_S)
    world.cables.fabrics["a"].choked.clear()
    world.clock.advance(RESYNC_S)
    world.flow()
    world.cables.counted.clear()
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    assert world.cables.counted == []


def test_nothing_is_sent_to_a_node_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    world = World("a", "b")
    world.inbox("a")
    world.flow()
    world.cables.pull("a", "b")
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    assert caplog.records == []


def test_a_broadcast_that_one_node_cannot_take_reaches_the_others() -> None:
    world = World("a", "b", "c")
    inboxes = [world.inbox(name) for name in "abc"]
    world.flow()
    world.cables.fabrics["a"].choked.add("b")
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    world.flow()
    assert [inbox.got for inbox in inboxes] == [[1], [], [1]]


def test_a_payload_that_is_not_json_is_refused_before_anything_is_sent() -> None:
    world = World("a", "b")
    inbox = world.inbox("b")
    world.flow()
    with pytest.raises(TypeError):
        world.nodes["a"].broadcast("t", "e", {"n": object()})
    world.flow()
    assert inbox.got == []


def test_listeners_of_a_node_share_one_broadcast_that_is_encoded_once_for_each_version() -> None:
    world = World("a", "b")
    heard: list[Broadcast] = []
    for key in ("one", "two"):
        world.nodes["b"].listen("t", key, heard.append)
    plain = world.inbox("b")
    world.flow()
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    world.flow()
    one, two = heard
    assert one is two
    assert (one.topic, one.event, one.payload) == ("t", "e", {"n": 1})
    assert one.payload is two.payload
    assert one.frame_for(phoenix.V2) is one.frame
    assert one.frame_for(phoenix.V1) is two.frame_for(phoenix.V1)
    assert one.frame_for(phoenix.V1) == phoenix.V1.broadcast("t", "e", {"n": 1})
    world.nodes["b"].unsubscribe("t", "one")
    world.nodes["a"].broadcast("t", "e", {"n": 2})
    world.flow()
    assert len(heard) == 3
    assert plain.got == [1, 2]


def test_bytes_travel_as_they_are_and_version_1_has_none() -> None:
    world = World("a", "b")
    heard: list[Broadcast] = []
    world.nodes["b"].listen("t", "key", heard.append)
    world.flow()
    world.nodes["a"].broadcast("t", "e", b"\x00\xff")
    world.flow()
    [broadcast] = heard
    assert (broadcast.event, broadcast.payload) == ("e", b"\x00\xff")
    assert broadcast.frame == phoenix.V2.broadcast("t", "e", b"\x00\xff")
    with pytest.raises(TypeError):
        broadcast.frame_for(phoenix.V1)


def test_a_direct_broadcast_reaches_one_node_and_an_unknown_one_is_nobody() -> None:
    world = World("a", "b", "c")
    inboxes = [world.inbox(name) for name in "abc"]
    world.flow()
    world.nodes["a"].direct_broadcast("b", "t", "e", {"n": 1})
    world.nodes["a"].direct_broadcast("a", "t", "e", {"n": 2})
    world.nodes["a"].direct_broadcast("nobody", "t", "e", {"n": 3})
    world.flow()
    assert [inbox.got for inbox in inboxes] == [[2], [1], []]
