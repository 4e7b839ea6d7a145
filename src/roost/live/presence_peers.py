"""What one node tells the others of presences, and hears of them.

A peer is told what it has not been told, once per tick, and no more before it has taken that: what it cannot take now
is told later together with what has happened since. So what waits for one peer is never more than one state of each
shard, whose messages are the same bytes for all peers; the shards take turns, so that a huge one does not hold up the
others.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.core.presence.fragment import Assembly, Part, View, parts
from roost.core.presence.presences import Debt, Presences
from roost.errors import BadMessage, NodeDown, Overloaded
from roost.limits import PRESENCE_KEPT_S, PRESENCE_LOOK_S, PRESENCE_PARTS_PER_TICK, PRESENCE_SHARDS
from roost.runtime.clock import Clock, Timer
from roost.wire.handshake import PRESENCES
from roost.wire.messages import Request

SERVICE: Final = "presence"

logger = logging.getLogger("roost.presence")

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Part | View).decode


class _Peer:
    """What is between this node and one that is connected."""

    __slots__ = ("asks", "assembly", "turn", "view_due", "waiting")

    def __init__(self) -> None:
        self.assembly = Assembly()
        self.waiting = tuple(deque[bytes]() for _ in range(PRESENCE_SHARDS))
        self.view_due = True
        self.asks = False
        self.turn = 0


class PresencePeers:
    """The other nodes. It is a service of the fabric.

    Args:
        fabric: the links of this node.
        clock: its clock.
        state: the presences.
        changed: called when there is something to tell, to other nodes or to clients, at the next tick.

    Attributes:
        bad: how many messages of other nodes were none.
    """

    def __init__(self, fabric: Fabric, clock: Clock, state: Presences, changed: Callable[[], None]) -> None:
        self._fabric, self._clock, self._state, self._changed = fabric, clock, state, changed
        self._peers: dict[str, _Peer] = {}
        self._look_timer: Timer | None = None
        self._sweep_timer: Timer | None = None
        self._is_stopped = False
        self.bad = 0
        fabric.serve(SERVICE, self)
        fabric.watch(self._on_peer)

    def flush(self) -> bool:
        """Tell every peer what it has not been told. Returns whether something is left for the next tick."""
        made: dict[Debt, list[bytes]] = {}
        is_behind = False
        for node, peer in list(self._peers.items()):
            is_behind |= self._tell(node, peer, made)
        return is_behind

    def stop(self) -> None:
        """Tell everybody that this node has gone, and then nothing any more."""
        self._is_stopped = True
        for timer in (self._look_timer, self._sweep_timer):
            if timer is not None:
                timer.cancel()
        farewells = [_encode(part) for shard, fragment in self._state.farewells() for part in parts(shard, fragment)]
        for node in self._peers:
            try:
                for farewell in farewells:
                    self._fabric.cast(node, SERVICE, farewell)
            except (NodeDown, Overloaded):
                continue  # it will see the link go down
        self._peers.clear()

    # Telling

    def _tell(self, node: str, peer: _Peer, made: dict[Debt, list[bytes]]) -> bool:
        is_behind = False
        busy = [bool(waiting) for waiting in peer.waiting]
        for debt in self._state.debts(node):
            if busy[debt.shard]:
                is_behind = True  # it has not taken the last word about these topics yet
                continue
            bodies = made.get(debt)
            if bodies is None:
                fragment = self._state.fragment(debt)
                bodies = [] if fragment is None else [_encode(part) for part in parts(debt.shard, fragment)]
                made[debt] = bodies
            peer.waiting[debt.shard].extend(bodies)
            self._state.pay(node, debt)
        try:
            if peer.view_due:
                self._fabric.cast(node, SERVICE, _encode(self._state.view(asks=peer.asks)))
                peer.view_due = peer.asks = False
            self._send(node, peer)
        except NodeDown:
            for waiting in peer.waiting:
                waiting.clear()
            return False
        except Overloaded:
            logger.debug("%s does not keep up with presences", node)
        return is_behind or peer.view_due or any(peer.waiting)

    def _send(self, node: str, peer: _Peer) -> None:
        peer.turn = (peer.turn + 1) % PRESENCE_SHARDS
        for waiting in (*peer.waiting[peer.turn :], *peer.waiting[: peer.turn]):
            for _ in range(min(len(waiting), PRESENCE_PARTS_PER_TICK)):
                self._fabric.cast(node, SERVICE, waiting[0])
                waiting.popleft()

    def _view_due(self, *, but: str | None = None) -> None:
        for node, peer in self._peers.items():
            if node != but:
                peer.view_due = True

    # Hearing

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """What another node says about presences."""
        peer = self._peers.get(link.peer)
        if peer is None:
            return
        try:
            message = _decode(body)
        except (ValueError, RecursionError) as error:  # MsgspecError is a ValueError, as is text that is no UTF-8
            count = self.bad = self.bad + 1
            if count & (count - 1) == 0:
                logger.warning("%s says what it cannot mean of presences (%d so far): %s", link.peer, count, error)
            return
        if isinstance(message, View):
            if self._state.hear(link.peer, message):
                self._view_due(but=link.peer)
            self._look_later()
        else:
            fragment = peer.assembly.add(message)
            if fragment is None:
                return
            if not self._state.merge(message.shard, fragment):
                peer.view_due = peer.asks = True
            self._sweep_later()
        self._changed()

    def on_request(self, link: Link, request: Request) -> None:
        """Nothing about presences is asked for."""
        raise BadMessage("presences are not asked for")

    def _on_peer(self, event: PeerUp | PeerDown) -> None:
        if self._is_stopped:
            return
        if isinstance(event, PeerUp):
            if PRESENCES not in self._fabric.peer_features(event.node):
                logger.warning("%s divides presences in another way: neither sees those of the other", event.node)
                return
            peer = self._peers[event.node] = _Peer()
            self._state.peer_up(event.node, event.incarnation)
            # At once, so that clients hear nothing of a link that was replaced within a tick.
            self._tell(event.node, peer, {})
        else:
            self._peers.pop(event.node, None)
            self._state.peer_down(event.node)
            self._view_due()
            self._look_later()
            self._sweep_later()
        self._changed()

    # Time

    def _look_later(self) -> None:
        if self._look_timer is None and not self._is_stopped:
            self._look_timer = self._clock.call_later(PRESENCE_LOOK_S, self._look)

    def _look(self) -> None:
        self._look_timer = None
        if self._state.look():
            self._look_later()
            self._changed()

    def _sweep_later(self) -> None:
        if self._sweep_timer is None and not self._is_stopped:
            self._sweep_timer = self._clock.call_later(PRESENCE_KEPT_S, self._sweep)

    def _sweep(self) -> None:
        self._sweep_timer = None
        forgotten, others = self._state.forget_lonely()
        if forgotten:
            # What peers believe this node to know it does not know any more.
            for peer in self._peers.values():
                peer.view_due = peer.asks = True
            self._changed()
        if others:
            self._sweep_later()
