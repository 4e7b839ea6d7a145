"""The processes of a running flow: a source, and stages that handle batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import msgspec

from roost.core.dispatch import DemandDispatcher, Dispatcher, PartitionDispatcher
from roost.core.outlet import Outlet, Undelivered
from roost.core.pace import Pace
from roost.errors import FlowFailed
from roost.jobs.flow_line import Meter
from roost.jobs.flow_node import Router, SlowSequencer
from roost.jobs.flow_plan import Segment
from roost.otp.crash import is_clean
from roost.otp.declare import info
from roost.otp.name import Name
from roost.otp.stages.from_iterable import FromIterable
from roost.otp.stages.producer import Producer
from roost.otp.stages.producer_consumer import ProducerConsumer
from roost.otp.stages.stage import Stage
from roost.otp.stages.subscription import Parcel, Subscription
from roost.otp.ties import Reason


class Batch:
    """Elements that travel together. They are handed over, not copied: whoever had them before needs them no more."""

    __sendable__: ClassVar[bool] = True
    __slots__ = ("items", "partition")

    def __init__(self, items: list[object], partition: int = 0) -> None:
        self.items, self.partition = items, partition

    def __repr__(self) -> str:
        return f"<a batch of {len(self.items)} elements>"


class BatchSource(Producer[Batch]):
    """The elements of an iterable, in batches."""

    def init(self, setup: SourceSetup) -> None:
        """Begin to iterate."""
        self.iterator: Iterator[object] = iter(setup.items)
        self.pace = setup.pace

    def handle_demand(self, demand: int) -> list[Batch]:
        """The next batches."""
        batches: list[Batch] = []
        while len(batches) < demand:
            size = self.pace.size
            items = list(islice(self.iterator, size))
            if items:
                batches.append(Batch(items))
            if len(items) < size:
                self.finish()
                break
        return batches

    def handle_undelivered(self, undelivered: Undelivered) -> None:
        """The flow has failed, which somebody else says."""

    def _report_at_end(self, outlet: Outlet) -> None:
        """A flow that is left early has not handled everything, as intended."""


class ItemSource(FromIterable):
    """The elements of an async iterable, one by one."""

    def handle_undelivered(self, undelivered: Undelivered) -> None:
        """The flow has failed, which somebody else says."""

    def _report_at_end(self, outlet: Outlet) -> None:
        """A flow that is left early has not handled everything, as intended."""


@dataclass(frozen=True)
class SourceSetup:
    """What a source needs."""

    __sendable__: ClassVar[bool] = True

    items: Iterable[object]
    pace: Pace


@dataclass(frozen=True)
class StageSetup:
    """What a stage needs.

    Attributes:
        segment: what it does.
        number: which of the stages of its segment it is.
        sources: where its elements come from.
        following: who gets what comes out.
        meter: of the run.
        counts: whether the elements that it handles are those of the source.
        pace: who decides how many elements come from the source together, if anybody does.
        raw_demand: how many events it asks of producers that send them one by one; None when batches come.
    """

    __sendable__: ClassVar[bool] = True

    segment: Segment
    number: int
    sources: tuple[Stage | Name, ...]
    following: Segment
    meter: Meter
    counts: bool
    pace: Pace | None
    raw_demand: int | None


class _Tick(msgspec.Struct, frozen=True):
    """A period of a window is over."""

    period_s: float


class _SlowTick(_Tick, frozen=True):
    """The same for a stage that awaits."""


class _End(msgspec.Struct, frozen=True):
    """All sources have ended."""


class _SlowEnd(_End, frozen=True):
    """The same for a stage that awaits."""


class FlowStage(ProducerConsumer[object, Batch]):
    """One stage of a flow. What it makes goes to the following segment; when it fails, the whole flow does."""

    ticks: ClassVar[type[_Tick]] = _Tick
    ends: ClassVar[type[_End]] = _End

    def init(self, setup: StageSetup) -> None:
        """Prepare the nodes, and subscribe to the sources."""
        self.setup = setup
        self.failed = False
        self.nodes = SlowSequencer(setup.segment.build(setup.meter, self.scheduler.runtime.cpu, setup.number))
        route = setup.following.route
        self.router = None if route is None else Router(route, setup.meter)
        self.open = len(setup.sources)
        max_demand, min_demand = setup.segment.demand
        if setup.raw_demand is not None:
            max_demand, min_demand = setup.raw_demand, setup.raw_demand // 2
        for source in setup.sources:
            self.subscribe_to(
                source,
                max_demand=max_demand,
                min_demand=min_demand,
                cancel="temporary",
                on_crash="report" if setup.raw_demand is None else "redeliver",
                partition=None if setup.segment.route is None else setup.number,
            )
        for period_s in self.nodes.periods_s():
            self.send_every(period_s, self.ticks(period_s))

    def dispatcher(self) -> Dispatcher:
        """By partition, when the following segment has partitions."""
        route = self.setup.following.route
        return DemandDispatcher() if route is None else PartitionDispatcher(route.count, _partition_of)

    def handle_events(self, events: list[object]) -> Iterable[Batch] | None:
        """Run a batch through the nodes."""
        items = self.unpack(events)
        pace, now = self.setup.pace, self.scheduler.runtime.clock.now
        began = now()
        try:
            made = self.pack(self.nodes.take(items))
            if pace is not None:
                pace.took(len(items), now() - began)
            return made
        except FlowFailed as error:
            self.fail(error)
            return None
        finally:
            self.count(items)

    @info
    def on_tick(self, message: _Tick) -> None:
        """Say what windows add up to whose time it is."""
        try:
            self.emit(self.pack(self.nodes.tick(message.period_s)))
        except FlowFailed as error:
            self.fail(error)

    @info
    def on_end(self, message: _End) -> None:
        """Say what all the windows add up to, and end when that is handled."""
        try:
            self.emit(self.pack(self.nodes.end()))
        except FlowFailed as error:
            self.fail(error)
        else:
            self.finish()

    def handle_cancel(self, subscription: Subscription, reason: Reason) -> None:
        """A source has ended; after the last one comes the end. When a source has failed, the flow is ended."""
        if subscription.consumer == self.handle:
            self.open -= 1
            if not self.open and is_clean(reason):
                self.continue_with(self.ends())

    def handle_undelivered(self, undelivered: Undelivered) -> None:
        """The flow has failed, which somebody else says."""

    # Inside

    def unpack(self, events: list[object]) -> list[object]:
        """The elements of some batches."""
        if self.setup.raw_demand is not None:
            return events
        if len(events) == 1:
            (batch,) = events
            assert isinstance(batch, Batch)
            return batch.items
        return [item for batch in events if isinstance(batch, Batch) for item in batch.items]

    def pack(self, items: list[object]) -> list[Batch]:
        """Elements in batches as the following segment wants them."""
        size = self.setup.following.batch
        parts = [items] if self.router is None else self.router.split(items)
        return [
            Batch(part[at : at + size], number) for number, part in enumerate(parts) for at in range(0, len(part), size)
        ]

    def count(self, items: list[object]) -> None:
        """Elements of the source are done."""
        if self.setup.counts:
            self.setup.meter.done += len(items)

    def fail(self, error: FlowFailed) -> None:
        """End with the error; the runner is linked, and ends everything else."""
        self.failed = True
        self.exit(error)

    def _handled(self, parcel: Parcel, made: object) -> None:
        if not self.failed:
            super()._handled(parcel, made)

    def _report_at_end(self, outlet: Outlet) -> None:
        """A flow that is left early has not handled everything, as intended."""


class SlowFlowStage(FlowStage):
    """One stage of a flow that awaits something for each batch."""

    ticks: ClassVar[type[_Tick]] = _SlowTick
    ends: ClassVar[type[_End]] = _SlowEnd

    async def handle_events(self, events: list[object]) -> Iterable[Batch] | None:  # type: ignore[override]  # async
        """Run a batch through the nodes."""
        items = self.unpack(events)
        try:
            return self.pack(await self.nodes.take_slowly(items))
        except FlowFailed as error:
            self.fail(error)
            return None
        finally:
            self.count(items)

    @info
    async def on_slow_tick(self, message: _SlowTick) -> None:
        """Say what windows add up to whose time it is."""
        try:
            self.emit(self.pack(await self.nodes.tick_slowly(message.period_s)))
        except FlowFailed as error:
            self.fail(error)

    @info
    async def on_slow_end(self, message: _SlowEnd) -> None:
        """Say what all the windows add up to, and end when that is handled."""
        try:
            self.emit(self.pack(await self.nodes.end_slowly()))
        except FlowFailed as error:
            self.fail(error)
        else:
            self.finish()


def _partition_of(batch: Batch) -> int:
    return batch.partition
