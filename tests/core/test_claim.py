"""Equal shares, neighbours on different nodes, and no movement that need not be."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.claim import claim, moved, reclaim, replace, shortcomings
from roost.core.layout import Layout
from roost.core.reseating import Reseating
from roost.core.ring import Ring
from roost.core.seating import TARGET_N, Seating, crowding
from roost.limits import REPLICAS

SIZES = [16, 32, 64, 128, 256, 512]
SHAPES = [(1, 1), (2, 1), (2, 2), (1, 1, 1), (2, 2, 1), (3, 3, 2), (1, 2, 3), (3, 3, 3), (3, 3, 3, 4), (4, 4, 4, 4)]
"""Nodes per zone."""


def names(count: int, start: int = 0) -> tuple[str, ...]:
    return tuple(f"n{number:02d}" for number in range(start, start + count))


def zones_of(members: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The nodes in turn."""
    return tuple(f"z{int(member[1:]) % count}" for member in members) if count else ()


def shape_of(sizes: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    zones = tuple(f"z{zone}" for zone, nodes in enumerate(sizes) for _ in range(nodes))
    return names(len(zones)), zones


def check(ring: Ring, copies: int = TARGET_N) -> None:
    """What holds for every ring: equal shares; distinct nodes, and distinct zones, as far as there are enough."""
    counts = ring.counts()
    assert sum(counts.values()) == ring.size
    assert max(counts.values()) - min(counts.values()) <= 1
    zone = dict(zip(ring.members, ring.zones or ring.members, strict=True))
    holders = [node for node, count in counts.items() if count]
    apart = len({zone[node] for node in holders})
    for partition in range(ring.size):
        order = ring.order(partition)
        assert len(order) == len(set(order)) == len(holders)
        assert order[0] == ring.owner(partition)
        assert len({zone[node] for node in order[:copies]}) == min(copies, apart)


def check_step(before: Ring, after: Ring) -> None:
    """No partition moves but from a node that has gone or has too many, to one that has too few."""
    check(after)
    was, now = before.counts(), after.counts()
    least = sum(max(was[node] - now.get(node, 0), 0) for node in was)
    assert sum(moved(before, after).values()) == least
    assert least == fewest(before, after.members)


def fewest(before: Ring, members: tuple[str, ...]) -> int:
    """How many partitions must move, whoever gets the odd ones."""
    share, odd = divmod(before.size, len(members))
    held = sorted((before.counts().get(node, 0) for node in members), reverse=True)
    kept = sum(min(count, share + (place < odd)) for place, count in enumerate(held))
    return before.size - kept


def crowded(ring: Ring, reach: int) -> int:
    return sum(crowding(ring.owners, partition, reach) for partition in range(ring.size)) // 2


def transfers(before: Ring, after: Ring) -> int:
    layout = Layout.settled(before).aim(after, REPLICAS)
    return sum(len(layout.transfers(partition, REPLICAS)) for partition in layout.moving())


# Birth.


@pytest.mark.parametrize("size", [8, *SIZES])
@pytest.mark.parametrize("count", range(1, 17))
def test_every_birth_has_equal_shares_on_distinct_nodes(size: int, count: int) -> None:
    check(claim(names(count), size))


@pytest.mark.parametrize("size", [8, *SIZES])
@pytest.mark.parametrize("count", [1, 2, *range(4, 17)])
def test_neighbours_are_on_different_nodes_all_around_the_ring(size: int, count: int) -> None:
    assert crowded(claim(names(count), size), min(TARGET_N, count)) == 0


@pytest.mark.parametrize("size", [8, *SIZES])
def test_the_tail_violation_of_riak_core_is_mended(size: int) -> None:
    assert crowded(claim(names(5), size), 3) == 0


@pytest.mark.parametrize("size", [16, 64, 256])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_birth_in_zones_spreads_every_key_over_them(size: int, shape: tuple[int, ...]) -> None:
    ring = claim(*_swapped(shape, size))
    check(ring)
    assert len(shape) * 2 > len(ring.members) or crowded(ring, 3) <= 2


def _swapped(shape: tuple[int, ...], size: int) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
    members, zones = shape_of(shape)
    return members, size, zones


@pytest.mark.parametrize(("shape", "size"), [((2, 2), 64), ((2, 2, 2, 2), 64), ((4, 4, 4, 4), 512), ((1,) * 4, 64)])
def test_equal_zones_alternate_all_around_the_ring(shape: tuple[int, ...], size: int) -> None:
    members, zones = shape_of(shape)
    ring = claim(members, size, zones)
    places = [zones[owner] for owner in ring.owners]
    assert all(len({places[(at + step) % size] for step in range(len(shape))}) == len(shape) for at in range(size))
    assert shortcomings(ring, min(3, len(shape))) == ()


def test_the_shape_that_riak_cannot_place_is_placed() -> None:
    members, zones = shape_of((3, 3, 3, 4))
    ring = claim(members, 512, zones)
    check(ring)
    copies = Counter(node for partition in range(512) for node in ring.order(partition)[:3])
    assert max(copies.values()) - min(copies.values()) <= 12  # of 118


def test_zones_of_their_own_are_no_zones() -> None:
    assert claim(("a", "b", "c"), 64, ("", "", "")) == claim(("a", "b", "c"), 64)


# Coming and going.


@pytest.mark.parametrize("zones", [0, 2, 3, 4])
@pytest.mark.parametrize(("size", "top"), [(16, 16), (32, 16), (64, 16), (128, 12), (256, 8), (512, 6)])
def test_nodes_that_join_one_by_one_take_their_share_and_nothing_else_moves(size: int, top: int, zones: int) -> None:
    ring = claim(names(1), size, zones_of(names(1), zones))
    for count in range(2, top + 1):
        grown = reclaim(ring, names(count), zones_of(names(count), zones))
        check_step(ring, grown)
        pairs = moved(ring, grown)
        assert {taker for _, taker in pairs} <= {names(count)[-1]}
        assert sum(pairs.values()) <= -(-size // count) + 1
        ring = grown


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 12, 15])
def test_a_node_that_joins_a_fresh_ring_takes_its_share_and_nothing_else_moves(size: int, count: int) -> None:
    ring = claim(names(count), size)
    grown = reclaim(ring, names(count + 1))
    check_step(ring, grown)
    assert sum(moved(ring, grown).values()) <= -(-size // (count + 1)) + 1
    if count >= TARGET_N:
        assert crowded(grown, TARGET_N) <= (size == 16)
        assert shortcomings(grown) == ()
        if size > 16:
            assert transfers(ring, grown) == REPLICAS * sum(moved(ring, grown).values())


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_cluster_that_began_with_one_node_is_in_good_order_from_four_nodes_on(size: int) -> None:
    ring = claim(names(1), size)
    for count in range(2, 13):
        grown = reclaim(ring, names(count))
        if count > TARGET_N:
            assert crowded(grown, 3) == 0
            assert crowded(grown, TARGET_N) <= 4
            assert transfers(ring, grown) <= 3 * REPLICAS + REPLICAS * sum(moved(ring, grown).values())
        if count >= TARGET_N:
            assert shortcomings(grown) == ()
        ring = grown


@pytest.mark.parametrize("zones", [0, 2, 3, 4])
@pytest.mark.parametrize("size", [16, 64, 128])
def test_nodes_that_leave_one_by_one_give_what_they_had(size: int, zones: int) -> None:
    ring = claim(names(12), size, zones_of(names(12), zones))
    for count in range(11, 0, -1):
        shrunk = reclaim(ring, names(count, 12 - count), zones_of(names(count, 12 - count), zones))
        check_step(ring, shrunk)
        assert sum(moved(ring, shrunk).values()) == ring.counts()[f"n{11 - count:02d}"]
        ring = shrunk


GROUPS = [(64, 5, 3, 2), (64, 3, 2, 0), (64, 16, 0, 8), (16, 5, 3, 3), (128, 3, 9, 0), (32, 1, 4, 0), (256, 8, 4, 4)]


@pytest.mark.parametrize("zones", [0, 2, 3, 4])
@pytest.mark.parametrize(("size", "count", "joins", "leaves"), GROUPS)
def test_several_may_come_and_go_at_once(size: int, count: int, joins: int, leaves: int, zones: int) -> None:
    members = names(count + joins - leaves, leaves)
    ring = claim(names(count), size, zones_of(names(count), zones))
    check_step(ring, reclaim(ring, members, zones_of(members, zones)))


@pytest.mark.parametrize(("size", "count"), [(64, 5), (16, 5), (32, 5), (512, 13), (16, 13), (64, 12), (128, 9)])
def test_the_shapes_that_riak_core_had_trouble_with_are_in_good_order(size: int, count: int) -> None:
    before = claim(names(4), size)
    for ring in (claim(names(count), size), reclaim(before, names(count)), chain(size, count)):
        check(ring)
        assert crowded(ring, 3) == 0
        assert shortcomings(ring) == ()


def chain(size: int, count: int) -> Ring:
    """Joins of one, six and nine nodes, as the plans were whose rings were wrong, and leaves down to `count`."""
    ring = claim(names(1), size)
    for members in (names(7), names(16), names(count)):
        grown = reclaim(ring, members)
        check_step(ring, grown)
        ring = grown
    return ring


def test_a_node_for_every_zone_at_once_disturbs_nothing() -> None:
    ring = claim(names(4), 64, zones_of(names(4), 4))
    grown = reclaim(ring, names(8), zones_of(names(8), 4))
    check_step(ring, grown)
    assert all(giver[-1] == str(int(taker[-1]) - 4) for giver, taker in moved(ring, grown))
    assert shortcomings(grown) == ()
    assert transfers(ring, grown) == REPLICAS * sum(moved(ring, grown).values())


def test_many_come_to_a_large_ring() -> None:
    ring = claim(names(1), 512)
    grown = reclaim(ring, names(16))
    check_step(ring, grown)
    assert crowded(grown, TARGET_N) == 0
    check_step(grown, reclaim(grown, names(7, 9)))


clusters = st.sets(st.integers(0, 15), min_size=1).map(lambda found: tuple(f"n{one:02d}" for one in sorted(found)))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([16, 32, 64]), st.integers(0, 4), st.lists(clusters, min_size=2, max_size=6), st.integers(0, 9))
def test_any_chain_of_changes_keeps_all_promises(
    size: int, zones: int, steps: list[tuple[str, ...]], seed: int
) -> None:
    ring = claim(steps[0], size, zones_of(steps[0], zones))
    check(ring)
    for members in steps[1:]:
        changed = reclaim(ring, members, zones_of(members, zones), seed=seed)
        check_step(ring, changed)
        backwards = tuple(reversed(members))
        assert reclaim(ring, backwards, zones_of(backwards, zones), seed=seed) == changed
        ring = changed


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 4, 8, 32]), st.data())
def test_even_a_ring_in_disorder_is_brought_in_order_with_the_least_movement(size: int, data: st.DataObject) -> None:
    owners = data.draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))
    ring = Ring(names(6), tuple(owners))
    check_step(ring, reclaim(ring, data.draw(clusters)))


