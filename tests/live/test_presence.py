"""Presences between nodes, as their clients see them."""

from __future__ import annotations

import msgspec
import pytest

from roost import limits
from roost.core.presence import diff as diff_module
from roost.core.presence import fragment as fragment_module
from roost.core.presence import presences as presences_module
from roost.core.presence import replica as replica_module
from roost.core.presence import shard as shard_module
from roost.core.presence.presences import Presences
from roost.errors import BadMessage, NotLocal, ProcessDown, TooLarge
from roost.live import presence_peers
from roost.otp import GenServer
from tests.live.presence_world import TOPIC, Viewer, World

COUNT = 500


def casts(world: World, sender: str, receiver: str) -> int:
    return world.cables.counted.count((sender, receiver, "presence"))


# Tracking


def test_a_presence_is_seen_on_every_node() -> None:
    world = World("a", "b", "c")
    world.track("a", "alex")
    world.settle()
    assert world.seen() == {"a": ["alex"], "b": ["alex"], "c": ["alex"]}
    assert list(world.presence["b"].list(TOPIC)) == ["alex"]


def test_a_leave_is_seen_on_every_node_and_once() -> None:
    world = World("a", "b")
    ids = world.track("a", "alex")
    world.settle()
    world.untrack("a", *ids)
    world.untrack("a", *ids)
    world.settle()
    assert world.agreed() == []
    assert [list(diff["leaves"]) for diff in world.viewers["b"].diffs] == [[], ["alex"]]


def test_to_untrack_what_never_was_does_nothing() -> None:
    world = World("a")
    world.untrack("a", 77)
    world.settle()
    assert world.viewers["a"].frames == 0


def test_one_key_may_be_present_many_times_and_leaves_with_the_last() -> None:
    world = World("a", "b")
    (phone,) = world.track("a", "alex")
    (laptop,) = world.track("b", "alex")
    world.settle()
    assert world.agreed() == ["alex"]
    assert world.viewers["a"].metas() == 2
    world.untrack("a", phone)
    world.settle()
    assert (world.agreed(), world.viewers["a"].metas()) == (["alex"], 1)
    world.untrack("b", laptop)
    world.settle()
    assert world.agreed() == []


def test_topics_know_nothing_of_each_other() -> None:
    world = World("a", "b")
    world.track("a", "alex")
    world.presence["a"].track("other", "bo", {})
    world.settle()
    assert world.agreed() == ["alex"]
    assert list(world.presence["b"].list("other")) == ["bo"]
    assert world.presence["b"].list("nobody's") == {}


def test_a_key_that_is_a_number_becomes_text() -> None:
    world = World("a", "b")
    world.presence["a"].track(TOPIC, 42, {})
    world.settle()
    assert world.agreed() == ["42"]


def test_who_came_and_went_in_one_tick_is_not_mentioned() -> None:
    world = World("a", "b")
    world.untrack("a", *world.track("a", "alex"))
    world.settle()
    assert [viewer.frames for viewer in world.viewers.values()] == [0, 0]


def test_an_update_is_a_leave_and_a_join_in_one_diff_and_names_what_it_replaces() -> None:
    world = World("a", "b")
    (id,) = world.track("a", "alex")
    world.settle()
    world.presence["a"].update(id, {"mood": 2})
    world.settle()
    for viewer in world.viewers.values():
        diff = viewer.diffs[-1]
        (old,), (new,) = diff["leaves"]["alex"]["metas"], diff["joins"]["alex"]["metas"]
        assert (old["at"], new["mood"], new["phx_ref_prev"]) == ("a", 2, old["phx_ref"])
        assert new["phx_ref"] != old["phx_ref"]
        assert list(viewer.there["alex"]) == [new["phx_ref"]]
    world.untrack("a", id)
    world.settle()
    assert world.agreed() == []


def test_many_updates_of_one_tick_are_one_step_from_the_first_to_the_last() -> None:
    world = World("a", "b")
    (id,) = world.track("a", "alex")
    world.settle()
    for mood in range(50):
        world.presence["a"].update(id, {"mood": mood})
    world.settle()
    (before, after) = world.viewers["b"].diffs
    assert [meta["phx_ref"] for meta in after["leaves"]["alex"]["metas"]] == [
        meta["phx_ref"] for meta in before["joins"]["alex"]["metas"]
    ]
    assert [meta["mood"] for meta in after["joins"]["alex"]["metas"]] == [49]


