"""The ring as the page draws it, and a ring of vnodes that answer a ping."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.node import Node
from roost.cluster.status import members
from roost.cluster.vnode import Sender, Vnode
from roost.core.membership import Cluster
from roost.live.channel import Channel, Payload
from roost.live.pubsub import PubSub
from roost.otp import GenServer, Reason, info, send

TOPIC = "cluster:ring"


class Ping(msgspec.Struct, frozen=True):
    """Is anybody there?"""


class Pong(msgspec.Struct, frozen=True):
    """The partition that answers, and the node it is on."""

    partition: int
    node: str


class PingVnode(Vnode[Ping, Pong]):
    """Answers."""

    def handle_command(self, command: Ping, sender: Sender) -> Pong:
        """Say who is here."""
        return Pong(self.partition, self.node)


def ring_view(node: Node) -> Payload:
    """The ring and the members, as `node` sees them."""
    membership, layout = node.membership, node.placement.layout
    view = {node.name: membership.view()}
    names = [member.name for member in members(membership, view)]
    return {
        "size": layout.size,
        "node": node.name,
        "members": [
            {
                "name": member.name,
                "status": member.status,
                "up": member.up,
                "ring_percent": round(member.ring_percent, 2),
                "pending_percent": None if member.pending_percent is None else round(member.pending_percent, 2),
                "web": member.web,
            }
            for member in members(membership, view)
        ],
        "owners": [_place(names, layout.owner(partition)) for partition in range(layout.size)],
        "moving": [[partition, _place(names, layout.goal.owner(partition))] for partition in layout.moving()],
    }


def _place(names: list[str], owner: str) -> int:
    """Where a node is among the members; -1 for one that was removed by force."""
    return names.index(owner) if owner in names else -1


class RingChannel(Channel, topic=TOPIC):
    """Shows the ring, and shows it again whenever a node comes or goes, or the cluster changes."""

    def join(self, topic: str, params: Payload, socket: object) -> Payload:
        """The reply is the ring as it is."""
        return ring_view(Node.current())


class Changed(msgspec.Struct, frozen=True):
    """A node has come or gone, or the cluster has changed."""


class RingWatch(GenServer):
    """Tells the pages of this node when another node comes or goes, and when the cluster changes."""

    def init(self, pubsub: Callable[[], PubSub]) -> None:
        self._pubsub = pubsub()
        self._is_told = False
        me = self.handle

        def tell(_: PeerUp | PeerDown | Cluster) -> None:
            if not self._is_told:
                self._is_told = True
                send(me, Changed())

        self._node = Node.current()
        self._unwatch = self._node.fabric.watch(tell)
        self._unwatch_cluster = self._node.membership.watch(tell)

    @info
    def changed(self, message: Changed) -> None:
        """Push the ring to everybody who looks at it here."""
        self._is_told = False
        self._pubsub.local_broadcast(TOPIC, "ring", ring_view(self._node))

    def terminate(self, reason: Reason) -> None:
        """Watch no more."""
        self._unwatch()
        self._unwatch_cluster()
