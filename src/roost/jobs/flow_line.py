"""Lines: consecutive steps of a flow, run over a batch in one pass.

What runs per element is the user's own function and nothing else: `map`, `filter` and `chain` of the standard library
pull the elements through, in C. Which element and which step have failed is worked out only when one has.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from operator import length_hint
from types import CodeType, CoroutineType, TracebackType
from typing import Final, Literal, NamedTuple, Protocol, Self
from typing import cast as typed

from roost.errors import FlowFailed
from roost.limits import FLOW_SKIPS_LOGGED
from roost.otp.display import display, explain

Kind = Literal["map", "filter", "flat_map"]
Policy = Literal["raise", "skip"]
"""What a flow does with an element that fails: fail with it, or leave it out and say so."""
Named = tuple[str, tuple[Callable[..., object], ...]]
"""A step by name, and the functions that it calls."""
ELEMENT_CHARS: Final = 200
"""How much of a failing element an error shows."""
LOOKED_AT: Final = 16
"""For so many elements a plain function is watched, whether it gives what would have to be awaited."""

_log = logging.getLogger("roost.flow")


class Step(NamedTuple):
    """One function that is applied to each element."""

    kind: Kind
    function: Callable[..., object]

    @property
    def name(self) -> str:
        """As the program says it: `map(parse)`."""
        return f"{self.kind}({name_of(self.function)})"

    @property
    def is_async(self) -> bool:
        """Whether its function must be awaited."""
        return is_async(self.function)


class Meter:
    """What one run of a flow has done so far. It is shared by the stages of the run and by nobody else.

    Attributes:
        done: elements of the source that have been through the first part of the flow.
        emitted: elements that have come out.
        skipped: elements that have failed and were left out.
        late: elements that came after their window was closed.
    """

    __slots__ = ("_on_skip", "_policy", "done", "emitted", "late", "skipped")

    def __init__(self, policy: Policy = "raise", on_skip: Callable[[FlowFailed], object] | None = None) -> None:
        self._policy, self._on_skip = policy, on_skip
        self.done = self.emitted = self.skipped = self.late = 0

    @property
    def skips(self) -> bool:
        """Whether an element that fails is left out."""
        return self._policy == "skip"

    def skip(self, failed: FlowFailed) -> None:
        """An element is left out."""
        self.skipped += 1
        if self._on_skip is not None:
            self._on_skip(failed)
        elif self.skipped <= FLOW_SKIPS_LOGGED:
            last = "; further ones are only counted" if self.skipped == FLOW_SKIPS_LOGGED else ""
            _log.warning("%s%s", failed, last)


class Sink(Protocol):
    """Where a line ends, when not in a list: a fold."""

    name: str
    functions: tuple[Callable[..., object], ...]

    @property
    def period_s(self) -> float | None:
        """How often it wants a `tick`."""

    def take(self, stream: Iterable[object]) -> list[object]:
        """Take all of it. Returns what comes out."""

    def tick(self) -> list[object]:
        """A period is over."""

    def end(self) -> list[object]:
        """The stream is over."""


class Line:
    """Steps, and perhaps a sink, as one pass over a batch."""

    __slots__ = ("_meter", "_running", "_steps", "sink")

    def __init__(self, steps: Iterable[Step], sink: Sink | None, meter: Meter) -> None:
        self._steps, self.sink, self._meter = tuple(steps), sink, meter
        self._running = tuple([Step(step.kind, partial(_watched, step)) for step in self._steps])

    def take(self, items: list[object]) -> list[object]:
        """Run a batch through.

        Raises:
            FlowFailed: when a function raised, and the policy is to raise.
        """
        take = self._take_carefully if self._meter.skips else self._take
        if self._running is self._steps or not items:
            return take(items)
        made = take(items[:LOOKED_AT])
        self._running = self._steps
        return made + take(items[LOOKED_AT:]) if len(items) > LOOKED_AT else made

    def _take(self, items: list[object]) -> list[object]:
        source, end = iter(items), End()
        try:
            stream = self._stream(chain(source, end))
            made = list(stream) if self.sink is None else self.sink.take(stream)
            end.check()
        except Exception as error:
            raise self._failed(error, items, source) from error
        return made

    def _stream(self, source: Iterator[object]) -> Iterator[object]:
        stream = source
        for kind, function in self._running:
            if kind == "map":
                stream = map(function, stream)
            elif kind == "filter":
                stream = filter(function, stream)
            else:
                stream = chain.from_iterable(typed("Iterator[Iterable[object]]", map(function, stream)))
        return stream

    def _take_carefully(self, items: list[object]) -> list[object]:
        """The same, one element after the other, for a flow that goes on after a failure."""
        made: list[object] = []
        source, end = iter(items), End()
        while True:
            try:
                for item in self._stream(chain(source, end)):
                    made += (item,) if self.sink is None else self.sink.take((item,))
                end.check()
                return made
            except Exception as error:
                self._meter.skip(self._failed(error, items, source))

    def _failed(self, error: Exception, items: list[object], source: Iterator[object]) -> FlowFailed:
        """Say which element it was: the last one that has left the source."""
        element = items[max(0, len(items) - length_hint(source) - 1)]
        steps: list[Named] = [(step.name, (step.function,)) for step in self._steps]
        if self.sink is not None:
            steps.append((self.sink.name, self.sink.functions))
        return failure(error, element, steps)


class End:
    """What comes after the last element. A function that raises StopIteration ends its stream before."""

    __slots__ = ("_is_reached",)

    def __init__(self) -> None:
        self._is_reached = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> object:
        self._is_reached = True
        raise StopIteration

    def check(self) -> None:
        """Raises RuntimeError when it was not reached."""
        if not self._is_reached:
            raise RuntimeError("a function of the flow has raised StopIteration")


def _watched(step: Step, value: object) -> object:
    """What the function gives; a coroutine, which the line does not await, is refused."""
    result: object = step.function(value)
    if isinstance(result, CoroutineType):
        result.close()
        raise TypeError(f"{step.name} gives a coroutine, but is no `async def`, so nothing awaits it")
    return result


class SlowLine:
    """The same with steps that are awaited: one element after the other."""

    __slots__ = ("_at", "_meter", "_steps", "sink")

    def __init__(self, steps: Iterable[Step], sink: Sink | None, meter: Meter) -> None:
        self._steps, self.sink, self._meter = tuple(steps), sink, meter
        self._at = ""
        """What runs now."""

    async def take(self, items: list[object]) -> list[object]:
        """Run a batch through.

        Raises:
            FlowFailed: when a function raised, and the policy is to raise.
        """
        made: list[object] = []
        for item in items:
            try:
                await self._pass(item, 0, made)
            except Exception as error:
                failed = failure(error, item, [(self._at, ())])
                if not self._meter.skips:
                    raise failed from error
                self._meter.skip(failed)
        return made

    async def _pass(self, value: object, number: int, made: list[object]) -> None:
        """Do what is left to do with a value, from this step on."""
        if number == len(self._steps):
            if self.sink is None:
                made.append(value)
            else:
                self._at = self.sink.name
                made += self.sink.take((value,))
            return
        step = self._steps[number]
        self._at = step.name
        result = step.function(value)
        if isinstance(result, Awaitable):
            result = await result
        if step.kind == "map":
            await self._pass(result, number + 1, made)
        elif step.kind == "filter":
            if result:
                await self._pass(value, number + 1, made)
        else:
            for one in typed("Iterable[object]", result):
                await self._pass(one, number + 1, made)
                self._at = step.name


def name_of(function: Callable[..., object]) -> str:
    """What a function is called where it is defined."""
    if isinstance(function, partial):
        return name_of(function.func)
    name: str | None = getattr(function, "__qualname__", None)
    return name or type(function).__qualname__


def is_async(function: Callable[..., object]) -> bool:
    """Whether what it gives must be awaited: an `async def`, also as a `partial`, or as the `__call__` of an object."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(vars(type(function)).get("__call__"))


def failure(error: Exception, element: object, steps: Sequence[Named]) -> FlowFailed:
    """What a flow raises: the step is the one whose function the traceback passes through.

    A function written in C leaves no trace; then it is one of those that could not leave one.
    """
    codes = _codes(error.__traceback__)
    traced = [name for name, functions in steps if any(_code_of(function) in codes for function in functions)]
    silent = [name for name, functions in steps if any(_code_of(function) is None for function in functions)]
    names = traced[:1] or silent or [name for name, _ in steps]
    return FlowFailed(" or ".join(names), display(element, chars_max=ELEMENT_CHARS), explain(error))


def _codes(trace: TracebackType | None) -> set[CodeType]:
    codes: set[CodeType] = set()
    while trace is not None:
        codes.add(trace.tb_frame.f_code)
        trace = trace.tb_next
    return codes


def _code_of(function: Callable[..., object]) -> CodeType | None:
    inner: object = function.func if isinstance(function, partial) else function
    for place in (inner, vars(type(inner)).get("__call__")):
        code: object = getattr(place, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None