def test_an_update_of_nobody_is_refused() -> None:
    world = World("a")
    (id,) = world.track("a", "alex")
    world.untrack("a", id)
    with pytest.raises(KeyError):
        world.presence["a"].update(id, {})


def test_references_are_unique_over_nodes_boots_and_topics() -> None:
    world = World("a", "b")
    world.track("a", *map(str, range(20)))
    world.track("b", *map(str, range(20)))
    refs = [ref for viewer in world.viewers.values() for metas in viewer.there.values() for ref in metas]
    for topic in map(str, range(20)):
        world.presence["a"].track(topic, "k", {})
        refs += [str(meta["phx_ref"]) for meta in world.presence["a"].list(topic)["k"]]
    world.restart("a")
    world.track("a", *map(str, range(20)))
    world.settle()
    refs += [ref for metas in world.viewers["a"].there.values() for ref in metas if len(metas) == 2]
    assert len(refs) == len(set(refs)) > 20


# Batches


def test_many_changes_of_one_tick_are_one_message_and_one_frame() -> None:
    world = World("a", "b")
    world.cables.counted.clear()
    world.track("a", *(f"user {number}" for number in range(COUNT)))
    world.settle()
    assert world.cables.counted == [("a", "b", "presence")]
    assert [viewer.frames for viewer in world.viewers.values()] == [1, 1]
    assert len(world.viewers["b"].there) == COUNT


def test_a_large_diff_is_told_in_parts_that_keep_what_is_said_of_a_key_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diff_module, "PRESENCE_DIFF_MAX", 10)
    world = World("a")
    ids = world.track("a", *(f"v{number:02}" for number in range(35)))
    for _ in range(4):
        world.settle()
    assert [len(diff["joins"]) for diff in world.viewers["a"].diffs] == [10, 10, 10, 5]
    world.viewers["a"].diffs.clear()
    for id in ids:
        world.presence["a"].update(id, {"mood": 1})
    for _ in range(4):
        world.settle()
    diffs = world.viewers["a"].diffs
    assert [(sorted(diff["joins"]), len(diff["joins"])) for diff in diffs] == [
        (sorted(diff["leaves"]), len(diff["leaves"])) for diff in diffs
    ]
    assert (len(diffs), len(world.agreed())) == (4, 35)


def test_a_key_with_more_metas_than_a_diff_may_hold_is_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff_module, "PRESENCE_DIFF_MAX", 10)
    world = World("a")
    world.track("a", *["everybody"] * 25, "alex")
    for _ in range(4):
        world.settle()
    assert [sum(len(entry["metas"]) for entry in diff["joins"].values()) for diff in world.viewers["a"].diffs] == [
        10,
        10,
        6,
    ]
    assert (world.agreed(), world.viewers["a"].metas()) == (["alex", "everybody"], 26)


def test_a_diff_with_large_metas_is_told_in_parts() -> None:
    world = World("a", "b")
    meta: dict[str, object] = {"about": "x" * (limits.PRESENCE_META_BYTES_MAX // 2)}
    for number in range(300):
        world.presence["a"].track(TOPIC, f"k{number:03}", meta)
    for _ in range(12):
        world.settle()
    assert len(world.agreed()) == 300
    assert len(world.viewers["b"].diffs) > 300 * limits.PRESENCE_META_BYTES_MAX // 2 // limits.PRESENCE_DIFF_BYTES


def test_who_leaves_before_the_last_part_of_a_diff_is_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff_module, "PRESENCE_DIFF_MAX", 10)
    world = World("a")
    ids = world.track("a", *(f"v{number:02}" for number in range(30)))
    world.clock.advance(limits.PRESENCE_TICK_S)
    world.untrack("a", *ids)
    for _ in range(4):
        world.settle()
    assert world.agreed() == []
    assert sum(len(diff["joins"]) for diff in world.viewers["a"].diffs) == 10


def test_a_client_that_comes_gets_a_list_that_no_later_diff_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff_module, "PRESENCE_DIFF_MAX", 10)
    world = World("a")
    world.track("a", *(f"v{number:02}" for number in range(30)))
    world.clock.advance(limits.PRESENCE_TICK_S)
    newcomer = Viewer()
    world.presence["a"].welcome(TOPIC, newcomer.take)
    world.clock.advance(limits.PRESENCE_TICK_S)
    assert (len(newcomer.there), len(world.viewers["a"].there)) == (30, 30)
    world.settle()
    assert len(world.viewers["a"].diffs) == 3
    assert len(world.agreed()) == 30


