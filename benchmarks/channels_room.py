"""The other side for sockets: Django Channels with Redis between its processes, as its documentation shows it.

Run by `uvicorn benchmarks.channels_room:app`; REDIS_PORT says where Redis listens on loopback.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
from channels.generic.websocket import AsyncWebsocketConsumer  # type: ignore[import-untyped]  # it has no types
from channels.routing import URLRouter  # type: ignore[import-untyped]  # it has no types
from django.conf import settings  # type: ignore[import-untyped]  # it has no types
from django.urls import path  # type: ignore[import-untyped]  # it has no types

from benchmarks.dialect import ASK, PUBLISH, TOPIC

GROUP = TOPIC.replace(":", ".")
CAPACITY = 100_000
"""Messages that may wait for one process: with the usual 100, Channels drops most of what a benchmark sends."""

REDIS = {
    "address": f"redis://127.0.0.1:{os.environ['REDIS_PORT']}",
    "socket_timeout": 60,  # else the client gives up just before Redis answers that there is no news
    "max_connections": 10_000,  # else a thousand sockets that leave at once are too many
}

settings.configure(
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [REDIS], "capacity": CAPACITY},
        }
    }
)


class Room(AsyncWebsocketConsumer):  # type: ignore[misc]  # it has no types
    """Everybody in one group."""

    async def connect(self) -> None:
        """Join."""
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()
        await self.send(text_data='{"type":"hello"}')

    async def disconnect(self, code: int) -> None:
        """Leave."""
        await self.channel_layer.group_discard(GROUP, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Tell the group, or answer."""
        assert text_data is not None
        message = msgspec.json.decode(text_data)
        if message["type"] == PUBLISH:
            await self.channel_layer.group_send(GROUP, {"type": PUBLISH, "text": text_data})
        elif message["type"] == ASK:
            await self.send(text_data=msgspec.json.encode({**message, "type": "reply"}).decode())

    # Any: messages of the channel layer are open dicts.
    async def new_msg(self, message: dict[str, Any]) -> None:
        """Hear the group."""
        await self.send(text_data=message["text"])


app = URLRouter([path("room", Room.as_asgi())])
