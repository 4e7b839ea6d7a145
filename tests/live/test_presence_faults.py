"""Presences when nodes stop, die, restart and lose their links: no ghosts, and everybody comes to see the same.

The last five tell of three nodes, pairwise splits, stops and starts, and hundreds of sessions: the situations in which
trackers of this kind have been found to disagree for ever.
"""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from roost import limits
from roost.cluster.link import Link
from roost.core.presence import replica as replica_module
from roost.core.presence.fragment import parts
from roost.core.presence.presence import Origin
from tests.live.cable import CableLink
from tests.live.presence_world import TOPIC, World

SESSIONS = 300


def known(world: World, name: str) -> set[Origin]:
    return {*world.presence[name]._state.shard_of(TOPIC).known}


def sessions(name: str, count: int = SESSIONS, *, first: int = 0) -> list[str]:
    return [f"{name}{number:03}" for number in range(first, first + count)]


# Going down, and coming back


def test_the_presences_of_a_node_that_nobody_reaches_leave_at_once() -> None:
    world = World("a", "b", "c")
    for name in "abc":
        world.track(name, name)
    world.settle()
    world.kill("a")
    world.settle()
    assert world.seen() == {"b": ["b", "c"], "c": ["b", "c"]}


def test_the_presences_of_a_node_that_comes_back_are_back() -> None:
    world = World("a", "b")
    world.track("a", "alex")
    world.settle()
    world.split("a", "b")
    world.settle()
    assert world.seen() == {"a": ["alex"], "b": []}
    world.heal()
    world.settle()
    assert world.agreed() == ["alex"]
    assert [[*diff["joins"], *diff["leaves"]] for diff in world.viewers["b"].diffs] == [["alex"]] * 3


def test_who_has_left_meanwhile_is_not_shown_for_a_moment_when_the_node_is_back() -> None:
    world = World("a", "b")
    ids = world.track("a", "alex", "ada")
    world.settle()
    world.split("a", "b")
    world.settle()
    world.untrack("a", ids[0])
    world.track("a", "bo")
    world.viewers["b"].diffs.clear()
    world.heal()
    world.settle()
    assert world.agreed() == ["ada", "bo"]
    assert [sorted(diff["joins"]) for diff in world.viewers["b"].diffs] == [["ada", "bo"]]


