"""Partition supervisors: who is responsible for which key, and that each comes back in its place."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import assert_type

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import ConfigError, NoSuchProcess, NotSendable, StartFailed
from roost.limits import PARTITIONS
from roost.otp import ChildCounts, DynamicSupervisor, GenServer, PartitionSupervisor, Supervisor, call
from roost.otp.partition_supervisor import partition_of
from tests.otp.nursery import Diary, Worker, alive, settle


class Cache(GenServer):
    """Remembers."""

    def init(self, number: int = 0) -> None:
        self.number = number
        self.values: dict[str, str] = {}

    @call
    def put(self, key: str, value: str) -> int:
        self.values[key] = value
        return self.number

    @call
    def size(self) -> int:
        return len(self.values)


KEYS = [
    (0, 0),
    (13, 5),
    (-1, 7),
    (True, 1),
    ("user:42", 4),
    (b"user:42", 6),
    ("", 5),
    (1.5, 4),
    (None, 5),
    (("a", 1), 4),
]


@pytest.mark.parametrize(("key", "partition"), KEYS)
def test_keys_have_the_same_partition_for_ever(key: object, partition: int) -> None:
    assert partition_of(key, 8) == partition


def test_keys_have_the_same_partition_in_every_interpreter() -> None:
    program = "from roost.otp.partition_supervisor import partition_of; print(partition_of('user:42', 1000))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{partition_of('user:42', 1000)}\n"}


@given(st.one_of(st.integers(), st.text(), st.binary(), st.tuples(st.text(), st.integers(-(2**63), 2**63))))
def test_every_key_has_a_partition(key: object) -> None:
    assert 0 <= partition_of(key, 7) < 7


def test_keys_are_spread_evenly() -> None:
    for count in (2, 7, 8, 64):
        shares = Counter(partition_of(f"user:{number}", count) for number in range(100 * count))
        assert len(shares) == count
        assert max(shares.values()) < 160
        assert min(shares.values()) > 50


@pytest.mark.parametrize("key", [object(), (2**70,), "\ud800"])
def test_a_key_that_cannot_be_encoded_is_refused(key: object) -> None:
    with pytest.raises(NotSendable, match="a key of a partition"):
        partition_of(key, 8)


@pytest.mark.virtual_time
async def test_each_key_is_kept_by_one_of_the_processes() -> None:
    caches: PartitionSupervisor[Cache] = await PartitionSupervisor.start_link(Cache.child, partitions=4)
    keys = [f"user:{number}" for number in range(40)]
    for key in keys:
        assert await assert_type(caches.partition(key), Cache).put(key, "x") == partition_of(key, 4)
    sizes = [await caches.partition(number).size() for number in range(4)]
    assert sum(sizes) == 40
    assert min(sizes) > 0
    assert caches.partition(caches) == caches.partition(caches.pid)
    await caches.stop()


@pytest.mark.virtual_time
async def test_there_are_as_many_as_usual_and_they_are_ordinary_children() -> None:
    diary = Diary()
    caches: PartitionSupervisor[Worker] = await PartitionSupervisor.start(diary.child("a"))
    assert await caches.count_children() == ChildCounts(PARTITIONS, PARTITIONS, 0, PARTITIONS)
    assert [state.id for state in await caches.which_children()] == [str(number) for number in range(PARTITIONS)]
    await caches.stop()
    assert diary.events == ["start a"] * PARTITIONS + ["stop a: shutdown"] * PARTITIONS


@pytest.mark.virtual_time
async def test_a_partition_that_ends_comes_back_in_its_place() -> None:
    caches: PartitionSupervisor[Cache] = await PartitionSupervisor.start(Cache.child, partitions=3, max_restarts=9)
    others = [caches.partition(0), caches.partition(2)]
    old = caches.partition(1)
    await old.put("key", "value")
    old.exit("kill")
    with pytest.raises(NoSuchProcess, match="partition 1 of"):
        caches.partition(1)
    await settle()
    new = caches.partition(1)
    assert new != old
    assert await new.put("key", "value") == 1
    assert [caches.partition(0), caches.partition(2)] == others
    new.exit("kill")
    await settle()
    with pytest.raises(NoSuchProcess):
        caches.partition(1)  # it waits for its second restart
    await caches.stop()
    with pytest.raises(NoSuchProcess):
        caches.partition(0)


@pytest.mark.virtual_time
async def test_partitions_are_found_by_the_name_of_their_supervisor() -> None:
    root = await Supervisor.start(
        [PartitionSupervisor.child(DynamicSupervisor.child(), partitions=2, name="rooms"), Cache.child(name="last")]
    )
    rooms: PartitionSupervisor[DynamicSupervisor] = PartitionSupervisor.whereis("rooms")
    cache = await rooms.partition("lobby").start_child(Cache.child(7))
    assert await cache.put("a", "b") == 7
    assert (await root.which_children())[0].kind == "supervisor"
    assert (await rooms.count_children()).supervisors == 2
    await root.stop()
    assert alive() == []


@pytest.mark.virtual_time
async def test_a_partition_that_does_not_start_takes_the_others_back() -> None:
    diary = Diary(a="ok ok fail")
    with pytest.raises(StartFailed, match="its child '2'"):
        await PartitionSupervisor.start(diary.child("a"), partitions=4)
    assert diary.events[-2:] == ["stop a: shutdown"] * 2


@pytest.mark.virtual_time
async def test_while_they_start_there_are_no_partitions_to_be_found() -> None:
    class Curious(GenServer):
        def init(self) -> None:
            caches: PartitionSupervisor[Curious] = PartitionSupervisor.whereis("caches")
            caches.partition("key")

    with pytest.raises(StartFailed, match="NoSuchProcess"):
        await PartitionSupervisor.start(Curious.child(), name="caches")


@pytest.mark.virtual_time
async def test_arguments_that_mean_nothing_are_refused() -> None:
    with pytest.raises(StartFailed) as failed:
        await PartitionSupervisor.start(Cache.child(), partitions=0)
    assert isinstance(failed.value.__cause__, ConfigError)
