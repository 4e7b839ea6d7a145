"""Long-poll clients over real HTTP, and one or two real nodes for them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar

import msgspec

from roost.config import Address
from roost.errors import Refusal
from roost.live.channel import Channel, Payload, event
from roost.runtime import Runtime
from roost.web.app import Roost, RunningApp
from roost.web.connect_info import ConnectInfo
from roost.web.socket import ConnectRefused, Socket
from tests.cluster.meadow import configs, turns_until
from tests.web.wire import Response, http

NDJSON = {"content-type": "application/x-ndjson"}


class Flood(msgspec.Struct):
    """How much is wanted."""

    frames: int
    size: int


class Room(Channel, topic="room:*"):
    """Everything that matters between two polls."""

    ended: ClassVar[list[str]] = []
    gate = asyncio.Event()

    async def join(self, topic: str, params: Payload, socket: Socket) -> Payload | None:
        return None

    @event("echo")
    def echo(self, payload: Payload) -> Payload:
        return payload

    @event("shout")
    def shout(self, payload: Payload) -> None:
        self.broadcast("shouted", payload)

    @event("push")
    def push_back(self, payload: Payload) -> None:
        self.push("pushed", payload)

    @event("all")
    def all(self, payload: Payload) -> Payload:
        self.broadcast("shouted", {})
        self.push("pushed", {})
        return payload

    @event("flood")
    def flood(self, payload: Payload) -> None:
        asked = msgspec.convert(payload, Flood)
        for number in range(asked.frames):
            self.push("pushed", {"n": number, "fill": "." * asked.size})

    @event("bytes")
    def bytes_in(self, payload: Payload) -> None:
        data = bytes(msgspec.convert(payload["data"], list[int]))
        say = self.push if payload["as"] == "push" else self.broadcast
        say("raw", data)

    @event("hold")
    async def hold(self, payload: Payload) -> None:
        await self.gate.wait()

    @event("kick")
    def kick(self, payload: Payload) -> None:
        app.disconnect(str(payload["name"]))

    @event("crash")
    def crash(self, payload: Payload) -> None:
        raise ZeroDivisionError

    def terminate(self, reason: object) -> None:
        self.ended.append(f"{self.topic} {reason}")


class Rooms(Socket):
    """Clients who are let in, by parameter or by token."""

    channels = (Room,)
    longpoll_window_s = 0.25
    tokens: ClassVar[list[str | None]] = []

    def connect(self, params: Mapping[str, str], info: ConnectInfo) -> None:
        if "refuse" in params:
            raise Refusal("not you")
        if "busy" in params:
            raise ConnectRefused(429, "too often")
        self.tokens.append(info.auth_token)
        self.name = params.get("name")

    def id(self) -> str | None:
        return None if self.name is None else f"user:{self.name}"


class Patient(Rooms):
    """Whose polls wait as long as they may."""

    longpoll_window_s = 10.0


app = Roost("polls")


class Poller:
    """A client of one session, at any node."""

    def __init__(self, address: Address, query: str = "vsn=2.0.0", path: str = "/socket/longpoll") -> None:
        self.address, self.query, self.path = address, query, path
        self.token: str | None = None
        self.headers: dict[str, str] = {}
        self.waiting: list[Any] = []

    async def send(self, method: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Response:
        query = self.query if self.token is None else f"{self.query}&token={self.token}"
        return await http(self.address, method, f"{self.path}?{query}", body, {**self.headers, **(headers or {})})

    async def poll(self) -> Any:
        """One poll; its answer."""
        response = await self.send("GET")
        assert response.status == 200, response
        answer = response.json
        if answer["status"] == 410 and self.token is None:
            self.token = answer["token"]
        return answer

    async def open(self) -> Poller:
        assert (await self.poll())["status"] == 410
        assert self.token is not None
        return self

    async def post(self, *frames: object) -> Any:
        """Frames as lines: bytes are sent as they are."""
        lines = [frame if isinstance(frame, bytes) else msgspec.json.encode(frame) for frame in frames]
        return (await self.send("POST", b"\n".join(lines), NDJSON)).json

    async def hear(self, count: int) -> list[Any]:
        """The next `count` messages."""
        while len(self.waiting) < count:
            answer = await self.poll()
            assert answer["status"] in (200, 204), answer
            self.waiting += [msgspec.json.decode(message) for message in answer["messages"]]
        heard, self.waiting = self.waiting[:count], self.waiting[count:]
        return heard

    async def join(self, topic: str, ref: str = "1") -> None:
        assert await self.post([ref, ref, topic, "phx_join", {}]) == {"status": 200}
        [reply] = await self.hear(1)
        assert reply == [ref, ref, topic, "phx_reply", {"status": "ok", "response": {}}]

    def at(self, address: Address) -> Poller:
        """The same session, asked for at another node."""
        other = Poller(address, self.query, self.path)
        other.token, other.headers = self.token, self.headers
        return other


@asynccontextmanager
async def nodes(*names: str, kind: type[Socket] = Rooms) -> AsyncIterator[list[RunningApp]]:
    """Real nodes of one cluster that see each other."""
    app.sockets.update({"/socket": kind, "/other": kind})
    async with AsyncExitStack() as stack:
        running: list[RunningApp] = []
        for config in configs(*names):
            config = dataclasses.replace(config, web=Address("127.0.0.1", 0))
            one = await app.boot(config, Runtime.real())
            stack.push_async_callback(one.stop)
            running.append(one)
        await turns_until(lambda: all(len(one.node.fabric.up()) == len(names) for one in running))
        yield running


def address_of(running: RunningApp) -> Address:
    assert running.address is not None
    return running.address
