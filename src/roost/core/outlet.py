"""What a producer owes: to whom it sent what, what has come back, what waits, and what to ask of its source.

Theory of operation. Events that nobody has asked for wait in a bounded buffer. What the dispatcher sends leaves in
*parcels*, no larger than what the consumer handles at once, and each parcel is kept until the consumer has
acknowledged it. A consumer never has more parcels than it has asked for events, so the memory this takes is bounded
by demand. When the consumer ends, its parcels come back and go, before everything else, to whom the dispatcher says.

The parcel that was being handled when the consumer crashed is suspect. It comes back with one more attempt on its
account and is sent again event by event, so that the next crash accuses one event alone; after too many attempts that
event is given up as poison. Every event is acknowledged, discarded by the application's own hash function or
selector, or reported as `Undelivered`.

An event may have an *origin*: the input that a producer_consumer made it from. The origin is settled when everything
made from it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, NamedTuple, get_args

from roost.core.dispatch import Dispatcher, Lot, Place, Ref
from roost.errors import ConfigError

OnCrash = Literal["redeliver", "report"]
"""What becomes of the events that a consumer was handling when it ended: delivered again, or reported."""
Keep = Literal["first", "last"]
"""Which events a full buffer keeps."""
Cause = Literal["buffer_full", "crash", "poison", "absent", "misrouted", "ended"]
"""Why events are undelivered.

