"""The portable outlet over a server that takes what it wants, when it wants."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from roost.core.backlog import CloseSlow, Coalesce, Policy, SlowReaders
from roost.web.outlet import CLOSING_S, PortableOutlet
from roost.wire import phoenix
from tests.web.stage import make_live, settle


class Server:
    """An ASGI server whose `send` returns when the client reads."""

    def __init__(self) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await self.reading.wait()
        self.sent.append(message)


async def opened(policy: Policy) -> tuple[PortableOutlet, Server, SlowReaders]:
    live, _ = make_live()
    server, readers = Server(), SlowReaders(policy, phoenix.look)
    return await PortableOutlet.open(live.scheduler, server.send, lambda: None, readers), server, readers


def moved(user: int, x: int) -> bytes:
    return phoenix.V2.broadcast("map", "moved", {"user": user, "x": x})


async def test_text_goes_out_as_text_and_bytes_as_bytes() -> None:
    outlet, server, _ = await opened(Coalesce(events={"moved": "user"}))
    outlet.write(phoenix.V2.broadcast("map", "said", {"text": "é"}))
    outlet.write(phoenix.V2.push("1", "map", "drawn", b"\xff"))
    await settle()
    assert server.sent == [
        {"type": "websocket.send", "text": '[null,null,"map","said",{"text":"é"}]'},
        {"type": "websocket.send", "bytes": b"\x00\x01\x03\x051mapdrawn\xff"},
    ]
    outlet.lost()


async def test_only_the_newest_of_one_thing_waits_while_the_server_does_not_take_it() -> None:
    outlet, server, readers = await opened(Coalesce(events={"moved": "user"}))
    server.reading.clear()
    for x in range(50):
        outlet.write(moved(1, x))
        outlet.write(moved(2, x))
    await settle()
    assert (readers.behind, readers.coalesced) == (1, 97)
    server.reading.set()
    await settle()
    assert [message["text"] for message in server.sent] == [
        phoenix.text_of(frame) for frame in (moved(1, 0), moved(1, 49), moved(2, 49))
    ]
    assert (readers.behind, readers.waiting_bytes) == (0, 0)
    outlet.lost()


async def test_a_close_comes_after_what_waits_and_nothing_after_it() -> None:
    outlet, server, _ = await opened(Coalesce(events={"moved": "user"}))
    server.reading.clear()
    for user in range(3):
        outlet.write(moved(user, 0))
    outlet.close(1001)
    outlet.write(moved(9, 0))
    outlet.close(1002)
    server.reading.set()
    await settle()
    assert [message["type"] for message in server.sent] == ["websocket.send"] * 3 + ["websocket.close"]
    assert server.sent[-1]["code"] == 1001
    outlet.lost()


async def test_what_waits_for_a_client_that_is_gone_is_forgotten() -> None:
    outlet, server, readers = await opened(Coalesce(events={"moved": "user"}))
    server.reading.clear()
    for user in range(3):
        outlet.write(moved(user, 0))
    outlet.lost()
    outlet.write(moved(9, 0))
    server.reading.set()
    await settle()
    assert server.sent == []
    assert (readers.behind, readers.waiting_bytes) == (0, 0)


async def test_a_client_that_does_not_read_its_close_is_given_up_once() -> None:
    live, clock = make_live()
    server, readers = Server(), SlowReaders(CloseSlow(), phoenix.look)
    given_up: list[str] = []
    outlet = await PortableOutlet.open(live.scheduler, server.send, lambda: given_up.append("it"), readers)
    server.reading.clear()
    for user in range(3):
        outlet.write(moved(user, 0))
    outlet.close(1001)
    await settle()
    clock.advance(CLOSING_S / 2)
    await settle()
    assert (readers.behind, len(live.scheduler.processes), given_up) == (1, 1, [])
    clock.advance(CLOSING_S / 2)
    await settle()
    assert (readers.behind, readers.waiting_bytes, len(live.scheduler.processes)) == (0, 0, 0)
    outlet.lost()
    clock.advance(CLOSING_S)
    server.reading.set()
    await settle()
    assert (server.sent, given_up) == ([], ["it"])


async def test_a_client_that_is_gone_in_time_after_a_close_is_not_given_up() -> None:
    live, clock = make_live()
    given_up: list[str] = []
    outlet = await PortableOutlet.open(live.scheduler, Server().send, lambda: given_up.append("it"))
    outlet.close(1001)
    await settle()
    outlet.lost()
    clock.advance(CLOSING_S)
    assert given_up == []
