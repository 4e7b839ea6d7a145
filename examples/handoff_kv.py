"""A store whose values go where they belong: when a node joins or leaves, and when one was away.

The difference to `coordinated_kv` is the class of the vnode. What a `KeyedVnode` keeps in `self.store` moves with its
partition, while reads and writes go on. Nothing is forgotten before the next holder has it.

    roost run examples.handoff_kv:app
    curl -X PUT localhost:4000/store/tea -d hot
    curl localhost:4001/store/tea
    curl localhost:4002/held      # how many keys are at home on each node

`docs/workshop.md` lets a fourth node join, and leave again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from roost import Roost
from roost.cluster.keyed_vnode import KeyedVnode
from roost.cluster.vnode import Sender
from roost.errors import RoostError
from roost.web.answer import status_of


class Version(msgspec.Struct, frozen=True, order=True):
    """A value, and when it was written."""

    written_ns: int
    value: str


class Store(msgspec.Struct, frozen=True, tag=True):
    """Keep a version, unless a newer one is there."""

    key: str
    version: Version


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """What is kept under a key? Or, when all partitions are asked: under every key that begins so?"""

    key: str


class Copy(msgspec.Struct, frozen=True):
    """What one node has; None is nothing."""

    node: str
    version: Version | None


class StoreVnode(KeyedVnode[Store | Fetch, Copy, Version]):
    """One copy of the values of one partition, wherever that is now."""

    def handle_command(self, command: Store | Fetch, sender: Sender) -> Copy:
        """The time of a write is in the command: both sides of a move do the same with it."""
        found = self.store.get(command.key)
        if isinstance(command, Store) and (found is None or found < command.version):
            found = self.store[command.key] = command.version
        return Copy(self.node, found)

    def forwards(self, command: Store | Fetch) -> Store | None:
        """What the next holder must do as well, while a partition moves: only what changes something."""
        return command if isinstance(command, Store) else None

    def merge(self, key: str, mine: Version, given: Version) -> Version:
        """A node that stood in for this one hands over what it was told meanwhile: the newer version is kept."""
        return max(mine, given)

    def cover(self, command: Store | Fetch) -> Iterator[Copy]:
        """A question to the whole ring: one vnode of each partition says what it has."""
        for key in tuple(self.store):
            if key.startswith(command.key):
                yield Copy(self.node, self.store.get(key))


async def store(request: Request) -> JSONResponse:
    """PUT /store/{key}: on three nodes, two of which must have it."""
    key, value = request.path_params["key"], (await request.body()).decode()
    copies = await ring.write(key, Store(key, Version(time.time_ns(), value)))
    return JSONResponse({"key": key, "nodes": sorted(copy.node for copy in copies)})


async def fetch(request: Request) -> JSONResponse:
    """GET /store/{key}?r=2: the newest of r replies."""
    key = request.path_params["key"]
    copies = await ring.read(key, Fetch(key), r=int(request.query_params.get("r", 2)))
    replies = dict(sorted((copy.node, copy.version and copy.version.value) for copy in copies))
    newest = max((copy.version for copy in copies if copy.version is not None), default=None)
    if newest is None:
        return JSONResponse({"error": "not_found", "key": key, "replies": replies}, 404)
    return JSONResponse({"key": key, "value": newest.value, "replies": replies})


async def held(request: Request) -> JSONResponse:
    """GET /held: for how many keys each node is the first to be asked."""
    nodes = Counter([copy.node async for copy in ring.coverage(Fetch(""), n=1)])
    return JSONResponse(dict(sorted(nodes.items())))


async def refused(request: Request, error: Exception) -> JSONResponse:
    """Whatever goes wrong is an answer, with the HTTP status that it means."""
    if isinstance(error, RoostError):
        return JSONResponse({"error": error.code, "message": str(error)}, status_of(error))
    return JSONResponse({"error": "bad_request", "message": str(error)}, 400)


routes = [Route("/store/{key}", store, methods=["PUT"]), Route("/store/{key}", fetch), Route("/held", held)]
app = Roost("handoff_kv", web=Starlette(routes=routes, exception_handlers={RoostError: refused, ValueError: refused}))
ring = app.ring(StoreVnode, n=3)