def test_a_topic_of_fifty_thousand() -> None:
    world = World("a", "b")
    ids = world.track("a", *(f"v{number:05}" for number in range(50_000)))
    for _ in range(8):
        world.settle()
    assert world.presence["b"].count(TOPIC) == 50_000
    assert len(world.viewers["b"].there) == 50_000
    assert max(len(diff["joins"]) for diff in world.viewers["b"].diffs) <= limits.PRESENCE_DIFF_MAX
    newcomer = Viewer()
    world.presence["b"].welcome(TOPIC, newcomer.take)
    world.cables.counted.clear()
    world.untrack("a", *ids[:-1])
    for _ in range(8):
        world.settle()
    assert world.agreed() == ["v49999"]
    assert (newcomer.frames, casts(world, "a", "b")) == (1, 1)


def test_when_nothing_happens_nothing_is_said() -> None:
    world = World("a", "b", "c")
    world.track("a", "alex")
    world.settle()
    world.sweep()
    world.cables.counted.clear()
    world.sweep()
    assert world.cables.counted == []


def test_a_newcomer_gets_the_state_that_the_next_diffs_go_on_from() -> None:
    world = World("a", "b")
    (alex,) = world.track("b", "alex")
    world.settle()
    newcomer = Viewer()
    world.track("a", "bo")
    world.presence["a"].welcome(TOPIC, newcomer.take)
    world.settle()
    assert newcomer.keys() == ["alex", "bo"]
    assert newcomer.frames == 1
    world.untrack("b", alex)
    world.settle()
    assert world.agreed() == ["bo"]
    assert newcomer.frames == 1


def test_the_state_is_encoded_once_for_all_who_come_in_one_tick() -> None:
    world = World("a")
    world.track("a", "alex", "bo")
    states: list[object] = []
    for _ in range(3):
        world.presence["a"].welcome(TOPIC, lambda event, payload: states.append(payload))
    world.settle()
    first, second, third = states
    assert first is second is third
    assert isinstance(first, msgspec.Raw)


def test_a_state_of_nobody_is_empty() -> None:
    world = World("a")
    viewer = Viewer()
    world.presence["a"].welcome(TOPIC, viewer.take)
    world.settle()
    assert (viewer.frames, viewer.there) == (1, {})


def test_a_count_needs_no_list() -> None:
    world = World("a", "b")
    world.track("a", "alex", "alex")
    world.track("b", "bo")
    world.settle()
    assert [world.presence[name].count(TOPIC) for name in "ab"] == [3, 3]
    assert world.presence["a"].count("nobody's") == 0


# Owners


class Room(GenServer):
    """Somebody who can be present."""


async def test_a_presence_ends_with_the_process_that_owns_it() -> None:
    world = World("a", "b")
    scheduler = world.schedulers["a"]
    room, other = (scheduler.start_now(Room, (), {}, None, link=False) for _ in range(2))
    world.presence["a"].track(TOPIC, "one", {}, owner=room)
    world.presence["a"].track(TOPIC, "two", {}, owner=room)
    world.presence["a"].track(TOPIC, "three", {}, owner=other)
    world.settle()
    assert world.agreed() == ["one", "three", "two"]
    room._process.kill()
    world.settle()
    assert world.agreed() == ["three"]


async def test_an_owner_whose_presences_have_ended_is_watched_no_more() -> None:
    world = World("a")
    room = world.schedulers["a"].start_now(Room, (), {}, None, link=False)
    id = world.presence["a"].track(TOPIC, "one", {}, owner=room)
    assert room._process.tied.monitors
    world.untrack("a", id)
    assert not room._process.tied.monitors
    world.presence["a"].track(TOPIC, "two", {}, owner=room)
    room._process.kill()
    assert world.presence["a"].count(TOPIC) == 0


