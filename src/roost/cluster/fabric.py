"""The mesh of links between this node and the others: who can be reached, and how to speak to them.

One connection per pair of nodes; the node with the smaller name dials, and dials again for ever, so two nodes never
hold two. A connection that a known peer opens anew replaces the old one: the watchers see it go down, then up.

When things fail: a killed node is noticed when the kernel closes its connection; one that hangs, or is cut off, after
HEARTBEATS_MISSED_MAX silent heartbeats. What this node sees says nothing about what others see: in a netsplit each
side has its own view.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import msgspec

from roost import limits
from roost.cluster.link import Link, OnReply, Service
from roost.config import Address, Config
from roost.errors import HandshakeRefused, InvariantViolated, NodeDown
from roost.runtime import Runtime
from roost.runtime.net import Listener
from roost.wire.handshake import NONCE_BYTES, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Handshake, Hello, check_rings

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
        config: this node's name, cluster, cookie and the members that may connect.
        runtime: the clock and the entropy of this node.
        ring_digest: what every member's ring must agree with.

    Attributes:
        node: this node's name.
        incarnation: which boot of this node this is; drawn anew at every start.
        epoch: grows whenever a peer comes or goes; for caches of what depends on who is up.
    """

    def __init__(self, config: Config, runtime: Runtime, ring_digest: bytes) -> None:
        self.node = config.name
        self.incarnation = runtime.entropy.number(INCARNATION_BITS)
        self.epoch = 0
        self._config = config
        self._runtime = runtime
        self._ring_digest = ring_digest
        self._places = {seed.name: seed.address for seed in config.seeds if seed.name != config.name}
        self._services: dict[str, Service] = {}
        self._peers: dict[str, Link] = {}
        self._links: dict[Link, None] = {}
        self._watchers: dict[Watcher, None] = {}
        self._up: tuple[str, ...] = (self.node,)
        self._last_beat = runtime.clock.now()
        self._listener: Listener | None = None
        self._all_released: asyncio.Future[None] | None = None
        self._is_stopping = False

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

    def serve(self, name: str, service: Service) -> None:
        """Offer a service to the other nodes under `name`; there is one service per name."""
        if name in self._services:
            raise InvariantViolated(f"two services are called {name!r}")
        self._services[name] = service

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

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` with a PeerUp for each connected peer now, and for every change from now on, in order.

        Returns what ends the watch.
        """
        self._watchers[watcher] = None
        for link in self._peers.values():
            watcher(PeerUp(link.peer, link.incarnation))
        return lambda: self._watchers.pop(watcher, None)

    # Links: what the mesh's processes ask for.

    @property
    def services(self) -> dict[str, Service]:
        """What other nodes may ask of this one."""
        return self._services

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
        self._listener = await self._runtime.net.listen(self._config.listen, self._accept)
        return self._listener.address

    async def dial(self, peer: str) -> None:
        """Connect to `peer` unless it is connected; the handshake goes on after this returns.

        Raises:
            OSError: when nothing answers there.
        """
        if self.is_up(peer) or any(link.peer_wanted == peer for link in self._links):
            return
        made: list[Link] = []

        def make() -> Link:
            made.append(self._link(peer))
            return made[-1]

        try:
            await self._runtime.net.connect(self._places[peer], make, limits.HANDSHAKE_S)
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
            link.beat(now, lagged=lagged)

    def expire(self) -> None:
        """Called every EXPIRE_S: end the requests whose time is up."""
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

    def admit(self, peer: Hello) -> None:
        """Decide on a peer that has proved that it knows the cookie: any console, and members of the same ring."""
        if self._is_stopping:
            raise HandshakeRefused(f"{self.node} is stopping")
        if peer.role == "console":
            if sum(link.is_console for link in self._links) >= limits.CONSOLES_MAX:
                raise HandshakeRefused(f"{limits.CONSOLES_MAX} consoles are connected already")
            return
        if peer.node not in self._places:
            raise HandshakeRefused(f"{peer.node} is not a member of this cluster")
        check_rings(self._ring_digest, peer.ring, peer.node)

    def opened(self, link: Link) -> None:
        """A handshake is done."""
        if link.is_console:
            return
        old = self._peers.get(link.peer)
        if old is not None:
            old.hang_up("replaced by a new connection", abort=True)
        self._peers[link.peer] = link
        logger.info("%s: %s is up", self.node, link.peer)
        self._changed(PeerUp(link.peer, link.incarnation))

    def closed(self, link: Link, reason: str) -> None:
        """A link is down, or will never be up."""
        if link.peer and self._peers.get(link.peer) is link:
            del self._peers[link.peer]
            logger.info("%s: %s is down: %s", self.node, link.peer, reason)
            self._changed(PeerDown(link.peer, link.incarnation, reason))
        elif not self._is_stopping and not link.is_console:
            logger.warning("%s: no link with %s: %s", self.node, link.peer_wanted or "a stranger", reason)

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
        entropy = self._runtime.entropy
        hello = Hello(
            version=PROTOCOL_VERSION,
            version_min=PROTOCOL_VERSION_MIN,
            cluster=self._config.cluster,
            node=self.node,
            incarnation=self.incarnation,
            role="node",
            ring=self._ring_digest,
            nonce=entropy.token(NONCE_BYTES),
        )
        link = Link(self, self._runtime.clock, Handshake(hello, self._config.cookie, peer), dialled=peer is not None)
        self._links[link] = None
        return link

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
