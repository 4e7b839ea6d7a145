"""Producer-consumers: stages that make events from events."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Generic, TypeVar

from roost.otp.crash import is_clean
from roost.otp.stages.consumer import Consumer, Source
from roost.otp.stages.producer import Producer
from roost.otp.stages.subscription import Handled, Parcel, ProducerDown
from roost.otp.ties import Reason

In = TypeVar("In")
Out = TypeVar("Out")


class ProducerConsumer(Producer[Out], Consumer[In], Generic[In, Out]):
    """A stage that makes events from events.

    It handles events only while somebody asks for what it makes, so what waits in it is bounded by demand. An input
    is acknowledged when everything that was made from it is, so a crash of this stage loses nothing either: its
    producer delivers the input again.

    ::

        class Doubler(ProducerConsumer[int, int]):
            def init(self) -> None:
                self.subscribe_to("numbers")

            def handle_events(self, events: list[int]) -> list[int]:
                return [2 * event for event in events]
    """

    _origins: dict[int, Parcel] | None = None
    _origin: int | None = None
    _inputs: int = 0

    def handle_events(self, events: list[In]) -> Iterable[Out] | Awaitable[Iterable[Out] | None] | None:
        """Make events from events, and return them, or `self.emit` them. May be `async def`.

        What the stage keeps for later has no origin any more: its input is acknowledged when this returns.
        """
        return None

    # Inside

    def _buffer_max(self) -> int | None:
        return None

    def _emit(self, events: list[object], origin: int | None) -> None:
        super()._emit(events, self._origin if origin is None else origin)

    def _may_work(self) -> bool:
        queue = self._receiving().queue
        out = self._sending()
        return bool(queue) and out.finishing is None and (isinstance(queue[0], ProducerDown) or out.outlet.hungry())

    def _next(self) -> Parcel | None:
        parcel = super()._next()
        if parcel is not None:
            self._inputs = self._origin = self._inputs + 1
            if self._origins is None:
                self._origins = {}
            self._origins[self._inputs] = parcel
            self._sending().outlet.open(self._inputs)
        return parcel

    def _handled(self, parcel: Parcel, made: object) -> None:
        origin, self._origin = self._origin, None
        self._parcel = None
        assert origin is not None
        if isinstance(made, Iterable):
            self._emit(list(made), origin)
        self._perform(self._sending().outlet.close(origin))
        source = self._receiving().sources.get(parcel.ref)
        if source is not None and self._origins is not None and origin in self._origins:
            source.process.inform(Handled(parcel.ref, parcel.number), bounded=False)

    def _on_settled(self, origin: int) -> None:
        if self._origins is not None:
            self._settle(self._origins.pop(origin))

    def _pull(self) -> None:
        self._kick()

    def _source_gone(self, source: Source, reason: Reason) -> None:
        ref = source.subscription.ref
        for origin in [origin for origin, parcel in (self._origins or {}).items() if parcel.ref == ref]:
            assert self._origins is not None
            del self._origins[origin]
            self._sending().outlet.forget(origin)
        super()._source_gone(source, reason)

    def _end_with(self, reason: Reason) -> None:
        if is_clean(reason):
            self.finish(reason)
        else:
            self.exit(reason)
