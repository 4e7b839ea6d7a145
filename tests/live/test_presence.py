"""Presences between nodes, as their clients see them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from roost.core import presence as core
from roost.live import presence as shell
from roost.live.presence import TICK_S, Presence
from roost.live.pubsub import PubSub
from roost.wire import phoenix
from tests.live.cable import Cables
from tests.web.stage import HandClock


class Viewer:
    """A client on a topic: what a Phoenix client makes of states and diffs."""

    def __init__(self) -> None:
        self.list: dict[str, dict[str, Any]] = {}
        self.frames = 0

    def write(self, frame: bytes) -> None:
        _, _, _, event, payload = msgspec.json.decode(phoenix.text_of(frame))
        self.take(event, payload)

    def flush(self) -> None:
        pass

    def take(self, event: str, payload: Any) -> None:
        self.frames += 1
        if event == "presence_state":
            self.list = {}
            self.put(msgspec.json.decode(payload) if isinstance(payload, msgspec.Raw) else payload)
        else:
            assert event == "presence_diff"
            self.put(payload["joins"])
            for key, entry in payload["leaves"].items():
                for meta in entry["metas"]:
                    del self.list[key][meta["phx_ref"]]
                if not self.list[key]:
                    del self.list[key]

    def put(self, joins: dict[str, Any]) -> None:
        for key, entry in joins.items():
            for meta in entry["metas"]:
                self.list.setdefault(key, {})[meta["phx_ref"]] = meta

    def keys(self) -> list[str]:
        return sorted(self.list)


class World:
    """Nodes with presences and one viewer on each."""

    def __init__(self, *names: str) -> None:
        self.cables, self.clock = Cables(), HandClock()
        self.presence: dict[str, Presence] = {}
        self.viewers: dict[str, Viewer] = {}
        for name in names:
            self.boot(name, 1)
        for number, left in enumerate(names):
            for right in names[number + 1 :]:
                self.cables.plug(left, right)
        self.pass_time()

    def boot(self, name: str, incarnation: int) -> None:
        fabric = self.cables.fabric(name, incarnation)
        pubsub = PubSub(fabric, self.clock)
        self.presence[name] = Presence(fabric, pubsub, self.clock)
        viewer = self.viewers[name] = Viewer()
        pubsub.subscribe("t", viewer, viewer)

    def pass_time(self) -> None:
        for _ in range(3):
            self.cables.flow()
            self.clock.advance(TICK_S)
        self.cables.flow()

    def seen(self) -> dict[str, list[str]]:
        return {name: viewer.keys() for name, viewer in self.viewers.items()}


def test_a_presence_is_seen_on_every_node() -> None:
    world = World("a", "b", "c")
    world.presence["a"].track("t", "alex", {})
    world.pass_time()
    assert world.seen() == {"a": ["alex"], "b": ["alex"], "c": ["alex"]}
    assert list(world.presence["b"].list("t")) == ["alex"]


def test_many_changes_of_one_tick_are_one_message_and_one_frame() -> None:
    world = World("a", "b")
    world.cables.counted.clear()
    for viewer in world.viewers.values():
        viewer.frames = 0
    for number in range(500):
        world.presence["a"].track("t", f"user {number}", {})
    world.pass_time()
    assert world.cables.counted == [("a", "b", "presence")]
    assert [viewer.frames for viewer in world.viewers.values()] == [1, 1]
    assert len(world.viewers["b"].list) == 500


def test_a_newcomer_gets_the_state_that_the_next_diffs_go_on_from() -> None:
    world = World("a", "b")
    alex = world.presence["b"].track("t", "alex", {})
    world.pass_time()
    newcomer = Viewer()
    world.presence["a"].track("t", "bo", {})
    world.presence["a"].welcome("t", newcomer.take)
    world.pass_time()
    assert newcomer.keys() == ["alex", "bo"]
    newcomer.frames = 0
    world.presence["b"].untrack(alex)
    world.pass_time()
    assert world.viewers["a"].keys() == ["bo"]
    assert newcomer.frames == 0


def test_the_presences_of_a_lost_node_leave_at_once() -> None:
    world = World("a", "b", "c")
    world.presence["a"].track("t", "alex", {})
    world.presence["b"].track("t", "bo", {})
    world.pass_time()
    world.cables.pull("a", "b")
    assert world.seen() == {"a": ["alex"], "b": ["bo"], "c": ["alex", "bo"]}
    world.presence["a"].track("t", "ada", {})
    world.pass_time()
    world.cables.plug("a", "b")
    world.pass_time()
    assert set(map(tuple, world.seen().values())) == {("ada", "alex", "bo")}


def test_a_node_that_comes_back_new_shows_only_what_is_new() -> None:
    world = World("a", "b")
    world.presence["a"].track("t", "alex", {})
    world.pass_time()
    world.cables.pull("a", "b")
    world.boot("a", 2)
    world.presence["a"].track("t", "ada", {})
    world.cables.plug("a", "b")
    world.pass_time()
    assert world.seen() == {"a": ["ada"], "b": ["ada"]}


def test_a_peer_that_does_not_keep_up_gets_everything_when_it_does() -> None:
    world = World("a", "b")
    alex = world.presence["a"].track("t", "alex", {})
    world.pass_time()
    world.cables.fabrics["a"].choked.add("b")
    world.presence["a"].untrack(alex)
    world.presence["a"].track("t", "ada", {})
    world.pass_time()
    assert world.seen() == {"a": ["ada"], "b": ["alex"]}
    world.cables.fabrics["a"].choked.clear()
    world.pass_time()
    assert world.seen() == {"a": ["ada"], "b": ["ada"]}
    world.cables.counted.clear()
    world.pass_time()
    assert world.cables.counted == []
    world.presence["a"].track("t", "bo", {})
    world.pass_time()
    assert world.seen()["b"] == ["ada", "bo"]


def test_a_large_snapshot_takes_several_ticks_and_begins_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "SNAPSHOT_CHUNK", 1)
    monkeypatch.setattr(shell, "PARTS_PER_TICK", 2)
    world = World("a", "b")
    world.cables.pull("a", "b")
    ids = [world.presence["a"].track("t", f"v{number}", {}) for number in range(9)]
    world.pass_time()
    world.cables.counted.clear()
    world.cables.plug("a", "b")
    world.clock.advance(TICK_S)
    world.cables.fabrics["a"].choked.add("b")
    world.presence["a"].untrack(ids[0])
    world.clock.advance(TICK_S)
    world.presence["a"].track("t", "w", {})
    world.clock.advance(TICK_S)
    assert world.seen()["b"] == []
    world.cables.fabrics["a"].choked.clear()
    for _ in range(6):
        world.pass_time()
    assert world.seen()["b"] == world.seen()["a"] == [*(f"v{number}" for number in range(1, 9)), "w"]
    assert world.cables.counted.count(("a", "b", "presence")) == 9 + 2


def test_what_waits_for_a_peer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "WAITING_MAX", 3)
    world = World("a", "b")
    world.pass_time()
    world.cables.counted.clear()
    world.cables.fabrics["a"].choked.add("b")
    for number in range(20):
        world.presence["a"].track("t", f"v{number:02}", {})
        world.clock.advance(TICK_S)
    world.cables.fabrics["a"].choked.clear()
    world.pass_time()
    assert world.seen()["b"] == world.seen()["a"]
    assert len(world.seen()["b"]) == 20
    assert world.cables.counted.count(("a", "b", "presence")) <= 3


def test_changes_that_are_too_many_for_one_message_are_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "MESSAGE_BYTES_MAX", 300)
    monkeypatch.setattr(core, "SNAPSHOT_CHUNK", 2)
    world = World("a", "b")
    for number in range(8):
        world.presence["a"].track("t", f"v{number}", {})
    world.pass_time()
    assert len(world.seen()["b"]) == 8


def test_a_lost_message_is_noticed_and_asked_for() -> None:
    world = World("a", "b")
    world.presence["a"].track("t", "alex", {})
    world.clock.advance(TICK_S)
    world.cables.on_the_way.clear()
    world.presence["a"].track("t", "ada", {})
    world.pass_time()
    assert world.seen()["b"] == ["ada", "alex"]


def test_an_update_replaces_the_meta_everywhere() -> None:
    world = World("a", "b")
    id = world.presence["a"].track("t", "alex", {"mood": 1})
    world.pass_time()
    world.presence["a"].update(id, {"mood": 2})
    world.pass_time()
    (meta,) = world.viewers["b"].list["alex"].values()
    assert meta["mood"] == 2
    assert "phx_ref_prev" in meta


def test_after_stop_nothing_is_said() -> None:
    world = World("a", "b")
    world.presence["a"].track("t", "alex", {})
    world.presence["a"].stop()
    world.pass_time()
    assert world.seen() == {"a": [], "b": []}