async def test_an_owner_must_live_and_live_here() -> None:
    world = World("a", "b")
    room = world.schedulers["a"].start_now(Room, (), {}, None, link=False)
    with pytest.raises(NotLocal):
        world.presence["b"].track(TOPIC, "one", {}, owner=room)
    room._process.kill()
    with pytest.raises(ProcessDown):
        world.presence["a"].track(TOPIC, "one", {}, owner=room)
    assert world.presence["a"].count(TOPIC) == 0


# Peers that do not keep up, and messages that are lost


def test_a_peer_that_does_not_keep_up_gets_everything_when_it_does() -> None:
    world = World("a", "b")
    ids = world.track("a", "alex")
    world.settle()
    world.cables.fabrics["a"].choked.add("b")
    world.untrack("a", *ids)
    world.track("a", "ada")
    world.settle()
    assert world.seen() == {"a": ["ada"], "b": ["alex"]}
    world.cables.fabrics["a"].choked.clear()
    world.settle()
    assert world.agreed() == ["ada"]
    world.cables.counted.clear()
    world.settle()
    assert world.cables.counted == []


def test_what_waits_for_a_peer_is_one_message_however_much_happens_meanwhile() -> None:
    world = World("a", "b")
    world.cables.counted.clear()
    world.cables.fabrics["a"].choked.add("b")
    for number in range(40):
        world.track("a", f"v{number:02}")
        world.settle()
    world.cables.fabrics["a"].choked.clear()
    world.settle()
    assert len(world.agreed()) == 40
    assert casts(world, "a", "b") <= 2


def test_a_large_state_takes_several_ticks_and_other_topics_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragment_module, "PRESENCE_PART_ROWS", 1)
    monkeypatch.setattr(presence_peers, "PRESENCE_PARTS_PER_TICK", 2)
    world = World("a", "b")
    world.split("a", "b")
    world.track("a", *(f"v{number}" for number in range(30)))
    state = world.presence["b"]._state
    elsewhere = next(name for name in map(str, range(100)) if state.shard_of(name) is not state.shard_of(TOPIC))
    world.presence["a"].track(elsewhere, "quick", {})
    world.heal()
    world.settle()
    assert world.presence["b"].count(elsewhere) == 1
    assert world.presence["b"].count(TOPIC) == 0
    for _ in range(6):
        world.settle()
    assert len(world.agreed()) == 30


def test_changes_go_on_while_a_large_state_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragment_module, "PRESENCE_PART_ROWS", 1)
    monkeypatch.setattr(presence_peers, "PRESENCE_PARTS_PER_TICK", 2)
    world = World("a", "b")
    world.split("a", "b")
    ids = world.track("a", *(f"v{number}" for number in range(20)))
    world.heal()
    world.settle()
    world.untrack("a", ids[0])
    world.track("a", "w")
    for _ in range(8):
        world.settle()
    assert world.agreed() == sorted([*(f"v{number}" for number in range(1, 20)), "w"])


def test_a_large_delta_is_told_in_parts_and_seen_as_one_diff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragment_module, "PRESENCE_PART_BYTES", 100)
    world = World("a", "b")
    world.cables.counted.clear()
    world.track("a", *(f"v{number}" for number in range(8)))
    world.settle()
    assert len(world.agreed()) == 8
    assert casts(world, "a", "b") > 1
    assert len(world.viewers["b"].diffs) == 1


def test_a_link_that_breaks_within_a_state_leaves_nothing_half_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragment_module, "PRESENCE_PART_ROWS", 1)
    monkeypatch.setattr(presence_peers, "PRESENCE_PARTS_PER_TICK", 1)
    world = World("a", "b")
    world.split("a", "b")
    ids = world.track("a", *(f"v{number}" for number in range(6)))
    world.heal()
    world.settle()
    world.split("a", "b")
    world.untrack("a", ids[0])
    world.heal()
    for _ in range(6):
        world.settle()
    assert world.agreed() == [f"v{number}" for number in range(1, 6)]


def test_a_lost_message_is_noticed_and_asked_for() -> None:
    world = World("a", "b")
    world.track("a", "alex")
    world.clock.advance(limits.PRESENCE_TICK_S)
    assert world.cables.on_the_way
    world.cables.on_the_way.clear()
    world.settle()
    assert world.seen()["b"] == []
    world.track("a", "ada")
    world.settle()
    assert world.agreed() == ["ada", "alex"]