@pytest.mark.parametrize("zones", [0, 3])
def test_the_same_members_keep_what_they_have(zones: int) -> None:
    ring = chain(64, 7)
    assert reclaim(ring, names(7), zones_of(names(7), zones)).owners == ring.owners


def test_another_seed_may_give_another_ring() -> None:
    ring = claim(names(6), 64)
    rings = {reclaim(ring, names(7), seed=seed) for seed in range(20)}
    assert len(rings) > 1
    assert all(crowded(one, TARGET_N) == 0 for one in rings)


def test_the_order_of_the_members_does_not_matter() -> None:
    assert claim(("b", "c", "a"), 64) == claim(("a", "b", "c"), 64)
    assert claim(("b", "c", "a"), 64, ("y", "z", "x")) == claim(("a", "b", "c"), 64, ("x", "y", "z"))


def test_the_best_of_several_ways_is_taken() -> None:
    ring = claim(names(3), 64)
    tension = Seating(reclaim(ring, names(5)).owners, range(5)).tension()
    ways = []
    for start, grain in [(0, 1), (16, 4), (32, 1), (48, 4)]:
        one_way = Reseating(ring.owners, range(5))
        one_way.settle(start, grain)
        ways.append(one_way.seating.tension())
    assert tension == min(ways) < max(ways)


