"""The smallest ring: is anybody there?

A ring of vnodes is spread over the nodes of a cluster. Each request is handled by one of them, on whatever node it is:
the key of the request says which. Here the key is the time, so that every ping goes somewhere else.

    roost run examples.pingring:app
    curl localhost:4000/ping
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
    """Who is there: a vnode of this partition, on this node."""

    partition: int
    node: str


class PingVnode(Vnode[Ping, Pong]):
    """One partition of the ring; each has a vnode on a node of its own."""

    def handle_command(self, command: Ping, sender: Sender) -> Pong:
        """Runs on the node of the vnode, whoever asks."""
        return Pong(self.partition, self.node)


async def ping(request: Request) -> JSONResponse:
    """Every node takes requests; the vnode that answers is rarely on the node that was asked."""
    pong = await ring.command(f"ping at {time.time_ns()}", Ping())
    return JSONResponse({"partition": pong.partition, "node": pong.node})


app = Roost("pingring", web=Starlette(routes=[Route("/ping", ping)]))
ring = app.ring(PingVnode, n=1)
