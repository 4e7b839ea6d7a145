"""Producers: stages that make events when somebody asks for them."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Awaitable, Iterable
from typing import ClassVar, Final, Generic, Literal, TypeVar, get_args

import msgspec

from roost.core.dispatch import DemandDispatcher, Dispatcher, Ref
from roost.core.outlet import Counts, Deliver, Effect, Keep, Outlet, Settled, Undelivered
from roost.errors import ConfigError
from roost.limits import STAGE_BUFFER_EVENTS, STAGE_REDELIVERIES, STAGE_RETURN_S
from roost.otp.crash import explain, is_clean, report_lost
from roost.otp.declare import call, cast, info
from roost.otp.isolation import isolate
from roost.otp.process import Process
from roost.otp.stages.stage import Stage, no_caller, report_undelivered
from roost.otp.stages.subscription import (
    Acknowledge,
    Ask,
    ConsumerDown,
    Handled,
    Leave,
    Parcel,
    ProducerDown,
    Refuse,
    Subscribe,
    Subscription,
    watch,
)
from roost.otp.ties import Down, Monitor, Reason

Out = TypeVar("Out")

DemandMode = Literal["forward", "accumulate"]
"""Whether demand reaches `handle_demand` at once, or waits until the mode changes."""
_DEMAND_MODES: Final = get_args(DemandMode)


class _Pull(msgspec.Struct, frozen=True):
    """There is demand."""


class _SlowPull(msgspec.Struct, frozen=True):
    """There is demand, and `handle_demand` is async."""


class _Finish(msgspec.Struct, frozen=True):
    """There will be nothing more."""

    reason: Reason


class _GiveUp(msgspec.Struct, frozen=True):
    """Nobody has come back in time."""


class _Client:
    """A consumer as its producer keeps it."""

    __slots__ = ("monitor", "process", "subscription")

    def __init__(self, subscription: Subscription, process: Process, monitor: Monitor) -> None:
        self.subscription, self.process, self.monitor = subscription, process, monitor


class Outbox:
    """The producing side of a process."""

    __slots__ = ("changeable", "clients", "finishing", "forwarding", "giving_up", "outlet", "pulling")

    def __init__(self, outlet: Outlet, forwarding: bool) -> None:
        self.outlet = outlet
        self.clients: dict[Ref, _Client] = {}
        self.forwarding = forwarding
        self.pulling = False
        """Whether `handle_demand` runs, or will run without being told again."""
        self.changeable = False
        """Whether there was an event that its receiver could change."""
        self.finishing: Reason | None = None
        self.giving_up = False

    def __repr__(self) -> str:
        return f"<{len(self.clients)} consumers, {self.outlet.counts()}>"


class Producer(Stage, Generic[Out]):
    """A stage that makes events.

    ::

        class Numbers(Producer[int]):
            def init(self, start: int = 0) -> None:
                self.next = start

            def handle_demand(self, demand: int) -> list[int]:
                first, self.next = self.next, self.next + demand
                return list(range(first, self.next))
    """

    __produces__: ClassVar[bool] = True

    buffer_max: ClassVar[int] = STAGE_BUFFER_EVENTS
    """How many events may wait that nobody has asked for."""
    buffer_keep: ClassVar[Keep] = "last"
    """Whether a full buffer keeps the "first" or the "last" events. What it drops is reported."""
    redeliveries_max: ClassVar[int] = STAGE_REDELIVERIES
    """How often an event is delivered again after a consumer has crashed while it handled it."""
    demand_mode: ClassVar[DemandMode] = "forward"
    """Whether demand reaches `handle_demand` from the beginning, or only after `demand("forward")`."""

    __demand_async__: ClassVar[bool] = False

    _outbox: Outbox | None = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.__demand_async__ = asyncio.iscoroutinefunction(cls.handle_demand)

    # What a class may define

    def handle_demand(self, demand: int) -> Iterable[Out] | Awaitable[Iterable[Out] | None] | None:
        """Make `demand` more events, or fewer now and the rest by `self.emit` later. May be `async def`.

        A producer that gets its events from elsewhere need not define it.
        """
        return None

    def dispatcher(self) -> Dispatcher:
        """How events are given to consumers; asked for once, after `init`."""
        return DemandDispatcher()

    def handle_undelivered(self, undelivered: Undelivered) -> None:
        """Nobody will get these events. When not defined, they are told in the log."""
        report_undelivered(self._process, undelivered)

    # Inside, on self

    def emit(self, events: Iterable[Out]) -> None:
        """Inside: send events to consumers, as far as they have asked; the rest waits in the buffer.

        Raises:
            NotSendable: when an event cannot cross.
        """
        self._emit(list(events), None)
        self._pull()

    def finish(self, reason: Reason = "normal") -> None:
        """Inside: end with `reason`, as soon as consumers have handled everything. Nothing more is asked for.

        A consumer that has crashed is waited for: of a broadcast STAGE_RETURN_S seconds, else until there is one.
        """
        # Only after this handler: what it emits, or returns, is to be handled first.
        self._process.inform(_Finish(reason), bounded=False)

    # On a handle

    @call
    def counts(self) -> Counts:
        """What this producer has done with its events so far."""
        return self._sending().outlet.counts()

    @cast
    def demand(self, mode: DemandMode) -> None:
        """Let demand through to `handle_demand` ("forward"), or let it wait ("accumulate")."""
        if mode not in _DEMAND_MODES:
            raise ConfigError("demand", f"{mode!r} is not one of {', '.join(_DEMAND_MODES)}")
        self._sending().forwarding = mode == "forward"
        self._pull()

    # What consumers say

    @info
    def _on_subscribe(self, message: Subscribe) -> None:
        out, subscription = self._sending(), message.subscription
        ref, process = subscription.ref, subscription.consumer._process
        try:
            warning = out.outlet.subscribe(ref, message.place, message.batch, message.on_crash)
        except ConfigError as error:
            process.inform(ProducerDown(ref, error), bounded=False)
            return
        if warning is not None:
            report_lost(self._process, f"{process} subscribed with {warning}")
        monitor = watch(self._process, process, lambda reason: ConsumerDown(ref, reason))
        out.clients[ref] = _Client(subscription, process, monitor)
        self.handle_subscribe(subscription)
        self._go_on(out.outlet.ask(ref, message.ask))

    @info
    def _on_ask(self, message: Ask) -> None:
        self._go_on(self._sending().outlet.ask(message.ref, message.count))

    @info
    def _on_acknowledge(self, message: Acknowledge) -> None:
        outlet = self._sending().outlet
        effects = outlet.acknowledge(message.ref, message.number)
        if message.ask:
            effects += outlet.ask(message.ref, message.ask)
        self._go_on(effects)

    @info
    def _on_handled(self, message: Handled) -> None:
        self._sending().outlet.handled(message.ref, message.number)

    @info
    def _on_refuse(self, message: Refuse) -> None:
        outlet = self._sending().outlet
        effects = outlet.refuse(message.ref, message.number, message.why)
        if message.ask:
            effects += outlet.ask(message.ref, message.ask)
        self._go_on(effects)

    @info
    def _on_leave(self, message: Leave) -> None:
        self._forget(message.ref, "unsubscribed", left=True)

    @info
    def _on_consumer_down(self, message: ConsumerDown) -> None:
        self._forget(message.ref, message.reason, left=False)

    def _forget(self, ref: Ref, reason: Reason, *, left: bool) -> None:
        out = self._sending()
        client = out.clients.pop(ref, None)
        if client is None:
            return
        client.monitor.cancel()
        why = f"{client.process} has {'left' if left else f'ended: {explain(reason)}'}"
        effects = out.outlet.cancel(ref, why, crashed=not is_clean(reason), left=left)
        self.handle_cancel(client.subscription, reason)
        self._go_on(effects)

    # What there is to do

    @info
    def _on_pull(self, message: _Pull) -> None:
        out = self._sending()
        out.pulling = False
        self._pull()

    @info
    async def _on_slow_pull(self, message: _SlowPull) -> None:
        out = self._sending()
        wanted = self._wanted()
        if wanted:
            with no_caller(self, "handle_demand"):
                events = self.handle_demand(wanted)
                made = await events if isinstance(events, Awaitable) else events
                if made is not None:
                    self._emit(list(made), None)
        out.pulling = False
        self._pull()

    @info
    def _on_finish(self, message: _Finish) -> None:
        self._sending().finishing = message.reason
        self._check_finished()

    @info
    def _on_give_up(self, message: _GiveUp) -> None:
        self._perform(self._sending().outlet.give_up(f"nobody came back within {STAGE_RETURN_S:g} s"))
        self._check_finished()

    # Inside

    def _sending(self) -> Outbox:
        """The producing side, made when it is first needed: `dispatcher` may use what `init` has set."""
        out = self._outbox
        if out is None:
            if self.demand_mode not in _DEMAND_MODES:
                raise ConfigError("demand_mode", f"{self.demand_mode!r} is not one of {', '.join(_DEMAND_MODES)}")
            outlet = Outlet(
                self.dispatcher(),
                buffer_max=self._buffer_max(),
                keep=self.buffer_keep,
                redeliveries_max=self.redeliveries_max,
            )
            out = self._outbox = Outbox(outlet, self.demand_mode == "forward")
            self._report_at_end(outlet)
        return out

    def _report_at_end(self, outlet: Outlet) -> None:
        """Whatever the end, even a kill: say what is lost with this process."""
        process = self._process

        def report(down: Down) -> None:
            lost = outlet.unsettled()
            if lost:
                why = f"the producer has ended: {explain(down.reason)}"
                report_undelivered(process, Undelivered("ended", tuple(lost), why))

        process.tied.monitors[Monitor(process, None, report)] = None

    def _buffer_max(self) -> int | None:
        return self.buffer_max

    def _emit(self, events: list[object], origin: int | None) -> None:
        out = self._sending()
        mine = isolate(events, f"an event of {self._process}")
        assert isinstance(mine, list)
        if not out.changeable:
            out.changeable = any(map(operator.is_not, events, mine))
        self._perform(out.outlet.emit(mine, origin))

    def _go_on(self, effects: list[Effect]) -> None:
        """Do what follows from a message of a consumer."""
        self._perform(effects)
        self._pull()
        self._check_finished()

    def _perform(self, effects: list[Effect]) -> None:
        out = self._sending()
        for effect in effects:
            if type(effect) is Deliver:
                # What was sent is kept, so what is sent is a copy of the list, and of events that could be changed.
                events = isolate(effect.events, "events") if out.changeable else list(effect.events)
                assert isinstance(events, list)
                parcel = Parcel(effect.ref, effect.number, events, effect.again)
                out.clients[effect.ref].process.inform(parcel, bounded=False)
            elif type(effect) is Settled:
                self._on_settled(effect.origin)
            elif isinstance(effect, Undelivered):
                self.handle_undelivered(effect)

    def _on_settled(self, origin: int) -> None:
        """Everything that was made from an input is settled."""

    def _wanted(self) -> int:
        out = self._sending()
        return out.outlet.wanted() if out.forwarding and out.finishing is None else 0

    def _pull(self) -> None:
        """Let the source make what consumers have asked for."""
        out = self._sending()
        if out.pulling or not out.forwarding or out.finishing is not None or not out.outlet.wants():
            return
        out.pulling = True
        if type(self).__demand_async__:
            self._process.inform(_SlowPull(), bounded=False)
            return
        with no_caller(self, "handle_demand"):
            made = self.handle_demand(self._wanted())
            if made is not None:
                assert isinstance(made, Iterable)
                self._emit(list(made), None)
        if out.outlet.wants():
            # A selector that takes nothing leaves the demand as it was: everybody else gets a turn in between.
            self._process.inform(_Pull(), bounded=False)
        else:
            out.pulling = False

    def _check_finished(self) -> None:
        out = self._sending()
        if out.finishing is None:
            return
        if out.outlet.idle():
            self.exit(out.finishing)
        elif not out.giving_up and out.outlet.only_absent():
            out.giving_up = True
            self.send_after(STAGE_RETURN_S, _GiveUp())
