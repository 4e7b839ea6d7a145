"""A socket with channels that do everything a channel can do, for tests."""

from __future__ import annotations

import asyncio
from typing import Any

from roost.errors import Refusal
from roost.live.channel import Channel, Payload, event
from roost.web.socket import Socket
from tests.web.stage import Client, HandClock, make_live

OK: dict[str, Any] = {"status": "ok", "response": {}}


class Room(Channel, topic="room:*"):
    """Everything a channel can do."""

    async def join(self, topic: str, params: Payload, socket: Rooms) -> Payload | None:
        self.log = socket.log
        self.gate = socket.gate
        self.log.append(f"join {topic}")
        if "wait" in params:
            await socket.gate.wait()
        if params.get("crash"):
            raise ValueError("no")
        if "refuse" in params:
            raise Refusal(str(params["refuse"]))
        if params.get("early"):
            self.broadcast("early", {"n": 1})
            self.push("early", {"n": 2})
        if "name" in params:
            self.track(str(params["name"]), {"node": "a"})
        return {"hello": params["name"]} if "name" in params else None

    @event("echo")
    def echo(self, payload: Payload) -> Payload:
        return payload

    @event("slow")
    async def slow(self, payload: Payload) -> Payload:
        await asyncio.sleep(0)
        return payload

    @event("hold")
    async def hold(self, payload: Payload) -> None:
        await self.gate.wait()

    @event("nothing")
    def nothing(self, payload: Payload) -> None:
        self.log.append("nothing")

    @event("shout")
    def shout(self, payload: Payload) -> None:
        self.broadcast("shout", payload)

    @event("whisper")
    def whisper(self, payload: Payload) -> None:
        self.broadcast_from("whisper", payload)

    @event("push")
    def push_back(self, payload: Payload) -> None:
        self.push("pushed", payload)

    @event("refuse")
    def refuse(self, payload: Payload) -> None:
        raise Refusal("not you")

    @event("crash")
    def crash(self, payload: Payload) -> None:
        raise ZeroDivisionError

    @event("unfit")
    def unfit(self, payload: Payload) -> Payload:
        return {"value": complex(1, 2)}

    @event("quit")
    def quit(self, payload: Payload) -> Payload:
        self.exit("normal")
        return {"bye": True}

    @event("mood")
    def mood(self, payload: Payload) -> None:
        self.track("alex", payload)

    @event("hide")
    def hide(self, payload: Payload) -> None:
        self.untrack()

    @event("who")
    def who(self, payload: Payload) -> Payload:
        return {key: len(metas) for key, metas in self.present().items()}

    def terminate(self, reason: object) -> None:
        self.log.append(f"terminate {self.topic} {reason}")


class Lobby(Channel, topic="lobby"):
    """An exact topic, joined by a plain function."""

    def join(self, topic: str, params: Payload, socket: Rooms) -> Payload | None:
        return {"lobby": True}


class Stubborn(Channel, topic="stubborn"):
    """Does not end."""

    async def terminate(self, reason: object) -> None:
        await asyncio.Event().wait()


class Rooms(Socket):
    """The socket of these tests."""

    channels = (Room, Lobby, Stubborn)

    def __init__(self) -> None:
        self.log: list[str] = []
        self.gate = asyncio.Event()


def log_of(client: Client) -> list[str]:
    socket = client.connection.socket
    assert isinstance(socket, Rooms)
    return socket.log


def open_gate(client: Client) -> None:
    socket = client.connection.socket
    assert isinstance(socket, Rooms)
    socket.gate.set()


async def client_in(topic: str = "room:a") -> tuple[Client, HandClock]:
    live, clock = make_live()
    client = Client(live, Rooms)
    await client.join(topic)
    return client, clock
