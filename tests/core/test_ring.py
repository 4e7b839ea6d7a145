"""Where keys lie, and who holds their copies."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.claim import claim
from roost.core.ring import HASH_BITS, Replica, Ring, key_hash

ABC = Ring(("a", "b", "c"), (0, 1, 2, 0, 1, 2, 0, 1))


def names(count: int) -> tuple[str, ...]:
    return tuple(f"n{number:02d}" for number in range(count))


rings = st.builds(
    lambda bits, count: claim(names(count), 2**bits), st.integers(0, 9), st.integers(min_value=1, max_value=16)
)


def test_a_key_hashes_as_riak_hashes_it() -> None:
    assert key_hash(b"bucket", b"key") == 0x28D8DDC5D00E8D5EB7F88A36EB0190B7E9B229A6


def test_a_key_belongs_to_the_partition_after_its_hash() -> None:
    ring = claim(names(3), 64)
    assert ring.partition_of(key_hash(b"bucket", b"key")) == 11
    assert ring.partition_of(0) == 1
    assert ring.partition_of(2**HASH_BITS - 1) == 0


@given(rings, st.integers(0, 2**HASH_BITS - 1))
def test_the_partition_is_the_quotient_plus_one(ring: Ring, point: int) -> None:
    assert ring.partition_of(point) == (point // (2**HASH_BITS // ring.size) + 1) % ring.size


def test_bucket_and_key_do_not_run_into_each_other() -> None:
    assert key_hash(b"ab", b"c") != key_hash(b"a", b"bc")


def test_a_preference_list_skips_nodes_that_it_names_already() -> None:
    assert ABC.preference_list(6, 3, ABC.members) == (
        Replica(6, "a", True),
        Replica(7, "b", True),
        Replica(2, "c", True),
    )


def test_a_fallback_takes_the_partition_of_the_primary_that_is_down() -> None:
    ring = Ring(names(5), (0, 1, 2, 3, 4, 0, 1, 2))
    up = ("n00", "n02", "n03", "n04")
    assert ring.preference_list(0, 3, up) == (
        Replica(0, "n00", True),
        Replica(1, "n03", False),
        Replica(2, "n02", True),
    )
    assert ring.spares(0, 3, up) == ("n04",)


def test_with_too_few_nodes_the_list_is_shorter() -> None:
    assert ABC.preference_list(0, 3, ("c",)) == (Replica(2, "c", True),)
    assert ABC.preference_list(0, 3, ()) == ()
    assert ABC.spares(0, 3, ABC.members) == ()


@given(rings, st.data())
def test_every_preference_list_names_distinct_nodes_that_are_up(ring: Ring, data: st.DataObject) -> None:
    partition = data.draw(st.integers(0, ring.size - 1))
    n = data.draw(st.integers(1, len(ring.members)))
    up = data.draw(st.lists(st.sampled_from(ring.members), unique=True))
    owners = {ring.owner(place) for place in range(ring.size)}
    replicas = ring.preference_list(partition, n, up)
    nodes = [replica.node for replica in replicas]
    assert len(nodes) == len(set(nodes)) == min(n, len(owners & set(up)))
    assert len({replica.partition for replica in replicas}) == len(replicas)
    assert set(nodes) <= set(up)
    for replica in replicas:
        assert replica.is_primary == (ring.owner(replica.partition) == replica.node)
    spares = ring.spares(partition, n, up)
    assert not set(spares) & set(nodes)
    assert set(spares) | set(nodes) <= owners & set(up)


@given(rings, st.data())
def test_a_primary_that_is_up_is_in_every_list(ring: Ring, data: st.DataObject) -> None:
    partition = data.draw(st.integers(0, ring.size - 1))
    n = data.draw(st.integers(1, len(ring.members)))
    up = data.draw(st.lists(st.sampled_from(ring.members), unique=True))
    primaries = [one for one in ring.preference_list(partition, n, ring.members) if one.node in up]
    assert [one for one in ring.preference_list(partition, n, up) if one.is_primary] == primaries
    assert ring.preference_list(partition, n, ring.members)[0].partition == partition


@given(rings, rings)
def test_rings_share_a_digest_exactly_when_they_are_the_same(one: Ring, other: Ring) -> None:
    assert (one.digest() == other.digest()) == (one == other)


@given(rings)
def test_a_ring_survives_its_encoding(ring: Ring) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ring), type=Ring) == ring


@pytest.mark.parametrize("owners", [(), (0, 0, 0), (0, 1), (0, -1)])
def test_a_ring_that_contradicts_itself_is_refused(owners: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="partition"):
        Ring(("a",), owners)
    damaged = msgspec.msgpack.encode({"members": ("a",), "owners": owners})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(damaged, type=Ring)


def test_every_partition_is_owned_once() -> None:
    assert sorted(place for name in ABC.members for place in ABC.owned(name)) == list(range(8))
    assert ABC.owned("c") == (2, 5)
