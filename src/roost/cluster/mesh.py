"""The processes that keep a fabric alive: one listens, one beats, one dials each peer.

When one of them crashes its supervisor starts it anew; links that are open do not notice.
"""

from __future__ import annotations

import logging

import msgspec

from roost import limits
from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.otp import Child, GenServer, Reason, Supervisor, info, send

logger = logging.getLogger("roost.fabric")


class Beat(msgspec.Struct, frozen=True):
    """Time for heartbeats."""


class Expire(msgspec.Struct, frozen=True):
    """Time to end the requests whose time is up."""


class Dial(msgspec.Struct, frozen=True):
    """Time to try to reach the peer, unless it is there."""


class Heart(GenServer):
    """Accepts connections, and lets time pass for every link: heartbeats and deadlines."""

    async def init(self, fabric: Fabric) -> None:
        self._fabric = fabric
        await fabric.listen()
        self.send_after(limits.HEARTBEAT_S, Beat())
        self.send_after(limits.EXPIRE_S, Expire())

    @info
    def beat(self, message: Beat) -> None:
        """Let every link speak up or give up."""
        self.send_after(limits.HEARTBEAT_S, message)
        self._fabric.beat()

    @info
    def expire(self, message: Expire) -> None:
        """End what nobody has answered in time."""
        self.send_after(limits.EXPIRE_S, message)
        self._fabric.expire()


class Dialler(GenServer):
    """Reaches one peer, and again whenever it is lost, for ever, with pauses that grow and vary."""

    def init(self, fabric: Fabric, peer: str) -> None:
        self._fabric = fabric
        self._peer = peer
        self._pause_s = limits.REDIAL_FIRST_S
        me = self.handle

        def lost(event: PeerUp | PeerDown) -> None:
            if event.node == peer and isinstance(event, PeerDown):
                send(me, Dial())

        self._unwatch = fabric.watch(lost)
        self._next = self.send_after(0.0, Dial())

    @info
    async def dial(self, message: Dial) -> None:
        """Try once; look again after a pause whether it worked."""
        self._next.cancel()
        if self._fabric.is_up(self._peer):
            self._pause_s = limits.REDIAL_FIRST_S
            return
        try:
            await self._fabric.dial(self._peer)
        except OSError as error:
            logger.debug("%s: %s does not answer: %s", self._fabric.node, self._peer, error)
        jitter = self.scheduler.runtime.entropy.uniform(0.5, 1.0)
        self._next = self.send_after(self._pause_s * jitter, message)
        self._pause_s = min(self._pause_s * 2, limits.REDIAL_LAST_S)

    def terminate(self, reason: Reason) -> None:
        """Look at the peer no more."""
        self._unwatch()


def mesh(fabric: Fabric) -> Child:
    """The supervised processes of a fabric, as one child of the node."""
    diallers = [Dialler.child(fabric, peer, id=f"dial {peer}") for peer in fabric.peers_to_dial()]
    return Supervisor.child([Heart.child(fabric, id="heart"), *diallers], id="mesh")
