"""Which steps run together, and in how many stages."""

from __future__ import annotations

import pytest

from roost.errors import ConfigError
from roost.jobs import Flow, Window
from roost.jobs.flow_line import Meter
from roost.jobs.flow_node import Route, Router
from roost.jobs.flow_plan import CpuPart, LinePart, Segment, SplitPart, segments
from roost.limits import FLOW_BATCH, FLOW_STAGES


async def slow(value: object) -> object:
    """Something to await."""
    return value


def planned(flow: Flow[object]) -> list[tuple[str, int, int]]:
    """Kind, number of stages and size of batches of each segment."""
    return [(segment.kind, segment.workers, segment.batch) for segment in plan(flow)]


def plan(flow: Flow[object]) -> list[Segment]:
    """The segments of a flow on a machine with two workers."""
    return segments(flow._plan, 2)


def start(**options: object) -> Flow[object]:
    """A flow of nothing."""
    return Flow.from_iterable([], **options)  # type: ignore[arg-type]  # options of from_iterable


def test_plain_steps_and_partitions_are_one_stage() -> None:
    flow = start().map(str).filter(len).partition(stages=4).map(len).count_by().departition().map(str)
    (segment,) = plan(flow)
    assert (segment.kind, segment.workers, segment.paced) == ("loop", 1, True)
    before, branches, after = segment.parts
    assert isinstance(before, LinePart)
    assert isinstance(branches, SplitPart)
    assert isinstance(after, LinePart)
    assert [step.name for step in before.steps] == ["map(str)", "filter(len)"]
    assert branches.route.count == 4
    assert branches.parts[0].reduce is not None
    assert planned(start()) == [("loop", 1, FLOW_BATCH)]


def test_what_is_awaited_has_stages_of_its_own() -> None:
    assert planned(start().map(slow)) == [("await", FLOW_STAGES, 1)]
    assert planned(start(stages=3).map(str).map(slow).count_by().map(len)) == [
        ("await", 3, 1),
        ("loop", 1, FLOW_BATCH),
    ], "plain steps before it run with it, sums come together after it"
    assert planned(start().map(str).partition(stages=5).map(slow)) == [("loop", 1, FLOW_BATCH), ("await", 5, 1)]
    assert planned(start().partition(stages=5, batch=7).map(slow)) == [("loop", 1, FLOW_BATCH), ("await", 5, 7)]
    assert planned(start(batch=9).map(slow).departition(stages=2).map(slow)) == [
        ("await", FLOW_STAGES, 9),
        ("await", 2, 1),
    ]


def test_what_computes_has_as_many_stages_as_there_are_workers() -> None:
    first, second = plan(start(cpu=True).map(str).count_by().map(len))
    assert (first.kind, first.workers) == ("cpu", 2)
    (part,) = first.parts
    assert isinstance(part, CpuPart)
    assert part.reduce is not None, "it adds up in parts"
    total, _ = second.parts
    assert isinstance(total, LinePart)
    assert total.parts, "and the parts are added up in the loop"
    (part,) = plan(start(cpu=True).count_by(window=Window.count(3)))[0].parts
    assert isinstance(part, CpuPart)
    assert part.reduce is None, "windows are cut where all elements come by"
    assert [kind for kind, _, _ in planned(start().map(str).partition(cpu=True, stages=3).map(str))] == ["loop", "cpu"]
    with pytest.raises(ConfigError, match=r"map\(slow\) is async"):
        plan(start(cpu=True).map(slow))


def test_equal_keys_have_one_partition() -> None:
    router = Router(Route(5, None), Meter())
    keys: list[object] = ["a", 1, "b", True, "a", 1.0, 2.5, (1, 2), 2.5, (1, 2)]
    parts = router.split(keys)
    assert sorted(map(repr, [key for part in parts for key in part])) == sorted(map(repr, keys))
    for key in keys:
        assert sum(key in part for part in parts) == 1
    assert router.split(keys) == parts