def test_a_lost_removal_is_noticed_and_asked_for() -> None:
    world = World("a", "b")
    ids = world.track("a", "alex", "bo")
    world.settle()
    world.untrack("a", ids[0])
    world.clock.advance(limits.PRESENCE_TICK_S)
    world.cables.on_the_way.clear()
    world.track("a", "ada")
    world.settle()
    assert world.agreed() == ["ada", "bo"]


def test_who_is_too_far_behind_is_told_the_whole_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "PRESENCE_REMOVALS_KEPT", 10)
    world = World("a", "b")
    ids = world.track("a", *(f"v{number}" for number in range(60)))
    world.settle()
    world.split("a", "b")
    world.untrack("a", *ids[:50])
    world.heal()
    world.settle()
    assert len(world.agreed()) == 10


def test_two_nodes_that_have_much_to_tell_each_other_agree() -> None:
    world = World("a", "b")
    world.split("a", "b")
    world.track("a", *(f"a{number}" for number in range(COUNT)))
    world.track("b", *(f"b{number}" for number in range(COUNT)))
    world.settle()
    world.heal()
    world.settle()
    assert len(world.agreed()) == 2 * COUNT


def test_nothing_is_asked_of_presences() -> None:
    world = World("a", "b")
    answers: list[object] = []
    world.cables.fabrics["a"].request("b", "presence", b"\xc0", 1.0, answers.append)
    with pytest.raises(BadMessage):
        world.cables.flow()


# Limits


def test_a_topic_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "PRESENCES_PER_TOPIC_MAX", 2)
    world = World("a")
    first, _ = world.track("a", "1", "2")
    with pytest.raises(TooLarge):
        world.track("a", "3")
    world.presence["a"].track("other", "3", {})
    world.untrack("a", first)
    world.track("a", "3")
    assert world.presence["a"].count(TOPIC) == 2


def test_a_node_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presences_module, "PRESENCES_MAX", 2)
    world = World("a")
    world.track("a", "1", "2")
    with pytest.raises(TooLarge):
        world.presence["a"].track("other", "3", {})


def test_a_meta_has_a_limit() -> None:
    world = World("a")
    (id,) = world.track("a", "k")
    large: dict[str, object] = {"about": "x" * limits.PRESENCE_META_BYTES_MAX}
    with pytest.raises(TooLarge):
        world.presence["a"].track(TOPIC, "k2", large)
    with pytest.raises(TooLarge):
        world.presence["a"].update(id, large)
    world.settle()
    assert world.agreed() == ["k"]


@pytest.mark.parametrize("names", [("t" * 300, "k"), ("t", "k" * 300), ("t", "ü" * 130)])
def test_names_have_a_limit(names: tuple[str, str]) -> None:
    world = World("a")
    with pytest.raises(TooLarge):
        world.presence["a"].track(*names, {})


def test_what_json_cannot_express_is_refused_and_changes_nothing() -> None:
    world = World("a")
    (id,) = world.track("a", "k")
    for act in (
        lambda: world.presence["a"].track(TOPIC, "j", {"x": object()}),
        lambda: world.presence["a"].update(id, {"x": object()}),
    ):
        with pytest.raises(TypeError):
            act()
    world.settle()
    assert world.agreed() == ["k"]


def test_no_message_is_too_large_for_a_link() -> None:
    world = World("a")
    meta: dict[str, object] = {"about": "x" * (limits.PRESENCE_META_BYTES_MAX // 2)}
    state = Presences("a", 1)
    for number in range(300):
        state.track(TOPIC, f"k{number}", meta)
    fragment = state.shard_of(TOPIC).own.after(0)
    assert fragment is not None
    sizes = [len(msgspec.msgpack.encode(part)) for part in fragment_module.parts(0, fragment)]
    assert max(sizes) < limits.MESSAGE_BYTES_MAX // 8
    assert world.agreed() == []


def test_boots_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "PRESENCE_REPLICAS_MAX", 3)
    world = World("a", "b")
    for _ in range(6):
        world.restart("b")
        world.track("b", "bo")
        world.settle()
    assert world.agreed() == ["bo"]
    shard = world.presence["a"]._state.shard_of(TOPIC)
    assert len([*shard.known]) <= 3
