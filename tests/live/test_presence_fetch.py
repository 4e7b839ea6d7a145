"""The fetch hook: once per diff and topic, in order, and nobody waits for somebody else's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roost.limits import MESSAGE_BYTES_MAX, PRESENCE_FETCH_S, PRESENCE_TICK_S
from roost.live.presence_fetch import Entries, Extras, Fetch
from tests.live.presence_world import TOPIC, Viewer, World
from tests.web.stage import settle

NAMES = {"1": "Alex", "2": "Bo", "3": "Cleo"}


class Hook:
    """A hook that adds names, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.seen: list[Entries] = []

    def __call__(self, topic: str, entries: Entries) -> Extras:
        self.asked.append((topic, sorted(entries)))
        self.seen.append(entries)
        return {key: {"name": NAMES.get(key, "?")} for key in entries}


def hooked(hook: Fetch, *names: str) -> World:
    return World(*names, fetch_for=lambda topic: hook if topic == TOPIC else None)


async def pass_time(world: World) -> None:
    for _ in range(3):
        world.settle()
        await settle()


def names(viewer: Viewer) -> dict[str, Any]:
    return {key: entry.get("name") for key, entry in sorted(viewer.entries.items())}


async def test_a_hook_adds_something_to_what_clients_are_told() -> None:
    hook = Hook()
    world = hooked(hook, "a", "b")
    world.track("a", "1")
    world.track("b", "2")
    await pass_time(world)
    assert world.agreed() == ["1", "2"]
    assert [names(viewer) for viewer in world.viewers.values()] == [{"1": "Alex", "2": "Bo"}] * 2


async def test_it_is_asked_once_for_a_diff_with_joins_and_leaves() -> None:
    hook = Hook()
    world = hooked(hook, "a")
    (first, second) = world.track("a", "1", "2")
    await pass_time(world)
    world.untrack("a", first)
    world.presence["a"].update(second, {"mood": 1})
    world.track("a", "3")
    await pass_time(world)
    assert hook.asked == [(TOPIC, ["1", "2"]), (TOPIC, ["1", "2", "3"])]
    diff = world.viewers["a"].diffs[-1]
    assert (sorted(diff["joins"]), sorted(diff["leaves"])) == (["2", "3"], ["1", "2"])
    assert [entry["name"] for entry in diff["leaves"].values()] == ["Alex", "Bo"]
    assert len(diff["joins"]["2"]["metas"]) == len(diff["leaves"]["2"]["metas"]) == 1


async def test_who_comes_is_told_with_what_it_adds() -> None:
    hook = Hook()
    world = hooked(hook, "a")
    world.track("a", "1")
    await pass_time(world)
    newcomer = Viewer()
    world.presence["a"].welcome(TOPIC, newcomer.take)
    world.track("a", "2")
    await pass_time(world)
    assert names(newcomer) == {"1": "Alex", "2": "Bo"}
    assert hook.asked[1:] == [(TOPIC, ["1", "2"])]


async def test_it_sees_metas_that_are_its_own_and_cannot_change_those_of_clients() -> None:
    def spoil(topic: str, entries: Entries) -> Extras:
        for entry in entries.values():
            entry["metas"][0]["at"] = "spoiled"
            entry["metas"].clear()
        return {"1": {"metas": [], "name": "Alex"}, "nobody": {"name": "x"}}

    world = hooked(spoil, "a")
    world.track("a", "1")
    await pass_time(world)
    (meta,) = world.viewers["a"].there["1"].values()
    assert meta["at"] == "a"
    assert world.agreed() == ["1"]
    assert names(world.viewers["a"]) == {"1": "Alex"}


