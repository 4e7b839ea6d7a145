"""Applications for the stories of this folder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from roost.otp import GenServer, info
from roost.web.app import Roost

# Any: scopes and messages of ASGI are open dicts by its specification.
Message = MutableMapping[str, Any]


async def hello(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Says hello."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})


class Sulking(GenServer):
    """A child that does not start."""

    def init(self) -> None:
        raise ValueError("not today")


class Tick(msgspec.Struct, frozen=True):
    """Time to crash."""


class Fragile(GenServer):
    """A child that starts, and crashes, for ever."""

    def init(self) -> None:
        self.send_after(0.0, Tick())

    @info
    def tick(self, message: Tick) -> None:
        """Crash."""
        raise ValueError("once more")


app = Roost("hello", web=hello)
sulking = Roost("sulking", web=hello, children=[Sulking.child(name="sulking")])
fragile = Roost("fragile", web=hello, children=[Fragile.child(name="fragile")])
number = 7
