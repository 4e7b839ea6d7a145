"""The demo over HTTP: the page, its files, and the API.

The page of one node goes on with another node when its own has died. Pages of the same host, whatever their port, may
therefore use the API of every node.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from roost.cluster.node import Node
from roost.core.layout import Layout
from roost.core.ring import Replica
from roost.demo.ring import Ping, ring_view
from roost.errors import RoostError
from roost.web.answer import Receive, Scope, Send, answer, encode, fail, refuse
from roost.web.origin import SAME_HOST
from roost.web.store import StoreApi

if TYPE_CHECKING:
    from starlette.requests import Request

    from roost.demo.ring import Pong
    from roost.web.kv import AppRing, KeyValue

STATIC: Final = Path(__file__).parent / "static"
STORE: Final = "/api/store/"
RING: Final = "/api/ring"
KEY_BITS: Final = 64

logger = logging.getLogger("roost.demo")

_HOST: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?")
_ALLOWED: Final = (
    (b"access-control-allow-methods", b"GET, PUT, DELETE"),
    (b"access-control-allow-headers", b"content-type"),
    (b"access-control-max-age", b"3600"),
)


class Site:
    """The ASGI application of the demo."""

    def __init__(self, store: KeyValue, pings: AppRing[Ping, Pong]) -> None:
        self._store = store
        self._pings = pings
        self._store_api = StoreApi(store, STORE)
        self._files = Starlette(
            routes=[Route("/", _page), Mount("/static", StaticFiles(directory=STATIC))],
            exception_handlers={HTTPException: _refused},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        if scope["type"] != "http":
            raise RuntimeError("the demo has no lifespan of its own")
        path: str = scope["path"]
        if not path.startswith("/api/"):
            await self._files(scope, receive, _with_headers(send, _page_headers(scope)))
            return
        for name, value in scope["headers"]:
            if name == b"origin":
                send = _with_headers(send, _origin_headers(scope, value))
        try:
            if scope["method"] == "OPTIONS":
                await answer(send, 200, b"{}", *_ALLOWED)
            elif path.startswith(STORE):
                await self._store_api(scope, receive, send)
            else:
                await self._api(scope, send, path)
        except Exception:
            logger.exception("%s %s failed", scope["method"], path)
            await refuse(send, 500, "internal", "this is a bug; the log of the node says more")

    async def _api(self, scope: Scope, send: Send, path: str) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            message = f"{scope['method']} is not possible here"
            await refuse(send, 405, "method_not_allowed", message, (b"allow", b"GET"))
        elif path == "/api/ping":
            await self._ping(send)
        elif path == RING:
            await answer(send, 200, encode(ring_view(Node.current())))
        elif path.startswith(RING + "/") and len(path) > len(RING) + 1:
            await self._where(send, path[len(RING) + 1 :])
        else:
            await refuse(send, 404, "not_found", f"there is nothing at {path}")

    async def _ping(self, send: Send) -> None:
        node = Node.current()
        try:
            pong = await self._pings.command(str(node.runtime.entropy.number(KEY_BITS)), Ping())
        except RoostError as error:
            await fail(send, error)
            return
        await answer(send, 200, encode({"pong": pong.partition, "node": pong.node}))

    async def _where(self, send: Send, key: str) -> None:
        try:
            replicas = self._store.where(key)
        except RoostError as error:
            await fail(send, error, key=key)
            return
        node = Node.current()
        layout = node.placement.layout
        found = [{"partition": _met(layout, each), "node": each.node, "primary": each.is_primary} for each in replicas]
        partition = node.placement.partition_of(self._store.name.encode(), key.encode())
        await answer(send, 200, encode({"key": key, "partition": partition, "preference_list": found}))


def _met(layout: Layout, replica: Replica) -> int:
    """Where on the ring the holder of a copy is met first, clockwise from the partition of the key."""
    holder, start = layout.holder(replica.slot), replica.partition
    ring = layout.rings[layout.at[start]]
    walk = ((start + step) % ring.size for step in range(ring.size))
    return next((partition for partition in walk if ring.owner(partition) == holder), start)


async def _page(request: Request) -> FileResponse:
    return FileResponse(STATIC / "index.html")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = error.detail.lower().replace(" ", "_")
    body = encode({"error": code, "message": f"{request.method} {request.url.path}: {error.detail}"})
    return Response(body, error.status_code, error.headers, "application/json")


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return None


def _page_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """The page runs its own scripts only, and talks to nodes of its own host only."""
    host = _HOST.fullmatch(_header(scope, b"host") or "")
    nodes = "".join(f" {scheme}://{host[1]}:*" for scheme in ("http", "https", "ws", "wss")) if host else ""
    policy = (
        f"default-src 'self'; connect-src 'self'{nodes}; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"cache-control", b"no-cache"),  # a page and its modules are of one version
        (b"cross-origin-opener-policy", b"same-origin"),
    ]


def _origin_headers(scope: Scope, origin: bytes) -> list[tuple[bytes, bytes]]:
    if SAME_HOST.is_welcome(origin.decode("latin-1"), _header(scope, b"host"), scope["scheme"]):
        return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]
    return [(b"vary", b"origin")]


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def send_with_headers(message: Scope) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_with_headers
