"""Two pings, with different keys: what decides which vnode answers.

The hash of a key is a place on the ring, and the partition around that place owns the key. The time as a key spreads
requests over all nodes, which is a way to spread work. A word as a key always finds the same vnode, from every node,
without anybody being asked where it is.

    roost run examples.simple_hash:app
    curl localhost:4000/ping
    curl localhost:4000/ping/tea
    curl localhost:4001/ping/tea
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


class Ping(msgspec.Struct, frozen=True):
    """Is anybody there?"""


class Pong(msgspec.Struct, frozen=True):
    """Who is there."""

    partition: int
    node: str


class PingVnode(Vnode[Ping, Pong]):
    """Answers with where it is."""

    def handle_command(self, command: Ping, sender: Sender) -> Pong:
        """`partition` and `node` are set by the ring before the first command."""
        return Pong(self.partition, self.node)


async def anywhere(request: Request) -> JSONResponse:
    """A key that was never there before: any vnode."""
    return await ping(f"time {time.time_ns()}")


async def of_word(request: Request) -> JSONResponse:
    """The same key each time: the same vnode each time."""
    return await ping(f"word {request.path_params['word']}")


async def ping(key: str) -> JSONResponse:
    """Let the vnode of a key answer."""
    pong = await ring.command(key, Ping())
    return JSONResponse({"key": key, "partition": pong.partition, "node": pong.node})


app = Roost("simple_hash", web=Starlette(routes=[Route("/ping", anywhere), Route("/ping/{word}", of_word)]))
ring = app.ring(PingVnode, n=1)
