"""Registers over real nodes and over simulated disks."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from roost.cluster import register
from roost.cluster.node import Node
from roost.cluster.register import SERVICE, Ask, Registers
from roost.config import Config
from roost.core.caspaxos import Ballot, Chosen, Electorate, Prepare, Refused
from roost.errors import BadMessage, NodeDown, NoQuorum, StorageFailed, TooLarge
from roost.runtime import Runtime
from roost.sim.running import run
from roost.sim.world import World
from tests.cluster.flock import Flock, flock

B = "b@127.0.0.1"


def nothing(node: Node) -> None:
    """No setup."""


def everybody(node: Node) -> Electorate:
    members = frozenset(node.membership.members)
    return lambda value: members


async def add(node: Node, text: bytes, name: str = "one", timeout_s: float = 5.0) -> bytes:
    """Append to a register."""

    def change(value: bytes | None) -> bytes | None:
        return value if value is not None and text in value else (value or b"") + text

    outcome = await node.registers.change(name, change, everybody(node), timeout_s)
    assert isinstance(outcome, Chosen)
    assert outcome.value is not None
    return outcome.value


async def read(node: Node, name: str = "one") -> bytes | None:
    outcome = await node.registers.change(name, lambda value: value, everybody(node), 5.0)
    return outcome.value


async def test_every_node_sees_what_another_has_changed(tmp_path: Path) -> None:
    async with flock("a", "b", "c", setup=nothing, folder=tmp_path) as story:
        assert await read(story["a"]) is None
        for letter, expected in (("a", b"a"), ("b", b"ab"), ("c", b"abc")):
            assert await add(story[letter], letter.encode()) == expected
        assert [await read(node) for node in story.nodes.values()] == [b"abc"] * 3
        refused = await story["a"].registers.change("one", lambda _: None, everybody(story["a"]), 5.0)
        assert refused == Refused(b"abc")


async def test_a_majority_is_enough_and_a_minority_is_not(tmp_path: Path) -> None:
    async with flock("a", "b", "c", setup=nothing, folder=tmp_path) as story:
        await add(story["a"], b"1")
        await story.stop("c")
        assert await add(story["b"], b"2") == b"12"
        await story.stop("b")
        with pytest.raises(NoQuorum):
            await add(story["a"], b"3")
        await story.start("c")
        await story.meet()
        assert (await add(story["a"], b"4")).startswith(b"12")


async def test_what_was_chosen_survives_that_all_nodes_restart(tmp_path: Path) -> None:
    async with flock("a", "b", "c", setup=nothing, folder=tmp_path) as story:
        await add(story["a"], b"kept")
        await _restart(story)
        assert await read(story["b"]) == b"kept"
        assert "one" in story["b"].registers.names


async def _restart(story: Flock) -> None:
    for letter in "abc":
        await story.stop(letter)
    for letter in "abc":
        await story.start(letter)
    await story.meet()


async def test_what_is_too_much_or_no_question_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register, "REGISTERS_MAX", 1)
    async with flock("a", "b", setup=nothing) as story:
        fabric = story["a"].fabric
        await add(story["a"], b"1")
        ask = msgspec.msgpack.encode(Ask("two", Prepare(Ballot(0, 1, "z"))))
        with pytest.raises(TooLarge):
            await fabric.call(B, SERVICE, ask)
        with pytest.raises(BadMessage):
            await fabric.call(B, SERVICE, b"\xc0")
        fabric.cast(B, SERVICE, b"\xc0")
        assert await read(story["a"]) == b"1"


async def test_before_it_has_started_an_acceptor_says_so() -> None:
    node = Node(Config(), Runtime.real())
    said: list[object] = []
    node.registers.handle(Ask("one", Prepare(Ballot(0, 1, "z"))), said.append)
    assert [type(one) for one in said] == [NodeDown]


async def _boot(config: Config, runtime: Runtime) -> Node:
    node = Node(config, runtime)
    await node.start()
    return node


async def _failing_disks() -> None:
    async with World("a", "b", "c", boot=_boot) as world:
        await world.start()
        await world.eventually(lambda: len(world.node("a").fabric.up()) == 3, 10.0)
        await world.on("a", lambda node: add(node, b"1"))
        world.platter("b").health.failing = True
        assert await world.on("a", lambda node: add(node, b"2")) == b"12"
        world.platter("c").health.full = True
        with pytest.raises(NoQuorum):
            await world.on("a", lambda node: add(node, b"3"))

        async def ask(node: Node) -> None:
            body = msgspec.msgpack.encode(Ask("two", Prepare(Ballot(0, 1, "z"))))
            with pytest.raises(StorageFailed):
                await node.fabric.call("b@sim", SERVICE, body)

        await world.on("a", ask)
        for name in "bc":
            world.platter(name).health.failing = world.platter(name).health.full = False
        assert (await world.on("a", lambda node: add(node, b"4"))).startswith(b"12")


def test_a_disk_that_fails_is_a_node_that_does_not_answer() -> None:
    run(0, _failing_disks())


async def _rivals() -> list[bytes]:
    async with World("a", "b", "c", boot=_boot, drift=0.001) as world:
        await world.start()
        await world.eventually(lambda: len(world.node("a").fabric.up()) == 3, 10.0)
        found: list[bytes] = []
        registers: list[Registers] = [world.node(name).registers for name in "abc"]
        for number in range(30):
            _submit(world, registers, number, found)
        await world.eventually(lambda: len(found) == 30, 30.0, "an answer to every change")
        return found


def _submit(world: World[Node], registers: list[Registers], number: int, found: list[bytes]) -> None:
    letter = bytes((65 + number,))

    def change(value: bytes | None) -> bytes | None:
        return value if value is not None and letter in value else (value or b"") + letter

    def on_done(outcome: object) -> None:
        assert isinstance(outcome, Chosen)
        assert outcome.value is not None
        found.append(outcome.value)

    async def submit(node: Node) -> None:
        node.registers.submit("one", change, everybody(node), 30.0, on_done)

    world.loop.create_task(world.on("abc"[number % 3], submit))
    assert registers


def test_rivals_all_get_their_turn() -> None:
    found = run(1, _rivals())
    longest = max(found, key=len)
    assert len(longest) == len(set(longest)) == 30
    assert all(longest.startswith(one) for one in found)
