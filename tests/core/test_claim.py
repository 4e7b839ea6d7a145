"""Equal shares, and neighbours on different nodes."""

from __future__ import annotations

import itertools

import pytest

from roost.core.claim import TARGET_N, claim, crowding

SIZES = [8, 16, 32, 64, 128, 256, 512]


def names(count: int) -> tuple[str, ...]:
    return tuple(f"n{number:02d}" for number in range(count))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", range(1, 17))
def test_shares_differ_by_at_most_one(size: int, count: int) -> None:
    ring = claim(names(count), size)
    shares = [len(ring.owned(name)) for name in ring.members]
    assert ring.size == size
    assert sum(shares) == size
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", range(1, 17))
def test_copies_are_on_distinct_nodes_whenever_there_are_enough(size: int, count: int) -> None:
    ring = claim(names(count), size)
    most = min(count, size, TARGET_N)
    for partition, n in itertools.product(range(size), range(1, most + 1)):
        nodes = [replica.node for replica in ring.preference_list(partition, n, ring.members)]
        assert len(nodes) == len(set(nodes)) == n


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, *range(4, 17)])
def test_neighbours_are_on_different_nodes_all_around_the_ring(size: int, count: int) -> None:
    owners = claim(names(count), size).owners
    reach = min(TARGET_N, count)
    assert not any(crowding(owners, partition, reach) for partition in range(size))


@pytest.mark.parametrize("size", SIZES)
def test_the_tail_violation_of_riak_core_is_mended(size: int) -> None:
    owners = claim(names(5), size).owners
    assert not any(crowding(owners, partition, 3) for partition in range(size))


def test_crowding_looks_both_ways_and_around() -> None:
    owners = (0, 1, 2, 0, 1, 2, 1, 0)
    assert crowding(owners, 0, 2) == 1
    assert crowding(owners, 0, 3) == 1
    assert crowding(owners, 0, 4) == 2
    assert crowding(owners, 2, 3) == 0
    assert crowding((0, 0), 0, 2) == 1


def test_the_order_of_the_members_does_not_matter() -> None:
    assert claim(("b", "c", "a"), 64) == claim(("a", "b", "c"), 64)


@pytest.mark.parametrize(("members", "size"), [((), 8), (("a", "a"), 8), (("a",), 12), (("a",), 0)])
def test_impossible_clusters_are_refused(members: tuple[str, ...], size: int) -> None:
    with pytest.raises(ValueError, match=r"names|power"):
        claim(members, size)
