"""Nodes: what one stage of a flow does with a batch, from its first step to its last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from roost.core.dispatch import spread
from roost.jobs.flow_line import Line, Meter, Sink, SlowLine, failure, name_of
from roost.limits import FLOW_KEYS_REMEMBERED


@dataclass(frozen=True, slots=True)
class Route:
    """How elements find their partition. Elements with equal keys have the same one."""

    count: int
    # Any: the application's own class of elements
    key: Callable[[Any], Hashable] | None

    @property
    def name(self) -> str:
        """As the program says it."""
        return f"partition({'' if self.key is None else name_of(self.key)})"


class Router:
    """Sorts elements by partition."""

    __slots__ = ("_known", "_meter", "_route", "_spread")

    def __init__(self, route: Route, meter: Meter) -> None:
        self._route, self._meter = route, meter
        self._spread = spread(range(route.count))
        self._known: dict[str, int] = {}

    def split(self, items: list[object]) -> list[list[object]]:
        """The elements of each partition, in order.

        Raises:
            FlowFailed: when the key function raised, and the policy is to raise.
        """
        parts: list[list[object]] = [[] for _ in range(self._route.count)]
        key, known = self._route.key, self._known
        for item in items:
            try:
                its = item if key is None else key(item)
                if type(its) is str:
                    number = known.get(its)
                    parts[self._learn(its) if number is None else number].append(item)
                else:
                    parts[self._number(its)].append(item)
            except Exception as error:
                failed = failure(error, item, [(self._route.name, ())])
                if not self._meter.skips:
                    raise failed from error
                self._meter.skip(failed)
        return parts

    def _learn(self, key: str) -> int:
        if len(self._known) >= FLOW_KEYS_REMEMBERED:
            self._known.clear()
        number = self._known[key] = self._number(key)
        return number

    def _number(self, key: object) -> int:
        number = self._spread(key)
        assert isinstance(number, int)
        return number


class Node(Protocol):
    """A part of what a stage does."""

    def take(self, items: list[object]) -> list[object] | Awaitable[list[object]]:
        """Handle a batch. Returns what comes out."""


class Split:
    """Partitions inside one stage: each has nodes of its own."""

    __slots__ = ("_branches", "_router")

    def __init__(self, router: Router, branches: Sequence[Sequence[Node]]) -> None:
        self._router = router
        self._branches = [Sequencer(branch) for branch in branches]

    def take(self, items: list[object]) -> list[object]:
        """Handle a batch, partition by partition."""
        made: list[object] = []
        for branch, part in zip(self._branches, self._router.split(items), strict=True):
            if part:
                made += branch.take(part)
        return made

    def folds(self) -> Iterator[Sink]:
        """All the folds inside."""
        for branch in self._branches:
            yield from branch.folds()

    def tick(self, period_s: float) -> list[object]:
        """A period is over."""
        return [item for branch in self._branches for item in branch.tick(period_s)]

    def end(self) -> list[object]:
        """The stream is over."""
        return [item for branch in self._branches for item in branch.end()]


class Sequencer:
    """Nodes one after the other, none of which is async."""

    __slots__ = ("_nodes",)

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = tuple(nodes)

    def take(self, items: list[object]) -> list[object]:
        """Handle a batch."""
        for node in self._nodes:
            items = _now(node.take(items))
        return items

    def folds(self) -> Iterator[Sink]:
        """All the folds inside."""
        for node in self._nodes:
            if isinstance(node, Split):
                yield from node.folds()
            elif (fold := fold_of(node)) is not None:
                yield fold

    def periods_s(self) -> list[float]:
        """The periods after which a fold wants a tick."""
        return list(dict.fromkeys([fold.period_s for fold in self.folds() if fold.period_s is not None]))

    def tick(self, period_s: float) -> list[object]:
        """A period is over."""
        items: list[object] = []
        for node in self._nodes:
            items = [*_now(node.take(items)), *_due(node, period_s)]
        return items

    def end(self) -> list[object]:
        """The stream is over."""
        items: list[object] = []
        for node in self._nodes:
            items = [*_now(node.take(items)), *_rest(node)]
        return items


class SlowSequencer(Sequencer):
    """The same with nodes some of which are async."""

    __slots__ = ()

    async def take_slowly(self, items: list[object]) -> list[object]:
        """Handle a batch."""
        for node in self._nodes:
            items = await _later(node.take(items))
        return items

    async def tick_slowly(self, period_s: float) -> list[object]:
        """A period is over."""
        items: list[object] = []
        for node in self._nodes:
            items = [*(await _later(node.take(items)) if items else ()), *_due(node, period_s)]
        return items

    async def end_slowly(self) -> list[object]:
        """The stream is over."""
        items: list[object] = []
        for node in self._nodes:
            items = [*(await _later(node.take(items)) if items else ()), *_rest(node)]
        return items


def fold_of(node: Node) -> Sink | None:
    """The fold at the end of a line."""
    return node.sink if isinstance(node, (Line, SlowLine)) else None


def _now(made: list[object] | Awaitable[list[object]]) -> list[object]:
    assert isinstance(made, list)
    return made


async def _later(made: list[object] | Awaitable[list[object]]) -> list[object]:
    return made if isinstance(made, list) else await made


def _due(node: Node, period_s: float) -> list[object]:
    if isinstance(node, Split):
        return node.tick(period_s)
    fold = fold_of(node)
    return fold.tick() if fold is not None and fold.period_s == period_s else []


def _rest(node: Node) -> list[object]:
    if isinstance(node, Split):
        return node.end()
    fold = fold_of(node)
    return fold.end() if fold is not None else []
