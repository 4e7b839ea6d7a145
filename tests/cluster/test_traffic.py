"""How many transfers are under way, why one waits, what is where it does not belong, and repair."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from roost import limits
from roost.cluster.address import FALLBACK, FORWARDED, PRIMARY
from roost.cluster.coordinator import VnodeRing
from roost.cluster.keyed_vnode import KeyedVnode
from roost.cluster.node import Node
from roost.cluster.outgoing import Outgoing
from roost.cluster.vnode import LATER, Later, Sender, Vnode
from roost.core.claim import claim
from roost.core.ring import slot_of
from roost.errors import BadMessage, ConfigError, HandoffRefused, NoQuorum, Overloaded
from tests.cluster.flock import flock
from tests.cluster.moving import Add, Counters, Sum, moving, name

KEYS = [f"k{number}" for number in range(30)]


async def test_limits_hold_and_may_change_at_any_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    begin = Outgoing.begin

    def counted(self: Outgoing) -> None:
        begin(self)
        begun.append(self._node.traffic.outgoing)

    monkeypatch.setattr(Outgoing, "begin", counted)
    async with moving("a", "b") as story:
        story.settle("a")
        traffic = story.flock["a"].traffic
        traffic.limit(outgoing=0)
        for key in KEYS:
            await story.rings["a"].command(key, Add(key, 1))
        story.aim("b")
        assert begun == []
        waiting = [one for one in traffic.transfers() if one.phase == "waiting"]
        assert {one.reason for one in waiting} == {"0 transfers are under way here, the limit"}
        assert {(one.kind, one.source, one.target) for one in waiting} == {("ownership", name("a"), name("b"))}
        traffic.limit(outgoing=3)
        await story.arrive()
        assert max(begun) <= 3
        story.flock["a"].traffic.limit(incoming=0)
        story.aim("a")
        there = story.flock["b"].traffic
        await story.flock.until(lambda: any("is full: retry after" in one.reason for one in there.transfers()))
        story.flock["a"].traffic.limit(incoming=2)
        await story.arrive()
        assert {story.total(key) for key in KEYS} == {1}


async def test_to_look_at_many_transfers_is_no_work_for_each_pair_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    counted = Outgoing.is_active

    def look(self: Outgoing) -> bool:
        looks.append(self.source)
        return bool(counted.fget(self))  # type: ignore[attr-defined]  # a property

    async with moving("a", "b") as story:
        story.settle("a")
        traffic = story.flock["a"].traffic
        traffic.limit(outgoing=0)
        story.aim("b")
        monkeypatch.setattr(Outgoing, "is_active", property(look))
        rows = len(traffic.transfers())
        assert rows >= story.layout.size
        story.kvs["a"].handoffs.look()
        assert len(looks) < 10 * rows


async def test_a_ring_that_is_excluded_waits_and_says_so() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        story.flock["a"].traffic.exclude("Counters")
        story.aim("b")
        await story.flock.until(lambda: all(one.phase == "given" for one in story.kvs["a"].handoffs.status()))
        assert story.flock["a"].traffic.given_partitions() == ()
        reasons = {one.reason for one in story.rings["a"].host.handoffs.status()}
        assert reasons == {"the ring Counters is excluded from handoff"}
        story.flock["a"].traffic.exclude()
        await story.arrive()


async def test_a_taker_that_is_down_is_waited_for_visibly() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        await story.flock.stop("b")
        story.aim("b")
        assert {one.reason for one in story.flock["a"].traffic.transfers()} == {f"{name('b')} is down"}


async def test_the_status_shows_how_far_a_transfer_is() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        for key in KEYS:
            await story.buckets["a"].put(key, "x")
        story.aim("b")
        await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
        status = story.kvs["a"].handoffs.status()
        assert sum(one.items_done for one in status) == sum(one.items_total for one in status) == len(KEYS)
        for one in status:
            assert (one.phase, one.attempts >= 1, one.started_s_ago > 0) == ("given", True, True)
            assert (one.bytes_done > 0) == (one.items_done > 0)


async def test_a_command_to_a_node_that_does_not_hold_the_slot_is_passed_on() -> None:
    async with moving("a", "b", "c") as story:
        story.settle("b")
        host, slot = story.rings["a"].host, slot_of(story.rings["a"].partition("k"), 0)
        command = host.encode_command(Add("k", 5))
        for letter in "cb":
            body = host.envelope(slot, PRIMARY, command)
            reply = await story.flock["a"].fabric.call(name(letter), host.service, body, 5.0)
            assert isinstance(host.decode_reply(reply), Sum)
        assert story.total("k") == 10
        assert slot not in story.rings["c"].host.running()
        body = host.envelope(slot_of(3, 2), PRIMARY, command)  # a copy that is not kept by one node alone
        with pytest.raises(HandoffRefused, match="so many copies"):
            await story.flock["a"].fabric.call(name("c"), host.service, body, 5.0)
        assert story.total("k") == 10


async def test_what_a_stand_in_has_counted_does_not_overwrite_and_goes_where_nothing_is() -> None:
    async with moving("a", "b", "c") as story:
        story.settle("b")
        partition = story.rings["a"].partition("k")
        stand_in = story.rings["c"].host
        told: list[object] = []
        await story.rings["a"].command("k", Add("k", 5))
        for key in ("k", "other"):
            stand_in.ask(slot_of(partition, 0), Add(key, 1), Sender("x", told.append), FALLBACK)
        story.flock["c"].traffic.look()
        await story.flock.until(lambda: story.strays() == 0)
        vnode = story.rings["b"].host.vnode(slot_of(partition, 0))
        assert isinstance(vnode, Counters)
        assert vnode.store == {"k": 5, "other": 1}
        await story.flock.until(lambda: stand_in.running() == {})


async def test_what_is_where_it_does_not_belong_is_found_after_a_restart(tmp_path: Path) -> None:
    async with moving("a", "b", "c", "d", folder=tmp_path) as story:
        story.settle("abc")
        for key in KEYS:
            await story.buckets["a"].put(key, key)
        await story.flock.stop("a")
        story.settle("bcd")  # as if it had arrived, and nobody had been given anything
        await story.flock.start("a")
        await story.flock.meet()
        await story.flock.until(lambda: story.strays() == 0)
        assert story.kvs["a"].storage.counts() == {}
        for key in KEYS:
            found = await story.buckets["d"].get(key, r=3)
            assert found is not None
            assert found.value == key


async def test_a_copy_is_repaired_from_the_others() -> None:
    async with moving("a", "b", "c") as story:
        for key in KEYS:
            await story.buckets["a"].put(key, key, w=3)
        kv = story.kvs["b"]
        slots = sorted(kv.storage.tables)
        before = {slot: dict(kv.storage.tables[slot]) for slot in slots}
        for slot in slots:
            for stored in before[slot]:
                kv.storage.delete(slot, stored)
            assert set(await kv.handoffs.repair(slot)) == {name("a"), name("c")}
        await story.flock.until(lambda: kv.storage.tables == before)
        await story.flock.until(lambda: not any(node.traffic.transfers() for node in story.flock.nodes.values()))
        stray = slot_of(0, 7)
        with pytest.raises(HandoffRefused):
            await kv.handoffs.repair(stray)
        await story.flock.stop("a")
        await story.flock.stop("c")
        with pytest.raises(NoQuorum):
            await kv.handoffs.repair(slots[0])


async def test_a_repair_of_what_is_held_elsewhere_by_now_is_given_up() -> None:
    async with moving("a", "b", "c") as story:
        story.settle("ab")
        for node in story.flock.nodes.values():
            node.traffic.limit(outgoing=0)
        slot = next(one for one, is_held in story.kvs["b"].host.served.items() if is_held)
        assert await story.kvs["b"].handoffs.repair(slot) == (name("a"),)
        assert [one.kind for one in story.flock["a"].traffic.transfers()] == ["repair"]
        story.settle("ac")
        assert story.flock["a"].traffic.transfers() == ()


class Broken(msgspec.Struct, frozen=True):
    """No value of a counter."""


async def test_what_cannot_be_encoded_or_decoded_stays_and_says_why() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        vnode = story.rings["a"].host.vnode(slot_of(3, 0))
        assert isinstance(vnode, Counters)
        vnode.store["k"] = object()  # type: ignore[assignment]  # that is the mistake
        story.aim("b")
        handoffs = story.rings["a"].host.handoffs
        await story.flock.until(lambda: any("Encoding" in one.reason for one in handoffs.status()))
        vnode.store["k"] = "text"  # type: ignore[assignment]  # that is the other mistake
        await story.flock.until(lambda: any("cannot be taken" in one.reason for one in handoffs.status()))
        assert 3 not in story.given()
        assert "k" in vnode.store
        vnode.store["k"] = 7
        await story.arrive()


class Patient(Vnode[Add, Sum]):
    """Never answers."""

    def handle_command(self, command: Add, sender: Sender) -> Sum | Later:
        return LATER


async def test_commands_that_wait_are_bounded_and_the_next_one_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    rings: list[VnodeRing[Add, Sum]] = []

    def setup(node: Node) -> None:
        rings.append(VnodeRing(node, Patient))

    async with flock("a", setup=setup):
        host, told = rings[0].host, list[object]()
        monkeypatch.setattr(limits, "VNODE_WAITING_MAX", 3)
        for _ in range(5):
            host.ask(8, Add("k", 1), Sender("x", told.append))
        assert [type(one) for one in told] == [Overloaded, Overloaded]
        monkeypatch.setattr(limits, "VNODES_WAITING_MAX", 4)
        host.ask(16, Add("k", 1), Sender("x", told.append))
        host.ask(16, Add("k", 1), Sender("x", told.append))
        assert len(told) == 3
        assert (host.crowd.size, host.crowd.refused) == (4, 3)
        host.close("over")
        assert host.crowd.size == 0


async def test_a_command_that_is_refused_because_too_many_wait_is_not_done_at_the_taker_either() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        story.aim("b")
        await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
        ring, told = story.rings["a"], list[object]()
        slot = slot_of(ring.partition("k"), 0)
        ring.host.vnode(slot)
        ring.host.crowd.size = limits.VNODES_WAITING_MAX
        ring.host.ask(slot, Add("k", 1), Sender("x", told.append))
        ring.host.crowd.size = 0
        assert [type(one) for one in told] == [Overloaded]
        assert (await ring.command("k", Add("k", 1))).total == 1


async def test_a_command_of_wrong_content_is_answered_when_it_is_handed_on_within_a_node() -> None:
    async with moving("a") as story:
        host, told = story.rings["a"].host, list[object]()
        host.ask_encoded(8, FORWARDED, host.encode_command(Add(7, 1)), told.append)  # type: ignore[arg-type]  # on purpose
        assert [type(one) for one in told] == [BadMessage]


async def test_values_of_a_keyed_vnode_have_a_type() -> None:
    class Untyped(KeyedVnode):  # type: ignore[type-arg]  # that is the mistake
        pass

    with pytest.raises(ConfigError, match="type of its values"):
        Untyped()


async def test_what_cannot_be_merged_is_not_done_where_nothing_is_left_however_late_the_askers_are() -> None:
    async with moving("a", "b", "c", "d") as story:
        story.settle("a")
        views = [story.layout]
        for letter in "bc":
            await story.rings["d"].command("k", Add("k", 1))
            story.aim(letter)
            await story.arrive()
            views.append(story.layout)
        await story.flock.until(lambda: story.rings["b"].host.running() == {})
        story.adopt(views[0], "d")
        story.adopt(views[1], "a")
        slot, host = slot_of(story.rings["d"].partition("k"), 0), story.rings["d"].host
        body = host.envelope(slot, PRIMARY, host.encode_command(Add("k", 1)))
        with pytest.raises(HandoffRefused):
            await story.flock["d"].fabric.call(name("a"), host.service, body, 5.0)
        story.adopt(views[2])
        assert (await story.rings["d"].command("k", Add("k", 1))).total == 3


@pytest.mark.parametrize("knows", ["less", "more"])
async def test_who_asks_a_future_holder_may_know_less_than_it_or_more(knows: str) -> None:
    async with moving("a", "b", "c") as story:
        story.settle("a")
        before = story.layout
        await story.rings["c"].command("k", Add("k", 1))
        story.aim("b")
        await story.arrive()
        await story.flock.until(lambda: story.rings["a"].host.running() == {})
        story.flock["b"].traffic.exclude(*(["Counters"] if knows == "less" else []))
        story.aim("a")
        after = story.layout
        if knows == "less":
            story.flock["c"].placement.adopt(before)
        else:
            await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
            after = after.arrive(after.moving())
            for letter in "bc":
                story.flock[letter].placement.adopt(after)
        assert (await story.rings["c"].command("k", Add("k", 1))).total == 2
        story.flock["b"].traffic.exclude()
        story.adopt(after)
        await story.arrive()
        assert story.total("k") == 2


async def test_two_nodes_that_each_give_to_the_other_do_not_hand_a_command_on_for_ever() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        to_b = story.layout.aim(claim((name("b"),), story.layout.size), 3)
        back = to_b.arrive(to_b.moving()).aim(claim((name("a"),), story.layout.size), 3)
        story.adopt(to_b, "a")
        story.adopt(back, "b")  # b knows more
        hosts = {letter: story.kvs[letter].host for letter in "ab"}
        slot = story.buckets["a"].where("k")[0].slot
        await story.flock.until(
            lambda: all(any(one.giving.is_relaying for one in hosts[x].transits[slot].takers) for x in "ab")
        )
        assert (await story.buckets["a"].put("k", 1)).acks == 1
        for letter in "ab":
            found = await story.buckets[letter].get("k")
            assert found is not None
            assert found.value == 1


async def test_another_life_of_a_taker_takes_the_gift_back_even_when_nobody_saw_the_last_one_end() -> None:
    async with moving("a", "b") as story:
        story.settle("a")
        for key in KEYS:
            await story.rings["a"].command(key, Add(key, 1))
        story.aim("b")
        await story.flock.until(lambda: len(story.given()) == len(story.layout.moving()))
        for ring in (story.rings["a"].host.handoffs, story.kvs["a"].handoffs):
            ring.peer_up(name("b"))
        assert story.flock["a"].traffic.given_partitions() == ()
        await story.arrive()
        assert {story.total(key) for key in KEYS} == {1}
