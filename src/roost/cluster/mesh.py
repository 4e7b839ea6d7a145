"""The processes that keep a fabric alive: one listens and beats, one dials each peer, one calls up the diallers.

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


class Known(msgspec.Struct, frozen=True):
    """The members of the cluster are others now."""


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


class Roll(GenServer):
    """Sees to it that there is one dialler for each peer that this node has to dial, and none for others.

    The diallers stand under `diallers`, each with its peer's name as its id. When either of the two crashes, both are
    started anew: the roll begins with the fabric's word for who is a member.
    """

    async def init(self, fabric: Fabric, diallers: str) -> None:
        self._fabric = fabric
        self._diallers = Supervisor.whereis(diallers)
        self._dialled: set[str] = set()
        me = self.handle
        self._forget = fabric.on_known(lambda: send(me, Known()))
        await self._call_up()

    @info
    async def known(self, message: Known) -> None:
        """Start the diallers that are missing, and end those whose peer is no member any more."""
        await self._call_up()

    async def _call_up(self) -> None:
        wanted = set(self._fabric.peers_to_dial())
        for peer in sorted(self._dialled - wanted):
            self._dialled.discard(peer)
            await self._diallers.terminate_child(peer)
            await self._diallers.delete_child(peer)
        for peer in sorted(wanted - self._dialled):
            await self._diallers.start_child(Dialler.child(self._fabric, peer, id=peer))
            self._dialled.add(peer)

    def terminate(self, reason: Reason) -> None:
        """Look at the members no more."""
        self._forget()


def mesh(fabric: Fabric) -> Child:
    """The supervised processes of a fabric, as one child of the node."""
    diallers = f"diallers of {fabric.node}"
    calling = Supervisor.child(
        [Supervisor.child(id="diallers", name=diallers), Roll.child(fabric, diallers, id="roll")],
        strategy="one_for_all",
        id="calling",
    )
    return Supervisor.child([Heart.child(fabric, id="heart"), calling], id="mesh")