async def test_a_topic_without_a_hook_does_not_wait_for_one_with() -> None:
    gate = asyncio.Event()

    async def slow(topic: str, entries: Entries) -> Extras:
        await gate.wait()
        return {}

    world = hooked(slow, "a")
    other = Viewer()
    world.presence["a"]._pubsub.subscribe("other", other, other)
    world.track("a", "1")
    world.presence["a"].track("other", "2", {})
    await pass_time(world)
    assert (world.viewers["a"].frames, other.keys()) == (0, ["2"])
    gate.set()
    await pass_time(world)
    assert world.agreed() == ["1"]


async def test_the_diffs_of_a_topic_stay_in_order_and_are_one_while_a_hook_runs() -> None:
    gates: list[asyncio.Event] = []

    async def slow(topic: str, entries: Entries) -> Extras:
        gates.append(asyncio.Event())
        await gates[-1].wait()
        return {}

    world = hooked(slow, "a")
    ids = world.track("a", "1")
    await pass_time(world)
    world.track("a", "2")
    await pass_time(world)
    world.untrack("a", *ids)
    world.track("a", "3")
    await pass_time(world)
    assert (len(gates), world.viewers["a"].frames) == (1, 0)
    gates[0].set()
    await pass_time(world)
    assert world.viewers["a"].keys() == ["1"]
    gates[1].set()
    await pass_time(world)
    assert world.agreed() == ["2", "3"]
    assert len(gates) == len(world.viewers["a"].diffs) == 2


def crashing(topic: str, entries: Entries) -> Extras:
    raise RuntimeError("the database is away")


async def crashing_later(topic: str, entries: Entries) -> Extras:
    await asyncio.sleep(0)
    raise RuntimeError("the database is away")


def nonsense(topic: str, entries: Entries) -> Any:
    return ["nonsense"]


def nothing(topic: str, entries: Entries) -> Any:
    return None


def unspeakable(topic: str, entries: Entries) -> Any:
    return {"1": {"x": 2 + 3j}}


@pytest.mark.parametrize("hook", [crashing, crashing_later, nonsense, nothing, unspeakable])
async def test_a_hook_that_fails_is_logged_and_clients_are_told_without_it(
    hook: Fetch, caplog: pytest.LogCaptureFixture
) -> None:
    world = hooked(hook, "a")
    world.track("a", "1")
    await pass_time(world)
    assert world.agreed() == ["1"]
    world.track("a", "2")
    await pass_time(world)
    assert world.agreed() == ["1", "2"]
    assert "clients are told without it" in caplog.text


async def test_what_a_hook_adds_may_not_be_more_than_a_message_can_hold(caplog: pytest.LogCaptureFixture) -> None:
    def boast(topic: str, entries: Entries) -> Extras:
        return {key: {"about": "x" * MESSAGE_BYTES_MAX} for key in entries}

    world = hooked(boast, "a")
    world.track("a", "1")
    await pass_time(world)
    assert world.agreed() == ["1"]
    assert "clients are told without it" in caplog.text


async def test_a_hook_that_hangs_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    async def hang(topic: str, entries: Entries) -> Extras:
        await asyncio.Event().wait()
        return {}

    world = hooked(hang, "a")
    world.track("a", "1")
    await pass_time(world)
    assert world.viewers["a"].frames == 0
    world.clock.advance(PRESENCE_FETCH_S)
    await pass_time(world)
    assert world.agreed() == ["1"]


async def test_a_hook_is_not_asked_when_nobody_would_hear_of_it() -> None:
    hook = Hook()
    world = hooked(hook, "a")
    world.presence["a"]._pubsub.unsubscribe(TOPIC, world.viewers["a"])
    world.track("a", "1")
    await pass_time(world)
    assert hook.asked == []


async def test_after_stop_no_hook_has_a_say() -> None:
    gate = asyncio.Event()

    async def slow(topic: str, entries: Entries) -> Extras:
        await gate.wait()
        return {}

    world = hooked(slow, "a")
    world.track("a", "1")
    world.clock.advance(PRESENCE_TICK_S)
    await settle()
    world.presence["a"].stop()
    gate.set()
    await pass_time(world)
    assert world.viewers["a"].frames == 0
