"""A store that survives the death of a node: each value is on `n` nodes.

A write is done when `w` of them have it, a read when `r` of them have replied; every request may choose. When r + w is
more than n, a read meets at least one node that has the last write. Replies may differ, since a node that was away has
missed something: the newest one is the answer, and whoever replied with less is told.

Two faults are left. When a node joins, the copies that it holds from then on do not move to it (`handoff_kv`). And
"newest" is by the clocks of the nodes: of two writes at the same time one is lost (`http_store` keeps both).

    roost run examples.coordinated_kv:app
    curl -X PUT 'localhost:4000/store/tea?n=3&w=2' -d hot
    curl 'localhost:4001/store/tea?n=3&r=2'
"""

from __future__ import annotations

import time

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from roost import Roost
from roost.cluster.vnode import Sender, Vnode
from roost.errors import RoostError
from roost.web.answer import status_of


class Version(msgspec.Struct, frozen=True, order=True):
    """A value, and when it was written: of two versions the one with the later time is greater."""

    written_ns: int
    value: str


class Store(msgspec.Struct, frozen=True, tag=True):
    """Keep a version, unless a newer one is there."""

    key: str
    version: Version


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """What is kept under a key?"""

    key: str


class Copy(msgspec.Struct, frozen=True):
    """What one node has; None is nothing."""

    node: str
    version: Version | None


class StoreVnode(Vnode[Store | Fetch, Copy]):
    """One copy of the values of one partition."""

    def init(self) -> None:
        """Begin with nothing, as a node that has died does."""
        self.versions: dict[str, Version] = {}

    def handle_command(self, command: Store | Fetch, sender: Sender) -> Copy:
        """The same commands in another order, or twice, leave the same behind."""
        found = self.versions.get(command.key)
        if isinstance(command, Store) and (found is None or found < command.version):
            found = self.versions[command.key] = command.version
        return Copy(self.node, found)


async def store(request: Request) -> JSONResponse:
    """PUT /store/{key}?n=3&w=2&timeout_ms=5000: the body is the value."""
    key, value = request.path_params["key"], (await request.body()).decode()
    n, w, timeout_s = number(request, "n", 3), number(request, "w", 2), number(request, "timeout_ms", 5000) / 1000
    copies = await ring.write(key, Store(key, Version(time.time_ns(), value)), n=n, w=w, timeout_s=timeout_s)
    return JSONResponse({"key": key, "nodes": sorted(copy.node for copy in copies)})


async def fetch(request: Request) -> JSONResponse:
    """GET /store/{key}?n=3&r=2&timeout_ms=5000"""
    key = request.path_params["key"]
    n, r, timeout_s = number(request, "n", 3), number(request, "r", 2), number(request, "timeout_ms", 5000) / 1000
    copies = await ring.read(key, Fetch(key), n=n, r=r, timeout_s=timeout_s)
    replies = dict(sorted((copy.node, copy.version and copy.version.value) for copy in copies))
    newest = max((copy.version for copy in copies if copy.version is not None), default=None)
    if newest is None:
        return JSONResponse({"error": "not_found", "key": key, "replies": replies}, 404)
    if any(copy.version != newest for copy in copies):
        await ring.write(key, Store(key, newest), n=n, w=r, timeout_s=timeout_s)  # read repair
    return JSONResponse({"key": key, "value": newest.value, "replies": replies})


def number(request: Request, name: str, default: int) -> int:
    """A number from the query: a text until somebody makes it one."""
    return int(request.query_params.get(name, default))


async def refused(request: Request, error: Exception) -> JSONResponse:
    """Whatever goes wrong is an answer: 400 for w=4 of n=3, 503 for too few nodes, 504 for too slow ones."""
    if isinstance(error, RoostError):
        return JSONResponse({"error": error.code, "message": str(error)}, status_of(error))
    return JSONResponse({"error": "bad_request", "message": str(error)}, 400)


routes = [Route("/store/{key}", store, methods=["PUT"]), Route("/store/{key}", fetch)]
app = Roost(
    "coordinated_kv", web=Starlette(routes=routes, exception_handlers={RoostError: refused, ValueError: refused})
)
ring = app.ring(StoreVnode, n=3)
