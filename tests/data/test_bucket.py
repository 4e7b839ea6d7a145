"""What reads and writes may ask for, on real nodes: each number counts what it says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from roost.core import latency
from roost.core.context import NOTHING_READ
from roost.core.terms import Count, WriteOptions
from roost.data.bucket import BucketOptions
from roost.data.storage import OnDurable
from roost.errors import DeadlineExceeded, InvalidQuorum, NoQuorum, RoostError, StorageFailed
from tests.data.stage import Stage, stage


def lacks(error: NoQuorum | DeadlineExceeded) -> tuple[int, int, str]:
    return error.got, error.needed, error.what


async def without(story: Stage, letter: str) -> str:
    """A key that node a holds, and `letter` too, which stops."""
    key = next(
        key for key in map(str, range(10_000)) if {"a", letter} < set(story.primaries(key)) and len(story.flock.nodes)
    )
    await story.flock.stop(letter)
    return key


def hang(story: Stage, letter: str) -> None:
    """Let the vnodes of a node answer nobody else."""
    story.kvs[letter].host.on_request = lambda link, request: None  # type: ignore[method-assign]  # it hangs


async def test_answers_of_primaries_are_counted_apart() -> None:
    async with stage("a", "b", "c", "d") as story:
        key = await without(story, "b")
        assert (await story["a"].put(key, 1, w=3)).acks == 3
        assert (await story["a"].put(key, 2, w=1, pw=2)).acks >= 2
        with pytest.raises(NoQuorum) as put:
            await story["a"].put(key, 3, w=1, pw=3)
        assert lacks(put.value) == (2, 3, "pw")
        with pytest.raises(NoQuorum) as deleted:
            await story["a"].delete(key, pw="all")
        assert lacks(deleted.value) == (2, 3, "pw")
        with pytest.raises(NoQuorum) as got:
            await story["a"].get(key, r=1, pr=3)
        assert lacks(got.value) == (2, 3, "pr")
        found = await story["a"].get(key, r=1, pr=2)
        assert found is not None
        assert found.value == 2, "what was refused has not been written"
        await story.flock.start("b")
        await story.flock.meet()
        assert (await story["a"].put(key, 4, w=1, pw=3)).acks == 3
        assert (await story["a"].get(key, r=1, pr="all")) is not None


async def test_a_strict_quorum_uses_holders_only() -> None:
    async with stage("a", "b", "c", "d") as story:
        key = await without(story, "b")
        with pytest.raises(NoQuorum) as put:
            await story["a"].put(key, 1, w=3, sloppy=False)
        assert lacks(put.value) == (2, 3, "w")
        assert story.copies(key) == ""
        assert (await story["a"].put(key, 1, w=2, sloppy=False)).acks == 2
        assert set(story.copies(key)) == set(story.primaries(key)) - {"b"}
        with pytest.raises(NoQuorum) as got:
            await story["a"].get(key, r=3, sloppy=False)
        assert lacks(got.value) == (2, 3, "r")


async def test_different_nodes_confirm_whether_they_are_primaries_or_not() -> None:
    async with stage("a", "b", "c", "d") as story:
        key = await without(story, "b")
        written = await story["a"].put(key, 1, w=1, node_confirms=3)
        assert len(set(written.nodes)) == 3
        assert await story["a"].get(key, r=1, node_confirms="all") is not None
        await story.flock.stop("d")
        with pytest.raises(NoQuorum) as put:
            await story["a"].put(key, 1, w=1, node_confirms=3)
        assert lacks(put.value) == (2, 3, "node_confirms")


async def test_names_stand_for_numbers() -> None:
    async with stage("a", "b", "c") as story:
        assert (await story["a"].put("key", 1, w="all")).acks == 3
        assert (await story["a"].put("key", 1, w="one")).acks == 1
        assert (await story["a"].put("key", 1, w="default")).acks == 2
        named: list[tuple[Count, int]] = [("one", 1), ("quorum", 2), ("all", 3)]
        for r, replies in named:
            found = await story["b"].get("key", r=r)
            assert found is not None
            assert found.replies == replies
        with pytest.raises(InvalidQuorum, match="w=most"):
            await story["a"].put("key", 1, **cast(WriteOptions, {"w": "most"}))
        with pytest.raises(TypeError, match="speed"):
            await story["a"].put("key", 1, **cast(WriteOptions, {"speed": 9}))


async def test_a_bucket_declares_what_is_usual() -> None:
    async with stage("a", "b", "c") as story:
        for kv in story.kvs.values():
            kv.bucket("all", r="all", w="all", pw=1, sloppy=False)
        declared = story.kvs["a"].bucket("all")
        assert (await declared.put("key", 1)).acks == 3
        found = await declared.get("key")
        assert found is not None
        assert found.replies == 3
        assert (await declared.put("key", 1, w=1)).acks == 1
        with pytest.raises(InvalidQuorum, match="pw=4"):
            story.kvs["a"].bucket("other", pw=4)
        with pytest.raises(TypeError, match="speed"):
            story.kvs["a"].bucket("other", **cast(BucketOptions, {"speed": 9}))


async def test_nothing_here_is_an_answer_unless_the_reader_wants_the_value() -> None:
    async with stage("a", "b", "c") as story:
        for key in ("plain", "wanted"):
            await story["a"].put(key, 1, w=3)
        for letter in "bc":
            await story.flock.stop(letter)
            await story.flock.start(letter)
        await story.flock.meet()
        assert await story["b"].get("plain", r=1) is None
        found = await story["b"].get("wanted", r=1, notfound_ok=False)
        assert found is not None
        assert found.value == 1
        assert await story["b"].get("never", r=1, notfound_ok=False) is None
        assert await story["b"].get("never", r=1, notfound_ok=False, basic_quorum=True) is None


async def test_a_copy_is_counted_when_it_is_received_and_when_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage("a", "b", "c", folder=tmp_path) as story:
        waiting: list[OnDurable] = []
        for letter in "bc":
            monkeypatch.setattr(story.kvs[letter].storage, "when_durable", waiting.append)
        written = await story["a"].put("key", 1, w=3, dw=1)
        assert written.acks == 3
        more = asyncio.create_task(story["a"].put("key", 2, w=1, dw=3))
        await story.flock.until(lambda: len(waiting) == 4)
        assert not more.done()
        for on_durable in waiting:
            on_durable(None)
        assert (await more).acks == 3


async def test_a_write_fails_when_the_disks_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(on_durable: OnDurable) -> None:
        on_durable(StorageFailed("it is full"))

    async with stage("a", "b", "c", folder=tmp_path) as story:
        for letter in "bc":
            monkeypatch.setattr(story.kvs[letter].storage, "when_durable", fails)
        with pytest.raises(NoQuorum) as caught:
            await story["a"].put("key", 1, w=3, dw=2)
        assert lacks(caught.value) == (1, 2, "dw")
        assert (await story["a"].put("key", 1, w=3, dw=1)).acks == 3


async def test_without_a_disk_nothing_can_be_on_it() -> None:
    async with stage("a") as story:
        with pytest.raises(InvalidQuorum, match="dw=1 is not possible: nothing can be on disk"):
            await story["a"].put("key", 1, dw=1)


async def test_a_write_tells_what_is_stored_now() -> None:
    async with stage("a", "b", "c", "d") as story:
        key = story.key(beside="d")
        assert (await story["a"].put(key, 1, w=3)).values is None
        assert (await story["a"].put(key, [2], w=3, return_value=True)).values == ([2],)
        beside = await story["d"].put(key, 3, w=3, context=NOTHING_READ, return_value=True)
        assert beside.values is not None
        assert sorted(map(str, beside.values)) == ["3", "[2]"]


async def test_a_write_tells_what_the_merge_function_has_made() -> None:
    def union(values: tuple[object, ...]) -> object:
        return sorted({item for one in values if isinstance(one, list) for item in one})

    async with stage("a", merge=union) as story:
        await story["a"].put("key", [1])
        assert (await story["a"].put("key", [2], context=NOTHING_READ, return_value=True)).values == ([1, 2],)


async def test_the_deadline_says_what_was_missing() -> None:
    async with stage("a", "b", "c") as story:
        hang(story, "b")
        acts = (
            (story["a"].put("key", 1, w=1, pw=3, timeout_s=0.1), (2, 3, "pw")),
            (story["a"].get("key", r=1, pr=3, timeout_s=0.1), (2, 3, "pr")),
            (story["a"].get("key", r=1, node_confirms=3, timeout_s=0.1), (2, 3, "node_confirms")),
            (story["a"].get("key", r=3, hedge=True, timeout_s=0.1), (2, 3, "r")),
        )
        for act, missing in acts:
            with pytest.raises(DeadlineExceeded) as caught:
                await act
            assert lacks(caught.value) == missing
        assert len(story.flock["a"].operations) == 0


async def test_a_hedged_read_asks_no_more_than_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("HEDGE_FIRST_S", "HEDGE_LAST_S"):
        monkeypatch.setattr(latency, bound, 60.0)
    async with stage("a", "b", "c") as story:
        await story["a"].put("key", 1, w=3)
        asked: list[str] = []

        def listen(letter: str) -> None:
            host = story.kvs[letter].host
            takes = host.on_request
            host.on_request = lambda link, request: (asked.append(letter), takes(link, request))[1]  # type: ignore[method-assign,func-returns-value]  # it listens

        for letter in "bc":
            listen(letter)
        for r, others in ((1, 0), (2, 1), (3, 2)):
            asked.clear()
            found = await story["a"].get("key", r=r, hedge=True)
            assert found is not None
            assert (found.value, found.replies) == (1, r)
            assert len(asked) == others
        asked.clear()
        await story["a"].get("key", r=1)
        await story.flock.until(lambda: sorted(asked) == ["b", "c"])


async def test_a_hedged_read_does_not_wait_for_a_node_that_hangs() -> None:
    async with stage("a", "b", "c") as story:
        key = story.key(of="b")
        await story["a"].put(key, 1, w=3)
        taken: list[object] = []
        story.kvs["b"].host.on_request = lambda link, request: taken.append(request)  # type: ignore[method-assign]  # it hangs
        for _ in range(20):
            found = await story["a"].get(key, r=2, hedge=True)
            assert found is not None
            assert found.value == 1
        assert story.flock["a"].operations.hedges.asked > 0
        assert 0 < len(taken) < 20, "it is asked last from then on"


async def test_a_hedged_read_repairs_all_when_it_finds_a_difference() -> None:
    async with stage("a", "b", "c") as story:
        await story["a"].put("key", 1, w=3)
        for letter in "bc":
            await story.flock.stop(letter)
            await story.flock.start(letter)
        await story.flock.meet()
        seen = [story.copies("key")]
        for letter in "abc":
            await story[letter].get("key", r=2, hedge=True)
        await story.flock.until(lambda: story.copies("key") == "abc")
        assert seen == ["a"]


async def test_a_hedged_read_goes_on_when_a_node_is_lost() -> None:
    async with stage("a", "b", "c") as story:
        key = story.key(of="b")
        await story["a"].put(key, 1, w=3)
        hang(story, "b")
        asked = asyncio.create_task(story["a"].get(key, r=3, hedge=True))
        await story.flock.until(lambda: len(story.flock["a"].operations) == 1)
        await story.flock.stop("b")
        with pytest.raises(RoostError) as caught:
            await asked
        assert isinstance(caught.value, NoQuorum)
        assert lacks(caught.value) == (2, 3, "r")
        found = await story["a"].get(key, r=2, hedge=True)
        assert found is not None
        assert found.value == 1