# Replacement.


def test_a_node_that_replaces_another_takes_exactly_what_that_had() -> None:
    ring = claim(names(5), 64, zones_of(names(5), 3))
    replaced = replace(ring, "n01", "a")
    assert replaced.members == ("a", "n00", "n02", "n03", "n04")
    assert replaced.zones == ("z1", "z0", "z2", "z0", "z1")
    assert replaced.owned("a") == ring.owned("n01")
    assert moved(ring, replaced) == {("n01", "a"): len(ring.owned("n01"))}
    for partition in range(64):
        assert [{"a": "n01"}.get(node, node) for node in replaced.order(partition)] == list(ring.order(partition))
    assert replace(replaced, "a", "n01") == ring


def test_a_replacement_may_lie_elsewhere() -> None:
    ring = claim(names(2), 16)
    assert replace(ring, "n01", "n02", "east").zones == ("", "east")
    assert replace(replace(ring, "n01", "n02", "east"), "n02", "n03", "").zones == ()


@pytest.mark.parametrize(("old", "new"), [("x", "y"), ("n00", "n01"), ("n00", "n00")])
def test_only_a_member_is_replaced_and_only_by_a_stranger(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=f"{new} cannot replace {old}"):
        replace(claim(names(2), 16), old, new)


# What is said about it.


