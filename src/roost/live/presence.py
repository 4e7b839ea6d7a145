"""Presence: who is on a topic, on all nodes, pushed to the clients as Phoenix does.

The decisions are in `core.presence`. This shell sends a node's changes to the other nodes, and tells its own clients.
Both happen once per tick, so a thousand people who join at once cost each client a few frames instead of a thousand.

When things fail: the presences of a node that goes down leave at once, and are back when it is. A netsplit is the
same seen from both sides. A peer that does not keep up gets everything anew when it does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.core.presence import Delta, Presences, Snapshot, by_key
from roost.errors import BadMessage, NodeDown, RoostError
from roost.live.pubsub import PubSub
from roost.runtime.clock import Clock, Timer
from roost.wire import phoenix
from roost.wire.messages import Request

SERVICE: Final = "presence"
STATE_EVENT: Final = "presence_state"
DIFF_EVENT: Final = "presence_diff"
TICK_S: Final = 0.025
"""How long changes are collected before they are told."""

logger = logging.getLogger("roost.presence")

Welcome = Callable[[str, object], None]
"""Pushes an event with a payload to one client."""


class Resend(msgspec.Struct, array_like=True, frozen=True, tag="resend"):
    """The sender has missed something and needs a snapshot."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Delta | Snapshot | Resend).decode


class Presence:
    """The presences of the cluster on one node. It is a service of the fabric."""

    def __init__(self, fabric: Fabric, pubsub: PubSub, clock: Clock) -> None:
        self._fabric = fabric
        self._pubsub = pubsub
        self._clock = clock
        self._state = Presences(fabric.node, fabric.incarnation)
        self._arrivals: dict[str, list[Welcome]] = {}
        self._behind: dict[str, None] = {}
        self._tick: Timer | None = None
        fabric.serve(SERVICE, self)
        fabric.watch(self._on_peer)

    def track(self, topic: str, key: str, meta: dict[str, object]) -> int:
        """Add a presence of this node; returns its id.

        Raises:
            TooLarge: PRESENCES_PER_TOPIC_MAX of this node are under the topic already, or `meta` is over
                PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        id = self._state.track(topic, key, meta)
        self._soon()
        return id

    def update(self, id: int, meta: dict[str, object]) -> None:
        """Replace the meta of a presence of this node.

        Raises:
            KeyError: no such presence.
            TooLarge: `meta` is over PRESENCE_META_BYTES_MAX.
            TypeError: `meta` holds something that JSON cannot express.
        """
        self._state.update(id, meta)
        self._soon()

    def untrack(self, id: int) -> None:
        """Remove a presence of this node; harmless when it is gone."""
        self._state.untrack(id)
        self._soon()

    def welcome(self, topic: str, push: Welcome) -> None:
        """Push `presence_state` to one client at the next tick; the diffs that follow go on from there."""
        self._arrivals.setdefault(topic, []).append(push)
        self._soon()

    def list(self, topic: str) -> dict[str, list[dict[str, object]]]:
        """Who is on a topic now: the metas of each key."""
        listing: dict[str, list[dict[str, object]]] = {}
        for presence in self._state.present(topic):
            listing.setdefault(presence.key, []).append(msgspec.json.decode(presence.meta, type=dict[str, object]))
        return listing

    def stop(self) -> None:
        """Tell nobody anything any more."""
        if self._tick is not None:
            self._tick.cancel()

    # The tick

    def _soon(self) -> None:
        if self._tick is None:
            self._tick = self._clock.call_later(TICK_S, self._flush)

    def _flush(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        delta = self._state.take_delta()
        if delta is not None:
            body = _encode(delta)
            for peer in self._fabric.up():
                if peer != self._fabric.node and peer not in self._behind:
                    self._say(peer, body)
        for peer in list(self._behind):
            self._send_snapshot(peer)
        for topic, diff in self._state.take_diffs().items():
            payload = {"joins": by_key(list(diff.joins.values())), "leaves": by_key(list(diff.leaves.values()))}
            self._pubsub.local_broadcast(topic, DIFF_EVENT, payload)
        arrivals, self._arrivals = self._arrivals, {}
        for topic, welcomes in arrivals.items():
            state = phoenix.encode_payload(by_key(self._state.present(topic)))
            for welcome in welcomes:
                welcome(STATE_EVENT, state)
        if self._behind:
            self._soon()

    # Between nodes

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """What another node says about its presences."""
        message = _decode(body)
        if isinstance(message, Resend):
            self._send_snapshot(link.peer)
        elif not self._state.merge(link.peer, message):
            self._say(link.peer, _encode(Resend()))
        if self._state.has_news:
            self._soon()

    def on_request(self, link: Link, request: Request) -> None:
        """Nothing about presences is asked for."""
        raise BadMessage("presences are not asked for")

    def _on_peer(self, event: PeerUp | PeerDown) -> None:
        self._behind.pop(event.node, None)
        if isinstance(event, PeerUp):
            self._state.peer_up(event.node, event.incarnation)
            self._send_snapshot(event.node)
        else:
            self._state.peer_down(event.node)
        self._flush()

    def _send_snapshot(self, peer: str) -> None:
        for part in self._state.snapshot():
            if not self._say(peer, _encode(part)):
                return
        self._behind.pop(peer, None)

    def _say(self, peer: str, body: bytes) -> bool:
        try:
            self._fabric.cast(peer, SERVICE, body)
        except NodeDown:
            self._behind.pop(peer, None)
        except RoostError as error:
            if peer not in self._behind:
                logger.warning("%s is behind with presences: %s", peer, error)
            self._behind[peer] = None
            self._soon()
            return False
        return True
