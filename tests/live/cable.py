"""Fabrics joined by cables that the test plugs and pulls: in order while they are in, and silent afterwards."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import cast

import msgspec

from roost.cluster.fabric import Fabric, PeerDown, PeerUp, Watcher
from roost.cluster.link import Link, Service
from roost.errors import NodeDown, NoSuchProcess, Overloaded, RoostError
from roost.wire.handshake import FEATURES
from roost.wire.messages import Request

OnReply = Callable[[msgspec.Raw | RoostError], None]


class Cables:
    """What is on its way between the fabrics; nothing arrives before `flow`."""

    def __init__(self) -> None:
        self.fabrics: dict[str, CableFabric] = {}
        self.plugged: set[frozenset[str]] = set()
        self.on_the_way: deque[tuple[frozenset[str], Callable[[], None]]] = deque()
        self.counted: list[tuple[str, str, str]] = []

    def fabric(self, node: str, incarnation: int = 1) -> Fabric:
        """A new fabric that nothing is plugged into."""
        made = self.fabrics[node] = CableFabric(self, node, incarnation)
        return cast("Fabric", made)

    def plug(self, left: str, right: str) -> None:
        """Connect two nodes: both see the other up."""
        self.plugged.add(frozenset((left, right)))
        for one, other in ((left, right), (right, left)):
            self.fabrics[one].tell(PeerUp(other, self.fabrics[other].incarnation))

    def pull(self, left: str, right: str) -> None:
        """Disconnect two nodes: what is on its way is lost, and both see the other down."""
        pair = frozenset((left, right))
        self.plugged.discard(pair)
        self.on_the_way = deque(item for item in self.on_the_way if item[0] != pair)
        for one, other in ((left, right), (right, left)):
            fabric = self.fabrics[one]
            waiting = fabric.waiting.pop(other, {})
            for on_reply in waiting.values():
                on_reply(NodeDown(other, "pulled"))
            fabric.tell(PeerDown(other, self.fabrics[other].incarnation, "pulled"))

    def flow(self, limit: int = 1_000_000) -> None:
        """Let what is on its way arrive, and what that causes."""
        for _ in range(limit):
            if not self.on_the_way:
                return
            self.on_the_way.popleft()[1]()


class CableFabric:
    """As much of a Fabric as services need."""

    def __init__(self, cables: Cables, node: str, incarnation: int) -> None:
        self.cables, self.node, self.incarnation = cables, node, incarnation
        self.services: dict[str, Service] = {}
        self.watchers: list[Watcher] = []
        self.waiting: dict[str, dict[int, OnReply]] = {}
        self.choked: set[str] = set()
        self.features = frozenset(FEATURES)
        self.ids = itertools.count()

    def serve(self, name: str, service: Service) -> None:
        self.services[name] = service

    def peer_features(self, peer: str) -> frozenset[str]:
        return self.features & self.cables.fabrics[peer].features

    def service(self, name: str) -> Service | None:
        return self.services.get(name)

    def watch(self, watcher: Watcher) -> None:
        self.watchers.append(watcher)
        for peer in self.up():
            if peer != self.node:
                watcher(PeerUp(peer, self.cables.fabrics[peer].incarnation))

    def tell(self, event: PeerUp | PeerDown) -> None:
        for watcher in self.watchers:
            watcher(event)

    def is_up(self, peer: str) -> bool:
        return peer == self.node or frozenset((self.node, peer)) in self.cables.plugged

    def up(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.cables.fabrics if self.is_up(name)))

    def send(self, peer: str, action: Callable[[], None]) -> None:
        self.cables.on_the_way.append((frozenset((self.node, peer)), action))

    def cast(self, peer: str, service: str, body: bytes) -> None:
        if not self.is_up(peer):
            raise NodeDown(peer, "not connected")
        if peer in self.choked:
            raise Overloaded(f"the link to {peer}", 0.1)
        self.cables.counted.append((self.node, peer, service))
        link = cast("Link", CableLink(self, self.cables.fabrics[peer]))
        self.send(peer, lambda: self.cables.fabrics[peer].services[service].on_cast(link, msgspec.Raw(body)))

    def request(self, peer: str, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
        if not self.is_up(peer):
            on_reply(NodeDown(peer, "not connected"))
            return
        if peer in self.choked:
            on_reply(Overloaded(f"the link to {peer}", 0.1))
            return
        request = Request(next(self.ids), int(timeout_s * 1000), service, msgspec.Raw(body))
        self.waiting.setdefault(peer, {})[request.id] = on_reply
        link = cast("Link", CableLink(self, self.cables.fabrics[peer]))
        self.send(peer, lambda: self.cables.fabrics[peer].take(service, link, request))

    def take(self, service: str, link: Link, request: Request) -> None:
        served = self.services.get(service)
        if served is None:
            link.refuse(request.id, NoSuchProcess(service))
        else:
            served.on_request(link, request)


class CableLink:
    """The receiving end of a cable."""

    def __init__(self, sender: CableFabric, receiver: CableFabric) -> None:
        self.sender, self.receiver = sender, receiver
        self.peer, self.incarnation = sender.node, sender.incarnation

    def reply(self, request_id: int, body: bytes) -> None:
        self._answer(request_id, msgspec.Raw(body))

    def refuse(self, request_id: int, error: RoostError) -> None:
        self._answer(request_id, error)

    def _answer(self, request_id: int, outcome: msgspec.Raw | RoostError) -> None:
        def arrive() -> None:
            on_reply = self.sender.waiting.get(self.receiver.node, {}).pop(request_id, None)
            if on_reply is not None:
                on_reply(outcome)

        self.receiver.send(self.sender.node, arrive)