def test_moves_are_counted_by_giver_and_taker() -> None:
    before, after = Ring(("a", "b"), (0, 0, 1, 1)), Ring(("b", "c"), (1, 0, 0, 1))
    assert moved(before, after) == {("a", "b"): 1, ("a", "c"): 1, ("b", "c"): 1}
    assert moved(before, before) == {}
    with pytest.raises(ValueError, match="4 and 8"):
        moved(before, Ring(("a",), (0,) * 8))


@pytest.mark.parametrize(
    ("ring", "said"),
    [
        (claim(names(2), 16), ["2 nodes hold at most 2 of 3 copies"]),
        (claim(names(1), 16), ["1 node holds at most 1 of 3 copies"]),
        (claim(names(5), 4), ["1 node holds no partition: there are only 4 for 5 nodes"]),
        (
            Ring(("a", "b", "c"), (0, 1, 2, 0, 1, 2, 0, 0)),
            ["a owns 4 of 8 partitions, which is more than its share of 2.667"],
        ),
        (
            Ring(names(4), (0, 1, 2, 3), zones_of(names(4), 2)),
            ["2 zones have to hold 3 copies: some copies of a key share a zone"],
        ),
        (
            Ring(names(3), (0, 1, 2, 0), ("x",) * 3),
            ["1 zone has to hold 3 copies: some copies of a key share a zone"],
        ),
        (
            Ring(names(3), (0, 1), ("x", "y", "z")),
            [
                "2 nodes hold at most 2 of 3 copies",
                "1 node holds no partition: there are only 2 for 3 nodes",
                "the copies of 2 partitions lie in fewer zones than there are",
            ],
        ),
        (
            Ring(names(4), (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)),
            [],
        ),
        (
            Ring(names(4), (0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3)),
            ["neighbouring partitions are on one node in 12 places, so that shares of copies differ by 50 %"],
        ),
        (
            claim(names(4), 64, ("x", "x", "y", "z")),
            [
                "neighbouring partitions are on one node or in one zone in 32 places, "
                "so that shares of copies differ by 67 %"
            ],
        ),
    ],
)
def test_what_a_ring_misses_is_said_in_words(ring: Ring, said: list[str]) -> None:
    assert list(shortcomings(ring)) == said


@pytest.mark.parametrize(("size", "count"), list(itertools.product([16, 64, 512], [3, 4, 5, 8, 13])))
def test_nothing_is_said_about_a_good_ring(size: int, count: int) -> None:
    assert shortcomings(claim(names(count), size)) == ()


@pytest.mark.parametrize(("members", "size"), [((), 8), (("a", "a"), 8), (("a",), 12), (("a",), 0)])
@pytest.mark.parametrize("zoned", [False, True])
def test_impossible_clusters_are_refused(members: tuple[str, ...], size: int, zoned: bool) -> None:
    with pytest.raises(ValueError, match=r"names|power"):
        claim(members, size, ("z",) * len(members) if zoned else ())


def test_zones_are_given_for_every_member() -> None:
    with pytest.raises(ValueError, match="1 zones for 2 members"):
        claim(("a", "b"), 8, ("x",))
    with pytest.raises(ValueError, match="1 zones for 3 members"):
        reclaim(claim(("a", "b"), 8), ("a", "b", "c"), ("x",))
    with pytest.raises(ValueError, match="names"):
        reclaim(claim(("a", "b"), 8), ())
