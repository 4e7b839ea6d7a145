"""The store on real nodes: what is written can be read, on every node, as often as N, R and W say."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec
import pytest

from roost import limits
from roost.core.context import NOTHING_READ
from roost.data.bucket import PutResult
from roost.data.passage import SERVICE
from roost.data.storage import OnDurable
from roost.errors import (
    BadMessage,
    ConfigError,
    Conflict,
    DeadlineExceeded,
    InvalidQuorum,
    NoQuorum,
    NotSendable,
    ProcessDown,
    RoostError,
    TooLarge,
)
from tests.data.stage import Stage, stage


async def value(story: Stage, letter: str, key: str, r: int | None = None) -> object:
    found = await story[letter].get(key, r=r)
    return None if found is None else found.value


async def test_every_node_reads_what_any_node_wrote() -> None:
    async with stage("a", "b", "c") as story:
        for writer in "abc":
            written = await story[writer].put("key", {"by": writer, "list": [1, 2.5, None, "ü"]}, n=3, w=3)
            assert written.acks == 3
            assert sorted(written.nodes) == [f"{letter}@127.0.0.1" for letter in "abc"]
            for reader in "abc":
                found = await story[reader].get("key", n=3, r=3)
                assert found is not None
                assert found.value == {"by": writer, "list": [1, 2.5, None, "ü"]}
                assert found.replies == 3
                assert found.context == written.context


async def test_a_write_waits_for_w_and_says_who() -> None:
    async with stage("a", "b", "c") as story:
        written = await story["a"].put("key", 1, w=2)
        assert written.acks == len(written.nodes) == 2
        assert written.nodes[0] == "a@127.0.0.1"
        assert (await story["a"].put("key", 2, w=1)).nodes == ("a@127.0.0.1",)


async def test_copies_are_on_the_preference_list_and_nowhere_else() -> None:
    async with stage("a", "b", "c", "d") as story:
        for number in range(40):
            key = str(number)
            await story["a"].put(key, number, n=2, w=2)
            assert sorted(story.copies(key)) == sorted(story.primaries(key, 2))
            assert [one.node[0] for one in story["c"].where(key, 2)] == list(story.primaries(key, 2))


async def test_a_node_without_a_copy_passes_a_write_on() -> None:
    async with stage("a", "b", "c", "d") as story:
        key = story.key(beside="d")
        written = await story["d"].put(key, 1, w=2)
        assert written.acks == 2
        assert "d@127.0.0.1" not in written.nodes
        assert await value(story, "d", key) == 1
        await story["d"].put(key, 2, context=written.context)
        assert await value(story, "a", key) == 2
        await story["d"].delete(key)
        assert await value(story, "d", key) is None


async def test_errors_of_a_write_that_was_passed_on_come_back() -> None:
    async with stage("a", "b", "c", "d") as story:
        key = story.key(beside="d", n=1, of="a")
        for _ in range(limits.SIBLINGS_MAX):
            await story["d"].put(key, 1, n=1, w=1, context=NOTHING_READ)
        with pytest.raises(TooLarge):
            await story["d"].put(key, 1, n=1, w=1, context=NOTHING_READ)


async def test_what_was_never_there_is_none() -> None:
    async with stage("a", "b", "c") as story:
        assert await story["a"].get("nothing") is None
        assert (await story["a"].delete("nothing")).acks == 2


async def test_a_deleted_value_stays_deleted_and_can_be_written_again() -> None:
    async with stage("a", "b", "c") as story:
        await story["a"].put("key", 1, w=3)
        await story["b"].delete("key", w=3)
        for letter in "abc":
            assert await value(story, letter, "key", r=3) is None
        await story["c"].put("key", 2, w=3)
        assert await value(story, "a", "key", r=3) == 2


async def test_concurrent_writes_are_kept_until_they_are_settled() -> None:
    async with stage("a", "b", "c") as story:
        first = await story["a"].put("key", 0, w=3)
        await story["a"].put("key", 1, w=3, context=first.context)
        await story["b"].put("key", 2, w=3, context=first.context)
        with pytest.raises(Conflict) as caught:
            await story["c"].get("key", r=3)
        assert sorted(map(str, caught.value.values)) == ["1", "2"]
        assert caught.value.key == "key"
        await story["c"].put("key", 3, w=3, context=caught.value.context)
        for letter in "abc":
            assert await value(story, letter, "key", r=3) == 3


async def test_a_merge_function_settles_concurrent_writes() -> None:
    def union(values: tuple[object, ...]) -> object:
        return sorted({item for one in values if isinstance(one, list) for item in one})

    async with stage("a", "b", "c", merge=union) as story:
        for letter in "abc":
            await story[letter].put("key", [letter], w=3, context=NOTHING_READ)
        for letter in "abc":
            assert await value(story, letter, "key", r=3) == ["a", "b", "c"]


async def test_a_merge_function_that_fails_costs_no_data(caplog: pytest.LogCaptureFixture) -> None:
    def fails(values: tuple[object, ...]) -> object:
        raise KeyError("a bug")

    async with stage("a", merge=fails) as story:
        await story["a"].put("key", 1)
        with caplog.at_level(logging.CRITICAL), pytest.raises(ProcessDown, match="a bug"):
            await story["a"].put("key", 2, context=NOTHING_READ)
        assert await value(story, "a", "key") == 1
        assert len(story.flock["a"].operations) == 0


@pytest.mark.parametrize(("n", "needed"), [(0, 1), (4, 1), (3, 4), (3, 0), (2, 3)])
async def test_numbers_that_never_work_are_refused(n: int, needed: int) -> None:
    async with stage("a", "b", "c") as story:
        with pytest.raises(InvalidQuorum):
            await story["a"].put("key", 1, n=n, w=needed)
        with pytest.raises(InvalidQuorum):
            await story["a"].get("key", n=n, r=needed)
        with pytest.raises(InvalidQuorum):
            await story["a"].delete("key", n=n, w=needed)
        with pytest.raises(InvalidQuorum):
            story.kvs["a"].bucket("other", n=n, w=needed if n != 4 else 5)


async def test_too_few_nodes_are_said_at_once() -> None:
    async with stage("a", "b", "c") as story:
        await story.flock.stop("b")
        await story.flock.stop("c")
        for act in (story["a"].put("key", 1), story["a"].get("key"), story["a"].delete("key")):
            with pytest.raises(NoQuorum) as caught:
                await act
            assert (caught.value.got, caught.value.needed) == (1, 2)
        assert (await story["a"].put("key", 1, w=1)).acks == 1
        assert await value(story, "a", "key", r=1) == 1


async def test_a_silent_node_costs_no_more_than_the_deadline() -> None:
    async with stage("a", "b") as story:
        key = story.key(of="b", n=2)
        story.kvs["b"].host.on_request = lambda link, request: None  # type: ignore[method-assign]  # it hangs
        story.kvs["b"].on_request = lambda link, request: None  # type: ignore[method-assign]  # it hangs
        for act in (
            story["a"].put(key, 1, n=2, w=2, timeout_s=0.1),
            story["a"].get(key, n=2, r=2, timeout_s=0.1),
            story["a"].put(key, 1, n=1, w=1, timeout_s=0.1),
        ):
            with pytest.raises(DeadlineExceeded) as caught:
                await act
            assert caught.value.timeout_s == 0.1
        assert len(story.flock["a"].operations) == 0


async def test_what_is_too_large_or_no_value_is_refused() -> None:
    async with stage("a") as story:
        bucket = story["a"]
        assert (await bucket.put("k" * limits.KEY_BYTES_MAX, 1)).acks == 1
        refused: list[tuple[str, object, type[RoostError]]] = [
            ("k" * (limits.KEY_BYTES_MAX + 1), 1, TooLarge),
            ("key", "x" * limits.VALUE_BYTES_MAX, TooLarge),
            ("key", object(), NotSendable),
            ("key", 2**70, BadMessage),
            ("key", "\ud800", BadMessage),
            ("\ud800", 1, BadMessage),
        ]
        for key, given, error in refused:
            with pytest.raises(error):
                await bucket.put(key, given)
        deep: list[object] = []
        for _ in range(10_000):
            deep = [deep]
        with pytest.raises(BadMessage):
            await bucket.put("key", deep)
        with pytest.raises(BadMessage):
            await bucket.put("key", 1, context="not a context")
        with pytest.raises(TooLarge):
            await bucket.get("k" * (limits.KEY_BYTES_MAX + 1))
        assert await bucket.get("key") is None


async def test_a_small_cluster_keeps_fewer_copies() -> None:
    async with stage("a", "b") as story:
        written = await story["a"].put("key", 1)
        assert written.acks == 2
        bucket = story.kvs["a"].bucket("all", n=3, w=3, r=3)
        assert (await bucket.put("key", 1)).acks == 2
        assert story.kvs["a"].bucket("all") is bucket


async def test_a_bucket_that_makes_no_sense_is_refused() -> None:
    async with stage("a") as story:
        for name in ("", "n" * 256):
            with pytest.raises(ConfigError):
                story.kvs["a"].bucket(name)
        with pytest.raises(ConfigError, match="data folder"):
            story.kvs["a"].bucket("d", durable=True)


async def test_buckets_do_not_see_each_other() -> None:
    async with stage("a") as story:
        one, other = story.kvs["a"].bucket("x"), story.kvs["a"].bucket("xk")
        await one.put("key", 1)
        assert await other.get("ey") is None
        assert await other.get("key") is None


async def test_durable_values_survive_a_restart_of_all(tmp_path: Path) -> None:
    async with stage("a", "b", "c", folder=tmp_path) as story:
        for number in range(20):
            await story["a"].put(str(number), number, w=3)
        await story["b"].delete("7", w=3)
        for letter in "abc":
            await story.flock.stop(letter)
        for letter in "abc":
            await story.flock.start(letter)
        await story.flock.meet()
        for number in range(20):
            assert await value(story, "c", str(number), r=3) == (number if number != 7 else None)


async def test_the_own_copy_counts_when_it_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage("a", folder=tmp_path) as story:
        waiting: list[OnDurable] = []
        with monkeypatch.context() as patch:
            patch.setattr(story.kvs["a"].storage, "when_durable", waiting.append)
            durable = asyncio.create_task(story["a"].put("key", 1))
            await story.flock.until(lambda: story.copies("key") == "a")
            await story.kvs["a"].bucket("quick", durable=False).put("key", 1)
            assert not durable.done()
        for on_durable in waiting:
            on_durable(None)
        assert (await durable).acks == 1


async def test_a_read_repairs_a_node_that_has_lost_its_memory() -> None:
    async with stage("a", "b", "c") as story:
        await story["a"].put("key", 1, w=3)
        await story.flock.stop("c")
        await story.flock.start("c")
        await story.flock.meet()
        assert sorted(story.copies("key")) == ["a", "b"]
        assert await value(story, "c", "key", r=2) == 1
        await story.flock.until(lambda: sorted(story.copies("key")) == ["a", "b", "c"])
        held = {
            bytes(table[b"\x01bkey"])
            for kv in story.kvs.values()
            for table in kv.storage.tables.values()
            if b"\x01bkey" in table
        }
        assert len(held) == 1


async def test_a_write_goes_on_when_a_node_is_down() -> None:
    async with stage("a", "b", "c", "d") as story:
        key = story.key(of="b")
        await story.flock.stop("b")
        written = await story["a"].put(key, 1, n=3, w=3)
        assert written.acks == 3
        assert await value(story, "d", key, r=3) == 1


async def test_many_callers_at_once_lose_nothing(tmp_path: Path) -> None:
    async with stage("a", "b", "c", folder=tmp_path) as story:

        async def caller(number: int) -> list[PutResult]:
            return [await story["abc"[number % 3]].put(f"{number}-{turn}", turn) for turn in range(10)]

        await asyncio.gather(*[caller(number) for number in range(30)])
        found = [await value(story, "a", f"{number}-{turn}") for number in range(30) for turn in range(10)]
        assert found == [turn for _ in range(30) for turn in range(10)]


async def test_a_message_that_no_node_sends_is_refused() -> None:
    async with stage("a", "b") as story:
        fabric = story.flock["a"].fabric
        pack = msgspec.msgpack.encode
        for body in (
            b"\xc0",
            pack(["b", b"\x01bk", b"\x01", None, [5, 1], 1.0, 1, 3]),
            pack(["b", b"\x01bk", b"\x01", None, [2, 3], 1.0, 1, 3]),
            pack(["b", b"\x01bk", b"\x01", None, [2, 1, 3], 1.0, 1, 3]),
            pack(["b", b"\x01bk", b"\x01", None, [2, 1, 0, -1], 1.0, 1, 3]),
            pack(["b", b"\x01bk", b"\x01", None, [2, 1, 0, 0, True, 3], 1.0, 1, 3]),
            pack(["b", b"\x01ck", b"\x01", None, [1, 1], 1.0, 1, 3]),
            pack(["b", b"", b"\x01", None, [1, 1], 1.0, 1, 3]),
            pack(["b", b"\x01bk", b"\x01", [[5, 1], [5, 1]], [1, 1], 1.0, 1, 3]),
        ):
            with pytest.raises((BadMessage, InvalidQuorum)):
                await fabric.call("b@127.0.0.1", SERVICE, body, 5.0)


async def test_a_write_is_not_passed_round_for_ever() -> None:
    async with stage("a", "b", "c") as story:
        key = story.key(of="b", n=1)
        body = msgspec.msgpack.encode(["b", b"\x01b" + key.encode(), b"\x01", None, [1, 1], 1.0, 2, 3])
        with pytest.raises(NoQuorum):
            await story.flock["a"].fabric.call("c@127.0.0.1", SERVICE, body, 5.0)
        once = msgspec.msgpack.encode(["b", b"\x01b" + key.encode(), b"\x01", None, [1, 1], 1.0, 1, 3])
        await story.flock["a"].fabric.call("c@127.0.0.1", SERVICE, once, 5.0)
        assert story.copies(key) == "b"


async def test_a_write_of_a_node_that_knows_of_fewer_nodes_is_on_all_copies_that_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stage("a", "b", "c", "d") as story:
        key, placement = story.key(beside="d"), story.flock["d"].placement
        known = [1, 2, 2]  # how the cluster has grown, as "d" has heard of it
        honest = placement.breadth
        monkeypatch.setattr(placement, "breadth", lambda partition: known.pop(0) if known else honest(partition))
        assert (await story["d"].put(key, 1, w="all")).acks == 3
        assert sorted(story.copies(key)) == sorted(story.primaries(key, 3))
        assert known == []


async def test_a_write_of_a_node_that_does_not_hear_of_the_others_ends_in_time_and_is_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stage("a", "b", "c", "d") as story:
        key = story.key(beside="d")
        monkeypatch.setattr(story.flock["d"].placement, "breadth", lambda partition: 1)
        with pytest.raises(DeadlineExceeded):
            await story["d"].put(key, 1, timeout_s=0.1)
        assert story.copies(key) == ""
        monkeypatch.undo()
        assert (await story["d"].put(key, 1, n=1, w=1)).acks == 1  # as few as are asked for, in the whole cluster


async def test_a_tight_loop_of_operations_lets_others_run() -> None:
    async with stage("a") as story:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        beside = asyncio.create_task(other())
        for _ in range(2 * limits.REDUCTIONS_PER_TURN + 1):
            await story["a"].get("key")
        assert turns > 0
        beside.cancel()
        await asyncio.wait([beside])


async def test_every_key_that_has_a_value_is_listed_once() -> None:
    async with stage("a", "b", "c", "d") as story:
        keys = {f"k{number}" for number in range(300)}
        for key in keys:
            await story["a"].put(key, 1, w=3)
        await story["b"].delete("k7", w=3)
        await story.kvs["a"].bucket("b2").put("other", 1)
        for letter in "ad":
            listed = [key async for key in story[letter].keys()]  # noqa: SIM118  # no dict
            assert sorted(listed) == sorted(keys - {"k7"})
