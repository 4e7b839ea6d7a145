"""One direction of a simulated connection: bytes that take their time, in pieces, in order."""

from __future__ import annotations

import asyncio
import collections
import enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from roost.sim.net import SimNetwork
    from roost.sim.transport import SimTransport


class Event(enum.Enum):
    """What can arrive at the end of a pipe."""

    CALL = "call"
    OPEN = "open"
    DATA = "data"
    END = "end"
    RESET = "reset"


class _Parcel(NamedTuple):
    arrival_s: float
    event: Event
    data: bytes


class Pipe:
    """Carries what `source` writes to `target`.

    Like TCP it never loses, repeats or reorders bytes: a lost packet shows as a delay, a netsplit as silence until it
    heals. Pieces that arrive by the same time come as one, and one write may come as several.
    """

    def __init__(self, network: SimNetwork, source: SimTransport, target: SimTransport) -> None:
        self._network = network
        self._loop = network.loop
        self.source, self.target = source, target
        self.in_flight_bytes = 0
        self._parcels: collections.deque[_Parcel] = collections.deque()
        self._last_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reading = True

    def send(self, event: Event, data: bytes = b"") -> None:
        """Put something on its way, behind all that was sent before."""
        for piece in self._network.weather.pieces(data):
            arrival_s = max(self._last_s, self._loop.time() + self._network.weather.delay_s())
            self._last_s = arrival_s
            self._parcels.append(_Parcel(arrival_s, event, piece))
        self.in_flight_bytes += len(data)
        self._schedule()

    def reset(self) -> None:
        """End the connection mid-stream: a drawn part of what is on its way still arrives, then a reset."""
        self.truncate()
        self.send(Event.RESET)

    def truncate(self) -> None:
        """Lose a drawn part, from some point on, of what is on its way."""
        kept = self._network.weather.choose(len(self._parcels) + 1)
        while len(self._parcels) > kept:
            self.in_flight_bytes -= len(self._parcels.pop().data)

    def drop(self) -> None:
        """Lose all that is on its way."""
        self._parcels.clear()
        self.in_flight_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def read(self, wanted: bool) -> None:
        """Let the target's protocol have what arrives, or keep it in the pipe until it wants more."""
        self._reading = wanted
        self._schedule()

    def wake(self) -> None:
        """Try again: a netsplit has healed, or a machine is back. What waited is sent anew, so takes its delay anew."""
        if self._parcels and self._timer is None:
            self._arm(self._loop.time() + self._network.weather.delay_s())

    def _schedule(self) -> None:
        if self._timer is None and self._parcels and self._reading:
            self._arm(max(self._parcels[0].arrival_s, self._loop.time()))

    def _arm(self, when_s: float) -> None:
        life = self.target.life
        context = self._network.context if life is None or life.dead else life.context
        self._timer = self._loop.call_at(when_s, self._arrive, context=context)

    def _arrive(self) -> None:
        self._timer = None
        if not self._network.passes(self.source.host, self.target.host):
            return
        now_s = self._loop.time()
        while self._parcels and self._reading and self._parcels[0].arrival_s <= now_s:
            event, data = self._take(now_s)
            self._network.deliver(self, event, data)
        self._schedule()

    def _take(self, now_s: float) -> tuple[Event, bytes]:
        """Remove the next event; neighbouring data becomes one."""
        _, event, data = self._parcels.popleft()
        if event is Event.DATA:
            pieces = [data]
            while self._parcels and self._parcels[0].event is Event.DATA and self._parcels[0].arrival_s <= now_s:
                pieces.append(self._parcels.popleft().data)
            data = b"".join(pieces)
            self.in_flight_bytes -= len(data)
        return event, data
