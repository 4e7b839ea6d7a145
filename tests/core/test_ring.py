"""Where keys lie, and who holds their copies."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.claim import claim
from roost.core.ring import (
    HASH_BITS,
    Replica,
    Ring,
    key_hash,
    partition_and_index,
    preference_list,
    slot_of,
    spares,
)
from roost.limits import REPLICAS_MAX

ABC = Ring(("a", "b", "c"), (0, 1, 2, 0, 1, 2, 0, 1))


def names(count: int) -> tuple[str, ...]:
    return tuple(f"n{number:02d}" for number in range(count))


@st.composite
def any_rings(draw: st.DrawFn, zones: bool = True) -> Ring:
    """Rings with owners as they come, not as a claim would have them."""
    count = draw(st.integers(1, 8))
    size = 2 ** draw(st.integers(0, 5))
    owners = draw(st.lists(st.integers(0, count - 1), min_size=size, max_size=size))
    places = draw(st.just(()) | st.tuples(*[st.sampled_from(["", "x", "y", "z"])] * count)) if zones else ()
    return Ring(names(count), tuple(owners), places)


claimed = st.builds(
    lambda bits, count: claim(names(count), 2**bits), st.integers(0, 9), st.integers(min_value=1, max_value=16)
)
rings = claimed | any_rings()


VECTORS = [
    (b"bucket", b"key", "28d8ddc5d00e8d5eb7f88a36eb0190b7e9b229a6", 11),
    (b"", b"", "f83f9d59bba54cd381e322ca99c4b10b64253aad", 63),
    (b"sessions", b"user:42", "2a84606bcaf8daa5ba9040a6d3eb3f14c893c33f", 11),
    (b"carts", b"user:42", "96b927b04e56eaa96eeaa1441f923493f0c3a1ea", 38),
    ("größe".encode(), "schlüssel".encode(), "48c5a29c8bf045ed8949a5666c862693ede0ef6f", 19),
    (b"blobs", b"\x00\x01\x02\x03", "59e7af2fffe9d412db4ae1ffe183eddaf9af787f", 23),
    (b"ab", b"c", "c2937ac637cc4ce53f105366a2debb9bf2662249", 49),
    (b"a", b"bc", "cc44167c247ca9def15e7de785d23b8821892e38", 52),
]
"""Bucket, key, hash, and the partition of 64: what docs/store.md publishes. The first is Riak's own."""


@pytest.mark.parametrize(("bucket", "key", "hashed", "partition"), VECTORS)
def test_keys_lie_where_it_is_published_that_they_do(bucket: bytes, key: bytes, hashed: str, partition: int) -> None:
    assert f"{key_hash(bucket, key):040x}" == hashed
    assert claim(names(3), 64).partition_of(key_hash(bucket, key)) == partition


def test_the_documentation_publishes_these_vectors() -> None:
    page = (Path(__file__).parents[2] / "docs/store.md").read_text("utf-8")
    for bucket, key, hashed, partition in VECTORS:
        shown = [
            part.decode() if part.isascii() and min(part, default=32) >= 32 else part.hex() for part in (bucket, key)
        ]
        assert f"| `{shown[0]}` | `{shown[1]}` | `{hashed}` | {partition} |".replace("``", "") in page


