"""Bugs that are planted in the product, each at a named point. A judge that misses one would miss it in the product.

`MUTANTS` says which story brings each to light. `test_mutants` looks at the seeds that are known to; all of them, over
as many seeds as it takes, with a table at the end::

    python -m tests.sim.mutants            # every one
    python -m tests.sim.mutants relay      # those with this word in their names
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Container, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import pytest

from roost.cluster import voting
from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.handoff import HandoffManager, Handoffs
from roost.cluster.membership import Membership
from roost.cluster.outgoing import Outgoing
from roost.cluster.record import Record
from roost.cluster.vnode import VnodeHost
from roost.core import caspaxos, causality, quorum
from roost.core import claimant as deciding
from roost.core.caspaxos import Acceptor, Entry, Proposer
from roost.core.causality import Clock, Versions
from roost.core.claimant import Report
from roost.core.context import NOTHING_READ
from roost.core.handoff import Giving
from roost.core.layout import Layout, Transfer
from roost.core.membership import Cluster
from roost.core.quorum import Effects, GetOp
from roost.core.terms import Keeper, ReadOptions, ReadTerms, WriteOptions, WriteTerms
from roost.data import bucket
from roost.data.kv_operation import Write
from roost.data.kv_vnode import KvVnode, Merge
from roost.data.storage import OnDurable, Storage
from roost.errors import SimulationError
from roost.runtime.disk import Store
from roost.sim.checkers import Broken
from roost.sim.nemesis import KINDS
from roost.sim.running import run
from roost.sim.story import KvNode, Tale, siblings, tell
from roost.sim.tally import count
from roost.sim.upheaval import Upheaval, unsettle
from roost.sim.verdict import Verdict
from roost.sim.world import World
from roost.wire.membership import Empty, Given

SEEDS_MAX: Final = 100
"""Within how many worlds a planted bug has to come to light."""

Patch = pytest.MonkeyPatch


# The store


def _acknowledged_before_the_disk(patch: Patch) -> None:
    def when_durable(self: Storage, on_durable: OnDurable) -> None:
        on_durable(None)

    patch.setattr(Storage, "when_durable", when_durable)


def _one_copy_counted_as_two(patch: Patch) -> None:
    def one_will_do(options: WriteOptions, usual: WriteOptions, keeper: Keeper, members: int) -> WriteTerms:
        return WriteTerms(3, 1, durable=1)

    patch.setattr(bucket, "resolve_write", one_will_do)
    patch.setattr(Write, "nodes", property(lambda self: (self.quorum.nodes[0], "somebody")))


def _read_from_one(patch: Patch) -> None:
    def one_will_do(options: ReadOptions, usual: ReadOptions, keeper: Keeper, members: int) -> ReadTerms:
        return ReadTerms(3, 1)

    patch.setattr(bucket, "resolve_read", one_will_do)


def _last_write_wins(patch: Patch) -> None:
    def greater(one: bytes | None, other: bytes | None) -> bytes | None:
        return max((one or b"", other or b"")) or None

    patch.setattr(causality, "merge_encoded", greater)
    patch.setattr(quorum, "merge_encoded", greater)


def _dot_dropped_by_merge(patch: Patch) -> None:
    merge = causality.merge

    def merge_to_one(one: Versions, other: Versions) -> Versions:
        merged = merge(one, other)
        return Versions(merged.clock, merged.versions[:1])

    patch.setattr(causality, "merge", merge_to_one)


def _context_ignored(patch: Patch) -> None:
    update = causality.update

    def overwrite(stored: Versions | None, seen: Clock | None, actor: int, value: bytes | None) -> Versions:
        return update(stored, None, actor, value)

    patch.setattr(causality, "update", overwrite)


def actor_reused(patch: Patch) -> None:
    """A vnode takes the same actor in each of its lives."""

    def init(self: KvVnode) -> None:
        self._actor = 1000 * self.slot + ord(self.node[0])

    patch.setattr(KvVnode, "init", init)


def _actor_kept_after_giving_away(patch: Patch) -> None:
    forget = KvVnode.forget

    def keep_actor(self: KvVnode, items: Iterable[tuple[bytes, bytes]]) -> None:
        actor = self._actor
        forget(self, [*items])
        self._actor = actor

    def stay(self: VnodeHost[KvVnode], slot: int) -> None:
        """A vnode that is ended draws a new actor, too."""

    patch.setattr(KvVnode, "forget", keep_actor)
    patch.setattr(VnodeHost, "retire", stay)


def _deleted_without_a_tombstone(patch: Patch) -> None:
    write = KvVnode.write

    def forget(
        self: KvVnode, key: bytes, value: bytes | None, seen: Clock | None, merge: Merge | None
    ) -> tuple[bytes, Clock]:
        written = write(self, key, value, seen, merge)
        if value is None:
            self._storage.delete(self.slot, key)
        return written

    patch.setattr(KvVnode, "write", forget)


def _no_read_repair(patch: Patch) -> None:
    def no_repair(self: GetOp) -> Effects:
        return ()

    patch.setattr(GetOp, "_repair", no_repair)


def _repaired_with_an_older_value(patch: Patch) -> None:
    def overwrite(self: KvVnode, key: bytes, found: bytes) -> None:
        self._storage.put(self.slot, key, found)

    patch.setattr(KvVnode, "store", overwrite)


def _disk_not_read_at_boot(patch: Patch) -> None:
    async def load(self: Storage, store: Store) -> None:
        await store.commit([])

    patch.setattr(Storage, "_load", load)


# Handoff


def _deleted_before_confirmed(patch: Patch) -> None:
    send = Outgoing._send_items

    def and_forget(self: Outgoing, ticket: int, keys: tuple[bytes, ...]) -> None:
        send(self, ticket, keys)
        if self.kind == "hinted":
            self._vnode().forget(self._pairs.get(ticket, []))

    patch.setattr(Outgoing, "_send_items", and_forget)


def _taken_before_durable(patch: Patch) -> None:
    def at_once(self: KvVnode, on_durable: OnDurable) -> None:
        on_durable(None)

    patch.setattr(KvVnode, "when_durable", at_once)


def _hint_dropped(patch: Patch) -> None:
    begin = Outgoing.begin

    def forget_first(self: Outgoing) -> None:
        if self.kind == "hinted":
            vnode = self._vnode()
            vnode.forget([(key, vnode.item(key) or b"") for key in tuple(vnode.held())])
        begin(self)

    patch.setattr(Outgoing, "begin", forget_first)


def _hint_dropped_on_restart(patch: Patch) -> None:
    opened = Handoffs.open

    def open(self: Handoffs, manager: HandoffManager) -> None:
        for slot in [slot for slot in self._counts() if slot not in self._host.served]:
            vnode = self._host.vnode(slot)
            vnode.forget([(key, vnode.item(key) or b"") for key in tuple(vnode.held())])
        opened(self, manager)

    patch.setattr(Handoffs, "open", open)


def _hint_never_given_back(patch: Patch) -> None:
    def look(self: Handoffs) -> float:
        return 1.0

    patch.setattr(Handoffs, "look", look)


def _given_to_the_wrong_holder(patch: Patch) -> None:
    homes = Handoffs._homes

    def next_door(self: Handoffs, slot: int) -> list[tuple[int, str]]:
        order = self.node.placement.layout.order(slot >> 3)
        return [(target, order[(order.index(holder) + 1) % len(order)]) for target, holder in homes(self, slot)]

    patch.setattr(Handoffs, "_homes", next_door)


def _tombstone_not_given(patch: Patch) -> None:
    held = KvVnode.held

    def living(self: KvVnode) -> AbstractSet[bytes]:
        return {key for key in held(self) if causality.decode(self._storage.get(self.slot, key) or b"").values()}

    patch.setattr(KvVnode, "held", living)


def _write_not_forwarded(patch: Patch) -> None:
    def forward(self: Outgoing, command: bytes, mode: int) -> None:
        """Nothing."""

    patch.setattr(Outgoing, "forward", forward)


def _write_not_relayed(patch: Patch) -> None:
    patch.setattr(Giving, "is_relaying", property(lambda self: False))


def _removed_without_repair(patch: Patch) -> None:
    transfers = Layout.transfers

    def none_in_its_place(self: Layout, partition: int, depth: int, gone: Container[str] = ()) -> tuple[Transfer, ...]:
        return tuple(one for one in transfers(self, partition, depth) if one.giver not in gone)

    patch.setattr(Layout, "transfers", none_in_its_place)


# Membership


def _arrival_before_reports(patch: Patch) -> None:
    def everything(cluster: Cluster, depth: int, reports: Mapping[str, Report]) -> tuple[int, ...]:
        return cluster.layout.moving()

    patch.setattr(deciding, "finished", everything)


def _report_never_taken_back(patch: Patch) -> None:
    def note(self: Membership, node: str, word: Given | Empty) -> None:
        if isinstance(word, Empty):
            self.empty[node] = None
            return
        known = self.reports.get(node)
        before = known.given if known is not None and known.aimed == word.aimed else frozenset()
        self.reports[node] = Report(word.aimed, before | frozenset(word.transfers))

    def seen(self: Membership, event: PeerUp | PeerDown) -> None:
        reports = dict(self.reports)
        honest(self, event)
        self.reports = reports

    honest = Membership._seen
    patch.setattr(Membership, "_note", note)
    patch.setattr(Membership, "_seen", seen)


def _report_of_an_earlier_goal_counts(patch: Patch) -> None:
    def note(self: Membership, node: str, word: Given | Empty) -> None:
        if isinstance(word, Given):
            word = Given(self.cluster.aimed, word.transfers)
        honest(self, node, word)

    honest = Membership._note
    patch.setattr(Membership, "_note", note)


def _two_claimants(patch: Patch) -> None:
    def one_will_do(of: frozenset[str], nodes: set[str]) -> bool:
        return bool(of & nodes)

    patch.setattr(caspaxos, "has_majority", one_will_do)
    patch.setattr(voting, "has_majority", one_will_do)


def _vote_forgotten_on_restart(patch: Patch) -> None:
    load = Record._load

    def forget(self: Record, kept: bytes) -> None:
        load(self, kept)
        self.acceptor = Acceptor()

    patch.setattr(Record, "_load", forget)


def _old_electorate_ignored(patch: Patch) -> None:
    propose = Proposer._propose

    def among_the_new(self: Proposer, entry: Entry, *, is_own: bool) -> object:
        self._voters = self._voters[1], self._voters[1]
        return propose(self, entry, is_own=is_own)

    patch.setattr(Proposer, "_propose", among_the_new)


def _gone_and_not_told(patch: Patch) -> None:
    def stay(self: Membership) -> None:
        """Nothing."""

    patch.setattr(Membership, "go_alone", stay)


async def _stand_in_twice() -> tuple[str, ...]:
    """A node stands in for the same holder twice, and is asked both times to write the same key."""
    async with World(*"abcd", boot=KvNode.boot) as world:
        await world.start()
        await world.eventually(lambda: all(len(world.node(one).node.fabric.up()) == 4 for one in "abcd"), 5.0)
        order = [node[0] for node in world.node("a").node.placement.layout.order(_partition(world))]
        holder, reader, stand_in = order[0], order[1], order[3]
        for value in ("one", "other"):
            world.crash(holder)
            nodes = [world.node(name) for name in world.running]
            await world.eventually(lambda nodes=nodes: all(len(one.node.fabric.up()) == 3 for one in nodes), 5.0)  # type: ignore[misc]  # lambda
            await world.on(
                stand_in,
                lambda node, value=value: node.bucket.put("k", value, context=NOTHING_READ),  # type: ignore[misc]  # lambda
            )
            await world.restart(holder)
            await world.eventually(lambda: not any(world.node(one).kv.handoffs.status() for one in "abcd"), 10.0)
        values, _ = await world.on(reader, lambda node: siblings(node.bucket, "k", 3))
        return values


def _partition(world: World[KvNode]) -> int:
    return world.node("a").bucket.where("k")[0].partition


def _stood_in_twice(seed: int) -> Verdict:
    values = run(seed, _stand_in_twice())
    kept = values == ("one", "other")
    return Verdict(seed, "", broken=[] if kept else [Broken("lost write", "k", f"there is {values}")])


class Mutant(NamedTuple):
    """A planted bug, the story that brings it to light, and a seed of it that is known to."""

    plant: Callable[[Patch], None]
    story: Callable[[int], Verdict]
    seed: int = 0


def _told(machines: int = 3, *kinds: str, keys: int = 6) -> Callable[[int], Verdict]:
    """The store, in a cluster that does not change."""
    tale = Tale(machines, machines, keys=keys, kinds=kinds or KINDS)
    return lambda seed: tell(seed, tale)


def _moving(*kinds: str) -> Callable[[int], Verdict]:
    """The store, in a cluster that changes."""
    tale = Tale(6, 4, act_s=8.0, order_s=0.5, kinds=kinds)
    return lambda seed: tell(seed, tale)


def _burnt_down(seed: int) -> Verdict:
    """The same, where a machine is lost with its disk and removed by force."""
    return tell(seed, Tale(5, 5, disk_lost=True, is_removed=True, act_s=3.0, order_s=1.0, keys=24, kinds=("reset",)))


def _unread(*kinds: str) -> Callable[[int], Verdict]:
    """The same, under odd seeds only: there it is judged how many nodes have a write before any read repairs that."""
    tale = Tale(5, 3, act_s=10.0, order_s=0.3, keys=60, pause_s=0.03, kinds=kinds)
    return lambda seed: tell(2 * seed + 1, tale)


def _unsettled(machines: int, *kinds: str, pause_s: float = 0.15, load_s: float = 0.7) -> Callable[[int], Verdict]:
    """Membership, under many orders."""
    tale = Upheaval(machines, (machines + 3) // 2, pause_s=pause_s, kinds=kinds, load_s=load_s)
    return lambda seed: unsettle(seed, tale)


MUTANTS: Final[Mapping[str, Mutant]] = {
    "acknowledged before the disk": Mutant(_acknowledged_before_the_disk, _told(3, "power_cut"), 7),
    "one copy counted as two": Mutant(_one_copy_counted_as_two, _told(3, "crash", "power_cut"), 21),
    "read from one": Mutant(_read_from_one, _told(3, "crash", "split"), 10),
    "last write wins": Mutant(_last_write_wins, _told()),
    "dot dropped by merge": Mutant(_dot_dropped_by_merge, _told()),
    "context ignored": Mutant(_context_ignored, _told(3, "reset")),
    "actor reused": Mutant(actor_reused, _told(5, "crash", "partial"), 25),
    "actor kept after giving away": Mutant(_actor_kept_after_giving_away, _stood_in_twice),
    "deleted without a tombstone": Mutant(_deleted_without_a_tombstone, _told(3, "reset")),
    "no read repair": Mutant(_no_read_repair, _told(3, "split"), 14),
    "repaired with an older value": Mutant(_repaired_with_an_older_value, _told(3, "reset", "storm")),
    "disk not read at boot": Mutant(_disk_not_read_at_boot, _told(3, "power_cut")),
    "hint deleted before confirmed": Mutant(
        _deleted_before_confirmed, _told(5, "crash", "split", "storm", keys=60), 43
    ),
    "hint dropped": Mutant(_hint_dropped, _told(5, "crash"), 3),
    "hint dropped on restart": Mutant(_hint_dropped_on_restart, _told(5, "crash", "split"), 2),
    "hint never given back": Mutant(_hint_never_given_back, _told(5, "crash")),
    "taken before durable": Mutant(_taken_before_durable, _unread("power_cut", "power_cut", "slow_disk"), 65),
    "given to the wrong holder": Mutant(_given_to_the_wrong_holder, _told(5, "crash")),
    "tombstone not given": Mutant(_tombstone_not_given, _moving("split")),
    "write not forwarded": Mutant(_write_not_forwarded, count, 3),
    "write not relayed": Mutant(_write_not_relayed, count, 3),
    "removed without repair": Mutant(_removed_without_repair, _burnt_down),
    "arrival before reports": Mutant(_arrival_before_reports, unsettle),
    "report never taken back": Mutant(_report_never_taken_back, _unsettled(6, "crash", load_s=4.0), 13),
    "report of an earlier goal counts": Mutant(
        _report_of_an_earlier_goal_counts, _unsettled(6, "slow_node", "pause", "storm", load_s=2.0), 5
    ),
    "two claimants": Mutant(_two_claimants, _unsettled(5, "split")),
    "vote forgotten on restart": Mutant(
        _vote_forgotten_on_restart, _unsettled(5, "crash", "power_cut", pause_s=0.5), 12
    ),
    "old electorate ignored": Mutant(
        _old_electorate_ignored, _unsettled(7, "split", "partial", "one_way", "storm"), 134
    ),
    "gone and not told": Mutant(_gone_and_not_told, unsettle),
}


def caught(name: str, seed: int) -> list[Broken]:
    """The broken promises in one world with a planted bug."""
    mutant = MUTANTS[name]
    with pytest.MonkeyPatch.context() as patch:
        mutant.plant(patch)
        try:
            return mutant.story(seed).broken
        except (AssertionError, ExceptionGroup, SimulationError) as error:
            return [Broken("simulation", "the world", f"{type(error).__name__}: {error}")]


def main(*words: str) -> int:
    """Plant all bugs with one of `words` in their names, or all; return how many did not come to light."""
    logging.disable()
    missed = 0
    for name in MUTANTS:
        if words and not any(word in name for word in words):
            continue
        found = search(name, 0)
        missed += found is None
        print(f"{name}: " + (f"NOT CAUGHT by {SEEDS_MAX} seeds" if found is None else "seed {}: {}".format(*found)))
    return missed


def search(name: str, first: int) -> tuple[int, Broken] | None:
    """The first world, of SEEDS_MAX from `first` on, in which a planted bug comes to light, and how."""
    for seed in range(first, first + SEEDS_MAX):
        broken = caught(name, seed)
        if broken:
            return seed, broken[0]
    return None


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:]) else 0)
