"""What is attacked: a room whose clients may shout, and a web application that counts bodies."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.core.backlog import CloseSlow, Coalesce, DropOldest
from roost.live.channel import Channel, Payload, event
from roost.web.answer import answer
from roost.web.app import Roost
from roost.web.socket import Socket

BUDGET_BYTES = 512 * 1024
"""What may wait for one slow client of the narrow endpoints."""

# Any: scopes and messages of ASGI are open dicts by its specification.


class Room(Channel, topic="room:*"):
    """Echoes, and broadcasts."""

    @event("echo")
    def echo(self, payload: Payload) -> Payload:
        return payload

    @event("shout")
    def shout(self, payload: Payload) -> None:
        self.broadcast("shout", payload)

    @event("move")
    def move(self, payload: Payload) -> None:
        self.broadcast("moved", payload)


class Rooms(Socket):
    """Everyone may come in."""

    channels = (Room,)


class Closing(Rooms):
    """Closes who does not read."""

    slow_reader = CloseSlow(BUDGET_BYTES)


class Dropping(Rooms):
    """Lets who does not read lose what is old."""

    slow_reader = DropOldest(BUDGET_BYTES)


class Coalescing(Rooms):
    """Tells who does not read only where everybody is at last."""

    slow_reader = Coalesce(BUDGET_BYTES, events={"moved": "user"})


async def web(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body and says how long it was."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, 200, msgspec.json.encode({"path": scope["path"], "size": size}))


app = Roost(
    "hostile",
    sockets={"/socket": Rooms, "/closing": Closing, "/dropping": Dropping, "/coalescing": Coalescing},
    web=web,
)
