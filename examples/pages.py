"""The pages of the examples over HTTP, and what they have in common: the style, the connection, the list of nodes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from roost.cluster.node import Node
from roost.cluster.status import members

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from roost.web.answer import Receive, Scope, Send
    from roost.web.serving import Application

TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SHARED: Final = Path(__file__).parent / "shared"
_HOST: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d+)?")


def pages(folder: Path, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """An application that serves `index.html` of a folder at "/", and the files beside it.

    Args:
        folder: the page, its style and its scripts.
        routes: whatever else the example answers.
    """

    return Starlette(
        routes=[
            *routes,
            Route("/nodes", nodes),
            *(Route(f"/page/{path.name}", file(path)) for path in folder.iterdir()),
            *(Route(f"/shared/{path.name}", file(path)) for path in SHARED.iterdir()),
            Route("/", file(folder / "index.html")),
        ],
        middleware=[Middleware(Guarded)],
    )


def file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """What answers with a small file as it is now: it may be edited while the nodes run."""

    def read() -> Response:
        return Response(path.read_bytes(), media_type=TYPES[path.suffix])

    async def answer(request: Request) -> Response:
        return read()

    return answer


async def nodes(request: Request) -> JSONResponse:
    """GET /nodes: where the members of the cluster serve this page, this node first."""
    node = Node.current()
    found = members(node.membership, {node.name: node.membership.view()})
    ranked = sorted(found, key=lambda member: (member.name != node.name, not member.up, member.name))
    return JSONResponse([member.web for member in ranked if member.web])


class Guarded:
    """A page runs its own scripts only, and talks to nodes of its own host only; those answer it, whatever their port.

    So a page goes on with another node when its own has died.
    """

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to every answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guards = _guards({name: value.decode("latin-1") for name, value in scope["headers"]})
        if scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": guards})
            await send({"type": "http.response.body", "body": b""})
            return

        async def send_guarded(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *guards]
            await send(message)

        await self._app(scope, receive, send_guarded)


def _guards(headers: Mapping[bytes, str]) -> list[tuple[bytes, bytes]]:
    host = _HOST.fullmatch(headers.get(b"host", ""))
    places = "".join(f" {scheme}://{host[1]}:*" for scheme in ("http", "ws", "wss")) if host else ""
    policy = f"default-src 'self'; connect-src 'self'{places}; object-src 'none'; base-uri 'none'; form-action 'self'"
    guards = [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-cache"),  # a page and its modules are of one version
        (b"vary", b"origin"),
    ]
    origin = headers.get(b"origin", "")
    theirs = _HOST.fullmatch(origin.partition("://")[2])
    if host and theirs and host[1] == theirs[1]:
        guards.append((b"access-control-allow-origin", origin.encode("latin-1")))
        guards.append((b"access-control-allow-headers", b"content-type"))
    return guards
