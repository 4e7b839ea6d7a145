"""Flow: a computation over a stream of elements, described first and run later.

Theory of operation. Each method returns a new `Flow`; nothing happens before it is run. Then `roost.jobs.flow_plan`
decides what runs where, and stages (`roost.otp.stages`) pull batches of elements through, no faster than the result is
taken. The operations are those of Elixir's Flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Iterable
from dataclasses import replace
from typing import Any, Final, Generic, Self, TypeVar, overload
from typing import cast as typed

from roost.core.window import Window
from roost.errors import ConfigError, FlowFailed
from roost.jobs.flow_fold import Counting, Folder, Grouping, OnTrigger, Reducing, Trigger
from roost.jobs.flow_line import Kind, Policy, Step, is_async, name_of
from roost.jobs.flow_node import Route
from roost.jobs.flow_plan import FlowPlan, FromFlows, FromItems, FromStages, Operation, Reduce, Scope
from roost.jobs.flow_run import FlowRun, Progress, Settings
from roost.limits import FLOW_PROGRESS_S, FLOW_STAGES, STAGE_DEMAND
from roost.otp.name import Name
from roost.otp.stages.producer import Producer

T = TypeVar("T", covariant=True)
U = TypeVar("U")
A = TypeVar("A")
K = TypeVar("K", bound=Hashable)

WHOLE: Final = Window.whole()


class Flow(AsyncIterable[T], Generic[T]):
    """A computation over a stream of elements of type T.

    ::

        counts = await Flow.from_iterable(lines).flat_map(str.split).count_by().collect()

    Functions are plain functions or `async def`. An element that a function raised for makes the whole flow fail with
    FlowFailed, unless `on_error("skip")` says otherwise.
    """

    __slots__ = ("_plan", "_settings")

    def __init__(self, plan: FlowPlan, settings: Settings) -> None:
        self._plan, self._settings = plan, settings

    # Where elements come from

    @classmethod
    def from_iterable(
        cls,
        items: Iterable[U] | AsyncIterable[U],
        *,
        stages: int | None = None,
        cpu: bool = False,
        batch: int | None = None,
    ) -> Flow[U]:
        """A flow of the elements of an iterable or an async iterable, which may be endless: they are taken on demand.

        Args:
            items: where elements come from. A list can be run again; an iterator goes on where it is.
            stages: how many elements are awaited at a time by `async def` functions (FLOW_STAGES), or how many batches
                are computed at a time with `cpu` (the workers of this node). Plain functions run one after the other.
            cpu: run what comes before the first fold in worker processes. Their functions must be defined at the top
                of a module, and elements that go there and come back must be such as may cross between processes.
            batch: elements that travel together: FLOW_BATCH, or one when functions are awaited.

        Raises:
            ConfigError: when a number is less than 1.
        """
        scope = Scope(None, stages, cpu, batch)
        return Flow(FlowPlan(FromItems(items), ((scope, ()),)), Settings())

    @classmethod
    def from_stages(
        cls,
        *producers: Producer[U] | Name,
        max_demand: int = STAGE_DEMAND,
        stages: int | None = None,
        cpu: bool = False,
        batch: int | None = None,
    ) -> Flow[U]:
        """A flow of the events of producers, until all of them have ended.

        An event is acknowledged when everything that was made from it is taken, or is part of a sum.

        Args:
            producers: handles or names.
            max_demand: events under way from each producer to each stage.
            stages: as for `from_iterable`.
            cpu: as for `from_iterable`.
            batch: as for `from_iterable`, of what follows the first stage.

        Raises:
            ConfigError: when a number is less than 1, or there is no producer.
        """
        if not producers or max_demand < 1:
            raise ConfigError("from_stages", "it needs a producer, and a demand of at least 1")
        scope = Scope(None, stages, cpu, batch)
        return Flow(FlowPlan(FromStages(producers, max_demand), ((scope, ()),)), Settings())

    @classmethod
    def merge(cls, *flows: Flow[U], stages: int | None = None, cpu: bool = False, batch: int | None = None) -> Flow[U]:
        """One flow of what comes out of several, in no order. What they say of errors and progress is not taken over.

        Raises:
            ConfigError: when a number is less than 1, or there is no flow.
        """
        if not flows:
            raise ConfigError("merge", "it needs a flow")
        origin = FromFlows(tuple([flow._plan for flow in flows]))
        return Flow(FlowPlan(origin, ((Scope(None, stages, cpu, batch), ()),)), Settings())

    # What is done with each

    @overload
    def map(self, function: Callable[[T], Awaitable[U]]) -> Flow[U]: ...
    @overload
    def map(self, function: Callable[[T], U]) -> Flow[U]: ...
    # Any: the overloads say which
    def map(self, function: Callable[[T], object]) -> Flow[Any]:
        """What the function makes of each element."""
        return self._step("map", function)

    @overload
    def filter(self, function: Callable[[T], Awaitable[object]]) -> Flow[T]: ...
    @overload
    def filter(self, function: Callable[[T], object]) -> Flow[T]: ...
    def filter(self, function: Callable[[T], object]) -> Flow[T]:
        """The elements for which the function gives something true."""
        return self._step("filter", function)

    @overload
    def flat_map(self, function: Callable[[T], Awaitable[Iterable[U]]]) -> Flow[U]: ...
    @overload
    def flat_map(self, function: Callable[[T], Iterable[U]]) -> Flow[U]: ...
    # Any: the overloads say which
    def flat_map(self, function: Callable[[T], object]) -> Flow[Any]:
        """All that the function makes of each element: none, one or many."""
        return self._step("flat_map", function)

    # Where it is done

    def partition(
        self,
        key: Callable[[T], Hashable] | None = None,
        *,
        stages: int = FLOW_STAGES,
        cpu: bool = False,
        batch: int | None = None,
    ) -> Flow[T]:
        """Do what follows in partitions: elements with equal keys meet in the same one, in order.

        Folds add up each partition for itself. Async functions run in all partitions at the same time.

        Args:
            key: the key of an element; the element itself when None.
            stages: how many partitions.
            cpu: as for `from_iterable`.
            batch: as for `from_iterable`.

        Raises:
            ConfigError: when a number is less than 1.
        """
        _check_plain("partition", key)
        return self._scope(Scope(Route(stages, key), None, cpu, batch))

    def departition(self, *, stages: int | None = None, cpu: bool = False, batch: int | None = None) -> Flow[T]:
        """Do what follows without partitions, or in another place: the arguments are those of `from_iterable`.

        Raises:
            ConfigError: when a number is less than 1.
        """
        return self._scope(Scope(None, stages, cpu, batch))

    # What elements add up to

    def reduce(
        self,
        initial: Callable[[], A],
        function: Callable[[A, T], A],
        *,
        window: Window = WHOLE,
        combine: Callable[[A, A], A] | None = None,
    ) -> Reduction[A, A]:
        """What elements add up to, as one element: for each window and partition when it is closed.

        When the window fires before, the sum so far is sent on, as a copy, and grows on.

        Args:
            initial: makes the sum of nothing: `list`, `int`, `lambda: 1`.
            function: returns the sum with one more element.
            window: which elements belong together.
            combine: adds two sums, so that with `cpu` worker processes can add up the parts of a whole stream.
        """
        return self._reduce(Reducing(initial, function, combine), window)

    @overload
    def count_by(self, key: None = None, *, window: Window = WHOLE) -> Reduction[tuple[T, int], Counter[T]]: ...
    @overload
    def count_by(self, key: Callable[[T], K], *, window: Window = WHOLE) -> Reduction[tuple[K, int], Counter[K]]: ...
    # Any: the overloads say which
    def count_by(
        self, key: Callable[[T], Hashable] | None = None, *, window: Window = WHOLE
    ) -> Reduction[Any, Counter[Any]]:
        """Pairs of key and how often it came; the elements themselves are counted when `key` is None.

        The sum of an `on_trigger` is a Counter.
        """
        return self._reduce(Counting(key), window)

    @overload
    def group_by(
        self, key: Callable[[T], K], value: None = None, *, window: Window = WHOLE
    ) -> Reduction[tuple[K, list[T]], dict[K, list[T]]]: ...
    @overload
    def group_by(
        self, key: Callable[[T], K], value: Callable[[T], U], *, window: Window = WHOLE
    ) -> Reduction[tuple[K, list[U]], dict[K, list[U]]]: ...
    # Any: the overloads say which
    def group_by(
        self, key: Callable[[T], Hashable], value: Callable[[T], object] | None = None, *, window: Window = WHOLE
    ) -> Reduction[Any, dict[Any, list[Any]]]:
        """Pairs of key and the list of its elements, or of what `value` makes of them, in order.

        The sum of an `on_trigger` is a dict of lists.
        """
        return self._reduce(Grouping(key, value), window)

    # How it is run

    def on_error(self, policy: Policy, on_skip: Callable[[FlowFailed], object] | None = None) -> Self:
        """What becomes of an element for which a function raised.

        Args:
            policy: "raise" makes the flow fail, "skip" leaves the element out and says so.
            on_skip: who is told of each; the log when None.

        Raises:
            ConfigError: when the policy is another word.
        """
        if policy not in ("raise", "skip"):
            raise ConfigError("on_error", f"{policy!r} is not one of raise, skip")
        return type(self)(self._plan, replace(self._settings, policy=policy, on_skip=on_skip))

    def on_progress(self, hook: Callable[[Progress], object], every_s: float = FLOW_PROGRESS_S) -> Self:
        """Call `hook` with how far the run is, every `every_s` seconds, and once at its end."""
        return type(self)(self._plan, replace(self._settings, on_progress=hook, progress_s=every_s))

    def stream(self) -> FlowRun[T]:
        """Run it, and iterate over what comes out; `async for` over the flow itself does the same.

        Leaving early ends it: at once, but without waiting for that; `async with` waits.
        """
        return FlowRun(self._plan, self._settings)

    def __aiter__(self) -> FlowRun[T]:
        return self.stream()

    async def collect(self) -> list[T]:
        """Run it, and return what comes out.

        Raises:
            FlowFailed: when a function raised, or the source did.
            StartFailed: when it could not be started; its cause says why.
        """
        made: list[T] = []
        async with self.stream() as run:
            while (items := await run.batch()) is not None:
                made += items
        return made

    async def run(self) -> Progress:
        """Run it for what it does, and return how it was. Raises as `collect`."""
        async with self.stream() as run:
            while await run.batch() is not None:
                pass
        assert run.progress is not None
        return run.progress

    # Inside

    def _scope(self, scope: Scope) -> Flow[T]:
        plan = replace(self._plan, scopes=(*self._plan.scopes, (scope, ())))
        return Flow(plan, self._settings)

    def _with(self, operation: Operation) -> FlowPlan:
        *scopes, (scope, operations) = self._plan.scopes
        return replace(self._plan, scopes=(*scopes, (scope, (*operations, operation))))

    # Any: the type of what comes out is known to the caller
    def _step(self, kind: Kind, function: Callable[[T], object]) -> Flow[Any]:
        return Flow(self._with(Step(kind, function)), self._settings)

    # Any: as above
    def _reduce(self, folder: Folder, window: Window) -> Reduction[Any, Any]:
        _check_plain(folder.name, *folder.functions, window.by)
        return Reduction(self._with(Reduce(folder, window)), self._settings)


class Reduction(Flow[T], Generic[T, A]):
    """A flow that ends in a fold whose sum is of type A."""

    __slots__ = ()

    def on_trigger(self, function: Callable[[A, Trigger], tuple[Iterable[U], A]]) -> Flow[U]:
        """Let `function` say what to send on when a window fires.

        Args:
            function: takes the sum and why it fires; returns the elements to send on, and the sum to go on with, which
                is of no use when the trigger is "done".
        """
        *scopes, (scope, operations) = self._plan.scopes
        reduce = operations[-1]
        assert isinstance(reduce, Reduce)
        _check_plain("on_trigger", function)
        changed = reduce._replace(on_trigger=typed(OnTrigger, function))
        plan = replace(self._plan, scopes=(*scopes, (scope, (*operations[:-1], changed))))
        return Flow(plan, self._settings)


def _check_plain(what: str, *functions: Callable[..., object] | None) -> None:
    for function in functions:
        if function is not None and is_async(function):
            raise ConfigError(what, f"{name_of(function)} is async; await in a step before, such as map")
