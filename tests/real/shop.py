"""The application of the real cluster: a durable bucket over HTTP, and a face by which its operator is obeyed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, cast
from urllib.parse import parse_qsl

import msgspec

from roost.cluster.node import Node
from roost.cluster.status import TransferStatus
from roost.errors import RoostError
from roost.web.answer import Receive, Scope, Send, answer, encode, fail, refuse
from roost.web.app import Roost
from roost.web.store import StoreApi

STORE: Final = "/api/store/"
CONTROL: Final = "/control/"


class State(msgspec.Struct, frozen=True):
    """What one node knows of its cluster.

    Attributes:
        moving: partitions on their way to other nodes.
        movers: the nodes that give or take one of them.
        waiting: transfers that this node has not finished, in words.
    """

    cluster: str
    generation: int
    version: int
    claimant: str
    members: dict[str, str]
    staged: tuple[str, ...]
    moving: int
    movers: tuple[str, ...]
    up: tuple[str, ...]
    waiting: tuple[str, ...]


def state_of(node: Node) -> State:
    """What this node knows."""
    cluster, layout = node.membership.cluster, node.placement.layout
    moving = layout.moving()
    transfers = [one for each in moving for one in layout.transfers(each, node.depth, cluster.gone)]
    return State(
        cluster=cluster.id.hex(),
        generation=cluster.generation,
        version=cluster.version,
        claimant=cluster.claimant,
        members={member.name: member.status for member in cluster.members},
        staged=tuple(map(str, cluster.staged)),
        moving=len(moving),
        movers=tuple(sorted({one.giver for one in transfers} | {one.taker for one in transfers})),
        up=node.fabric.up(),
        waiting=tuple(map(_in_words, node.traffic.transfers())),
    )


def _in_words(one: TransferStatus) -> str:
    return (
        f"{one.kind} {one.partition}/{one.index} {one.source} to {one.target}: {one.phase}, {one.items_done} of "
        f"{one.items_total} items, {one.attempts} attempts: {one.reason}"
    )


async def _commit(node: Node, facts: Mapping[str, str]) -> None:
    await node.membership.plan()
    await node.membership.commit()


ORDERS: Final[Mapping[str, Callable[[Node, Mapping[str, str]], Awaitable[object]]]] = {
    "leave": lambda node, facts: node.membership.leave(facts["node"]),
    "replace": lambda node, facts: node.membership.replace(facts["node"], facts["newcomer"]),
    "force-remove": lambda node, facts: node.membership.force_remove(facts["node"]),
    "down": lambda node, facts: node.membership.down(facts["node"]),
    "commit": _commit,
}
"""What an operator may ask of a node."""


class Site:
    """The ASGI application."""

    def __init__(self, store: StoreApi) -> None:
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = cast(str, scope["path"])
        if path.startswith(STORE):
            await self._store(scope, receive, send)
            return
        order = path.removeprefix(CONTROL)
        if order == "state":
            await answer(send, 200, encode(state_of(Node.current())))
        elif order not in ORDERS:
            await refuse(send, 404, "not_found", f"there is nothing at {path}")
        else:
            facts = dict(parse_qsl(scope["query_string"].decode()))
            try:
                await ORDERS[order](Node.current(), facts)
            except RoostError as error:
                await fail(send, error)
            else:
                await answer(send, 200, encode(state_of(Node.current())))


app: Roost = Roost("shop")
app.web = Site(StoreApi(app.kv("shop", n=3, r=2, w=2, durable=True), STORE))
