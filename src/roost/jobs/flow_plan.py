"""The plan of a flow: which of its steps run together in one stage, and in how many stages.

Steps that are plain functions run in one stage of the loop, all of them in one pass, and partitions are branches inside
it: more stages in one loop would only hand elements around. Steps that are awaited run in several stages, so that many
are awaited at a time; after a partition, each partition has a stage of its own, so that its order holds. Steps for
worker processes run in as many stages as may compute at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from roost.core.window import Window
from roost.errors import ConfigError
from roost.jobs.flow_cpu import CpuLine
from roost.jobs.flow_fold import Folder, FoldNode, OnTrigger
from roost.jobs.flow_line import Line, Meter, SlowLine, Step
from roost.jobs.flow_node import Node, Route, Router, Split
from roost.limits import FLOW_BATCH, FLOW_CPU_BATCHES, FLOW_STAGES
from roost.otp.name import Name
from roost.otp.stages.stage import Stage
from roost.runtime.cpu import Cpu


class Reduce(NamedTuple):
    """A fold in the program."""

    folder: Folder
    window: Window
    on_trigger: OnTrigger | None = None

    @property
    def in_parts(self) -> bool:
        """Whether parts of the stream can be added up one by one, and the sums later."""
        return self.folder.combines and self.window.is_plain


Operation = Step | Reduce


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the operations that follow run.

    Attributes:
        route: how elements find their partition; None where there are no partitions.
        stages: how many at a time; None for what suits them.
        cpu: whether what comes before the first fold runs in worker processes.
        batch: elements that travel together; None for what suits the operations.
    """

    route: Route | None = None
    stages: int | None = None
    cpu: bool = False
    batch: int | None = None

    def __post_init__(self) -> None:
        for setting, value in (("stages", self.stages), ("batch", self.batch)):
            if value is not None and value < 1:
                raise ConfigError(setting, f"{value} is less than 1")
        if self.route is not None and self.route.count < 1:
            raise ConfigError("stages", f"{self.route.count} partitions are less than 1")


@dataclass(frozen=True, slots=True)
class FromItems:
    """Elements of an iterable."""

    items: Iterable[object] | AsyncIterable[object]


@dataclass(frozen=True, slots=True)
class FromStages:
    """Events of producers."""

    producers: tuple[Stage | Name, ...]
    max_demand: int


@dataclass(frozen=True, slots=True)
class FromFlows:
    """What comes out of other flows."""

    flows: tuple[FlowPlan, ...]


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """A whole flow: where elements come from, and what is done with them."""

    origin: FromItems | FromStages | FromFlows
    scopes: tuple[tuple[Scope, tuple[Operation, ...]], ...]


class LinePart(NamedTuple):
    """Steps in the loop, and perhaps a fold; `parts` when what it folds are partial sums."""

    steps: tuple[Step, ...]
    reduce: Reduce | None
    parts: bool = False

    @property
    def is_async(self) -> bool:
        """Whether a step must be awaited."""
        return any(step.is_async for step in self.steps)


class CpuPart(NamedTuple):
    """Steps in worker processes, and perhaps partial sums."""

    steps: tuple[Step, ...]
    reduce: Reduce | None


class SplitPart(NamedTuple):
    """Branches."""

    route: Route
    parts: tuple[LinePart, ...]


Part = LinePart | CpuPart | SplitPart


@dataclass(slots=True)
class Segment:
    """Stages that all do the same.

    Attributes:
        kind: in one stage of the loop, awaited in several, or in worker processes.
        workers: how many stages.
        route: how elements are given to them; to anybody when None.
        batch: elements that travel to them together, at most.
        paced: whether fewer travel together when they would keep the loop too long.
        parts: what each of them does.
    """

    kind: Literal["loop", "await", "cpu"]
    workers: int = 1
    route: Route | None = None
    batch: int = FLOW_BATCH
    paced: bool = False
    parts: list[Part] = field(default_factory=list)

    @property
    def demand(self) -> tuple[int, int]:
        """How many batches are under way to one stage, and how few are left when it asks for more."""
        if self.kind == "cpu":
            return FLOW_CPU_BATCHES, FLOW_CPU_BATCHES // 2
        return (4, 2) if self.kind == "loop" else (2, 1)

    def build(self, meter: Meter, cpu: Cpu, partition: int) -> list[Node]:
        """The nodes of one stage.

        Raises:
            ConfigError: when a function cannot run in a worker process.
        """
        return [_node(part, meter, cpu, partition) for part in self.parts]


