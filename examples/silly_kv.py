"""A store that is silly: each value is in the memory of one node, and nowhere else.

It scales: three nodes hold three times as much as one. And it loses: when a node dies its values are gone, and when a
node joins, the keys that it owns from then on are asked for where nobody has put them. `coordinated_kv` and
`handoff_kv` do better.

    roost run examples.silly_kv:app
    curl -X PUT localhost:4000/store/tea -d hot
    curl localhost:4001/store/tea
"""

from __future__ import annotations

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from roost import Roost
from roost.cluster.vnode import Sender, Vnode
from roost.errors import RoostError
from roost.web.answer import status_of


class Store(msgspec.Struct, frozen=True, tag=True):
    """Keep a value."""

    key: str
    value: str


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """What is kept under a key?"""

    key: str


class Entry(msgspec.Struct, frozen=True):
    """What is kept, and where; None is nothing."""

    value: str | None
    partition: int
    node: str


class SillyVnode(Vnode[Store | Fetch, Entry]):
    """The values of one partition, in a dict."""

    def init(self) -> None:
        """Begin with nothing: also when the node has been there before."""
        self.values: dict[str, str] = {}

    def handle_command(self, command: Store | Fetch, sender: Sender) -> Entry:
        """One command at a time, so there is nothing to lock."""
        if isinstance(command, Store):
            self.values[command.key] = command.value
        return Entry(self.values.get(command.key), self.partition, self.node)


async def store(request: Request) -> JSONResponse:
    """PUT /store/{key}: the body is the value."""
    key, value = request.path_params["key"], (await request.body()).decode()
    entry = await ring.command(key, Store(key, value))
    return JSONResponse({"key": key, "partition": entry.partition, "node": entry.node})


async def fetch(request: Request) -> JSONResponse:
    """GET /store/{key}"""
    key = request.path_params["key"]
    entry = await ring.command(key, Fetch(key))
    if entry.value is None:
        return JSONResponse({"error": "not_found", "key": key, "node": entry.node}, 404)
    return JSONResponse({"key": key, "value": entry.value, "partition": entry.partition, "node": entry.node})


async def refused(request: Request, error: Exception) -> JSONResponse:
    """Whatever goes wrong is an answer, with the HTTP status that it means."""
    if isinstance(error, RoostError):
        return JSONResponse({"error": error.code, "message": str(error)}, status_of(error))
    return JSONResponse({"error": "bad_request", "message": str(error)}, 400)


routes = [Route("/store/{key}", store, methods=["PUT"]), Route("/store/{key}", fetch)]
app = Roost("silly_kv", web=Starlette(routes=routes, exception_handlers={RoostError: refused, ValueError: refused}))
ring = app.ring(SillyVnode, n=1)
