"""Presence: who is on a topic, on all nodes, pushed to the clients as Phoenix does.

The decisions are in `core.presence`. This shell sends a node's changes to the other nodes, and tells its own clients.
Both happen once per tick, so a thousand people who join at once cost each client a few frames instead of a thousand.
A peer that comes up is told everything in parts, a few per tick, so that what else is said to it finds its way too.

When things fail: the presences of a node that goes down leave at once, and are back when it is. A netsplit is the
same seen from both sides. What a peer that does not keep up has not taken waits for it; when that is too much it gets
everything anew.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.core.presence import Delta, Presences, Snapshot, by_key
from roost.errors import BadMessage, NodeDown, Overloaded
from roost.limits import MESSAGE_BYTES_MAX
from roost.live.pubsub import PubSub
from roost.runtime.clock import Clock, Timer
from roost.wire import phoenix
from roost.wire.messages import Request

SERVICE: Final = "presence"
STATE_EVENT: Final = "presence_state"
DIFF_EVENT: Final = "presence_diff"
TICK_S: Final = 0.025
"""How long changes are collected before they are told."""
PARTS_PER_TICK: Final = 8
"""Messages that a peer which is behind is sent in one tick."""
WAITING_MAX: Final = 1_000
"""Messages that wait for one peer; instead of more it is told everything anew."""

logger = logging.getLogger("roost.presence")

Welcome = Callable[[str, object], None]
"""Pushes an event with a payload to one client."""


class Resend(msgspec.Struct, array_like=True, frozen=True, tag="resend"):
    """The sender has missed something and needs a snapshot."""


_encode: Final = msgspec.msgpack.Encoder().encode
_RESEND: Final = _encode(Resend())
_decode: Final = msgspec.msgpack.Decoder(Delta | Snapshot | Resend).decode


class Presence:
    """The presences of the cluster on one node. It is a service of the fabric."""

    def __init__(self, fabric: Fabric, pubsub: PubSub, clock: Clock) -> None:
        self._fabric = fabric
        self._pubsub = pubsub
        self._clock = clock
        self._state = Presences(fabric.node, fabric.incarnation)
        self._arrivals: dict[str, list[Welcome]] = {}
        self._behind: dict[str, deque[bytes]] = {}
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
                if peer == self._fabric.node:
                    continue
                if len(body) > MESSAGE_BYTES_MAX:
                    self._tell_everything(peer)
                else:
                    self._say(peer, body)
        for peer in list(self._behind):
            self._catch_up(peer)
        for topic, diff in self._state.take_diffs().items():
            payload = {"joins": by_key(list(diff.joins.values())), "leaves": by_key(list(diff.leaves.values()))}
            self._pubsub.local_broadcast(topic, DIFF_EVENT, payload)
        arrivals, self._arrivals = self._arrivals, {}
        for topic, welcomes in arrivals.items():
            state = phoenix.encode_payload(by_key(self._state.present(topic)))
            for welcome in welcomes:
                welcome(STATE_EVENT, state)

    # Between nodes

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """What another node says about its presences."""
        message = _decode(body)
        if isinstance(message, Resend):
            self._tell_everything(link.peer)
        elif not self._state.merge(link.peer, message):
            self._say(link.peer, _RESEND)
        if self._state.has_news:
            self._soon()

    def on_request(self, link: Link, request: Request) -> None:
        """Nothing about presences is asked for."""
        raise BadMessage("presences are not asked for")

    def _on_peer(self, event: PeerUp | PeerDown) -> None:
        self._behind.pop(event.node, None)
        if isinstance(event, PeerUp):
            self._state.peer_up(event.node, event.incarnation)
            self._tell_everything(event.node)
        else:
            self._state.peer_down(event.node)
        self._flush()

    def _say(self, peer: str, body: bytes) -> None:
        """Send one message, after those that wait for the peer already."""
        waiting = self._behind.get(peer)
        if waiting is None:
            self._behind[peer] = deque((body,))
            self._catch_up(peer)
        elif len(waiting) < WAITING_MAX or body == _RESEND:
            waiting.append(body)
        else:
            logger.warning("%s is behind with presences: it is told everything anew", peer)
            self._tell_everything(peer)

    def _tell_everything(self, peer: str) -> None:
        """Send a snapshot in place of what waits for the peer; later changes follow it."""
        waiting = deque(_encode(part) for part in self._state.snapshot())
        if _RESEND in self._behind.get(peer, ()):
            waiting.appendleft(_RESEND)
        self._behind[peer] = waiting
        self._catch_up(peer)

    def _catch_up(self, peer: str) -> None:
        """Send some of what waits for the peer; the rest at the next tick."""
        waiting = self._behind[peer]
        try:
            for _ in range(min(len(waiting), PARTS_PER_TICK)):
                self._fabric.cast(peer, SERVICE, waiting[0])
                waiting.popleft()
        except NodeDown:
            waiting.clear()
        except Overloaded:
            logger.debug("%s does not keep up with presences", peer)
        if waiting:
            self._soon()
        else:
            del self._behind[peer]