def test_a_key_belongs_to_the_partition_after_its_hash() -> None:
    ring = claim(names(3), 64)
    assert ring.partition_of(0) == 1
    assert ring.partition_of(2**HASH_BITS // 64 - 1) == 1
    assert ring.partition_of(2**HASH_BITS // 64) == 2
    assert ring.partition_of(2**HASH_BITS - 1) == 0


@given(rings, st.integers(0, 2**HASH_BITS - 1))
def test_the_partition_is_the_quotient_plus_one(ring: Ring, point: int) -> None:
    assert ring.partition_of(point) == (point // (2**HASH_BITS // ring.size) + 1) % ring.size


def test_bucket_and_key_do_not_run_into_each_other() -> None:
    assert key_hash(b"ab", b"c") != key_hash(b"a", b"bc")


@given(st.integers(0, 2**20), st.integers(0, REPLICAS_MAX - 1))
def test_a_slot_is_a_partition_and_an_index(partition: int, index: int) -> None:
    slot = slot_of(partition, index)
    assert partition_and_index(slot) == (partition, index)
    assert Replica(slot, "a", True).partition == partition


@given(any_rings(zones=False), st.data())
def test_the_order_is_that_in_which_a_walk_meets_the_owners(ring: Ring, data: st.DataObject) -> None:
    partition = data.draw(st.integers(0, ring.size - 1))
    walk = [ring.owner((partition + step) % ring.size) for step in range(ring.size)]
    assert ring.order(partition) == tuple(dict.fromkeys(walk))


@given(any_rings(), st.data())
def test_every_zone_comes_once_before_any_comes_again(ring: Ring, data: st.DataObject) -> None:
    partition = data.draw(st.integers(0, ring.size - 1))
    order = ring.order(partition)
    walk = Ring(ring.members, ring.owners).order(partition)
    assert sorted(order) == sorted(walk)
    assert order[0] == ring.owner(partition)
    zones = {member: zone or member for member, zone in zip(ring.members, ring.zones or ring.members, strict=True)}
    apart = len({zones[node] for node in walk})
    assert len({zones[node] for node in order[:apart]}) == apart
    assert order[:apart] == tuple(node for at, node in enumerate(walk) if zones[node] not in map(zones.get, walk[:at]))


def test_a_node_of_a_zone_that_has_a_copy_waits_for_the_other_zones() -> None:
    ring = Ring(names(4), (0, 1, 2, 3), ("x", "x", "y", ""))
    assert ring.order(0) == ("n00", "n02", "n03", "n01")
    assert ring.order(1) == ("n01", "n02", "n03", "n00")
    assert ring.order(3) == ("n03", "n00", "n02", "n01")


def test_a_member_without_partitions_holds_nothing() -> None:
    ring = Ring(("a", "b", "c"), (0, 2, 0, 2))
    assert all(sorted(ring.order(partition)) == ["a", "c"] for partition in range(4))
    assert ring.counts() == {"a": 2, "b": 0, "c": 2}


def test_a_preference_list_skips_nodes_that_it_names_already() -> None:
    assert preference_list(ABC.order(6), 6, 3, ABC.members) == (
        Replica(slot_of(6, 0), "a", True),
        Replica(slot_of(6, 1), "b", True),
        Replica(slot_of(6, 2), "c", True),
    )


def test_a_fallback_takes_the_slot_of_the_holder_that_is_down() -> None:
    order = Ring(names(5), (0, 1, 2, 3, 4, 0, 1, 2)).order(0)
    up = ("n00", "n02", "n03", "n04")
    assert preference_list(order, 0, 3, up) == (
        Replica(slot_of(0, 0), "n00", True),
        Replica(slot_of(0, 1), "n03", False),
        Replica(slot_of(0, 2), "n02", True),
    )
    assert spares(order, 3, up) == ("n04",)


def test_with_too_few_nodes_the_list_is_shorter() -> None:
    order = ABC.order(0)
    assert preference_list(order, 0, 3, ("c",)) == (Replica(slot_of(0, 2), "c", True),)
    assert preference_list(order, 0, 3, ()) == ()
    assert spares(order, 3, ABC.members) == ()


@given(rings, st.data())
def test_every_preference_list_names_distinct_nodes_that_are_up(ring: Ring, data: st.DataObject) -> None:
    partition = data.draw(st.integers(0, ring.size - 1))
    order = ring.order(partition)
    n = data.draw(st.integers(1, REPLICAS_MAX))
    up = data.draw(st.lists(st.sampled_from(ring.members), unique=True))
    replicas = preference_list(order, partition, n, up)
    nodes = [replica.node for replica in replicas]
    assert len(nodes) == len(set(nodes)) == min(n, len(order), len(set(order) & set(up)))
    assert len({replica.slot for replica in replicas}) == len(replicas)
    assert {replica.partition for replica in replicas} <= {partition}
    assert set(nodes) <= set(up)
    for replica in replicas:
        assert replica.is_primary == (order[partition_and_index(replica.slot)[1]] == replica.node)
    others = spares(order, n, up)
    assert set(others) | set(nodes) == set(order) & set(up)
    assert not set(others) & set(nodes)


@given(rings, st.data())
def test_a_holder_that_is_up_serves_its_own_slot(ring: Ring, data: st.DataObject) -> None:
    partition = data.draw(st.integers(0, ring.size - 1))
    order = ring.order(partition)
    n = data.draw(st.integers(1, REPLICAS_MAX))
    up = data.draw(st.lists(st.sampled_from(ring.members), unique=True))
    everybody = preference_list(order, partition, n, ring.members)
    assert everybody == tuple(Replica(slot_of(partition, at), node, True) for at, node in enumerate(order[:n]))
    assert [one for one in preference_list(order, partition, n, up) if one.is_primary] == [
        one for one in everybody if one.node in up
    ]


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


def test_zones_are_one_for_each_member() -> None:
    with pytest.raises(ValueError, match="1 zones for 2 members"):
        Ring(("a", "b"), (0, 1), ("x",))


def test_every_partition_is_owned_once() -> None:
    assert sorted(place for name in ABC.members for place in ABC.owned(name)) == list(range(8))
    assert ABC.owned("c") == (2, 5)
