"""The other side for sockets: python-socketio with Redis between its processes, as its documentation shows it.

Run by `uvicorn benchmarks.socketio_room:app`; REDIS_PORT says where Redis listens on loopback.
"""

from __future__ import annotations

import os
from typing import Any

import socketio  # type: ignore[import-untyped]  # it has no types

from benchmarks.dialect import ASK, PUBLISH, TOPIC

server = socketio.AsyncServer(
    async_mode="asgi",
    client_manager=socketio.AsyncRedisManager(f"redis://127.0.0.1:{os.environ['REDIS_PORT']}"),
    transports=["websocket"],
)


@server.on("connect")  # type: ignore[untyped-decorator]  # it has no types
async def connect(sid: str, environ: dict[str, Any]) -> None:
    """Join. Any: an environment is an open dict."""
    await server.enter_room(sid, TOPIC)


@server.on(PUBLISH)  # type: ignore[untyped-decorator]  # it has no types
async def publish(sid: str, payload: dict[str, str]) -> None:
    """Tell the room."""
    await server.emit(PUBLISH, payload, room=TOPIC)


@server.on(ASK)  # type: ignore[untyped-decorator]  # it has no types
async def ask(sid: str, payload: dict[str, str]) -> dict[str, str]:
    """Answer."""
    return payload


app = socketio.ASGIApp(server)