def weighed(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the messages that a node sends from now on."""
    sizes: list[int] = []
    fabric = world.cables.fabrics[name]
    real = fabric.cast

    def cast_and_weigh(peer: str, service: str, body: bytes) -> None:
        sizes.append(len(body))
        real(peer, service, body)

    monkeypatch.setattr(fabric, "cast", cast_and_weigh)
    return sizes


def test_a_node_that_is_back_is_told_only_what_it_has_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("a", "b")
    world.track("a", *sessions("a"))
    world.settle()
    world.split("a", "b")
    world.settle()
    world.track("a", "late")
    world.settle()
    sizes = weighed(world, "a", monkeypatch)
    world.heal()
    world.settle()
    assert len(world.agreed()) == SESSIONS + 1
    assert sum(sizes) < 2_000


def test_a_common_peer_passes_on_only_what_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("a", "b", "c")
    world.track("a", *sessions("a"))
    world.settle()
    world.split("a", "b")
    world.split("a", "c")
    world.settle()
    world.track("a", "late")
    world.cables.plug("a", "c")
    sizes = weighed(world, "c", monkeypatch)
    world.wait()
    assert len(world.agreed()) == SESSIONS + 1
    assert sum(sizes) < 2_000


def test_a_link_that_is_replaced_within_one_tick_is_not_mentioned() -> None:
    world = World("a", "b")
    world.track("a", "alex")
    world.settle()
    frames = world.viewers["b"].frames
    world.split("a", "b")
    world.heal()
    world.cables.flow()
    world.settle()
    assert world.agreed() == ["alex"]
    assert world.viewers["b"].frames == frames


def test_a_new_boot_replaces_the_old_one_at_once() -> None:
    world = World("a", "b")
    world.track("a", "alex", "ada")
    world.settle()
    world.restart("a")
    world.track("a", "ada")
    world.settle()
    assert world.agreed() == ["ada"]
    assert world.viewers["b"].metas() == 1


def test_a_new_boot_replaces_an_old_one_whose_end_was_not_noticed() -> None:
    world = World("a", "b")
    world.track("a", "alex")
    world.settle()
    world.boot("a")  # the old link is replaced by the new one, with nothing in between
    world.cables.plug("a", "b")
    world.track("a", "ada")
    world.settle()
    assert world.agreed() == ["ada"]


def test_a_node_forgets_what_it_knew_of_itself_in_an_earlier_life() -> None:
    world = World("a", "b", "c")
    world.track("a", "alex")
    world.settle()
    world.split("b", "c")
    world.restart("a")
    world.wait()
    assert world.seen()["a"] == []
    assert [origin for origin in known(world, "a") if origin.node == "a"] == [Origin("a", 2)]


def test_a_node_that_stops_in_order_leaves_before_its_links_go_down() -> None:
    world = World("a", "b", "c")
    for name in "abc":
        world.track(name, name)
    world.settle()
    world.presence["a"].stop()
    world.presence["a"].stop()
    world.cables.flow()
    del world.viewers["a"]
    world.settle()
    assert world.seen() == {"b": ["b", "c"], "c": ["b", "c"]}
    assert frozenset("ab") in world.cables.plugged


def test_a_farewell_reaches_those_who_have_no_link_with_who_says_it() -> None:
    world = World("a", "b", "c")
    world.track("a", "alex")
    world.settle()
    world.split("a", "b")
    world.wait()
    assert world.seen()["b"] == ["alex"]
    world.presence["a"].stop()
    world.cables.flow()
    del world.viewers["a"]
    world.settle()
    assert world.agreed() == []


def test_after_stop_nothing_is_said() -> None:
    world = World("a", "b")
    world.track("a", "alex")
    world.presence["a"].stop()
    world.cables.counted.clear()
    world.track("a", "bo")
    world.settle()
    assert world.cables.counted == []
    assert world.viewers["a"].frames == world.viewers["b"].frames == 0


def test_words_that_come_from_a_node_that_is_down_are_not_heard() -> None:
    world = World("a", "b")
    world.split("a", "b")
    world.track("a", "alex")
    fragment = world.presence["a"]._state.shard_of(TOPIC).own.after(0)
    assert fragment is not None
    link = cast("Link", CableLink(world.cables.fabrics["a"], world.cables.fabrics["b"]))
    for part in parts(0, fragment):
        world.cables.fabrics["b"].services["presence"].on_cast(link, msgspec.Raw(msgspec.msgpack.encode(part)))
    world.settle()
    assert known(world, "b") == {Origin("b", 1)}
    assert world.seen()["b"] == []


# What is kept, and for how long


def test_what_cannot_be_reached_is_kept_for_its_return_and_forgotten_later() -> None:
    world = World("a", "b")
    world.track("a", "alex")
    world.settle()
    world.split("a", "b")
    world.settle()
    assert Origin("a", 1) in known(world, "b")
    world.sweep()
    assert Origin("a", 1) not in known(world, "b")
    world.heal()
    world.settle()
    assert world.agreed() == ["alex"]


def test_who_was_forgotten_by_one_and_not_by_the_other_is_told_everything() -> None:
    world = World("a", "b", "c")
    world.track("a", "alex")
    world.settle()
    world.split("a", "b")
    world.split("a", "c")
    world.sweep()
    world.cables.plug("a", "c")
    world.wait()
    assert world.seen() == {"a": ["alex"], "b": ["alex"], "c": ["alex"]}


def test_what_can_be_reached_is_never_forgotten() -> None:
    world = World("a", "b", "c")
    world.track("a", "alex")
    world.settle()
    world.split("a", "b")
    world.wait()
    world.sweep()
    assert world.agreed() == ["alex"]


# Partial netsplits


def test_in_a_partial_netsplit_presences_pass_through_a_common_peer() -> None:
    world = World("a", "b", "c")
    ids = world.track("a", "alex")
    world.settle()
    world.split("a", "b")
    world.settle()
    assert world.agreed() == ["alex"]
    assert len(world.viewers["b"].diffs) == 1
    world.wait()
    world.track("a", "ada")
    world.track("b", "bo")
    world.wait()
    assert world.agreed() == ["ada", "alex", "bo"]
    world.untrack("a", *ids)
    world.settle()
    assert world.agreed() == ["ada", "bo"]
    world.heal()
    world.settle()
    assert world.agreed() == ["ada", "bo"]
    assert sum(len(diff["leaves"]) for diff in world.viewers["b"].diffs) == 1


def test_a_node_that_two_cannot_reach_is_gone_when_the_common_peer_loses_it_too() -> None:
    world = World("a", "b", "c")
    world.track("a", "alex")
    world.settle()
    world.split("a", "b")
    world.wait()
    world.split("a", "c")
    world.settle()
    assert world.seen() == {"a": ["alex"], "b": [], "c": []}


def test_a_common_peer_that_is_lost_takes_along_whom_it_has_passed_on() -> None:
    world = World("a", "b", "c")
    for name in "abc":
        world.track(name, name)
    world.settle()
    world.split("a", "b")
    world.wait()
    world.kill("c")
    world.settle()
    assert world.seen() == {"a": ["a"], "b": ["b"]}


def test_another_common_peer_takes_over() -> None:
    world = World("a", "b", "c", "d")
    world.track("a", "alex")
    world.settle()
    world.split("a", "b")
    world.wait()
    world.kill("c")
    world.settle()
    world.track("a", "ada")
    world.wait()
    assert world.agreed() == ["ada", "alex"]


def test_a_new_boot_passes_through_a_common_peer_and_replaces_the_old_one() -> None:
    world = World("a", "b", "c")
    world.track("a", "alex")
    world.settle()
    world.split("a", "b")
    world.wait()
    world.kill("a")
    world.boot("a")
    world.cables.plug("a", "c")
    world.track("a", "ada")
    world.wait()
    assert world.agreed() == ["ada"]


def test_nodes_that_start_together_pass_nothing_on() -> None:
    world = World("a", "b", "c", "d", "e")
    for name in "abcde":
        world.track(name, *sessions(name, 20))
    world.settle()
    world.cables.counted.clear()
    world.restart("c")
    world.wait()
    assert len(world.agreed()) == 80
    views = 2 * len("abde")  # what each of them says to c, and c to each of them
    told = sum(1 for sender, receiver, _ in world.cables.counted if "c" in (sender, receiver))
    assert told <= views + 4 * limits.PRESENCE_SHARDS


def test_presences_do_not_pass_through_two_common_peers_in_a_row() -> None:
    world = World("a", "b", "c", "d")
    for pair in ("ac", "ad", "bd"):
        world.split(*pair)
    for name in "abcd":
        world.track(name, name)
    world.wait()
    assert world.seen() == {
        "a": ["a", "b", "c"],
        "b": ["a", "b", "c", "d"],
        "c": ["a", "b", "c", "d"],
        "d": ["b", "c", "d"],
    }


# Three nodes, pairwise splits, stops and starts, hundreds of sessions


def test_sessions_that_end_while_two_nodes_are_cut_off_from_each_other_end_on_all() -> None:
    world = World("a", "b", "c")
    ids = world.track("a", *sessions("a"))
    world.track("b", *sessions("b"))
    world.settle()
    world.split("a", "b")
    world.wait()
    world.untrack("a", *ids[: SESSIONS - 10])
    world.split("b", "c")
    world.settle()
    world.untrack("a", *ids[SESSIONS - 10 : -1])
    world.heal()
    world.wait()
    assert world.agreed() == [sessions("a")[-1], *sessions("b")]


def test_a_node_that_stops_and_starts_behind_a_split_leaves_no_session_of_its_former_life() -> None:
    world = World("a", "b", "c")
    world.track("c", *sessions("c"))
    world.settle()
    world.split("a", "c")
    world.wait()
    world.stop("c")
    world.settle()
    assert world.agreed() == []
    world.boot("c")
    world.cables.plug("b", "c")
    world.track("c", *sessions("c", 100, first=250))
    world.wait()
    assert world.agreed() == sessions("c", 100, first=250)
    world.heal()
    world.wait()
    assert world.agreed() == sessions("c", 100, first=250)


def test_splits_of_each_pair_in_turn_with_sessions_that_come_and_go_in_between() -> None:
    world = World("a", "b", "c")
    there: dict[str, dict[int, str]] = {name: {} for name in "abc"}
    for turn in range(12):
        left, right = ("ab", "bc", "ac")[turn % 3]
        world.split(left, right)
        for name in "abc":
            come = sessions(f"{name}{turn:02}/", 40)
            there[name] |= dict(zip(world.track(name, *come), come, strict=True))
            for id in list(there[name])[:: 2 + turn % 3]:
                world.untrack(name, id)
                del there[name][id]
        if turn % 4 == 1:
            world.wait()
        if turn % 4 != 2:
            world.heal()
        world.settle()
    world.heal()
    world.wait()
    assert world.agreed() == sorted(key for keys in there.values() for key in keys.values())


def test_more_removals_than_anybody_remembers_during_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "PRESENCE_REMOVALS_KEPT", 50)
    world = World("a", "b", "c")
    ids = world.track("a", *sessions("a"))
    world.settle()
    world.split("a", "b")
    world.split("b", "c")
    world.untrack("a", *ids[:200])
    world.settle()
    world.cables.plug("b", "c")  # c has not got the removals for b any more, and a is out of its reach
    world.wait()
    assert world.agreed() == sessions("a")[200:]
    world.untrack("a", *ids[200:-1])
    world.heal()
    world.wait()
    assert world.agreed() == sessions("a")[-1:]


def test_nodes_that_restart_one_after_the_other_as_in_a_deploy_leave_no_ghosts() -> None:
    world = World("a", "b", "c")
    for name in "abc":
        world.track(name, *sessions(name))
    world.settle()
    for name in "abc":
        world.split(*("abc".replace(name, "")))
        world.stop(name)
        world.settle()
        world.boot(name)
        world.heal(name)
        world.track(name, *sessions(name, 150, first=SESSIONS))
        world.settle()
        world.heal()
    world.wait()
    assert world.agreed() == [key for name in "abc" for key in sessions(name, 150, first=SESSIONS)]
