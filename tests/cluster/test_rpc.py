"""Functions that are called on other nodes, and the fences around that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from roost import limits
from roost.cluster import rpc
from roost.cluster.exports import Exports, exported
from roost.cluster.node import Node
from roost.cluster.rpc_service import SERVICE, FunctionCall
from roost.errors import (
    BadMessage,
    CallTimeout,
    ConfigError,
    NodeDown,
    NotExported,
    NotSendable,
    Overloaded,
    ProcessDown,
    Refusal,
    RoostError,
)
from roost.otp import GenServer, call
from tests.cluster.flock import Flock, flock

A, B, C = "a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


class TooFar(Refusal):
    """The point is too far away."""

    def __init__(self, x: int) -> None:
        super().__init__(x)
        self.x = x


class Desk(GenServer):
    """A process whose handler calls functions of other nodes."""

    @call
    async def relay(self) -> float | None:
        return await rpc.call(B, patience)

    @call
    def name(self) -> str:
        return self.scheduler.name


@exported
def where(point: Point) -> tuple[str, Point]:
    return Node.current().name, point


@exported
async def later(point: Point) -> Point:
    await asyncio.sleep(0)
    if point.x > 100:
        raise TooFar(point.x)
    return Point(point.y, point.x)


@exported(name="burn")
def burn() -> None:
    raise RuntimeError("on fire")


@exported
async def hang(note: str) -> None:
    HUNG.append(note)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        HUNG.append("ended")


@exported
async def patience() -> float | None:
    return Node.current().scheduler.patience_s(None)


@exported
async def open_desk() -> Desk:
    return await Desk.start()


@exported
async def desk_name(desk: Desk) -> str:
    return await desk.name()


@exported
def sing() -> str:
    return "\ud800"


def secret() -> int:
    return 1


HUNG: list[str] = []


@asynccontextmanager
async def cluster(*names: str) -> AsyncIterator[Flock]:
    HUNG.clear()
    async with flock(*names, setup=lambda node: None) as story:
        yield story


async def test_a_function_is_called_alike_here_and_on_another_node() -> None:
    async with cluster("a", "b") as story:
        with story["a"].entered():
            for node in (A, B):
                assert await rpc.call(node, where, Point(1, 2)) == (node, Point(1, 2))
                assert await rpc.call(node, later, Point(1, 2)) == Point(2, 1)
                assert await rpc.call(node, f"{__name__}.later", Point(1, 2)) == Point(2, 1)
        assert story["a"].rpc.running == story["b"].rpc.running == 0


async def test_a_refusal_and_a_crash_cross_and_hurt_nobody_else() -> None:
    async with cluster("a", "b") as story:
        with story["a"].entered():
            for node in (A, B):
                with pytest.raises(TooFar) as refusal:
                    await rpc.call(node, later, Point(101, 2))
                assert refusal.value.x == 101
                with pytest.raises(ProcessDown, match="on fire"):
                    await rpc.call(node, burn)
                assert await rpc.call(node, later, Point(1, 2)) == Point(2, 1)


async def test_only_exported_functions_can_be_reached() -> None:
    async with cluster("a", "b") as story:
        with story["a"].entered():
            for wanted in (secret, len, "os.getpid", f"{__name__}.secret"):
                with pytest.raises(NotExported):
                    await rpc.call(B, wanted)
        for name in ("os.getpid", f"{__name__}.secret", ""):
            with pytest.raises(NotExported):
                await story["a"].fabric.call(B, SERVICE, msgspec.msgpack.encode(FunctionCall(name, ())))
        with pytest.raises(BadMessage):
            await story["a"].fabric.call(B, SERVICE, b"\xc0")


async def test_arguments_and_results_are_those_of_the_signature() -> None:
    async with cluster("a", "b") as story:
        with story["a"].entered():
            with pytest.raises(BadMessage):
                await rpc.call(B, later, "here")
            for node in (A, B):
                with pytest.raises(BadMessage):
                    await rpc.call(node, later)
                with pytest.raises(NotSendable):
                    await rpc.call(node, later, object())
            with pytest.raises(NotSendable):
                await rpc.call(B, sing)
            with pytest.raises(BadMessage):
                await rpc.call(B, later, Point(1, 2), Point(3, 4))


async def test_handles_are_arguments_and_results() -> None:
    async with cluster("a", "b") as story:
        with story["a"].entered():
            desk = await rpc.call(B, open_desk)
            assert await desk.name() == B
            assert await rpc.call(B, desk_name, desk) == B
            mine = await Desk.start()
            assert await rpc.call(B, desk_name, mine) == A


async def test_a_function_ends_when_its_caller_has_given_up() -> None:
    async with cluster("a", "b") as story:
        with story["a"].entered():
            for node in (A, B):
                with pytest.raises((CallTimeout, ProcessDown)):
                    await rpc.call(node, hang, node, timeout_s=0.05)
        await story.until(lambda: len(HUNG) == 4)
        assert story["a"].rpc.running == story["b"].rpc.running == 0


async def test_the_patience_of_the_caller_travels() -> None:
    async with cluster("a", "b") as story:
        with story["a"].entered():
            left = await rpc.call(B, patience, timeout_s=2.0)
            assert left is not None
            assert 0 < left <= 2.0
            desk = await Desk.start()
            left = await desk.with_timeout(1.0).relay()
            assert left is not None
            assert left <= 1.0


async def test_many_nodes_are_asked_at_once_and_each_gives_its_result_or_its_error() -> None:
    async with cluster("a", "b", "c") as story:
        await story.stop("c")
        with story["a"].entered():
            results = await rpc.multicall(None, where, Point(1, 2))
        assert list(results) == [A, B, C]
        assert results[A] == (A, Point(1, 2))
        assert results[B] == (B, Point(1, 2))
        assert isinstance(results[C], NodeDown)


async def test_a_cast_runs_and_its_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with cluster("a", "b") as story:
        with story["a"].entered():
            for node in (A, B):
                rpc.cast(node, hang, f"cast at {node}")
                rpc.cast(node, burn)
            with pytest.raises(NodeDown):
                rpc.cast("z@127.0.0.1", burn)
        await story.until(lambda: len(HUNG) == 2 and caplog.text.count("has failed") == 2)
    assert HUNG.count("ended") == 2, "a node that stops ends what runs on it"


async def test_calls_that_run_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.cluster.rpc_service.RPC_MAX", 2)
    assert limits.RPC_MAX > 2
    async with cluster("a", "b") as story:
        with story["a"].entered():
            rpc.cast(B, hang, "one")
            rpc.cast(B, hang, "two")
            with pytest.raises(Overloaded):
                await rpc.call(B, where, Point(1, 2))


async def test_two_functions_have_not_one_name() -> None:
    with pytest.raises(ConfigError, match="two functions"):

        @exported(name="burn")
        def other() -> None:
            """Nothing."""

    assert Exports.find("burn").function is burn


async def test_outside_of_a_node_there_is_no_call() -> None:
    with pytest.raises(RuntimeError, match="no node here"):
        await rpc.call(A, where, Point(1, 2))
    assert issubclass(NotExported, RoostError)
