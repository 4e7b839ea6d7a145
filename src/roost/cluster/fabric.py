"""The mesh of links between this node and the others: who can be reached, and how to speak to them.

Who belongs to the mesh is told by `know`, at any time: links to others are hung up and refused. A member is admitted
when it is known here, knows this node, and belongs to the same cluster by `identity`. A guest is admitted without
either: it may ask only what is served with `guests=True`.

One connection per pair of nodes; the node with the smaller name dials, and dials again for ever, so two nodes never
hold two. A connection that a known peer opens anew replaces the old one: the watchers see it go down, then up.

When things fail: a killed node is noticed when the kernel closes its connection; one that hangs, or is cut off, within
2 s: see `roost.cluster.pulse`. What this node sees says nothing about what others see: in a netsplit each
side has its own view.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import msgspec

from roost import limits
from roost.cluster.guest_link import GuestLink
from roost.cluster.link import Link, OnReply, Service
from roost.cluster.pulse import Pulse
from roost.config import Address, Config
from roost.errors import HandshakeRefused, InvariantViolated, NodeDown
from roost.runtime import Runtime
from roost.runtime.net import Listener
from roost.wire.handshake import (
    FEATURES,
    NONCE_BYTES,
    OTHER_CLUSTER,
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_MIN,
    Handshake,
    Hello,
    Role,
    check_cluster,
)

logger = logging.getLogger("roost.fabric")

INCARNATION_BITS = 53
STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer can be reached from here."""

    node: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A peer cannot be reached from here any more; everything that it sent before has been taken."""

    node: str
    incarnation: int
    reason: str


Watcher = Callable[[PeerUp | PeerDown], None]


class Fabric:
    """This node's links.

    Args:
        config: this node's name, cluster and cookie, where it listens, and its certificates.
        runtime: the clock, the entropy and the network of this node.
        identity: what tells this node's cluster from others of the same name; every member has the same.

    Attributes:
        node: this node's name.
        incarnation: which boot of this node this is; drawn anew at every start.
        epoch: grows whenever a peer comes or goes; for caches of what depends on who is up.
    """

    def __init__(self, config: Config, runtime: Runtime, identity: bytes) -> None:
        self.node = config.name
        self.incarnation = runtime.entropy.number(INCARNATION_BITS)
        self.epoch = 0
        self._config = config
        self._runtime = runtime
        self._identity = identity
        self._places: dict[str, Address] = {}
        self._moved: dict[str, Address] = {}
        self._services: dict[str, Service] = {}
        self._guest_services: dict[str, Service] = {}
        self._peers: dict[str, Link] = {}
        self._refusals: dict[str, str] = {}
        self._links: dict[Link, None] = {}
        self._pulse = Pulse(self.node, self._peers)
        self._watchers: dict[Watcher, None] = {}
        self._on_known: dict[Callable[[], None], None] = {}
        self._up: tuple[str, ...] = (self.node,)
        self._last_beat = runtime.clock.now()
        self._listener: Listener | None = None
        self._all_released: asyncio.Future[None] | None = None
        self._is_stopping = False

    # Belonging.

    @property
    def identity(self) -> bytes:
        """What tells this node's cluster from others of the same name. It changes when the node is admitted to another
        cluster: every link with a member of the former one is hung up then."""
        return self._identity

    @identity.setter
    def identity(self, identity: bytes) -> None:
        if identity == self._identity:
            return
        self._identity = identity
        for link in list(self._links):
            if link.role == "node" and (link.is_open or link.dialled):
                link.hang_up(f"{self.node} has gone over to another cluster")

    def know(self, places: Mapping[str, Address], moved: Mapping[str, Address] | None = None) -> None:
        """From now on the members are these, this node among them or not, and there they are.

        Links to members that are not named any more are hung up, with a reason. New ones are dialled by the mesh's
        processes, if they are this node's to dial. A link that is up stays up when only its address is another.

        Args:
            places: every member, and where it is.
            moved: where to look for a member when nothing answers there.
        """
        self._moved = dict(moved or {})
        self._places = {name: address for name, address in places.items() if name != self.node}
        for link in list(self._links):
            peer = link.peer or link.peer_wanted
            if link.role == "node" and peer and peer not in self._places:
                link.hang_up(f"{peer} is no member of this cluster any more")
        for told in list(self._on_known):
            told()

    @property
    def known(self) -> Mapping[str, Address]:
        """The other members, and where they are."""
        return self._places

    def on_known(self, told: Callable[[], None]) -> Callable[[], None]:
        """Call `told` after every `know`. Returns what ends that."""
        self._on_known[told] = None
        return lambda: self._on_known.pop(told, None)

    # Speaking.

    def request(self, peer: str, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
        """Ask a service of another node.

        `on_reply` is called exactly once: with the encoded reply, or with NodeDown (at once when the peer is not
        connected, or when the link goes down), CallTimeout, Overloaded, TooLarge, or the declared error with which
        the service refused. It may be called before this returns.
        """
        link = self._peers.get(peer)
        if link is None:
            on_reply(NodeDown(peer, "not connected"))
        else:
            link.request(service, body, timeout_s, on_reply)

    def bulk(self, peer: str, service: str, body: bytes, timeout_s: float, on_reply: OnReply) -> None:
        """Ask a service of another node something that carries much, such as a batch of handoff.

        As `request`, but calls, casts and heartbeats to the peer never wait behind it: at most BULK_TURN_BYTES leave
        between two of their flushes, and only while the transport holds little. Such requests keep their order among
        themselves. Overloaded when LINK_BULK_BYTES_MAX wait already.
        """
        link = self._peers.get(peer)
        if link is None:
            on_reply(NodeDown(peer, "not connected"))
        else:
            link.bulk(service, body, timeout_s, on_reply)

    async def call_bulk(self, peer: str, service: str, body: bytes, timeout_s: float) -> msgspec.Raw:
        """Ask as `bulk` does, and wait for the encoded reply.

        Raises:
            RoostError: whatever `bulk` would have handed to `on_reply`.
        """
        link = self._peers.get(peer)
        if link is None:
            raise NodeDown(peer, "not connected")
        return await link.call(service, body, timeout_s, is_bulk=True)

    async def call(self, peer: str, service: str, body: bytes, timeout_s: float = limits.CALL_TIMEOUT_S) -> msgspec.Raw:
        """Ask a service of another node and wait for its encoded reply.

        Raises:
            RoostError: whatever `request` would have handed to `on_reply`.
        """
        link = self._peers.get(peer)
        if link is None:
            raise NodeDown(peer, "not connected")
        return await link.call(service, body, timeout_s)

    def cast(self, peer: str, service: str, body: bytes) -> None:
        """Tell a service of another node something that is not answered.

        Raises:
            NodeDown: when the peer is not connected.
            Overloaded: when it does not keep up.
            TooLarge: when the body is over MESSAGE_BYTES_MAX.
        """
        link = self._peers.get(peer)
        if link is None:
            raise NodeDown(peer, "not connected")
        link.cast(service, body)

    async def writable(self, peer: str) -> None:
        """Wait until `peer` keeps up with what is sent to it.

        Raises:
            NodeDown: when the peer is not connected, or is lost meanwhile.
        """
        link = self._peers.get(peer)
        if link is None:
            raise NodeDown(peer, "not connected")
        await link.writable()

    def serve(self, name: str, service: Service, *, guests: bool = False) -> None:
        """Offer a service to the members and to consoles under `name`; there is one service per name.

        Args:
            name: what they call it.
            service: who answers.
            guests: whether nodes may ask it, too, that know the cookie, but are no members.
        """
        if name in self._services:
            raise InvariantViolated(f"two services are called {name!r}")
        self._services[name] = service
        if guests:
            self._guest_services[name] = service

    def service(self, name: str) -> Service | None:
        """What is offered under `name` here, or None."""
        return self._services.get(name)

    # Seeing.

    def is_up(self, peer: str) -> bool:
        """Whether `peer` can be reached from here; always so for this node."""
        return peer in self._peers or peer == self.node

    def up(self) -> tuple[str, ...]:
        """The names of the nodes that can be reached from here, sorted, this node's among them."""
        return self._up

    def peer_incarnation(self, peer: str) -> int | None:
        """Which boot of `peer` is connected, or None when it is not."""
        link = self._peers.get(peer)
        return None if link is None else link.incarnation

    def peer_features(self, peer: str) -> frozenset[str]:
        """What `peer` and this node can both do, beyond the version of the protocol; nothing when not connected."""
        link = self._peers.get(peer)
        return frozenset() if link is None else link.features

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with a PeerUp for each connected peer now, and for every change from now on, in order.

        Returns what ends the watch.
        """
        self._watchers[watcher] = None
        for link in self._peers.values():
            watcher(PeerUp(link.peer, link.incarnation))
        return lambda: self._watchers.pop(watcher, None)

    # Links: what the mesh's processes ask for.

    def services_for(self, role: Role) -> Mapping[str, Service]:
        """What others may ask of this one: guests only what is served for them."""
        return self._guest_services if role == "guest" else self._services

    def peers_to_dial(self) -> tuple[str, ...]:
        """The members that this node connects to; the others connect to it."""
        return tuple(sorted(name for name in self._places if self.node < name))

    async def listen(self) -> Address | None:
        """Accept connections at the configured address; return it, or None for a node that is alone.

        Raises:
            OSError: when the address is taken.
        """
        if self._config.listen is None:
            return None
        if self._listener is not None:
            return self._listener.address
        self._listener = await self._runtime.net.listen(self._config.listen, self._accept, self._config.tls)
        return self._listener.address

    async def dial(self, peer: str) -> None:
        """Connect to `peer` unless it is connected, or no member; the handshake goes on after this returns.

        Raises:
            OSError: when nothing answers there.
        """
        place = self._places.get(peer)
        if place is None or self.is_up(peer) or any(link.peer_wanted == peer for link in self._links):
            return
        try:
            await self._dial(peer, place)
        except OSError:
            moved = self._moved.get(peer, place)
            if moved == place:
                raise
            await self._dial(peer, moved)

    async def _dial(self, peer: str, place: Address) -> None:
        made: list[Link] = []

        def make() -> Link:
            link = self._link(peer)
            self._links[link] = None  # from now on, so that nobody dials the peer a second time meanwhile
            made.append(link)
            return link

        try:
            await self._runtime.net.connect(place, make, limits.HANDSHAKE_S, self._config.tls)
        except BaseException:
            for link in made:  # uvloop makes the protocol before it knows whether anything answers
                self.released(link)
            raise

    def beat(self) -> None:
        """Called every HEARTBEAT_S: let every link speak up, or give up."""
        now = self._runtime.clock.now()
        lagged = now - self._last_beat > 2 * limits.HEARTBEAT_S
        self._last_beat = now
        for link in list(self._links):
            if self._peers.get(link.peer) is not link:
                link.beat(now, lagged=lagged)
        self._pulse.beat(self._up, now, lagged=lagged)

    def expire(self) -> None:
        """Called every EXPIRE_S: end the requests whose time is up, and give up who was asked and is silent."""
        self._pulse.turn()
        now = self._runtime.clock.now()
        for link in list(self._peers.values()):
            link.expire(now)

    def close(self, reason: str) -> None:
        """Say goodbye to every peer, and accept nobody any more. What is in flight ends with NodeDown."""
        self._is_stopping = True
        if self._listener is not None:
            self._listener.close()
        for link in list(self._links):
            link.hang_up(reason)

    async def stop(self, reason: str) -> None:
        """Close, and wait until every connection is gone.

        A peer that does not take its goodbye within STOP_S is cut off.
        """
        if self._links:
            self._all_released = asyncio.get_running_loop().create_future()
        self.close(reason)
        if self._all_released is None:
            return
        try:
            async with asyncio.timeout(STOP_S):
                await asyncio.shield(self._all_released)
        except TimeoutError:
            for link in list(self._links):
                link.hang_up(reason, abort=True)
            await self._all_released

    # Links: what they tell.

    def connected(self, link: Link) -> None:
        """There is a connection: it counts from now on. What is accepted with a bad certificate never gets here."""
        self._links[link] = None

    def admit(self, peer: Hello) -> None:
        """Decide on a peer that has proved that it knows the cookie.

        Raises:
            HandshakeRefused: a member that is not known here or belongs to another cluster; one console or guest too
                many; anybody while this node stops.
        """
        if self._is_stopping:
            raise HandshakeRefused(f"{self.node} is stopping")
        if peer.role != "node":
            seats = limits.CONSOLES_MAX if peer.role == "console" else limits.GUESTS_MAX
            if sum(link.is_open and link.role == peer.role for link in self._links) >= seats:
                raise HandshakeRefused(f"{seats} {peer.role}s are connected already")
            return
        if peer.node not in self._places:
            raise HandshakeRefused(f"{peer.node} is not a member of this cluster")
        check_cluster(self._identity, peer.cluster_id, peer.node)

    def opened(self, link: Link) -> None:
        """A handshake is done."""
        if link.role != "node":
            return
        old = self._peers.get(link.peer)
        if old is not None:
            old.hang_up("replaced by a new connection", abort=True)
        self._peers[link.peer] = link
        self._refusals.pop(link.peer, None)
        logger.info("%s: %s is up", self.node, link.peer)
        self._changed(PeerUp(link.peer, link.incarnation))

    def doubted(self, node: str) -> None:
        """A peer does not hear `node`: see whether it answers this node."""
        self._pulse.told(node)

    def closed(self, link: Link, reason: str) -> None:
        """A link is down, or will never be up."""
        if link.peer and self._peers.get(link.peer) is link:
            del self._peers[link.peer]
            self._pulse.gone(link.peer)
            logger.info("%s: %s is down: %s", self.node, link.peer, reason)
            self._changed(PeerDown(link.peer, link.incarnation, reason))
        elif not self._is_stopping and link.role == "node":
            who = link.peer_wanted or "a stranger"
            is_passing = OTHER_CLUSTER in reason and self._refusals.get(who) != reason
            level = logging.INFO if is_passing else logging.WARNING
            self._refusals[who] = reason
            logger.log(level, "%s: no link with %s: %s", self.node, who, reason)

    def released(self, link: Link) -> None:
        """A connection is gone for good."""
        self._links.pop(link, None)
        if not self._links and self._all_released is not None and not self._all_released.done():
            self._all_released.set_result(None)

    def _accept(self) -> asyncio.Protocol:
        if sum(not link.is_open for link in self._links) >= limits.HANDSHAKES_MAX:
            return _Unwanted()
        return self._link(None)

    def _link(self, peer: str | None) -> Link:
        handshake = Handshake(self.hello("node"), self._config.cookie, peer)
        return Link(self, self._runtime.clock, handshake, dialled=peer is not None)

    def hello(self, role: Role) -> Hello:
        """How this node introduces itself, with a fresh nonce."""
        return Hello(
            version=PROTOCOL_VERSION,
            version_min=PROTOCOL_VERSION_MIN,
            cluster=self._config.cluster,
            node=self.node,
            incarnation=self.incarnation,
            role=role,
            cluster_id=self._identity,
            nonce=self._runtime.entropy.token(NONCE_BYTES),
            features=FEATURES,
        )

    def guest(self, address: Address) -> GuestLink:
        """A link as a guest of the node at `address`, for questions to a cluster that this node is no member of.

        Use it as an async context manager; see `GuestLink` for what it raises.
        """
        config = self._config
        return GuestLink(self._runtime, address, self.hello("guest"), config.cookie, config.tls)

    def _changed(self, event: PeerUp | PeerDown) -> None:
        self.epoch += 1
        self._up = tuple(sorted([self.node, *self._peers]))
        for watcher in list(self._watchers):
            try:
                watcher(event)
            except Exception:
                logger.exception("%s: a watcher failed on %s", self.node, event)


class _Unwanted(asyncio.Protocol):
    """A connection that is dropped before a byte of it is read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()  # uvloop's transports do not inherit from it
