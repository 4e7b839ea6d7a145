"""The reference for idle sockets: an ASGI application that accepts a WebSocket and echoes what it hears.

Run by `uvicorn benchmarks.bare_socket:app`.
"""

from __future__ import annotations

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope


async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Serve one WebSocket until it closes."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        await send({"type": "websocket.send", "bytes": None, "text": message.get("text") or ""})
