"""Writes that are passed on: to the next node when it is certain that nothing has begun, and honest when it is not."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from roost.core.terms import WriteTerms
from roost.data.kv_operation import Order, Outcome
from roost.data.passage import Passage
from roost.errors import DeadlineExceeded, NodeDown, OutcomeUnknown, Overloaded, RoostError
from tests.data.stage import Stage, stage


def order(key: str, timeout_s: float = 5.0) -> Order:
    return Order("b", b"\x01b" + key.encode(), b"\x01", None, WriteTerms(1, 1), timeout_s, 1, 4)


async def outcome(story: Stage, holders: list[str], order: Order) -> Outcome | RoostError:
    answer: asyncio.Future[msgspec.Raw | RoostError] = asyncio.get_running_loop().create_future()
    Passage(story.flock["d"], [f"{one}@127.0.0.1" for one in holders], order, answer.set_result).go()
    told = await answer
    return told if isinstance(told, RoostError) else msgspec.msgpack.decode(told, type=Outcome)


async def test_a_node_that_is_lost_before_it_is_asked_is_passed_over() -> None:
    async with stage("b", "d") as story:
        key = story.key(of="b", n=1)
        written = await outcome(story, ["lost", "b"], order(key))
        assert isinstance(written, Outcome)
        assert written.nodes == ("b@127.0.0.1",)
        assert isinstance(await outcome(story, ["lost", "gone"], order(key)), NodeDown)


async def test_a_node_that_is_lost_while_it_may_write_leaves_the_outcome_unknown() -> None:
    async with stage("a", "b", "c", "d") as story:
        key = story.key(of="a", beside="d")
        taken: list[object] = []
        story.kvs["a"].on_request = lambda link, request: taken.append(request)  # type: ignore[method-assign]  # it hangs
        asked = asyncio.create_task(story["d"].put(key, 1))
        await story.flock.until(lambda: len(taken) == 1)
        await story.flock.stop("a")
        with pytest.raises(OutcomeUnknown, match="was lost while it wrote"):
            await asked
        assert story.copies(key) == "", "nobody else was asked"
        assert (await story["d"].put(key, 2)).acks == 2


async def test_a_node_that_is_too_busy_is_passed_over() -> None:
    def busy(link: object, request: object) -> None:
        raise Overloaded("the coordinator", 0.1)

    async with stage("a", "b", "c", "d") as story:
        key = story.key(of="a", beside="d")
        story.kvs["a"].on_request = busy  # type: ignore[method-assign]  # it is busy
        written = await story["d"].put(key, 1, w=3)
        assert written.nodes[0] == "b@127.0.0.1"
        assert written.acks == 3
        for letter in "bc":
            story.kvs[letter].on_request = busy  # type: ignore[method-assign]  # it is busy
        with pytest.raises(Overloaded):
            await story["d"].put(key, 2)


async def test_a_passage_ends_by_its_deadline() -> None:
    async with stage("b", "d") as story:
        key = story.key(of="b", n=1)
        taken: list[object] = []
        story.kvs["b"].on_request = lambda link, request: taken.append(request)  # type: ignore[method-assign]  # it hangs
        told = await outcome(story, ["b"], order(key, timeout_s=0.1))
        assert isinstance(told, DeadlineExceeded)
        assert isinstance(await outcome(story, ["b"], order(key, timeout_s=0.0)), DeadlineExceeded)
        assert len(taken) == 1, "nothing is sent when the time is up"


async def test_a_caller_who_gives_up_leaves_nothing_behind() -> None:
    async with stage("b", "d") as story:
        key = story.key(of="b", n=1)
        taken: list[object] = []
        story.kvs["b"].on_request = lambda link, request: taken.append(request)  # type: ignore[method-assign]  # it hangs
        asked = asyncio.create_task(story["d"].put(key, 1, n=1, w=1))
        await story.flock.until(lambda: len(taken) == 1)
        asked.cancel()
        await asyncio.wait([asked])
        await story.flock.stop("b")
        assert asked.cancelled()
