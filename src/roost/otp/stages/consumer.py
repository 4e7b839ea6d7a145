"""Consumers: stages that ask for events and handle them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import ClassVar, Generic, TypeVar

import msgspec

from roost.core.dispatch import Place, Ref
from roost.core.inlet import Inlet
from roost.core.outlet import OnCrash
from roost.errors import ConfigError, NoSuchProcess
from roost.limits import STAGE_DEMAND
from roost.otp.crash import is_clean
from roost.otp.declare import call, cast, info
from roost.otp.name import Name
from roost.otp.process import Process
from roost.otp.stages.stage import Stage, no_caller
from roost.otp.stages.subscription import (
    Acknowledge,
    Ask,
    CancelMode,
    Delivery,
    Leave,
    Parcel,
    ProducerDown,
    Subscribe,
    Subscription,
    check_cancel_mode,
    watch,
)
from roost.otp.ties import Monitor, Reason

In = TypeVar("In")


class _Work(msgspec.Struct, frozen=True):
    """There is something to handle."""


class _SlowWork(msgspec.Struct, frozen=True):
    """There is something to handle, and `handle_events` is async."""


class Source:
    """A producer as its consumer keeps it."""

    __slots__ = ("cancel", "inlet", "leaving", "monitor", "process", "subscription")

    def __init__(
        self, subscription: Subscription, process: Process, inlet: Inlet, cancel: CancelMode, monitor: Monitor
    ) -> None:
        self.subscription, self.process, self.inlet = subscription, process, inlet
        self.cancel, self.monitor = cancel, monitor
        self.leaving = False


class Inbox:
    """The consuming side of a process. What has arrived waits in `queue`, no more than was asked for."""

    __slots__ = ("number", "queue", "sources", "working")

    def __init__(self) -> None:
        self.sources: dict[Ref, Source] = {}
        self.queue: deque[Parcel | ProducerDown] = deque()
        self.number = 0
        self.working = False
        """Whether the process works, or will without being told again."""

    def __repr__(self) -> str:
        return f"<{len(self.sources)} producers, {len(self.queue)} parcels wait>"


class Consumer(Stage, Generic[In]):
    """A stage that handles events.

    ::

        class Printer(Consumer[int]):
            def init(self) -> None:
                self.subscribe_to("numbers", max_demand=100)

            def handle_events(self, events: list[int]) -> None:
                print(events)
    """

    __events_async__: ClassVar[bool] = False

    _inbox: Inbox | None = None
    _parcel: Parcel | None = None
    """What is being handled; a crash report shows it."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.__events_async__ = asyncio.iscoroutinefunction(cls.handle_events)

    # What a class may define

    def handle_events(self, events: list[In]) -> object:
        """Handle some events: never more than `max_demand - min_demand` at once. May be `async def`.

        They are acknowledged when this returns. When it raises, the process crashes, and they are delivered again, or
        reported, as the subscription says.
        """
        return None

    # Inside, on self

    @property
    def delivery(self) -> Delivery:
        """Inside `handle_events`: where the events come from, and whether somebody may have handled them before.

        Raises:
            ConfigError: outside of it.
        """
        parcel = self._parcel
        if parcel is None:
            raise ConfigError("delivery", "there is one only while handle_events runs")
        return Delivery(self._receiving().sources[parcel.ref].subscription, parcel.again)

    def subscribe_to(
        self,
        producer: Stage | Name,
        *,
        max_demand: int = STAGE_DEMAND,
        min_demand: int | None = None,
        cancel: CancelMode = "permanent",
        on_crash: OnCrash = "redeliver",
        partition: Hashable = None,
        selector: Callable[[In], bool] | None = None,
        manual: bool = False,
    ) -> Subscription:
        """Inside: ask a producer for events, from now on.

        Args:
            producer: whom: a handle, or a name.
            max_demand: the most events under way to this consumer.
            min_demand: how few of them may be left before it asks for more; half of `max_demand` when None.
            cancel: what to do when the producer ends: "permanent" ends too, with the same reason, "transient" ends
                too unless the producer has ended as intended, "temporary" goes on.
            on_crash: what becomes of the events that this consumer was handling when it crashed: "redeliver" gives
                them to another or to the next one, so that each event is handled at least once; "report" reports
                them, so that each is handled at most once.
            partition: which one, of a producer with a PartitionDispatcher.
            selector: which events, of a producer with a BroadcastDispatcher. It runs in the producer's process.
            manual: ask only when `self.ask` says so.

        Raises:
            NoSuchProcess: when the producer does not run.
            ConfigError: when it is no producer of this node, or a setting makes no sense. A place that the producer's
                dispatcher does not have ends the subscription instead, as the end of the producer would.
        """
        check_cancel_mode(cancel)
        inlet = Inlet(max_demand, min_demand, manual=manual)
        process = self._find_producer(producer)
        inbox = self._receiving()
        inbox.number += 1
        ref = (self._process.pid, inbox.number)
        subscription = Subscription(process.handle, self.handle, ref)
        monitor = watch(self._process, process, lambda reason: ProducerDown(ref, reason))
        inbox.sources[ref] = Source(subscription, process, inlet, cancel, monitor)
        place = Place(max_demand, partition, selector, self._process.name)  # type: ignore[arg-type]  # events are In
        process.inform(Subscribe(subscription, place, self._batch(inlet), on_crash, inlet.first()), bounded=False)
        self.handle_subscribe(subscription)
        return subscription

    def unsubscribe_from(self, subscription: Subscription) -> None:
        """Inside: want nothing more from this producer. Events that have arrived and were not handled go back to it.

        The consumer lives on, whatever its `cancel` says. Harmless when the subscription is over.
        """
        source = self._receiving().sources.get(subscription.ref)
        if source is None:
            return
        if self._parcel is not None and self._parcel.ref == subscription.ref:
            source.leaving = True  # not before its events, which are being handled, are acknowledged
        else:
            self._leave(source)

    def ask(self, subscription: Subscription, count: int) -> int:
        """Inside: ask for `count` more events over a `manual` subscription.

        Returns: how many were asked for; fewer than `count` when `max_demand` would be under way.
        """
        source = self._receiving().sources.get(subscription.ref)
        asked = source.inlet.ask(count) if source is not None else 0
        if source is not None and asked:
            source.process.inform(Ask(subscription.ref, asked), bounded=False)
        return asked

    # On a handle

    @call
    def subscribe(
        self,
        producer: Stage | Name,
        *,
        max_demand: int = STAGE_DEMAND,
        min_demand: int | None = None,
        cancel: CancelMode = "permanent",
        on_crash: OnCrash = "redeliver",
        partition: Hashable = None,
    ) -> Subscription:
        """Let this consumer subscribe to `producer`; as `subscribe_to`, whose errors are the reply."""
        return self.subscribe_to(
            producer,
            max_demand=max_demand,
            min_demand=min_demand,
            cancel=cancel,
            on_crash=on_crash,
            partition=partition,
        )

    @cast
    def subscribe_soon(
        self,
        producer: Stage | Name,
        *,
        max_demand: int = STAGE_DEMAND,
        min_demand: int | None = None,
        cancel: CancelMode = "permanent",
        on_crash: OnCrash = "redeliver",
        partition: Hashable = None,
    ) -> None:
        """The same without waiting for it; when it fails, the log says so."""
        self.subscribe_to(
            producer,
            max_demand=max_demand,
            min_demand=min_demand,
            cancel=cancel,
            on_crash=on_crash,
            partition=partition,
        )

    @call
    def unsubscribe(self, subscription: Subscription) -> None:
        """Let this consumer leave a producer; as `unsubscribe_from`."""
        self.unsubscribe_from(subscription)

    # What producers say

    @info
    def _on_parcel(self, message: Parcel) -> None:
        inbox = self._receiving()
        if message.ref in inbox.sources:
            inbox.queue.append(message)
            self._kick()

    @info
    def _on_producer_down(self, message: ProducerDown) -> None:
        inbox = self._receiving()
        if message.ref in inbox.sources:
            inbox.queue.append(message)
            self._kick()

    @info
    def _on_work(self, message: _Work) -> None:
        entry = self._next()
        if isinstance(entry, Parcel):
            with no_caller(self, "handle_events"):
                self._handled(entry, self.handle_events(entry.events))  # type: ignore[arg-type]  # events are In
        self._worked(entry)

    @info
    async def _on_slow_work(self, message: _SlowWork) -> None:
        entry = self._next()
        if isinstance(entry, Parcel):
            with no_caller(self, "handle_events"):
                made = self.handle_events(entry.events)  # type: ignore[arg-type]  # events are In
                self._handled(entry, await made if isinstance(made, Awaitable) else made)
        self._worked(entry)

    # Inside

    def _receiving(self) -> Inbox:
        inbox = self._inbox
        if inbox is None:
            inbox = self._inbox = Inbox()
        return inbox

    def _find_producer(self, producer: Stage | Name) -> Process:
        handle = producer if isinstance(producer, Stage) else Stage.whereis(producer)
        process: object = handle._process
        if not isinstance(process, Process) or process.scheduler is not self.scheduler:
            raise ConfigError("producer", f"{handle!r} is not on this node")
        if not handle.__produces__ or process is self._process:
            raise ConfigError("producer", f"{handle!r} is no producer for {self._process}")
        if not process.alive:
            raise NoSuchProcess(str(process))
        return process

    def _batch(self, inlet: Inlet) -> int:
        """How many events are handled at once."""
        return inlet.batch

    def _may_work(self) -> bool:
        """Whether the first entry of the queue can be dealt with now."""
        return bool(self._receiving().queue)

    def _kick(self) -> None:
        """See to it that the queue is worked on, entry by entry, with other mail in between."""
        inbox = self._receiving()
        if not inbox.working and self._may_work():
            inbox.working = True
            self._process.inform(_SlowWork() if type(self).__events_async__ else _Work(), bounded=False)

    def _next(self) -> Parcel | None:
        """The next parcel; None when there is none, or when the next thing was the end of a producer."""
        inbox = self._receiving()
        if not self._may_work():
            return None
        entry = inbox.queue.popleft()
        if isinstance(entry, Parcel):
            self._parcel = entry
            return entry
        source = inbox.sources.pop(entry.ref)
        source.monitor.cancel()
        self._source_gone(source, entry.reason)
        if source.cancel == "permanent" or (source.cancel == "transient" and not is_clean(entry.reason)):
            self._end_with(entry.reason)
        return None

    def _leave(self, source: Source) -> None:
        inbox, ref = self._receiving(), source.subscription.ref
        del inbox.sources[ref]
        inbox.queue = deque([entry for entry in inbox.queue if entry.ref != ref])
        source.monitor.cancel()
        source.process.inform(Leave(ref), bounded=False)
        self._source_gone(source, "unsubscribed")

    def _source_gone(self, source: Source, reason: Reason) -> None:
        self.handle_cancel(source.subscription, reason)

    def _worked(self, parcel: Parcel | None) -> None:
        inbox = self._receiving()
        inbox.working = False
        source = inbox.sources.get(parcel.ref) if parcel is not None else None
        if source is not None and source.leaving:
            self._leave(source)
        self._kick()

    def _end_with(self, reason: Reason) -> None:
        """A producer has ended, and this consumer cannot be without it."""
        self.exit(reason)

    def _handled(self, parcel: Parcel, made: object) -> None:
        """`handle_events` has returned."""
        self._parcel = None
        self._settle(parcel)

    def _settle(self, parcel: Parcel) -> None:
        """Acknowledge a parcel, and ask for more when it is time."""
        source = self._receiving().sources.get(parcel.ref)
        if source is not None:
            ask = source.inlet.settled(len(parcel.events))
            source.process.inform(Acknowledge(parcel.ref, parcel.number, ask), bounded=False)
