"""Real connections: served by the node itself with ready frames, and by plain uvicorn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roost.config import Address, Config
from roost.core.backlog import CloseSlow
from roost.live.channel import Channel, Payload, event
from roost.runtime import Runtime
from roost.web import frames as frames_module
from roost.web.answer import answer
from roost.web.app import Roost, RunningApp
from roost.web.socket import Socket
from tests.web.wire import Phoenix, http, served_by_uvicorn


class Room(Channel, topic="room:*"):
    """Broadcasts, and shows who is there."""

    def join(self, topic: str, params: Payload, socket: object) -> Payload:
        if "name" in params:
            self.track(str(params["name"]), {})
        return {"joined": topic}

    @event("say")
    def say(self, payload: Payload) -> None:
        self.broadcast("said", payload)

    @event("flood")
    def flood(self, payload: Payload) -> None:
        for _ in range(int(str(payload["times"]))):
            self.broadcast("flood", {"text": "x" * 10_000})

    @event("crash")
    def crash(self, payload: Payload) -> None:
        raise ZeroDivisionError


class Rooms(Socket):
    """Everyone may come in."""

    channels = (Room,)


asking, answering = asyncio.Event(), asyncio.Event()


async def web(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        if scope["path"] == "/slow":
            asking.set()
            await answering.wait()
        await answer(send, 200, b'"hello"')
    else:
        raise RuntimeError("no such thing")


def make_app() -> Roost:
    return Roost("test", sockets={"/socket": Rooms}, web=web)


@asynccontextmanager
async def served_by_the_node() -> AsyncIterator[tuple[Roost, RunningApp, Address]]:
    app = make_app()
    running = await app.boot(Config(web=Address("127.0.0.1", 0)), Runtime.real())
    assert running.address is not None
    try:
        yield app, running, running.address
    finally:
        await running.stop()


@asynccontextmanager
async def served_by_plain_uvicorn() -> AsyncIterator[tuple[Roost, RunningApp, Address]]:
    app = make_app()
    async with served_by_uvicorn(app) as address:
        yield app, app.running(), address


SERVERS = pytest.mark.parametrize("served", [served_by_the_node, served_by_plain_uvicorn])


@SERVERS
async def test_a_room(served: Any) -> None:
    async with served() as (_, running, address):
        one, two = await Phoenix.open(address), await Phoenix.open(address)
        assert await one.ask("1", "1", "room:a", "phx_join", {"name": "alex"}) == {
            "status": "ok",
            "response": {"joined": "room:a"},
        }
        await two.ask("1", "1", "room:a", "phx_join", {"name": "bo"})
        await one.say("1", "2", "room:a", "say", {"body": "é" * 70_000})
        for client in (one, two):
            assert await client.hear("said") == [None, None, "room:a", "said", {"body": "é" * 70_000}]
        assert sorted((await two.hear("presence_state"))[4]) == ["alex", "bo"]
        assert running.connections == 2
        await one.close()
        await two.close()


@SERVERS
async def test_the_crash_of_a_channel_leaves_the_socket_open(served: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with served() as (_, _, address):
        client = await Phoenix.open(address)
        await client.ask("1", "1", "room:a", "phx_join", {})
        await client.say("1", "2", "room:a", "crash", {})
        assert (await client.hear())[3] == "phx_error"
        assert (await client.ask(None, "3", "phoenix", "heartbeat", {}))["status"] == "ok"
        await client.close()


@SERVERS
@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("vsn=3.0.0", {}),
        ("vsn=", {}),
        ("vsn=2.0.0", {"origin": "http://evil.org"}),
        ("vsn=2.0.0", {"origin": "null"}),
    ],
)
async def test_refused_clients_get_403(served: Any, query: str, options: dict[str, Any]) -> None:
    async with served() as (_, _, address):
        with pytest.raises(InvalidStatus) as refused:
            await Phoenix.open(address, query, **options)
        assert refused.value.response.status_code == 403


@SERVERS
async def test_pages_of_the_same_host_are_let_in(served: Any) -> None:
    async with served() as (_, _, address):
        client = await Phoenix.open(address, origin=f"http://{address}")
        await client.close()


@SERVERS
async def test_what_is_no_frame_closes_with_1011(served: Any) -> None:
    async with served() as (_, _, address):
        for message in ("hello", b"\x00\x01"):
            client = await Phoenix.open(address)
            await client.socket.send(message)
            with pytest.raises(ConnectionClosed) as closed:
                await client.hear()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1011


@SERVERS
async def test_http_goes_to_the_web_application(served: Any) -> None:
    async with served() as (_, _, address):
        response = await http(address, "GET", "/anything")
        assert (response.status, response.json) == (200, "hello")


@SERVERS
async def test_a_stop_tells_clients_to_come_back(served: Any) -> None:
    async with served() as (_, _, address):
        client = await Phoenix.open(address)
        await client.ask("1", "1", "room:a", "phx_join", {})
    with pytest.raises(ConnectionClosed) as closed:
        await client.hear()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


async def test_a_stop_lets_requests_finish() -> None:
    async with served_by_the_node() as (_, running, address):
        request = asyncio.create_task(http(address, "GET", "/slow"))
        await asking.wait()
        stop = asyncio.create_task(running.stop())
        answering.set()
        assert (await request).json == "hello"
        await stop


async def test_a_client_that_does_not_read_is_closed_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Rooms, "slow_reader", CloseSlow(200_000))
    monkeypatch.setattr(frames_module, "CLOSING_S", 0.01)
    async with served_by_the_node() as (_, running, address):
        stuck, reader = await Phoenix.open(address), await Phoenix.open(address)
        await stuck.ask("1", "1", "room:a", "phx_join", {})
        await reader.ask("1", "1", "room:a", "phx_join", {})
        stuck.socket.transport.pause_reading()
        floods = 0
        while running.connections == 2:
            await reader.say("1", "2", "room:a", "flood", {"times": 20})
            for _ in range(20):
                await reader.hear("flood")
            floods += 20
        assert floods > 20
        assert "does not read" in caplog.text
        assert running.live.pubsub.subscribers("room:a") == 1
        await reader.ask("1", "9", "room:a", "say", {})
        stuck.socket.transport.abort()
        await reader.close()


async def test_a_client_that_reads_slowly_loses_nothing() -> None:
    async with served_by_the_node() as (_, _, address):
        slow = await Phoenix.open(address, max_queue=1)
        await slow.ask("1", "1", "room:a", "phx_join", {})
        await slow.say("1", "2", "room:a", "flood", {"times": 300})
        await slow.say("1", "3", "room:a", "say", {})
        heard = [(await slow.hear())[3] for _ in range(303)]
        assert heard == ["flood"] * 300 + ["phx_reply", "said", "phx_reply"]
        await slow.close()


async def test_a_taken_port_is_an_oserror() -> None:
    async with served_by_the_node() as (_, _, address):
        with pytest.raises(OSError, match="address already in use"):
            await make_app().boot(Config(web=address), Runtime.real())


async def test_nothing_but_warnings_of_uvicorn_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with served_by_the_node() as (_, _, address):
        client = await Phoenix.open(address)
        await client.close()
    assert [record.name for record in caplog.records if record.name.startswith("uvicorn")] == []
