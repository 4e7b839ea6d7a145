"""Read repair is bounded, counted, and never in the way of the read."""

from __future__ import annotations

import pytest

from roost import limits
from roost.data.repairs import Repairs
from tests.data.stage import Stage, stage


async def forgetful(story: Stage) -> None:
    """Node c has lost its memory."""
    await story["a"].put("key", 1, w=3)
    await story.flock.stop("c")
    await story.flock.start("c")
    await story.flock.meet()


def test_only_so_many_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REPAIRS_MAX", 2)
    repairs = Repairs()
    assert [repairs.may_begin() for _ in range(3)] == [True, True, False]
    repairs.ended(None)
    assert repairs.may_begin()
    assert (repairs.under_way, repairs.read_repairs, repairs.read_repairs_dropped) == (2, 3, 1)


async def test_repairs_are_counted() -> None:
    async with stage("a", "b", "c") as story:
        await forgetful(story)
        await story["a"].get("key", r=3)
        await story.flock.until(lambda: story.copies("key") == "abc")
        repairs = story.kvs["a"].repairs
        await story.flock.until(lambda: repairs.under_way == 0)
        assert (repairs.read_repairs, repairs.read_repairs_dropped) == (1, 0)
        await story["a"].get("key", r=3)
        assert repairs.read_repairs == 1


async def test_a_repair_that_finds_no_room_is_left_to_the_next_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage("a", "b", "c") as story:
        await forgetful(story)
        repairs = story.kvs["a"].repairs
        with monkeypatch.context() as patch:
            patch.setattr(limits, "REPAIRS_MAX", 0)
            assert await story["a"].get("key", r=3) is not None
        assert (repairs.read_repairs, repairs.read_repairs_dropped) == (0, 1)
        assert story.copies("key") == "ab"
        await story["a"].get("key", r=3)
        await story.flock.until(lambda: story.copies("key") == "abc")
