"""Random programs for flows: the same as a flow, and as plain Python over lists."""

from __future__ import annotations

import operator
from functools import partial

from hypothesis import strategies as st

from roost.jobs import Flow
from roost.otp import Scheduler
from roost.sim import turns

Ops = list[tuple[str, int]]
OPS = st.lists(
    st.tuples(
        st.sampled_from(["map", "filter", "flat_map", "slow_map", "slow_flat_map", "partition", "departition", "sum"]),
        st.integers(1, 5),
    ),
    max_size=6,
)


def processes() -> list[str]:
    """Everything that lives on this node."""
    return [str(process) for process in Scheduler.current().processes.values()]


def indivisible(number: int, x: int) -> bool:
    """Whether something is left."""
    return x % number != 0


def numbers_below(number: int, x: int) -> range:
    """None or some."""
    return range(x % number)


def extend(flow: Flow[int], ops: Ops) -> Flow[int]:
    """The flow with the program behind it."""
    for kind, number in ops:

        async def slow_map(x: int, number: int = number) -> int:
            await turns(x % 3)
            return x + number

        async def slow_flat_map(x: int, number: int = number) -> list[int]:
            await turns(x % 2)
            return [x] * (x % number)

        if kind == "map":
            flow = flow.map(partial(operator.mul, number))
        elif kind == "filter":
            flow = flow.filter(partial(indivisible, number + 1))
        elif kind == "flat_map":
            flow = flow.flat_map(partial(numbers_below, number))
        elif kind == "slow_map":
            flow = flow.map(slow_map)
        elif kind == "slow_flat_map":
            flow = flow.flat_map(slow_flat_map)
        elif kind == "partition":
            flow = flow.partition(lambda x: x % 7, stages=number)
        elif kind == "departition":
            flow = flow.departition(stages=number)
        else:
            flow = flow.departition().reduce(int, lambda sum, x: sum + x)
    return flow


def model(items: list[int], ops: Ops) -> list[int]:
    """The same program over a list."""
    for kind, number in ops:
        if kind == "map":
            items = [x * number for x in items]
        elif kind == "filter":
            items = [x for x in items if x % (number + 1)]
        elif kind == "flat_map":
            items = [y for x in items for y in range(x % number)]
        elif kind == "slow_map":
            items = [x + number for x in items]
        elif kind == "slow_flat_map":
            items = [x for x in items for _ in range(x % number)]
        elif kind == "sum":
            items = [sum(items)]
    return items