def segments(plan: FlowPlan, cpu_workers: int) -> list[Segment]:
    """The stages of a flow, in order.

    Raises:
        ConfigError: when an async function should run in a worker process.
    """
    made: list[Segment] = []
    for scope, operations in plan.scopes:
        if scope.route is not None:
            _partitioned(made, scope, scope.route, operations)
        else:
            _free(made, scope, operations, cpu_workers)
    if not made or made[0].route is not None:
        made.insert(0, Segment("loop"))  # somebody must give the elements to their partitions
    return made


def _free(made: list[Segment], scope: Scope, operations: Sequence[Operation], cpu_workers: int) -> None:
    parts = _lines(operations)
    if scope.cpu and parts:
        head = _for_cpu(parts[0])
        batch = scope.batch or FLOW_BATCH
        made.append(Segment("cpu", scope.stages or cpu_workers, None, batch, parts=[head]))
        parts = _after_cpu(parts, head)
    for part in parts:
        if part.is_async:
            steps = LinePart(part.steps, None)
            made.append(Segment("await", scope.stages or FLOW_STAGES, None, scope.batch or 1, parts=[steps]))
            part = LinePart((), part.reduce)
        if part.steps or part.reduce is not None:
            _loop(made, scope).parts.append(part)


def _partitioned(made: list[Segment], scope: Scope, route: Route, operations: Sequence[Operation]) -> None:
    parts = _lines(operations)
    if scope.cpu and parts:
        head = _for_cpu(parts[0])
        batch = scope.batch or FLOW_BATCH
        made.append(Segment("cpu", route.count, route, batch, parts=[head, *_after_cpu(parts, head)]))
    elif any(part.is_async for part in parts):
        made.append(Segment("await", route.count, route, scope.batch or 1, parts=list(parts)))
    else:
        _loop(made, scope).parts.append(SplitPart(route, tuple(parts)))


def _loop(made: list[Segment], scope: Scope) -> Segment:
    """The last segment when it is one stage in the loop, else a new one."""
    if not made or made[-1].kind != "loop":
        made.append(Segment("loop", batch=scope.batch or FLOW_BATCH, paced=scope.batch is None))
    return made[-1]


def _lines(operations: Sequence[Operation]) -> list[LinePart]:
    """The operations, cut after each fold."""
    parts: list[LinePart] = []
    steps: list[Step] = []
    for operation in operations:
        if isinstance(operation, Reduce):
            parts.append(LinePart(tuple(steps), operation))
            steps = []
        else:
            steps.append(operation)
    if steps:
        parts.append(LinePart(tuple(steps), None))
    return parts


def _for_cpu(part: LinePart) -> CpuPart:
    for step in part.steps:
        if step.is_async:
            raise ConfigError("cpu", f"{step.name} is async; a worker process runs plain functions")
    return CpuPart(part.steps, part.reduce if part.reduce is not None and part.reduce.in_parts else None)


def _after_cpu(parts: Sequence[LinePart], head: CpuPart) -> list[LinePart]:
    """What is left for the loop."""
    reduce = parts[0].reduce
    if reduce is None:
        return list(parts[1:])
    return [LinePart((), reduce, head.reduce is not None), *parts[1:]]


def _node(part: Part, meter: Meter, cpu: Cpu, partition: int) -> Node:
    if isinstance(part, CpuPart):
        return CpuLine(part.steps, None if part.reduce is None else part.reduce.folder, cpu, meter)
    if isinstance(part, SplitPart):
        branches = [[_node(inner, meter, cpu, number) for inner in part.parts] for number in range(part.route.count)]
        return Split(Router(part.route, meter), branches)
    fold = None
    if part.reduce is not None:
        folder, window, on_trigger = part.reduce
        fold = FoldNode(folder, window, on_trigger, partition, part.parts, meter)
    return SlowLine(part.steps, fold, meter) if part.is_async else Line(part.steps, fold, meter)
