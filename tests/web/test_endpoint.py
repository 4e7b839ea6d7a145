"""Opening and closing sockets through bare ASGI, as any server would."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from roost import limits
from roost.core.backlog import CloseSlow
from roost.errors import Refusal
from roost.live.channel import Channel, Payload, event
from roost.web import connection as connection_module
from roost.web.connect_info import ConnectInfo
from roost.web.outlet import CLOSING_S
from roost.web.socket import Socket, seal
from tests.web.stage import Asgi, endpoint_of, make_live, scope_of, settle


class Echo(Channel, topic="echo"):
    """Sends back what it gets, with what is known of the client."""

    def join(self, topic: str, params: Payload, socket: Echoes) -> Payload:
        self.socket = socket
        return {"who": socket.who, "token": socket.info.auth_token, "x": dict(socket.info.x_headers)}

    @event("echo")
    def echo(self, payload: Payload) -> Payload:
        return payload

    @event("rename")
    def rename(self, payload: Payload) -> None:
        self.socket.who = "other"


class Echoes(Socket):
    """Lets in whoever says who they are."""

    channels = (Echo,)

    def connect(self, params: Any, info: ConnectInfo) -> None:
        if "who" not in params:
            raise Refusal("who are you?")
        self.who = params["who"]
        self.info = info


class Open(Socket):
    """Lets everybody in, after a while."""

    channels = ()

    async def connect(self, params: Any, info: ConnectInfo) -> None:
        await asyncio.sleep(0)


class Slow(Channel, topic="slow"):
    """Takes its time."""

    @event("slow")
    async def slow(self, payload: Payload) -> None:
        await asyncio.sleep(0)


class Slows(Socket):
    """Lets everybody in."""

    channels = (Slow,)


WHO = b"vsn=2.0.0&who=al%20ex"


@pytest.mark.parametrize(
    "scope",
    [
        {"query_string": b"vsn=2.0.0"},
        {"query_string": b"vsn=2.1.0&who=alex"},
        {"query_string": b"vsn=2.0&who=alex"},
        {"query_string": b"vsn=2.0.x&who=alex"},
        {"query_string": b"vsn=&who=alex"},
        {"query_string": WHO, "headers": [(b"host", b"example.org"), (b"origin", b"http://evil.org")]},
    ],
)
async def test_a_refused_client_is_closed_before_it_is_accepted(scope: dict[str, object]) -> None:
    live, _ = make_live()
    client = Asgi(endpoint_of(Echoes, live), **scope)
    await client.task
    assert [message["type"] for message in client.sent] == ["websocket.close"]
    assert live.scheduler.processes == {}


@pytest.mark.parametrize("version", [b"2.0.0", b"2.0.1"])
async def test_version_2_is_spoken(version: bytes) -> None:
    client = Asgi(endpoint_of(Open, make_live()[0]), query_string=b"vsn=" + version)
    await client.until(1)
    assert client.sent[0]["type"] == "websocket.accept"
    await client.gone()


async def test_a_client_talks_to_its_channel() -> None:
    live, _ = make_live()
    endpoint = endpoint_of(Echoes, live)
    headers = [(b"host", b"example.org"), (b"X-Trace", b"7"), (b"cookie", b"secret")]
    client = Asgi(endpoint, query_string=WHO, headers=headers)
    client.say("1", "1", "echo", "phx_join", {})
    client.say("1", "2", "echo", "echo", {"é": 1})
    sent = await client.until(3)
    assert sent[0] == {"type": "websocket.accept", "subprotocol": None, "headers": []}
    assert [msgspec.json.decode(message["text"]) for message in sent[1:]] == [
        [
            "1",
            "1",
            "echo",
            "phx_reply",
            {"status": "ok", "response": {"who": "al ex", "token": None, "x": {"x-trace": "7"}}},
        ],
        ["1", "2", "echo", "phx_reply", {"status": "ok", "response": {"é": 1}}],
    ]
    assert endpoint.connections == 1
    await client.gone()
    assert endpoint.connections == 0
    await settle()
    assert live.scheduler.processes == {}


async def test_the_token_of_the_phoenix_client_is_read_and_its_protocol_selected() -> None:
    # What phoenix.js sends for the token "a>b?c": standard base64 without padding.
    client = Asgi(
        endpoint_of(Echoes, make_live()[0]),
        query_string=WHO,
        subprotocols=["phoenix", "base64url.bearer.phx.YT5iP2M"],
    )
    client.say("1", "1", "echo", "phx_join", {})
    sent = await client.until(2)
    assert sent[0]["subprotocol"] == "phoenix"
    assert msgspec.json.decode(sent[1]["text"])[4]["response"]["token"] == "a>b?c"
    await client.gone()


@pytest.mark.parametrize(
    "message", [{"text": "not a frame"}, {"bytes": b"\x00\x01"}, {"text": None, "bytes": b""}, {"text": "[]"}]
)
async def test_what_is_no_frame_closes_with_1011(message: dict[str, object]) -> None:
    client = Asgi(endpoint_of(Open, make_live()[0]))
    client.to_app.put_nowait({"type": "websocket.receive", **message})
    sent = await client.until(2)
    assert sent[1] == {"type": "websocket.close", "code": 1011, "reason": ""}
    await client.gone()


async def test_a_silent_client_is_closed() -> None:
    live, clock = make_live()
    client = Asgi(endpoint_of(Open, live))
    talker = Asgi(endpoint_of(Open, live))
    await client.until(1)
    await talker.until(1)
    for _ in range(int(limits.SOCKET_IDLE_S / 5)):
        clock.advance(5.0)
        talker.say(None, "1", "phoenix", "heartbeat", {})
        await settle()
    clock.advance(5.0)
    sent = await client.until(2)
    assert sent[1] == {"type": "websocket.close", "code": 1002, "reason": ""}
    await settle()
    assert "websocket.close" not in [message["type"] for message in talker.sent]
    await client.gone()
    await talker.gone()


class Narrow(Echoes):
    """There is not much room for slow readers."""

    slow_reader = CloseSlow(4_000)


async def test_a_client_that_does_not_read_is_closed() -> None:
    live, _ = make_live()
    client = Asgi(endpoint_of(Narrow, live), query_string=WHO)
    client.say("1", "1", "echo", "phx_join", {})
    await client.until(2)
    client.reading.clear()
    for number in range(50):
        live.pubsub.broadcast("echo", "news", {"n": number, "text": "x" * 50})
    await settle()
    client.reading.set()
    sent = await client.until(3)
    while sent[-1]["type"] != "websocket.close":
        sent = await client.until(len(sent) + 1)
    assert sent[-1]["code"] == 1013
    assert len(sent) < 20
    await client.gone(1006)


async def test_the_application_returns_when_a_client_never_reads_its_close() -> None:
    live, clock = make_live()
    endpoint = endpoint_of(Narrow, live)
    client = Asgi(endpoint, query_string=WHO)
    client.say("1", "1", "echo", "phx_join", {})
    await client.until(2)
    client.reading.clear()
    for number in range(50):
        live.pubsub.broadcast("echo", "news", {"n": number, "text": "x" * 50})
    await settle()
    assert (endpoint.slow_readers.closed, endpoint.connections) == (1, 1)
    clock.advance(CLOSING_S)
    await client.task
    await settle()
    assert (endpoint.connections, endpoint.slow_readers.behind, len(live.scheduler.processes)) == (0, 0, 0)
    assert len(client.sent) == 2


async def test_the_application_returns_when_a_client_never_answers_its_close() -> None:
    live, clock = make_live()
    endpoint = endpoint_of(Echoes, live)
    client = Asgi(endpoint, query_string=WHO)
    await client.until(1)
    client.to_app.put_nowait({"type": "websocket.receive", "text": "no frame"})
    assert (await client.until(2))[1]["type"] == "websocket.close"
    clock.advance(CLOSING_S)
    await client.task
    assert endpoint.connections == 0


async def test_a_timeout_of_the_server_is_no_client_that_is_given_up() -> None:
    endpoint = endpoint_of(Echoes, make_live()[0])
    news = [{"type": "websocket.connect"}]

    async def receive() -> dict[str, str]:
        if not news:
            raise TimeoutError("of the server")
        return news.pop()

    async def send(message: object) -> None:
        pass

    with pytest.raises(TimeoutError, match="of the server"):
        await endpoint(scope_of(query_string=WHO), receive, send)
    assert endpoint.connections == 0


async def test_a_socket_is_frozen_once_it_is_connected() -> None:
    socket = Echoes()
    socket.who = "alex"
    seal(socket)
    with pytest.raises(AttributeError, match="frozen"):
        socket.who = "bo"
    assert socket.who == "alex"


async def test_a_channel_cannot_change_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    client = Asgi(endpoint_of(Echoes, make_live()[0]), query_string=WHO)
    client.say("1", "1", "echo", "phx_join", {})
    client.say("1", "2", "echo", "rename", {})
    sent = await client.until(3)
    assert msgspec.json.decode(sent[2]["text"])[3] == "phx_error"
    assert "frozen" in caplog.text
    await client.gone()


async def test_a_client_that_reads_can_be_sent_any_amount() -> None:
    live, _ = make_live()
    client = Asgi(endpoint_of(Narrow, live), query_string=WHO)
    client.say("1", "1", "echo", "phx_join", {})
    await client.until(2)
    for number in range(50):
        live.pubsub.broadcast("echo", "news", {"text": "x" * 100})
        await client.until(3 + number)
    assert {message["type"] for message in client.sent[1:]} == {"websocket.send"}
    await client.gone()


async def test_a_client_that_asks_a_lot_at_once_is_read_as_fast_as_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "SOCKET_PENDING_MAX", 2)
    client = Asgi(endpoint_of(Slows, make_live()[0]))
    client.say("1", "1", "slow", "phx_join", {})
    for ref in range(20):
        client.say("1", ref, "slow", "slow", {})
    sent = await client.until(22)
    assert [msgspec.json.decode(message["text"])[1] for message in sent[2:]] == list(range(20))
    await client.gone()
