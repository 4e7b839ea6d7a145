"""One run of a flow: the process that starts its stages and ends them, and the iterator over what comes out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final, Generic, Self, TypeVar
from typing import cast as typed

import msgspec

from roost.core.pace import Pace
from roost.errors import ConfigError, FlowFailed, ProcessDown
from roost.jobs.flow_line import Meter, Policy, name_of
from roost.jobs.flow_plan import FlowPlan, FromFlows, FromItems, FromStages, Segment, segments
from roost.jobs.flow_stages import (
    Batch,
    BatchSource,
    FlowStage,
    ItemSource,
    SlowFlowStage,
    SourceSetup,
    StageSetup,
)
from roost.limits import FLOW_PROGRESS_S, SHUTDOWN_S
from roost.otp.crash import explain, is_clean
from roost.otp.declare import call, info
from roost.otp.name import Name
from roost.otp.outcome import NoReply
from roost.otp.reply import Caller
from roost.otp.stages.consumer import Consumer
from roost.otp.stages.stage import Stage
from roost.otp.stages.subscription import Subscription
from roost.otp.ties import Exit, Reason

T = TypeVar("T")

READY_BATCHES: Final = 2
"""Batches that are made before somebody asks for them."""


class Progress(msgspec.Struct, frozen=True):
    """How far a flow is.

    Attributes:
        done: elements of the source that have been through the first part of the flow.
        emitted: elements that have come out.
        skipped: elements that have failed and were left out.
        late: elements that came after their window was closed.
        elapsed_s: seconds since the start.
        finished: whether this is the end.
    """

    done: int
    emitted: int
    skipped: int
    late: int
    elapsed_s: float
    finished: bool


@dataclass(frozen=True)
class Settings:
    """How a flow is run.

    Attributes:
        policy: what becomes of an element that fails.
        on_skip: who is told of an element that is left out.
        on_progress: who is told how far it is.
        progress_s: how often.
    """

    policy: Policy = "raise"
    on_skip: Callable[[FlowFailed], object] | None = None
    on_progress: Callable[[Progress], object] | None = None
    progress_s: float = FLOW_PROGRESS_S


@dataclass(frozen=True)
class RunSetup:
    """What a runner needs."""

    __sendable__: ClassVar[bool] = True

    plan: FlowPlan
    settings: Settings


class _Ended:
    """What a runner answers when nothing more comes: how it was, and why when it has failed."""

    __sendable__: ClassVar[bool] = True
    __slots__ = ("error", "progress")

    def __init__(self, progress: Progress, error: FlowFailed | None) -> None:
        self.progress, self.error = progress, error


class _Tell(msgspec.Struct, frozen=True):
    """Tell how far it is."""


class Runner(Consumer[Batch]):
    """Runs one flow, for one caller at a time. Everything that belongs to the run ends with it."""

    async def init(self, setup: RunSetup) -> None:
        """Start the stages.

        Raises:
            ConfigError: when the flow makes no sense.
            StartFailed: when a stage did not start.
        """
        self.trap_exits()
        self.settings = setup.settings
        self.meter = Meter(setup.settings.policy, setup.settings.on_skip)
        self.began = self.scheduler.runtime.clock.now()
        self.stages: list[Stage] = []
        self.ready: deque[Batch] = deque()
        self.asked: dict[Subscription, int] = {}
        self.waiting: Caller[Batch | _Ended] | None = None
        self.ended: _Ended | None = None
        try:
            for stage in await self.start_all(setup.plan, Segment("loop")):
                self.asked[
                    self.subscribe_to(stage, max_demand=1, cancel="temporary", on_crash="report", manual=True)
                ] = 0
        except BaseException:
            await self.stop_all()
            raise
        if self.settings.on_progress is not None:
            self.send_every(self.settings.progress_s, _Tell())

    async def start_all(self, plan: FlowPlan, following: Segment) -> tuple[Stage | Name, ...]:
        """Start the stages of a plan, whose last ones feed `following`. Returns those last ones."""
        chain = [*segments(plan, self.scheduler.runtime.cpu.workers), following]
        origin, first, raw_demand = plan.origin, chain[0], None
        pace = Pace(first.batch) if first.paced else None
        sources: tuple[Stage | Name, ...]
        if isinstance(origin, FromFlows):
            sources = ()
            for flow in origin.flows:
                sources += await self.start_all(flow, first)
        elif isinstance(origin, FromStages):
            sources, raw_demand = origin.producers, origin.max_demand
        elif isinstance(origin.items, AsyncIterable):
            sources, raw_demand = (await ItemSource.start_link(origin.items),), first.batch * first.demand[0]
        else:
            sources = (await BatchSource.start_link(SourceSetup(origin.items, pace or Pace.fixed(first.batch))),)
        if isinstance(origin, FromItems):
            self.stages += [source for source in sources if isinstance(source, Stage)]
        counts = not isinstance(origin, FromFlows)
        for segment, after in pairwise(chain):
            kind = FlowStage if segment.kind == "loop" else SlowFlowStage
            made: list[Stage] = []
            for number in range(segment.workers):
                setup = StageSetup(segment, number, sources, after, self.meter, counts, pace, raw_demand)
                made.append(await kind.start_link(setup))
                self.stages.append(made[-1])
            sources, raw_demand, counts, pace = tuple(made), None, False, None
        return sources

    @call
    def next(self) -> Batch | _Ended:
        """What comes out next, as soon as there is something."""
        if self.ready:
            batch = self.ready.popleft()
            self.ask_more()
            return batch
        if self.ended is not None:
            return self.ended
        self.waiting = self.caller()
        self.ask_more()
        raise NoReply

    def handle_events(self, events: list[Batch]) -> None:
        """Hand them out, or keep them until somebody asks."""
        self.asked[self.delivery.subscription] -= len(events)
        for batch in events:
            self.meter.emitted += len(batch.items)
            self.ready.append(batch)
        if self.ready and self.waiting is not None and self.waiting.waits():
            self.waiting.reply(self.ready.popleft())

    def ask_more(self) -> None:
        """Have something ready before it is asked for."""
        if len(self.ready) < READY_BATCHES and self.ended is None:
            for subscription, asked in self.asked.items():
                if not asked:
                    self.asked[subscription] = self.ask(subscription, 1)

    def handle_cancel(self, subscription: Subscription, reason: Reason) -> None:
        """A last stage has ended. After all of them, and in peace, that is the end."""
        self.asked.pop(subscription, None)
        if not self.asked and is_clean(reason):
            self.end(None)

    @info
    def on_exit(self, exit: Exit) -> None:
        """A stage has ended: in peace, or the flow has failed."""
        if is_clean(exit.reason) or self.ended is not None:
            return
        if isinstance(exit.reason, FlowFailed):
            self.end(exit.reason)
        else:
            where = "the source" if isinstance(exit.process, (BatchSource, ItemSource)) else "a stage"
            failed = FlowFailed(where, "the next element", explain(exit.reason))
            failed.__cause__ = exit.reason if isinstance(exit.reason, BaseException) else None
            self.end(failed)

    @info
    def on_tell(self, message: _Tell) -> None:
        """It is time to tell how far it is."""
        failed = self.tell(self.progress(finished=False)) if self.ended is None else None
        if failed is not None:
            self.end(failed)

    async def terminate(self, reason: Reason) -> None:
        """End everything."""
        await self.stop_all()

    # Inside

    def progress(self, *, finished: bool) -> Progress:
        """How far it is."""
        meter, elapsed_s = self.meter, self.scheduler.runtime.clock.now() - self.began
        return Progress(meter.done, meter.emitted, meter.skipped, meter.late, elapsed_s, finished)

    def tell(self, progress: Progress) -> FlowFailed | None:
        """Call whoever wants to know. Returns what becomes of the flow when that fails."""
        hook = self.settings.on_progress
        if hook is None:
            return None
        try:
            hook(progress)
        except Exception as error:
            failed = FlowFailed(f"on_progress({name_of(hook)})", str(progress), explain(error))
            failed.__cause__ = error
            return failed
        return None

    def end(self, error: FlowFailed | None) -> None:
        """Nothing more comes. After a failure what was made and not yet taken is not handed out."""
        if self.ended is not None:
            return
        progress = self.progress(finished=True)
        if error is None:
            error = self.tell(progress)
        self.ended = _Ended(progress, error)
        if error is not None:
            self.ready.clear()
            for stage in self.stages:
                stage._process.signal(self._process, "shutdown")
        if self.waiting is not None:
            self.waiting.reply(self.ended)

    async def stop_all(self) -> None:
        """End all stages, all at the same time; those that do not end in time are killed."""
        downs = [stage.down() for stage in self.stages]
        for stage in self.stages:
            stage._process.signal(self._process, "shutdown")
        if downs:
            _, late = await asyncio.wait(downs, timeout=SHUTDOWN_S)
            for stage in self.stages if late else ():
                stage.exit("kill")


class FlowRun(AsyncIterator[T], Generic[T]):
    """What comes out of a flow, element by element, as fast as it is asked for.

    The flow begins with the first element that is asked for. It ends when it is exhausted, when it fails, with
    `aclose()`, or when nobody refers to this any more, as after a `break`: then all its stages end.
    """

    __slots__ = ("_at", "_items", "_over", "_runner", "_setup", "_taking", "progress")

    def __init__(self, plan: FlowPlan, settings: Settings) -> None:
        self._setup = RunSetup(plan, settings)
        self._runner: Runner | None = None
        self._items: list[object] = []
        self._at = 0
        self._over = self._taking = False
        self.progress: Progress | None = None
        """How far it was at the end."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while self._at >= len(self._items):
            items = await self.batch()
            if items is None:
                raise StopAsyncIteration
            self._items, self._at = typed("list[object]", items), 0
        self._at += 1
        return typed("T", self._items[self._at - 1])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def batch(self) -> list[T] | None:
        """Some elements; None at the end.

        Raises:
            FlowFailed: when a function of the flow raised.
            StartFailed: when the flow could not be started.
            ConfigError: when another task takes from it at the same time.
        """
        if self._over:
            return None
        if self._taking:
            raise ConfigError("stream", "another task waits for its next element already")
        self._taking = True
        try:
            if self._runner is None:
                self._runner = (await Runner.start_link(self._setup)).with_timeout(None)
            outcome = await self._runner.next()
        except ProcessDown as error:
            self._over = True
            raise FlowFailed("the run", "its next element", explain(error)) from error
        finally:
            self._taking = False
        if isinstance(outcome, Batch):
            return typed("list[T]", outcome.items)
        self.progress = outcome.progress
        await self.aclose()
        if outcome.error is not None:
            raise outcome.error
        return None

    async def aclose(self) -> None:
        """End the flow, and wait until all its stages have ended. Harmless when they have."""
        self._over = True
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.stop()

    def __del__(self) -> None:
        if self._runner is not None:
            with suppress(RuntimeError):  # the loop may be closed
                self._runner.exit("kill")
