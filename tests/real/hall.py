"""The application of the real cluster's guests: topics that everybody talks on, and a room that shows who is there.

Whatever is said is numbered by who says it and stamped by the node that broadcasts it; nodes also tell when they see
each other come and go. All nodes are on one machine, so their monotonic clocks, and that of the guests, are the same.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from roost import Channel, GenServer, Roost, Socket, event, info, pubsub
from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.node import Node
from roost.live.channel import Payload
from roost.live.pubsub import PubSub
from roost.web.store import StoreApi
from tests.real.shop import STORE, Site

LINKS: Final = "links"
TALK: Final = "talk"
FLICKER: Final = "flicker"
ROOM: Final = "room"
CRIES: Final = "cries"
SAID: Final = "said"
CRY_S: Final = 0.05


def life_of(node: str, incarnation: int) -> str:
    """What one boot of a node is called."""
    return f"{node}#{incarnation}"


def own_life() -> str:
    """The boot that this code runs in."""
    node = Node.current()
    return life_of(node.name, node.fabric.incarnation)


class Watch(GenServer):
    """Tells the guests of this node when it sees which other one come or go."""

    def init(self) -> None:
        """Watch from now on."""
        node = Node.current()
        self.pubsub = PubSub.of(node)
        self.seen: list[dict[str, object]] = []
        node.fabric.watch(self.note)
        WATCHES[node.name] = self

    def note(self, event: PeerUp | PeerDown) -> None:
        """In the turn in which it happens, so that no message comes in between."""
        told = {
            "at": time.monotonic(),
            "life": life_of(event.node, event.incarnation),
            "up": isinstance(event, PeerUp),
        }
        self.seen.append(told)
        self.pubsub.local_broadcast(LINKS, "link", told)


WATCHES: Final[dict[str, Watch]] = {}
"""The one of this node, for its channels."""


@pubsub.message
class Cry(msgspec.Struct, frozen=True):
    """What processes say to each other."""

    by: str
    n: int
    at: float


class _Cry(msgspec.Struct, frozen=True):
    """Time to say something."""


class Crier(GenServer):
    """A process that says numbered messages, hears those of the others, and tells the guests of its node."""

    def init(self) -> None:
        """Listen and speak from now on."""
        self.by, self.n = f"crier|{own_life()}", 0
        self.pubsub = PubSub.of(Node.current())
        pubsub.subscribe("cry")
        self.send_every(CRY_S, _Cry())

    @info
    def cry(self, message: _Cry) -> None:
        """Say the next one."""
        self.n += 1
        pubsub.broadcast("cry", Cry(self.by, self.n, time.monotonic()))

    @info
    def heard(self, message: Cry) -> None:
        """Hand on what was heard, and nothing else: guests hear in the order in which this process does."""
        self.pubsub.local_broadcast(CRIES, SAID, {"by": message.by, "n": message.n, "at": message.at})


class Links(Channel, topic=LINKS):
    """Which boot this is, and whom it has seen come and go."""

    def join(self, topic: str, params: Payload, socket: Guest) -> Payload:
        """All so far; the rest follows as it happens."""
        return {"life": own_life(), "seen": list(WATCHES[Node.current().name].seen)}


class Talk(Channel, topic=TALK):
    """Guests say something here."""

    def join(self, topic: str, params: Payload, socket: Guest) -> None:
        """Whoever it is."""
        self.by = f"{params['who']}|{own_life()}"

    @event("say")
    def say(self, payload: Payload) -> Payload:
        """To everybody, on two topics."""
        at = time.monotonic()
        told: Payload = {"by": self.by, "n": payload["n"], "at": at}
        self.broadcast(SAID, told)
        pubsub.broadcast_event(FLICKER, SAID, told)
        return {"n": payload["n"], "at": at}


class Hear(Channel, topic=FLICKER):
    """A topic to come to and to go from."""


class Cries(Channel, topic=CRIES):
    """What the processes of this node hear."""


class Room(Channel, topic=ROOM):
    """Who is there."""

    def join(self, topic: str, params: Payload, socket: Guest) -> None:
        """Show the guest."""
        self.track(str(params["who"]), {"life": own_life()})


class Guest(Socket):
    """Anybody."""

    channels = (Links, Talk, Hear, Cries, Room)
    check_origin = False


app: Roost = Roost("hall", children=[Watch.child(), Crier.child()], sockets={"/socket": Guest})
app.web = Site(StoreApi(app.kv("hall", durable=False), STORE))
