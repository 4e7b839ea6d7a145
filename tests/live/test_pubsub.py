"""Topics on one node and between nodes."""

from __future__ import annotations

import msgspec
import pytest

from roost.live import pubsub as pubsub_module
from roost.live.pubsub import RESYNC_S, SERVICE, PubSub
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
        self.cables.flow()

    def inbox(self, node: str, topic: str = "t") -> Inbox:
        inbox = Inbox()
        self.nodes[node].subscribe(topic, inbox, inbox)
        return inbox


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
    world.cables.flow()
    world.nodes["a"].broadcast("t", "e", {"n": 1}, excluded=one)
    world.cables.flow()
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
    world.cables.flow()
    for number in range(3):
        world.nodes["a"].broadcast("t", "e", {"n": number})
    world.cables.flow()
    assert (one.flushed, two.flushed) == (0, 0)
    late = world.inbox("a")
    world.clock.advance(0.0)
    assert (one.flushed, two.flushed, late.flushed) == (1, 1, 1)
    world.clock.advance(1.0)
    assert (one.flushed, two.flushed) == (1, 1)


def test_a_broadcast_goes_once_to_each_node_that_wants_it_and_to_no_other() -> None:
    world = World("a", "b", "c")
    near, far, far_too = world.inbox("a"), world.inbox("b"), world.inbox("b")
    world.inbox("c", "another topic")
    world.cables.flow()
    world.cables.counted.clear()
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    world.cables.flow()
    assert near.got == far.got == far_too.got == [1]
    assert world.cables.counted == [("a", "b", SERVICE)]


def test_a_local_broadcast_stays_here() -> None:
    world = World("a", "b")
    near, far = world.inbox("a"), world.inbox("b")
    world.cables.flow()
    world.nodes["a"].local_broadcast("t", "e", {"n": 1})
    world.cables.flow()
    assert (near.got, far.got) == ([1], [])


def test_the_order_of_one_publisher_is_kept_everywhere() -> None:
    world = World("a", "b", "c")
    inboxes = [world.inbox(name) for name in "abc"]
    world.cables.flow()
    for number in range(50):
        world.nodes["b"].broadcast("t", "e", {"n": number})
    world.cables.flow()
    assert all(inbox.got == list(range(50)) for inbox in inboxes)


def test_when_settled_nothing_is_missed() -> None:
    world = World("a", "b", "c")
    far = world.inbox("a")
    settled: list[bool] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    assert settled == []
    world.cables.flow()
    assert settled == [True]
    world.nodes["b"].broadcast("t", "e", {"n": 2})
    world.nodes["c"].broadcast("t", "e", {"n": 3})
    world.cables.flow()
    assert far.got == [2, 3]


def test_it_is_settled_at_once_for_the_second_subscriber_and_without_peers() -> None:
    world = World("a", "b")
    world.inbox("a")
    world.cables.flow()
    world.inbox("a")
    settled: list[int] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(1))
    lonely = World("z")
    lonely.inbox("z")
    lonely.nodes["z"].when_settled("t", lambda: settled.append(2))
    world.nodes["a"].when_settled("nobody wants this", lambda: settled.append(3))
    assert settled == [1, 2, 3]


def test_a_node_that_goes_down_is_not_waited_for() -> None:
    world = World("a", "b", "c")
    world.inbox("a")
    settled: list[bool] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    world.cables.pull("a", "b")
    assert settled == []
    world.cables.flow()
    assert settled == [True, True]


def test_a_node_that_comes_up_later_is_waited_for_too() -> None:
    world = World("a", "b")
    here = world.inbox("a")
    world.cables.flow()
    world.cables.pull("a", "b")
    world.cables.plug("a", "b")
    settled: list[bool] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    assert settled == []
    world.cables.flow()
    assert settled == [True]
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    world.cables.flow()
    assert here.got == [1]


def test_the_last_to_unsubscribe_tells_the_others() -> None:
    world = World("a", "b")
    one, two = world.inbox("a"), world.inbox("a")
    world.cables.flow()
    world.nodes["a"].unsubscribe("t", one)
    world.nodes["a"].unsubscribe("t", two)
    world.cables.flow()
    world.cables.counted.clear()
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    assert world.cables.counted == []


def test_a_netsplit_loses_and_the_heal_mends() -> None:
    world = World("a", "b")
    kept, dropped = world.inbox("a"), world.inbox("a", "dropped")
    world.cables.flow()
    world.cables.pull("a", "b")
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    world.nodes["a"].unsubscribe("dropped", dropped)
    new = world.inbox("a", "new")
    world.cables.plug("a", "b")
    world.cables.flow()
    world.cables.counted.clear()
    for topic in ("t", "dropped", "new"):
        world.nodes["b"].broadcast(topic, "e", {"n": 2})
    world.cables.flow()
    assert (kept.got, dropped.got, new.got) == ([2], [], [2])
    assert len(world.cables.counted) == 2


def test_many_topics_are_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub_module, "TOPICS_PER_MESSAGE", 3)
    world = World("a", "b")
    world.cables.pull("a", "b")
    inboxes = [world.inbox("a", f"t{number}") for number in range(7)]
    world.cables.plug("a", "b")
    world.cables.flow()
    for number in range(7):
        world.nodes["b"].broadcast(f"t{number}", "e", {"n": number})
    world.cables.flow()
    assert [inbox.got for inbox in inboxes] == [[number] for number in range(7)]


def test_a_peer_that_could_not_be_told_is_told_everything_later() -> None:
    world = World("a", "b")
    world.cables.fabrics["a"].choked.add("b")
    inbox = world.inbox("a")
    settled: list[bool] = []
    world.nodes["a"].when_settled("t", lambda: settled.append(True))
    assert settled == [True]
    world.cables.fabrics["a"].choked.clear()
    world.clock.advance(RESYNC_S)
    world.cables.flow()
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    world.cables.flow()
    assert inbox.got == [1]


def test_what_is_not_wanted_any_more_is_told_later_too() -> None:
    world = World("a", "b")
    inbox = world.inbox("a")
    world.cables.flow()
    world.cables.fabrics["a"].choked.add("b")
    world.nodes["a"].unsubscribe("t", inbox)
    world.cables.fabrics["a"].choked.clear()
    world.clock.advance(RESYNC_S)
    world.cables.flow()
    world.cables.counted.clear()
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    assert world.cables.counted == []


def test_nothing_is_sent_to_a_node_that_is_down(caplog: pytest.LogCaptureFixture) -> None:
    world = World("a", "b")
    world.inbox("a")
    world.cables.flow()
    world.cables.pull("a", "b")
    world.nodes["b"].broadcast("t", "e", {"n": 1})
    assert caplog.records == []


def test_a_broadcast_that_one_node_cannot_take_reaches_the_others() -> None:
    world = World("a", "b", "c")
    inboxes = [world.inbox(name) for name in "abc"]
    world.cables.flow()
    world.cables.fabrics["a"].choked.add("b")
    world.nodes["a"].broadcast("t", "e", {"n": 1})
    world.cables.flow()
    assert [inbox.got for inbox in inboxes] == [[1], [], [1]]


def test_a_payload_that_is_not_json_is_refused_before_anything_is_sent() -> None:
    world = World("a", "b")
    inbox = world.inbox("b")
    world.cables.flow()
    with pytest.raises(TypeError):
        world.nodes["a"].broadcast("t", "e", {"n": object()})
    world.cables.flow()
    assert inbox.got == []
