"""Handles of processes on other nodes, over a transport that the test plays."""

from __future__ import annotations

from collections.abc import Awaitable

import msgspec
import pytest

from roost.errors import NodeDown, NotSendable
from roost.otp import CallSpec, GenServer, Scheduler, call, cast, remote_handle, send
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

    def call(
        self,
        node: str,
        name: str,
        method: str,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        timeout_s: float | None,
        spec: CallSpec,
    ) -> Awaitable[object]:
        self.carried.append((node, name, method, args, kwargs, timeout_s))
        if name == "lost":
            return Failed(NodeDown(node, "gone"))
        args, kwargs = spec.convert(*msgspec.msgpack.decode(msgspec.msgpack.encode((args, kwargs))))
        return Reply(spec.decode_reply(msgspec.msgpack.encode(args[0])))

    def cast(
        self, node: str, name: str, method: str, args: tuple[object, ...], kwargs: dict[str, object], spec: CallSpec
    ) -> None:
        self.carried.append((node, name, method, args, kwargs))


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
        await stock.stop()
    assert repr(stock) == "<Stock 'stock' at b>"


async def test_it_is_equal_by_name_and_node() -> None:
    wire = Wire()
    one, same, other = (remote_handle(Stock, "stock", node, wire) for node in ("b", "b", "c"))
    assert one == same.with_timeout(2.0)
    assert one != other
    assert len({one, same, other}) == 2


async def test_without_a_cluster_there_is_no_other_node() -> None:
    with pytest.raises(NodeDown, match="not part of a cluster"):
        Stock.whereis("stock", node="b")
    with pytest.raises(AttributeError, match="this node only"):
        send(remote_handle(Stock, "stock", "b", Wire()), Line("x", 1))
