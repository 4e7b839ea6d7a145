"""An application for the corners of ASGI: refusals, long frames, floods, and how each channel has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from roost import Channel, ConnectInfo, Roost, Socket, event
from roost.otp.crash import kind_of
from roost.web.socket import ConnectRefused

FLOOD_FRAMES = 200
FLOOD_BYTES = 65_536

ends: list[str] = []
drips: list[int] = []


class Corner(Channel, topic="corner"):
    """Echoes, dawdles, floods."""

    @event("echo")
    def echo(self, payload: Any) -> Any:
        return payload

    @event("dawdle")
    async def dawdle(self, payload: Any) -> Any:
        await asyncio.sleep(0)
        return payload

    @event("flood")
    def flood(self, payload: Any) -> None:
        for number in range(FLOOD_FRAMES):
            self.push("drop", {"number": number, "water": "~" * FLOOD_BYTES})

    @event("drip")
    def drip(self, payload: Any) -> None:
        drips.append(payload["number"])
        self.push("drop", {"water": "~" * FLOOD_BYTES})

    def terminate(self, reason: object) -> None:
        ends.append(str(reason))


class Open(Socket):
    """Everybody may come in."""

    channels = (Corner,)


class Closed(Socket):
    """Nobody may come in, for now."""

    channels = (Corner,)

    def connect(self, params: Mapping[str, str], info: ConnectInfo) -> None:
        raise ConnectRefused(429, "later")


async def web(scope: Any, receive: Any, send: Any) -> None:
    """Tells how channels have ended, or what is held for clients."""
    if scope["type"] != "http":
        raise KeyError(scope["type"])
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    answer = held() if scope["path"] == "/held" else ends
    await send({"type": "http.response.body", "body": msgspec.json.encode(answer)})


def held() -> dict[str, int]:
    """What the sockets here cost."""
    running = app.running()
    counts = running.socket_counts()
    processes = running.node.scheduler.processes.values()
    return {
        "sockets": sum(each.sockets for each in counts),
        "waiting_bytes": sum(each.waiting_bytes for each in counts),
        "closed": sum(each.closed_slow for each in counts),
        "drips": len(drips),
        "senders": sum(kind_of(process) == "_Sender" for process in processes),
    }


app = Roost("corners", sockets={"/socket": Open, "/closed": Closed}, web=web)
