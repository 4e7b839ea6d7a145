"""What a connection is told and keeps to, on real sockets, with both servers and both versions of the protocol.

The frames themselves are in test_golden.py, who is let in in test_entrance.py.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from roost import pubsub
from roost.config import Address
from roost.live.channel import Channel, Payload, event
from roost.otp import Stop, info, send
from roost.web.app import Roost
from roost.web.connect_info import ConnectInfo
from roost.web.socket import Socket
from tests.web.longpoll.polling import Poller
from tests.web.wire import served_by_the_node, served_by_uvicorn


class Room(Channel, topic="room:*"):
    """Waits, ends and tells when it is asked to."""

    gate: ClassVar[asyncio.Event]
    ended: ClassVar[asyncio.Queue[str]]

    async def join(self, topic: str, params: Payload, socket: Visitors) -> Payload:
        if params.get("wait"):
            await self.gate.wait()
        if params.get("stop"):
            raise Stop
        if params.get("last"):
            send(self.handle, "end")
        return {"told": socket.told}

    @info
    def end(self, message: str) -> None:
        self.exit("normal")

    @event("echo")
    def echo(self, payload: Payload) -> Payload:
        return payload

    @event("end all")
    def end_all(self, payload: Payload) -> None:
        pubsub.broadcast_event("visitors", "disconnect", {})

    def terminate(self, reason: object) -> None:
        self.ended.put_nowait(f"{self.topic} {reason}")


class Visitors(Socket):
    """Tells its channels everything that it was told."""

    channels = (Room,)

    def connect(self, params: Mapping[str, str], info: ConnectInfo) -> None:
        self.told = {"params": dict(params), **msgspec.to_builtins(info)}

    def id(self) -> str:
        return "visitors"


class Impatient(Visitors):
    """Gives up a silent client soon."""

    idle_s = 0.2


@pytest.fixture(params=[served_by_the_node, served_by_uvicorn], ids=["node", "uvicorn"])
def served(request: pytest.FixtureRequest) -> Any:  # Any: one of two context managers
    return request.param


VERSIONS = pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])


@asynccontextmanager
async def at(served: Any) -> AsyncIterator[Address]:
    """Where the application is served."""
    Room.gate, Room.ended = asyncio.Event(), asyncio.Queue()
    async with served(
        Roost("wire", sockets={"/socket": Visitors, "/t/{tenant}": Visitors, "/impatient": Impatient})
    ) as address:
        yield address


class Client:
    """A client of either version; what it hears is told as in version 2, without the reference to the join."""

    def __init__(self, socket: ClientConnection, version: str) -> None:
        self.socket, self.version = socket, version

    async def say(self, join_ref: object, ref: object, topic: object, event: str, payload: object) -> None:
        frame: object = [join_ref, ref, topic, event, payload]
        if self.version == "1.0.0":
            frame = {"topic": topic, "event": event, "payload": payload, "ref": ref}
        await self.socket.send(msgspec.json.encode(frame).decode())

    async def hear(self) -> list[Any]:
        frame = msgspec.json.decode(await self.socket.recv())
        if self.version == "1.0.0":
            return [frame["ref"], frame["topic"], frame["event"], frame["payload"]]
        heard: list[Any] = frame[1:]
        return heard

    async def join(self, topic: str, ref: str = "11", **params: object) -> Any:
        """Join, and return what `connect` was told."""
        await self.say(ref, ref, topic, "phx_join", params)
        heard_ref, heard_topic, kind, payload = await self.hear()
        assert (heard_ref, heard_topic, kind, payload["status"]) == (ref, topic, "phx_reply", "ok")
        return payload["response"]["told"]

    async def closed_with(self) -> int | None:
        await self.socket.wait_closed()
        return self.socket.close_code


@asynccontextmanager
async def client(served: Any, version: str, path: str = "/socket", **options: Any) -> AsyncIterator[Client]:
    async with (
        at(served) as address,
        connect(
            f"ws://{address}{path}/websocket?vsn={version}&user[name]=ada", ping_interval=None, **options
        ) as socket,
    ):
        yield Client(socket, version)


# What `connect` is told


HEADERS = {
    "x-forwarded-by": "192.0.2.7",
    "X-Twice": "1",
    "traceparent": "00-abc-def-01",
    "tracestate": "k=v",
    "cookie": "session=secret",
    "authorization": "Bearer secret",
}


def check(told: Any, version: str) -> None:
    """What is told by either transport."""
    assert told["user_agent"] == "phone"
    assert told["x_headers"] == {"x-forwarded-by": "192.0.2.7", "x-twice": "1"}
    assert told["trace_context_headers"] == {"traceparent": "00-abc-def-01", "tracestate": "k=v"}
    assert told["auth_token"] == "to>ken?"
    assert told["uri"]["query"] == f"vsn={version}&user[name]=ada"
    assert "secret" not in str(told)


@VERSIONS
async def test_connect_is_told_of_the_client_and_of_no_cookie(served: Any, version: str) -> None:
    bearer = "base64url.bearer.phx." + base64.b64encode(b"to>ken?").decode().rstrip("=")
    protocols = [Subprotocol("phoenix"), Subprotocol(bearer)]
    async with client(
        served, version, additional_headers=HEADERS, user_agent_header="phone", subprotocols=protocols
    ) as one:
        told = await one.join("room:a")
        host, port = one.socket.remote_address[:2]
        assert told["peer"] == list(one.socket.local_address[:2])
    check(told, version)
    assert told["uri"].items() >= {"scheme": "http", "host": host, "port": port, "path": "/socket/websocket"}.items()
    assert told["params"] == {"vsn": version, "user[name]": "ada"}
    assert told["sec_websocket_headers"].items() >= {"sec-websocket-version": "13"}.items()
    assert told["sec_websocket_headers"]["sec-websocket-protocol"] == "phoenix"
    assert told["session"] is None


@VERSIONS
async def test_connect_is_told_the_same_of_a_client_that_polls(served: Any, version: str) -> None:
    async with at(served) as address:
        poller = Poller(address, f"vsn={version}&user[name]=ada", "/t/acme%20co/longpoll")
        poller.headers = {**HEADERS, "user-agent": "phone", "x-phoenix-authtoken": "to>ken?"}
        await poller.open()
        old = {"topic": "room:a", "event": "phx_join", "payload": {}, "ref": "1"}
        await poller.post(["1", "1", "room:a", "phx_join", {}] if version == "2.0.0" else old)
        [heard] = await poller.hear(1)
    told = (heard[4] if version == "2.0.0" else heard["payload"])["response"]["told"]
    check(told, version)
    assert told["params"] == {"vsn": version, "user[name]": "ada", "tenant": "acme co"}
    assert told["sec_websocket_headers"] == {}


@pytest.mark.parametrize("version", ["3.0.0", "123.1.1", "1.1.0", "2", "latest", "", "2.0.0%00"])
async def test_an_unknown_version_gets_403_by_both_transports(served: Any, version: str) -> None:
    async with at(served) as address:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://{address}/socket/websocket?vsn={version}")
        assert refused.value.response.status_code == 403
        assert (await Poller(address, f"vsn={version}").send("GET")).json["status"] == 403


# A connection


@VERSIONS
async def test_control_frames_are_answered_with_what_is_in_them(served: Any, version: str) -> None:
    async with client(served, version) as one:
        for data in (b"", b"\x00\xff", b"p" * 125):
            await (await one.socket.ping(data))  # it is over when a pong with the same bytes has come
        await one.socket.pong(b"nobody has asked")
        await one.join("room:a")


@VERSIONS
@pytest.mark.parametrize("said", ["", "hello", "7", '"x"', "null", '["1","2","t","e"]', '{"topic":"t","event":"e"}'])
async def test_what_is_no_frame_of_either_version_closes_with_1011(served: Any, version: str, said: str) -> None:
    async with client(served, version) as one:
        await one.join("room:a")
        await one.socket.send(said)
        assert await one.closed_with() == 1011
        assert await Room.ended.get() == "room:a shutdown:closed"


@VERSIONS
async def test_a_silent_client_is_closed_with_1002(served: Any, version: str) -> None:
    async with client(served, version, "/impatient") as one:
        await one.join("room:a")
        assert await one.closed_with() == 1002
        assert await Room.ended.get() == "room:a shutdown:closed"


@VERSIONS
async def test_a_disconnect_by_name_ends_all_channels(served: Any, version: str) -> None:
    async with client(served, version) as one:
        await one.join("room:a")
        await one.join("room:b", "12")
        await one.say("12", "13", "room:b", "end all", {})
        assert await one.closed_with() == 1001
        assert {await Room.ended.get(), await Room.ended.get()} == {"room:a shutdown:closed", "room:b shutdown:closed"}


@VERSIONS
async def test_there_are_100_channels_and_no_more(served: Any, version: str) -> None:
    async with client(served, version) as one:
        for number in range(100):
            await one.join(f"room:{number}", str(number))
        await one.say("x", "x", "room:x", "phx_join", {})
        refused = {"status": "error", "response": {"reason": "too many channels joined"}}
        assert await one.hear() == ["x", "room:x", "phx_reply", refused]
        await one.say("7", "y", "room:7", "echo", {"n": 7})
        assert await one.hear() == ["y", "room:7", "phx_reply", {"status": "ok", "response": {"n": 7}}]


# Joins


@VERSIONS
async def test_a_join_that_waits_holds_nothing_else_up(served: Any, version: str) -> None:
    async with client(served, version) as one:
        await one.join("room:quick", "1")
        await one.say("2", "2", "room:slow", "phx_join", {"wait": True})
        await one.say("2", "3", "room:slow", "echo", {"n": 3})
        await one.say(None, "4", "phoenix", "heartbeat", {})
        assert (await one.hear())[0] == "4"
        await one.say("1", "5", "room:quick", "echo", {"n": 5})
        assert (await one.hear())[0] == "5"
        Room.gate.set()
        assert [(await one.hear())[0] for _ in range(2)] == ["2", "3"]


@VERSIONS
async def test_a_join_that_ends_itself_is_refused_and_can_be_tried_again(served: Any, version: str) -> None:
    async with client(served, version) as one:
        await one.say("1", "1", "room:a", "phx_join", {"stop": True})
        refused = {"status": "error", "response": {"reason": "join crashed"}}
        assert await one.hear() == ["1", "room:a", "phx_reply", refused]
        await one.join("room:a", "2")


@VERSIONS
async def test_a_channel_that_ends_right_after_its_join_closes_behind_the_reply(served: Any, version: str) -> None:
    async with client(served, version) as one:
        await one.join("room:a", "1", last=True)
        assert await one.hear() == ["1", "room:a", "phx_close", {}]
        await one.say("1", "2", "room:a", "echo", {})
        unmatched = {"status": "error", "response": {"reason": "unmatched topic"}}
        assert await one.hear() == ["2", "room:a", "phx_reply", unmatched]


async def test_references_are_compared_with_their_types(served: Any) -> None:
    async with client(served, "2.0.0") as one:
        await one.say(90, 1, "room:a", "phx_join", {})
        assert (await one.hear())[0] == 1
        await one.say("90", 2, "room:a", "echo", {})
        await one.say("90", 3, "room:a", "phx_leave", {})
        await one.say(90, "4", "room:a", "echo", {})
        ok = {"status": "ok", "response": {}}
        assert await one.hear() == ["4", "room:a", "phx_reply", ok]
        await one.say(None, "5", "room:a", "phx_leave", {})
        assert await one.hear() == ["5", "room:a", "phx_reply", ok]
        assert await one.hear() == [90, "room:a", "phx_close", {}]
