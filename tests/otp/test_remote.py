"""Handles of processes on other nodes, over a transport that the test plays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from roost.errors import NodeDown, NotSendable
from roost.otp import (
    CallSpec,
    Down,
    GenServer,
    Monitor,
    Process,
    Reason,
    Scheduler,
    call,
    cast,
    remote_handle,
    send,
)
from roost.otp.remote import RemoteProcess
from roost.otp.reply import Failed, Reply
from roost.runtime import Runtime


class Line(msgspec.Struct, frozen=True):
    sku: str
    quantity: int


class Stock(GenServer):
    def init(self) -> None:
        self.lines: dict[str, int] = {}

    @call
    def reserve(self, line: Line, *, cart: str = "none") -> Line:
        self.lines[line.sku] = self.lines.get(line.sku, 0) + line.quantity
        return line

    @cast
    def reset(self, to: list[int]) -> None:
        self.lines.clear()

    def plain(self) -> int:
        return 1


class Wire:
    """A transport that encodes, decodes, and notes what it carried."""

    def __init__(self) -> None:
        self.carried: list[tuple[object, ...]] = []
        self.delivers: list[Callable[[Down], None]] = []

    def call(
        self,
        target: RemoteProcess,
        spec: CallSpec,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        timeout_s: float | None,
    ) -> Awaitable[object]:
        self.carried.append((target.node, target.who, spec.name, args, kwargs, timeout_s))
        if target.who == "lost":
            return Failed(NodeDown(target.node, "gone"))
        args, kwargs = spec.convert(*msgspec.msgpack.decode(msgspec.msgpack.encode((args, kwargs))))
        return Reply(spec.decode_reply(msgspec.msgpack.encode(args[0])))

    def cast(self, target: RemoteProcess, spec: CallSpec, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        self.carried.append((target.node, target.who, spec.name, args, kwargs))

    def watch(
        self, target: RemoteProcess, handle: GenServer, watcher: Process | None, deliver: Callable[[Down], None]
    ) -> Monitor:
        self.delivers.append(deliver)
        return Monitor(Process(Scheduler.current(), 0, None, 0), watcher, deliver)

    def link(self, target: RemoteProcess, handle: GenServer, process: Process) -> None:
        self.carried.append((target.node, target.who, "link", process))

    def unlink(self, target: RemoteProcess, process: Process) -> None:
        self.carried.append((target.node, target.who, "unlink", process))

    def exit(self, target: RemoteProcess, reason: Reason) -> None:
        self.carried.append((target.node, target.who, "exit", reason))

    def stop(self, target: RemoteProcess, reason: Reason) -> None:
        self.carried.append((target.node, target.who, "stop", reason))
        for deliver in self.delivers:
            deliver(Down(remote_handle(Stock, target.who, target.node, self), reason))


async def test_a_remote_handle_asks_through_the_transport() -> None:
    wire = Wire()
    scheduler = Scheduler(Runtime.real(), "a")
    scheduler.transport = wire
    with scheduler.entered():
        stock = Stock.whereis("stock", node="b")
    assert isinstance(stock, Stock)
    line = Line("sku-1", 2)
    assert await stock.reserve(line, cart="c") == line
    assert await stock.with_timeout(1.5).reserve(line) == line
    stock.reset([1])
    assert wire.carried == [
        ("b", "stock", "reserve", (line,), {"cart": "c"}, 5.0),
        ("b", "stock", "reserve", (line,), {}, 1.5),
        ("b", "stock", "reset", ([1],), {}),
    ]


async def test_its_errors_are_raised_where_they_are_awaited() -> None:
    lost = remote_handle(Stock, "lost", "b", Wire())
    with pytest.raises(NodeDown):
        await lost.reserve(Line("x", 1))
    with pytest.raises(NotSendable, match=r"argument 1 of Stock\.reserve"):
        await lost.reserve(object())  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(NotSendable):
        lost.reset([object()])  # type: ignore[list-item]  # the mistake under test


async def test_it_shows_declared_messages_only() -> None:
    stock = remote_handle(Stock, "stock", "b", Wire())
    for name in ("lines", "plain", "init"):
        with pytest.raises(AttributeError, match="private"):
            getattr(stock, name)
    with pytest.raises(AttributeError):
        stock.lines = {}
    with pytest.raises(AttributeError, match="this node only"):
        stock.is_alive()
    assert repr(stock) == "<Stock 'stock' at b>"


async def test_it_is_equal_by_name_and_node() -> None:
    wire = Wire()
    one, same, other = (remote_handle(Stock, "stock", node, wire) for node in ("b", "b", "c"))
    assert one == same.with_timeout(2.0)
    assert one != other
    assert len({one, same, other}) == 2


async def test_it_is_equal_by_number_within_one_boot() -> None:
    wire = Wire()
    one, same, later = (remote_handle(Stock, 7, "b", wire, boot) for boot in (1, 1, 2))
    assert one == same
    assert len({one, same, later}) == 2
    assert repr(one) == "<Stock #7 at b>"


async def test_it_ends_its_process_as_a_local_one_does() -> None:
    wire = Wire()
    stock = remote_handle(Stock, "stock", "b", wire)
    stock.exit("enough")
    await stock.stop("later")
    assert wire.carried == [("b", "stock", "exit", "enough"), ("b", "stock", "stop", "later")]
    down = stock.down()
    wire.delivers[-1](Down(stock, NodeDown("b", "gone")))
    assert isinstance((await down).reason, NodeDown)


async def test_a_stop_whose_node_is_lost_says_so() -> None:
    class Lossy(Wire):
        def stop(self, target: RemoteProcess, reason: Reason) -> None:
            super().stop(target, NodeDown(target.node, "gone"))

    with pytest.raises(NodeDown, match="gone"):
        await remote_handle(Stock, "stock", "b", Lossy()).stop()


async def test_without_a_cluster_there_is_no_other_node() -> None:
    with pytest.raises(NodeDown, match="not part of a cluster"):
        Stock.whereis("stock", node="b")
    with pytest.raises(AttributeError, match="this node only"):
        send(remote_handle(Stock, "stock", "b", Wire()), Line("x", 1))
