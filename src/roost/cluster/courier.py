"""A courier: casts of one service that must arrive, in order, for as long as the link is up.

A cast to a peer that does not keep up is refused with Overloaded. What a courier carries waits instead, and goes out as
soon as there is room. It dies with the link: whoever needs more says it again when the peer is back.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from roost.cluster.fabric import Fabric
from roost.errors import NodeDown, Overloaded
from roost.runtime.clock import Clock, Timer

RETRY_S: Final = 0.01
"""The pause before a peer that did not keep up is tried again."""


class Courier:
    """What one service has to say to each peer.

    Args:
        fabric: the links of this node.
        clock: its clock.
        service: whom it speaks to over there.
    """

    def __init__(self, fabric: Fabric, clock: Clock, service: str) -> None:
        self._fabric, self._clock, self._service = fabric, clock, service
        self._waiting: dict[str, deque[bytes]] = {}
        self._timer: Timer | None = None

    def waiting(self, peer: str) -> int:
        """How many messages wait for a peer."""
        return len(self._waiting.get(peer, ()))

    def say(self, peer: str, body: bytes) -> None:
        """Send a message, after those that wait for the peer already; nothing happens when it is not connected.

        Raises:
            TooLarge: when the body is over MESSAGE_BYTES_MAX.
        """
        waiting = self._waiting.get(peer)
        if waiting is not None:
            waiting.append(body)
            return
        try:
            self._fabric.cast(peer, self._service, body)
        except Overloaded:
            self._waiting[peer] = deque((body,))
            self._soon()
        except NodeDown:
            return

    def forget(self, peer: str) -> None:
        """The peer is down: nothing waits for it any more."""
        self._waiting.pop(peer, None)

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._timer = None
        for peer, waiting in list(self._waiting.items()):
            try:
                while waiting:
                    self._fabric.cast(peer, self._service, waiting[0])
                    waiting.popleft()
            except NodeDown:
                waiting.clear()
            except Overloaded:
                continue
            self._waiting.pop(peer, None)
        if self._waiting:
            self._soon()