"buffer_full": nobody asked for them in time. "crash": their consumer ended while it handled them, and its subscription
says `on_crash="report"`. "poison": they were being handled in too many crashes. "absent": their consumer of a
broadcast ended and cannot, or did not, come back. "misrouted": the hash function or the selector failed. "ended": the
producer itself has ended.
"""
LOT_EVENTS: Final = 1_000
"""Events that wait together: taking some away from a lot copies the rest of it."""
_MODES: Final = get_args(OnCrash)
_KEEPS: Final = get_args(Keep)


class Deliver(NamedTuple):
    """Effect: send this parcel to its consumer. `again` when these events may have been handled before."""

    ref: Ref
    number: int
    events: list[object]
    again: bool


class Settled(NamedTuple):
    """Effect: everything that was made from this origin is settled."""

    origin: int


class Undelivered(NamedTuple):
    """Effect: nobody will get these events. `why` says more than `cause` does."""

    cause: Cause
    events: tuple[object, ...]
    why: str


Effect = Deliver | Settled | Undelivered


@dataclass(slots=True)
class Counts:
    """What a producer has done with its events, counted in events, since it started.

    Attributes:
        emitted: taken from the stage.
        delivered: sent to consumers; to each of them in a broadcast, and again after a crash.
        acknowledged: settled by consumers.
        redelivered: sent once more.
        discarded: given no partition by the hash function.
        undelivered: reported; `dropped` of them because the buffer was full.
        buffered: wait in the buffer now.
        in_flight: sent and not yet acknowledged now.
        waiting: wait for one certain consumer now.
        demand: asked for by consumers now, and not yet sent.
    """

    __sendable__: ClassVar[bool] = True

    emitted: int = 0
    delivered: int = 0
    acknowledged: int = 0
    redelivered: int = 0
    discarded: int = 0
    undelivered: int = 0
    dropped: int = 0
    buffered: int = 0
    in_flight: int = 0
    waiting: int = 0
    demand: int = 0


class _Client:
    """One subscription: the parcels on their way. `handled` are those that only wait for what was made from them."""

    __slots__ = ("batch", "handled", "numbers", "on_crash", "parcels")

    def __init__(self, batch: int, on_crash: OnCrash) -> None:
        self.batch, self.on_crash = batch, on_crash
        self.parcels: dict[int, Lot] = {}
        self.handled: dict[int, None] = {}
        self.numbers = 0


class Outlet:
    """The producing side of one stage.

    Args:
        dispatcher: who gets which event.
        buffer_max: events that may wait for demand; None when the stage itself waits for demand.
        keep: whether a full buffer keeps the "first" or the "last" events.
        redeliveries_max: how often a suspect event is sent again.

    Raises:
        ConfigError: when one of these makes no sense.
    """

    __slots__ = (
        "_again",
        "_buffer",
        "_buffer_max",
        "_buffered",
        "_clients",
        "_counts",
        "_effects",
        "_keep",
        "_origins",
        "_owed",
        "_redeliveries_max",
        "_returned",
        "dispatcher",
    )

    def __init__(self, dispatcher: Dispatcher, *, buffer_max: int | None, keep: Keep, redeliveries_max: int) -> None:
        if keep not in _KEEPS:
            raise ConfigError("buffer_keep", f"{keep!r} is not one of {', '.join(_KEEPS)}")
        if redeliveries_max < 0 or (buffer_max is not None and buffer_max < 0):
            raise ConfigError("buffer_max, redeliveries_max", "they must not be negative")
        self.dispatcher = dispatcher
        self._buffer_max, self._keep, self._redeliveries_max = buffer_max, keep, redeliveries_max
        self._clients: dict[Ref, _Client] = {}
        self._again: deque[Lot] = deque()
        self._buffer: deque[Lot] = deque()
        self._returned = 0
        """Events in `_again`."""
        self._buffered = 0
        """Events in `_buffer`."""
        self._owed = 0
        """Events that the source was asked for and has not emitted."""
        self._origins: dict[int, int] = {}
        self._effects: list[Effect] = []
        self._counts = Counts()

    # Consumers

    def subscribe(self, ref: Ref, place: Place, batch: int, on_crash: OnCrash) -> str | None:
        """Add a consumer that handles up to `batch` events at once. Returns a warning, or None.

        Raises:
            ConfigError: when the dispatcher has no such place for it.
        """
        if on_crash not in _MODES:
            raise ConfigError("on_crash", f"{on_crash!r} is not one of {', '.join(_MODES)}")
        warning = self.dispatcher.subscribe(ref, place)
        self._clients[ref] = _Client(batch, on_crash)
        return warning

    def ask(self, ref: Ref, count: int) -> list[Effect]:
        """The consumer wants `count` more events."""
        if ref in self._clients:
            self._send(self.dispatcher.ask(ref, count))
            self._flush()
        return self._done()

    def handled(self, ref: Ref, number: int) -> None:
        """The consumer has handled this parcel, and will acknowledge it when what it made from it is settled."""
        client = self._clients.get(ref)
        if client is not None and number in client.parcels:
            client.handled[number] = None

    def acknowledge(self, ref: Ref, number: int) -> list[Effect]:
        """This parcel is settled."""
        client = self._clients.get(ref)
        lot = client.parcels.pop(number, None) if client is not None else None
        if client is not None and lot is not None:
            client.handled.pop(number, None)
            self._counts.acknowledged += len(lot.events)
            self._counts.in_flight -= len(lot.events)
            self._release(lot.origin, len(lot.events))
        return self._done()

    def refuse(self, ref: Ref, number: int, why: str) -> list[Effect]:
        """The consumer lives, but handling this parcel has failed."""
        client = self._clients.get(ref)
        lot = client.parcels.pop(number, None) if client is not None else None
        if client is not None and lot is not None:
            client.handled.pop(number, None)
            self._counts.in_flight -= len(lot.events)
            self._return(ref, self._suspected([lot], client, why))
            self._send(self.dispatcher.ask(ref, 0))
            self._flush()
        return self._done()

    def cancel(self, ref: Ref, why: str, *, crashed: bool, left: bool = False) -> list[Effect]:
        """A consumer is gone: it has `left`, or else has ended, perhaps `crashed`.

        What it had not begun goes to others. What it was handling is suspect when it has crashed. What it has handled
        stays its own affair when it has left and lives on.
        """
        client = self._clients.pop(ref, None)
        if client is None:
            return self._done()
        self._counts.in_flight -= sum(len(lot.events) for lot in client.parcels.values())
        handled = [lot for number, lot in client.parcels.items() if number in client.handled]
        waiting = [lot for number, lot in client.parcels.items() if number not in client.handled]
        if left:
            for lot in handled:
                self._release(lot.origin, len(lot.events))
            self._return(ref, waiting)
        else:
            begun, fresh = [*handled, *waiting[:1]], waiting[1:]
            if client.on_crash == "report":
                begun = self._suspected(begun, client, why)
            elif crashed:
                begun = [*handled, *self._suspected(waiting[:1], client, why)]
            self._return(ref, [*[lot._replace(again=True) for lot in begun], *fresh])
        for lot in self.dispatcher.cancel(ref, left=left):
            if left:
                self._release(lot.origin, len(lot.events))
            else:
                self._lose("absent", lot, why)
        self._flush()
        return self._done()

    # The source

    def emit(self, events: list[object], origin: int | None = None) -> list[Effect]:
        """The stage has made these events."""
        self._counts.emitted += len(events)
        self._owed = max(0, self._owed - len(events))
        if origin is not None and origin in self._origins:
            self._origins[origin] += len(events)
        if events:
            for at in range(0, len(events), LOT_EVENTS):
                self._buffer.append(Lot(events[at : at + LOT_EVENTS], origin=origin))
            self._buffered += len(events)
            self._flush()
            if self._buffer_max is not None:
                self._overflow(self._buffer_max)
        return self._done()

    def wants(self) -> bool:
        """Whether the source should make more events."""
        return self.dispatcher.room() > self._stock + self._owed

    def wanted(self) -> int:
        """How many more events the source should make; they are owed from now on."""
        more = max(0, self.dispatcher.room() - self._stock - self._owed)
        self._owed += more
        return more

    def hungry(self) -> bool:
        """Whether something that is made now could be sent at once."""
        return self.dispatcher.room() > self._stock

    def open(self, origin: int) -> None:
        """The stage begins to handle an input."""
        self._origins[origin] = 1

    def close(self, origin: int) -> list[Effect]:
        """The stage has handled it: it is settled as soon as all that was made from it is."""
        self._release(origin, 1)
        return self._done()

    def forget(self, origin: int) -> None:
        """Whoever gave this input is gone: nobody will deliver it again."""
        self._origins.pop(origin, None)

    # What is left

    def counts(self) -> Counts:
        """A copy of the counters, with what is true now."""
        return replace(
            self._counts,
            buffered=self._stock,
            waiting=sum(len(lot.events) for lot in self.dispatcher.waiting()),
            demand=self.dispatcher.room(),
        )

    def idle(self) -> bool:
        """Whether everything that was emitted is settled."""
        return not self._counts.in_flight and not self._stock and not self.dispatcher.waiting()

    def only_absent(self) -> bool:
        """Whether all that is left waits for consumers that have gone away."""
        return not self._counts.in_flight and not self._stock

    def give_up(self, why: str) -> list[Effect]:
        """Report what waits for consumers that have not come back."""
        for lot in self.dispatcher.give_up():
            self._lose("absent", lot, why)
        return self._done()

    def unsettled(self) -> list[object]:
        """What would be lost if the producer ended now: not acknowledged, and no input that will be given again."""
        lots = [lot for client in self._clients.values() for lot in client.parcels.values()]
        lots += [*self._again, *self.dispatcher.waiting(), *self._buffer]
        return [event for lot in lots if lot.origin not in self._origins for event in lot.events]

    # Inside

    def _done(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    @property
    def _stock(self) -> int:
        return self._returned + self._buffered

    def _flush(self) -> None:
        """Send what waits, as far as there is demand; what came back goes first."""
        while self._again or self._buffer:
            room = self.dispatcher.room()
            if room <= 0:
                return
            source = self._again or self._buffer
            lot, rest = source.popleft().split(room)
            if rest is not None:
                source.appendleft(rest)
            if source is self._again:
                self._returned -= len(lot.events)
            else:
                self._buffered -= len(lot.events)
            done = self.dispatcher.dispatch(lot)
            self._counts.discarded += done.discarded
            placed = done.queued + sum(len(part.events) for _, part in done.sent)
            if done.misrouted:
                events = tuple([misrouted.event for misrouted in done.misrouted])
                self._report(Undelivered("misrouted", events, done.misrouted[0].why))
            self._release(lot.origin, len(lot.events) - placed)
            self._send(done.sent)

    def _send(self, sent: Iterable[tuple[Ref, Lot]]) -> None:
        for ref, lot in sent:
            client = self._clients[ref]
            size = 1 if lot.crashes else client.batch
            rest: Lot | None = lot
            while rest is not None:
                head, rest = rest.split(size)
                client.numbers = number = client.numbers + 1
                client.parcels[number] = head
                self._effects.append(Deliver(ref, number, head.events, head.again))
            self._counts.delivered += len(lot.events)
            self._counts.in_flight += len(lot.events)
            if lot.again:
                self._counts.redelivered += len(lot.events)

    def _return(self, ref: Ref, lots: Sequence[Lot]) -> None:
        again = self.dispatcher.give_back(ref, lots)
        self._again.extendleft(reversed(again))
        self._returned += sum(len(lot.events) for lot in again)

    def _suspected(self, lots: Iterable[Lot], client: _Client, why: str) -> list[Lot]:
        """These were being handled when it happened. Returns those that are sent again."""
        again: list[Lot] = []
        for lot in lots:
            if client.on_crash == "report":
                self._lose("crash", lot, why)
            elif lot.crashes >= self._redeliveries_max:
                self._lose("poison", lot, why)
            else:
                again.append(lot._replace(crashes=lot.crashes + 1, again=True))
        return again

    def _overflow(self, buffer_max: int) -> None:
        while self._buffered > buffer_max:
            excess = self._buffered - buffer_max
            if self._keep == "last":
                lost, rest = self._buffer.popleft().split(excess)
                if rest is not None:
                    self._buffer.appendleft(rest)
            else:
                last = self._buffer.pop()
                kept = len(last.events) - excess
                lost = last
                if kept > 0:
                    head, tail = last.split(kept)
                    self._buffer.append(head)
                    lost = tail or head
            self._buffered -= len(lost.events)
            self._counts.dropped += len(lost.events)
            self._lose("buffer_full", lost, f"nobody has asked for them, and {buffer_max} others wait")

    def _lose(self, cause: Cause, lot: Lot, why: str) -> None:
        self._report(Undelivered(cause, tuple(lot.events), why))
        self._release(lot.origin, len(lot.events))

    def _report(self, undelivered: Undelivered) -> None:
        self._counts.undelivered += len(undelivered.events)
        self._effects.append(undelivered)

    def _release(self, origin: int | None, count: int) -> None:
        """That many events of an origin are settled; a negative number are new ones, copies of a broadcast."""
        if origin is None or origin not in self._origins:
            return
        left = self._origins[origin] - count
        if left > 0:
            self._origins[origin] = left
        else:
            del self._origins[origin]
            self._effects.append(Settled(origin))
