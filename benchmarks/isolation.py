"""What it costs that no two processes share what either can change.

The same value goes to the same process in two ways: as an argument, which is checked and, where it can change, copied;
and by plain reference, which Roost does not offer: the other side sends a number, and the handler takes the value from
a table that both can reach. The handlers look at nothing, so what lies between the two is isolation.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import TypeVar

import msgspec

from benchmarks.callers import Sample, rates
from benchmarks.line import Line, middle
from benchmarks.rounds import Plan, alternate
from roost.otp import GenServer, call
from roost.otp.isolation import isolate

Value = TypeVar("Value")

CALLS = 100_000
SAMPLES = 200
"""How often the alternatives are timed."""


class Order(msgspec.Struct, frozen=True):
    """A message as applications declare it."""

    id: int
    customer: str
    items: tuple[str, ...]


VALUES: Mapping[str, tuple[object, int]] = {
    "int": (7, 1),
    "struct": (Order(7, "Ada", ("tea", "milk")), 1),
    "list_10": (list(range(10)), 1),
    "list_1000": (list(range(1000)), 20),
    "nested_dict_100": ({f"key {n}": {"id": n, "tags": ["a", "b"]} for n in range(100)}, 50),
}
"""What crosses, and how many times fewer calls a turn of it takes."""


class Shelf:
    """What a process and its callers both reach. Arguments of init may be such an object; messages may not."""

    def __init__(self, values: Sequence[object]) -> None:
        self.values = values


class Taker(GenServer):
    """Takes values, and looks at none."""

    def init(self, shelf: Shelf) -> None:
        """Begin with nothing."""
        self.shared = shelf.values
        self.value: object = None

    @call
    def take(self, value: object) -> None:
        """By value."""
        self.value = value

    @call
    def take_shared(self, number: int) -> None:
        """By reference."""
        self.value = self.shared[number]


async def calls(ask: Callable[[Value], Awaitable[None]], value: Value, count: int) -> Sample:
    """One caller at full speed."""
    start = perf_counter()
    for _ in range(count):
        await ask(value)
    return Sample(count / (perf_counter() - start))


def cost_us(work: Callable[[], object]) -> float:
    """The median time of `work` alone, of batches of ten."""
    times: list[float] = []
    for _ in range(SAMPLES):
        before = perf_counter()
        for _ in range(10):
            work()
        times.append((perf_counter() - before) / 10)
    return (middle(times) or 0.0) * 1e6


def alone(value: object) -> dict[str, object]:
    """What isolating the value takes without a call, and what other ways to a value of one's own would take."""
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(type(value)).decode
    return {
        "isolate_us": cost_us(lambda: isolate(value, "a value")),
        "deepcopy_us": cost_us(lambda: copy.deepcopy(value)),
        "messagepack_us": cost_us(lambda: decode(encode(value))),
    }


async def run(plan: Plan) -> list[Line]:
    """Measure."""
    taker = await Taker.start(Shelf([value for value, _ in VALUES.values()]))
    lines: list[Line] = []
    for number, (name, (value, fewer)) in enumerate(VALUES.items()):
        count = plan.count(CALLS) // fewer
        ours, reference = await alternate(
            plan, partial(calls, taker.take, value, count), partial(calls, taker.take_shared, number, count)
        )
        lines.append(
            Line(
                f"isolation_{name}",
                "calls/s",
                [],
                "one caller; reference: the same call by plain reference; *_us: of the value alone, ours and two other "
                "ways to a value that nobody shares",
                [rates(ours), rates(reference)],
                alone(value),
            )
        )
    await taker.stop()
    return lines
