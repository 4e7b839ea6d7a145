"""A socket with channels that do everything a channel can do, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar

from roost.errors import Refusal
from roost.live.channel import Channel, Payload, Seat, event
from roost.live.reply import reply
from roost.otp import NoReply, Stop
from roost.web.socket import Socket
from tests.web.stage import Client, HandClock, make_live

OK: dict[str, Any] = {"status": "ok", "response": {}}


class Room(Channel, topic="room:*"):
    """Everything a channel can do."""

    async def join(self, topic: str, params: Payload, socket: Rooms) -> Payload | None:
        self.parting: Payload | None = {"n": 1} if params.get("parting") else None
        self.log = socket.log
        self.gate = socket.gate
        self.log.append(f"join {topic}")
        self.trap_exits("trap" in params)
        if "wait" in params:
            await socket.gate.wait()
        if params.get("crash"):
            raise ValueError("no")
        if "refuse" in params:
            raise Refusal(str(params["refuse"]))
        if params.get("early"):
            self.broadcast("early", {"n": 1})
            self.push("early", {"n": 2})
        self.assigns["joined"] = topic
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

    @event("later")
    def later(self, payload: Payload) -> None:
        reply(self.reply_ref(), payload)
        raise NoReply

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

    @event("quit badly")
    def quit_badly(self, payload: Payload) -> None:
        raise Stop("out of order")

    @event("stop")
    def stop_it(self, payload: Payload) -> None:
        self.parting = payload
        raise Stop("normal", reply={"bye": True})

    @event("stop silently")
    def stop_silently(self, payload: Payload) -> None:
        raise Stop

    @event("mood")
    def mood(self, payload: Payload) -> None:
        self.track("alex", payload)

    @event("hide")
    def hide(self, payload: Payload) -> None:
        self.untrack(str(payload["key"]) if "key" in payload else None)

    @event("show")
    def show(self, payload: Payload) -> None:
        self.track(str(payload["key"]), payload)

    @event("show at the end")
    async def show_at_the_end(self, payload: Payload) -> None:
        try:
            await self.gate.wait()
        finally:
            self.track("ghost", payload)

    @event("change")
    def change(self, payload: Payload) -> None:
        self.update(str(payload["key"]), payload)

    @event("count")
    def count(self, payload: Payload) -> Payload:
        return {"count": self.count_present()}

    @event("assigns")
    def show_assigns(self, payload: Payload) -> Payload:
        before = dict(self.assigns)
        self.assigns.update(payload)
        return before

    @event("who")
    def who(self, payload: Payload) -> Payload:
        return {key: len(metas) for key, metas in self.present().items()}

    def terminate(self, reason: object) -> Awaitable[None] | None:
        self.log.append(f"terminate {self.topic} {reason}")
        if self.parting is not None:
            self.push("parting", self.parting)
        return None


class Lobby(Channel, topic="lobby"):
    """An exact topic, joined by a plain function."""

    def join(self, topic: str, params: Payload, socket: Rooms) -> Payload | None:
        return {"lobby": True}


class Stubborn(Channel, topic="stubborn"):
    """Does not end."""

    @event("echo")
    def echo(self, payload: Payload) -> Payload:
        return payload

    @event("stop")
    def stop_it(self, payload: Payload) -> None:
        raise Stop

    @event("crash")
    def crash(self, payload: Payload) -> None:
        raise ZeroDivisionError

    async def terminate(self, reason: object) -> None:
        await asyncio.Event().wait()


class Broken(Stubborn, topic="broken"):
    """Does not start a second time."""

    def init(self, topic: str, seat: Seat, assigns: dict[str, object]) -> None:
        super().init(topic, seat, assigns)
        self.track("somebody", {})
        if assigns.get("is broken"):
            raise ZeroDivisionError

    def join(self, topic: str, params: Payload, socket: Rooms) -> None:
        socket.assigns["is broken"] = True


class Rooms(Socket):
    """The socket of these tests."""

    channels: ClassVar[Sequence[type[Channel]]] = (Room, Lobby, Stubborn, Broken)

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
