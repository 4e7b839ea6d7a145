"""Whole nodes on loopback: they find each other, lose each other, call each other, and stop in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from roost.cluster.node import Node
from roost.cluster.process_service import SERVICE, ProcessCall
from roost.config import Config
from roost.errors import (
    BadMessage,
    NodeDown,
    NoSuchProcess,
    NotSendable,
    ProcessDown,
    Refusal,
    RoostError,
    StartFailed,
)
from roost.otp import GenServer, call, cast
from roost.runtime import Runtime
from tests.cluster.meadow import configs

A, B, C = "a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"


class Empty(Refusal):
    """The till has nothing in it."""

    def __init__(self, wanted: int) -> None:
        super().__init__(wanted)
        self.wanted = wanted


class Till(GenServer):
    """A process to call from elsewhere."""

    def init(self, coins: int = 0) -> None:
        self.coins = coins

    @call
    def put(self, coins: int) -> int:
        self.coins += coins
        return self.coins

    @call
    async def take(self, coins: int) -> list[int]:
        if coins > self.coins:
            raise Empty(coins)
        self.coins -= coins
        return [coins, self.coins]

    @call
    def sing(self) -> str:
        return "\ud800"

    @call
    async def sing_later(self) -> str:
        return "\ud800"

    @call
    def burn(self) -> None:
        raise RuntimeError("on fire")

    @cast
    def drop(self, coins: int) -> None:
        self.coins += coins

    def secret(self) -> int:
        return self.coins


async def settled(condition: Callable[[], bool], *nodes: Node) -> None:
    """Wait until `condition` holds; looked at whenever one of `nodes` sees a node come or go."""
    changed = asyncio.Event()
    unwatch = [node.fabric.watch(lambda _: changed.set()) for node in nodes]
    while not condition():
        changed.clear()
        await changed.wait()
    for each in unwatch:
        each()


async def together(*nodes: Node) -> None:
    """Wait until all nodes see each other."""
    await settled(lambda: all(len(node.fabric.up()) == len(nodes) for node in nodes), *nodes)


@asynccontextmanager
async def cluster(*names: str) -> AsyncIterator[list[Node]]:
    nodes = [Node(config, Runtime.real()) for config in configs(*names)]
    for node in nodes:
        node.add_child(Till.child(10, name="till"))
    await asyncio.gather(*[node.start() for node in nodes])
    try:
        await together(*nodes)
        yield nodes
    finally:
        await asyncio.gather(*[node.stop() for node in nodes])


async def test_a_process_is_called_alike_here_and_on_another_node() -> None:
    async with cluster("a", "b") as (a, _):
        with a.entered():
            for till in (Till.whereis("till"), Till.whereis("till", node=B)):
                assert await till.put(5) == 15
                assert await till.take(3) == [3, 12]
                till.drop(8)
                assert await till.put(0) == 20


async def test_a_refusal_and_a_crash_cross_between_nodes() -> None:
    async with cluster("a", "b") as (a, b):
        with a.entered():
            till = Till.whereis("till", node=B)
            with pytest.raises(Empty) as refusal:
                await till.take(11)
            assert refusal.value.wanted == 11
            with pytest.raises(ProcessDown, match="on fire"):
                await till.burn()
        with b.entered():
            assert await Till.whereis("till").put(0) == 10


async def test_what_cannot_be_encoded_is_refused_on_both_ways() -> None:
    async with cluster("a", "b") as (a, _):
        with a.entered():
            till = Till.whereis("till", node=B)
            for sung in (till.sing(), till.sing_later()):
                with pytest.raises(NotSendable):
                    await sung
            with pytest.raises(NotSendable):
                await till.put(2**70)
            assert await till.put(0) == 10


async def test_what_a_class_does_not_declare_cannot_be_reached() -> None:
    async with cluster("a", "b") as (a, _):
        for method in ("secret", "init", "drop", "__class__", "exit"):
            with pytest.raises(BadMessage, match="declares no call"):
                await a.fabric.call(B, SERVICE, msgspec.msgpack.encode(ProcessCall("till", method, (), {})))
        with pytest.raises(BadMessage, match="Expected `int`"):
            await a.fabric.call(B, SERVICE, msgspec.msgpack.encode(ProcessCall("till", "put", ("many",), {})))
        with pytest.raises(BadMessage):
            await a.fabric.call(B, SERVICE, msgspec.msgpack.encode({"name": "till"}))
        with pytest.raises(NoSuchProcess):
            await a.fabric.call(B, SERVICE, msgspec.msgpack.encode(ProcessCall("nobody", "put", (1,), {})))
        for method in ("put", "secret"):
            a.fabric.cast(B, SERVICE, msgspec.msgpack.encode(ProcessCall("till", method, (1,), {})))
        with a.entered():
            assert await Till.whereis("till", node=B).put(0) == 10


async def test_a_lost_node_is_missed_at_once_and_found_again() -> None:
    settings = configs("a", "b", "c")
    nodes = [Node(config, Runtime.real()) for config in settings]
    await asyncio.gather(*[node.start() for node in nodes])
    await together(*nodes)
    a, b, c = nodes
    await c.stop()
    await settled(lambda: a.fabric.up() == b.fabric.up() == (A, B), a, b)
    assert a.membership.unreachable() == (C,)
    with pytest.raises(NodeDown):
        await a.fabric.call(C, "membership", b"\xc0")
    again = Node(settings[2], Runtime.real())
    await again.start()
    await together(a, b, again)
    assert a.fabric.peer_incarnation(C) == again.fabric.incarnation != c.fabric.incarnation
    await asyncio.gather(a.stop(), b.stop(), again.stop())


async def test_every_member_tells_what_it_sees() -> None:
    async with cluster("a", "b", "c") as (a, b, c):
        views = await a.membership.views()
        assert list(views) == [A, B, C]
        assert [view.up for view in views.values() if view] == [(A, B, C)] * 3
        assert {(view.cluster, view.version) for view in views.values() if view} == {(a.membership.cluster.id, 1)}
        await c.stop()
        await settled(lambda: len(a.fabric.up()) == 2, a)
        assert (await a.membership.views())[C] is None
        assert b.ring == a.ring


async def test_a_part_that_does_not_start_stops_the_node_before_it_can_be_reached() -> None:
    class Broken(GenServer):
        def init(self) -> None:
            raise OSError("no disk")

    node = Node(configs("a", "b")[0], Runtime.real())
    node.add_part(Broken.child())
    with pytest.raises(StartFailed, match="no disk"):
        await node.start()
    await node.stop()
    assert node.fabric.up() == (A,)


async def test_a_child_that_does_not_start_takes_the_links_with_it() -> None:
    class Late(GenServer):
        async def init(self, node: Node, other: Node) -> None:
            await together(node, other)
            raise OSError("no such luck")

    here, there = (Node(config, Runtime.real()) for config in configs("a", "b"))
    await there.start()
    here.add_child(Late.child(here, there))
    with pytest.raises(StartFailed, match="no such luck"):
        await here.start()
    await settled(lambda: there.fabric.up() == (B,), there)
    assert here.fabric.up() == (A,)
    assert here.config.listen is not None
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection(*here.config.listen)
    await here.stop()
    await there.stop()


async def test_a_node_that_has_given_up_is_down_for_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async with cluster("a", "b") as (a, b):
        assert a._root is not None
        answers = asyncio.gather(*[a.fabric.call(B, "membership", b"\xc0", 60.0) for _ in range(3)])
        with caplog.at_level(logging.CRITICAL + 1):
            a._root._process.kill()
            await settled(lambda: b.fabric.up() == (B,), b)
        with pytest.raises(NodeDown, match="gave up"):
            await answers
        assert a.fabric.up() == (A,)


async def test_a_taken_address_is_a_start_that_failed() -> None:
    settings = configs("a", "b")[0]
    first, second = Node(settings, Runtime.real()), Node(settings, Runtime.real())
    await first.start()
    with pytest.raises(StartFailed, match="address already in use"):
        await second.start()
    await first.stop()


async def test_code_outside_a_node_is_told_so() -> None:
    with pytest.raises(RuntimeError, match="no node here"):
        Node.current()
    node = Node(Config(), Runtime.real())
    with node.entered():
        assert Node.current() is node
    with pytest.raises(RoostError):
        Till.whereis("till")
