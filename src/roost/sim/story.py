"""The story that proves the store: clients read and write while a nemesis breaks the cluster, then the judges come.

Every run has three acts. *Safety*: faults happen and clients work. *Liveness*: one machine stays off, all else is
mended, and every acknowledged write must be readable. *Whole*: everything is mended; what stood in for others is given
back, and every node must tell the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from roost.cluster.node import Node
from roost.config import Config
from roost.core import causality
from roost.core.context import NOTHING_READ
from roost.data.bucket import Bucket, PutResult
from roost.data.kv import Kv
from roost.data.kv_vnode import decode_value
from roost.errors import Conflict, NodeDown, RoostError
from roost.runtime import Runtime
from roost.sim.assembly import Assembly, judged, small_batches
from roost.sim.checkers import Broken, Values, diverged, invented, lost_writes, misplaced, resurrected, thin, unanswered
from roost.sim.chronicle import Chronicle
from roost.sim.history import History, Operation
from roost.sim.marks import cluster_marks
from roost.sim.nemesis import KINDS, Nemesis, Plan
from roost.sim.operators import Operators
from roost.sim.overheard import overheard
from roost.sim.running import run
from roost.sim.verdict import Verdict
from roost.sim.world import World, node_name

ReplyT = TypeVar("ReplyT")

NAMES: Final = "abcdefg"
BLIND: Final = 0.15
"""The chance of a write by a client that says that it has read nothing, so that it replaces nothing."""
BUCKET: Final = "store"
PREFIX: Final = bytes([len(BUCKET)]) + BUCKET.encode()
"""What a key of the bucket begins with on disk."""
CLIENTS: Final = ("c1", "c2", "c3")
AFTERMATH_S: Final = 1.0
"""How long the clients go on when everything is mended."""
SETTLE_S: Final = 20.0
"""How long a mended cluster may take until every node reaches every other, and nothing waits to be given back."""


class KvNode:
    """A node with the store on it."""

    def __init__(self, node: Node, kv: Kv, bucket: Bucket) -> None:
        self.node, self.kv, self.bucket = node, kv, bucket

    @classmethod
    async def boot(cls, config: Config, runtime: Runtime, chronicle: Chronicle | None = None) -> KvNode:
        """Start one."""
        node = Node(config, runtime)
        kv = Kv(node)
        bucket = kv.bucket(BUCKET, n=3, r=2, w=2)
        if chronicle is not None:
            chronicle.watch(config.name.partition("@")[0], node)
        await node.start()
        return cls(node, kv, bucket)

    async def stop(self) -> None:
        """Stop it in an orderly way."""
        await self.node.stop()


@dataclass(frozen=True, slots=True)
class Tale:
    """How a story is told.

    Args:
        machines: how many there are, 3 or more.
        born: how many of them are a cluster from the beginning, 3 or more.
        disk_lost: whether the machine that is off in the second act comes back with an empty disk.
        is_removed: whether that one is removed by force instead, and its copies are made anew.
        act_s: how long the faults last, in virtual seconds.
        pause_s: the mean time between two operations of one client.
        order_s: the mean time between two orders of operators, who change the cluster meanwhile; 0 for none.
        keys: how many there are; of few, each is read often, and so repaired.
        kinds: the faults that may happen; the seed chooses among them.
    """

    machines: int = 3
    born: int = 3
    disk_lost: bool = False
    is_removed: bool = False
    act_s: float = 5.0
    pause_s: float = 0.06
    order_s: float = 0.0
    keys: int = 6
    kinds: tuple[str, ...] = KINDS

    @classmethod
    def draw(cls, seed: int) -> Tale:
        """The story of a seed: three of four are told of a cluster that changes."""
        draw = random.Random(f"{seed}/tale")
        if seed % 4 == 0:
            machines = draw.choice((3, 5))
            return cls(machines, machines, disk_lost=seed % 5 == 0, keys=draw.choice((4, 24)))
        machines = draw.choice((3, 4, 4, 5, 5, 6, 7))
        born = draw.randint(3, machines)
        return cls(
            machines,
            born,
            disk_lost=seed % 5 == 0,
            is_removed=seed % 10 == 5,
            act_s=8.0,
            order_s=draw.uniform(0.3, 1.0),
            keys=draw.choice((6, 24)),
        )


def tell(seed: int, tale: Tale | None = None) -> Verdict:
    """Run the story of a seed to its end, whatever it proves.

    Raises:
        SimulationError: the world got stuck, or something failed unseen.
    """
    tale = tale or Tale.draw(seed)
    return run(seed, _Story(seed, tale).told(), limit_s=3600.0)


class _Story:
    def __init__(self, seed: int, tale: Tale) -> None:
        self._tale, self._seed = tale, seed
        self._plan = Plan.draw(seed, tale.kinds)
        self._verdict = Verdict(seed, f"{tale.born} of {tale.machines}, {self._plan}")
        self._draw = random.Random(f"{seed}/story")
        self._keys = tuple(f"k{number}" for number in range(tale.keys))
        self._chronicle: Chronicle | None = None

    async def told(self) -> Verdict:
        verdict, names = self._verdict, NAMES[: self._tale.machines]
        async with World(*names, boot=self._boot, born=names[: self._tale.born], drift=0.001) as world:
            history, self._chronicle = History(world.trace), Chronicle(world.trace)
            verdict.history = history.operations
            try:
                with small_batches(self._draw.choice((1, 2, 100))), overheard(world.trace) as verdict.marks:
                    await self._acts(world, history, self._chronicle)
            except (AssertionError, RoostError) as error:
                verdict.broken.append(Broken("liveness", "the cluster", f"{type(error).__name__}: {error}"))
            verdict.broken += unanswered(history.operations)
            verdict.broken += judged(self._chronicle, world.loop.time())
            verdict.acknowledged = len(history.acknowledged())
            for one in history.operations:
                verdict.outcomes[one.outcome] = verdict.outcomes.get(one.outcome, 0) + 1
            verdict.marks |= cluster_marks(self._chronicle)
            verdict.orders = self._chronicle.told()
            verdict.digest, verdict.virtual_s, verdict.tail = world.trace.digest, world.loop.time(), world.trace.tail()
        return verdict

    async def _boot(self, config: Config, runtime: Runtime) -> KvNode:
        assert self._chronicle is not None
        return await KvNode.boot(config, runtime, self._chronicle)

    async def _acts(self, world: World[KvNode], history: History, chronicle: Chronicle) -> None:
        await world.start()
        nemesis = Nemesis(world, self._plan)
        self._verdict.fired = nemesis.fired
        losses = 0 if self._tale.disk_lost else 1
        operators = Operators(world, chronicle, nemesis, pause_s=self._tale.order_s, losses=losses)
        assembly = Assembly(world, operators, f"{self._seed}/assembly")
        await assembly.agreement("at the start")
        end_s = world.loop.time() + self._tale.act_s

        def client(name: str) -> _Client:
            return _Client(world, assembly, history, name, self._tale, self._keys)

        async with asyncio.TaskGroup() as group:
            group.create_task(nemesis.rage(self._tale.act_s))
            if self._tale.order_s:
                group.create_task(operators.work(end_s))
            for name in CLIENTS:
                group.create_task(client(name).work(end_s + AFTERMATH_S))
        nemesis.condemned.clear()
        await nemesis.mend()
        await assembly.let_back_in()
        has_lost = self._tale.disk_lost or any(sighting.disk for sighting in chronicle.sightings)
        if self._seed % 2 and (self._tale.disk_lost or not has_lost):
            # Before anything is read, and repaired by that; in the other half of the worlds all goes on at once.
            await assembly.settlement("before anything is read")
            await world.eventually(lambda: _is_quiet(world, assembly), SETTLE_S, "a quiet cluster before a read")
            self._verdict.broken += self._thin(world, history, assembly, least=2)
        if self._tale.disk_lost and self._tale.is_removed:
            await self._burnt_down(world, history, chronicle, operators, assembly)
        elif self._tale.disk_lost or not has_lost:
            await self._liveness(world, history, chronicle, assembly)
        await nemesis.mend()
        await self._whole(world, history, chronicle, assembly, has_lost=has_lost)

    async def _liveness(self, world: World[KvNode], history: History, chronicle: Chronicle, assembly: Assembly) -> None:
        """One machine is off for good: the one that was asked for the last write, if any was acknowledged."""
        inside = assembly.inside()
        last = history.acknowledged()[-1].node if history.acknowledged() else ""
        gone = last if last in inside else self._draw.choice(inside)
        world.crash(gone)
        await world.eventually(lambda: _is_quiet(world, assembly, gone), SETTLE_S, f"a quiet cluster without {gone}")
        inside = assembly.inside()
        asked = self._draw.choice(inside)
        final: dict[str, tuple[str, ...]] = {}
        for key in self._keys:
            # One of those who answer may stand in for the one that is gone, and know nothing: ask all there are.
            replies = min(3, len(world.node(asked).bucket.where(key)))
            final[key] = await self._read(world, asked, key, replies)
        # While a partition moves, its next holder may also stand in for another one, if nobody else is up: then one
        # node has two copies, and what was acknowledged with them is not lost without it, but cannot be read.
        if assembly.known().layout.is_settled:
            self._judge(history, final)
        if self._tale.disk_lost:
            world.platter(gone).wipe()
            chronicle.disk_lost(gone)
            await world.restart(gone)
            await assembly.let_back_in()

    async def _burnt_down(
        self,
        world: World[KvNode],
        history: History,
        chronicle: Chronicle,
        operators: Operators,
        assembly: Assembly,
    ) -> None:
        """One machine is lost with its disk, and removed by force: the copies that it had are made anew."""
        await assembly.conclude()
        await world.eventually(lambda: _is_quiet(world, assembly), SETTLE_S, "a quiet cluster before a fire")
        if len(assembly.inside()) < 4:
            return
        for key in self._keys:
            await self._read(world, assembly.inside()[0], key, 3)
        keys = self._keys
        await world.eventually(lambda: not _copies_diverged(world, assembly, keys), SETTLE_S, "equal replicas before")
        gone = self._draw.choice(assembly.inside())
        world.crash(gone, dark=True)
        world.platter(gone).wipe()
        chronicle.disk_lost(gone)
        name = node_name(gone)
        await world.eventually(lambda: assembly.agrees() and assembly.known().claimant != name, 10.0, "an heir")
        asked = self._draw.choice(assembly.inside())
        await operators.ask(asked, "force-remove", name, act=lambda one: one.force_remove(name))
        await operators.ask(asked, "plan", act=lambda one: one.plan())
        order = await operators.ask(asked, "commit", act=lambda one: one.commit())
        assert order.outcome == "done", f"a burnt down node was not removed: {order}"
        await assembly.settlement("after a node was removed by force")
        await world.eventually(lambda: _is_quiet(world, assembly), SETTLE_S, "a quiet cluster after a fire")
        self._verdict.broken += self._thin(world, history, assembly, least=3)

    async def _whole(
        self, world: World[KvNode], history: History, chronicle: Chronicle, assembly: Assembly, *, has_lost: bool
    ) -> None:
        """Everything works: nothing is lost, nothing comes back, and all tell the same."""
        await assembly.conclude()
        await world.eventually(lambda: _is_quiet(world, assembly), SETTLE_S, "a quiet cluster in the end")
        await assembly.belonging()
        # Who lost its disk and was removed by force has been made up for; who came back as a member has not.
        is_removed = not self._tale.disk_lost and not any(
            one.disk and one.cluster.id == assembly.id and one.cluster.has(node_name(one.machine))
            for one in chronicle.sightings
            if one.cluster.version > 1 or assembly.known().has(node_name(one.machine))
        )
        self._verdict.broken += self._thin(world, history, assembly, least=2 if not has_lost or is_removed else 1)
        # An empty disk may make two of three replicas know nothing of a write that two had acknowledged: ask all.
        replies = 3 if has_lost else 2
        for name in assembly.inside():
            self._judge(history, {key: await self._read(world, name, key, replies) for key in self._keys})
        # A write that failed may still be on one replica; the reads have repaired that, so now all must agree.
        await world.eventually(
            lambda: not _copies_diverged(world, assembly, self._keys), SETTLE_S, "equal replicas after reads"
        )
        told = {name: {key: await self._read(world, name, key, 2) for key in self._keys} for name in assembly.inside()}
        self._verdict.broken += diverged(told)
        layout = assembly.known().layout
        removed = {one.subject for one in chronicle.orders if one.verb.startswith("force-")} - {*layout.nodes()}

        def is_in_place() -> bool:
            return not misplaced({node: slots for node, slots in _kept(world).items() if node not in removed}, layout)

        await world.eventually(is_in_place, SETTLE_S, "everything in its place")
        for name in world.names:
            await world.stop(name)

    def _thin(self, world: World[KvNode], history: History, assembly: Assembly, least: int) -> list[Broken]:
        """What was acknowledged and not replaced since, and is on too few nodes before any read has repaired that."""
        nodes = {node_name(name): world.node(name) for name in assembly.inside()}
        first = next(iter(nodes.values()))
        copies = {
            key: [_values(nodes[replica.node], replica.slot, key) for replica in first.bucket.where(key)]
            for key in self._keys
        }
        acknowledged = {one.value for one in history.operations if one.kind == "put" and one.outcome == "ok"}
        newest = {key: {value for copy in copies[key] for value in copy} & acknowledged for key in self._keys}
        replaced = {(one.key, value) for one in history.operations if one.outcome != "fail" for value in one.seen}
        final = {
            key: tuple(sorted(value for value in newest[key] if (key, value) not in replaced)) for key in self._keys
        }
        return thin(copies, final, least)

    def _judge(self, history: History, final: Values) -> None:
        operations = history.operations
        self._verdict.broken += lost_writes(operations, final)
        self._verdict.broken += resurrected(operations, final)
        self._verdict.broken += invented(operations, final)

    async def _read(self, world: World[KvNode], name: str, key: str, replies: int) -> tuple[str, ...]:
        values, _ = await world.on(name, lambda node: siblings(node.bucket, key, replies))
        return values


class _Client:
    """Reads, changes what it has read, and remembers what it was told."""

    def __init__(
        self, world: World[KvNode], assembly: Assembly, history: History, name: str, tale: Tale, keys: Sequence[str]
    ) -> None:
        self._assembly, self._keys = assembly, keys
        self._world, self._history, self._name, self._pause_s = world, history, name, tale.pause_s
        self._draw = random.Random(f"{world.seed}/client/{name}")
        self._written = 0

    async def work(self, end_s: float) -> None:
        """Work until `end_s`."""
        world, draw = self._world, self._draw
        while True:
            await asyncio.sleep(draw.expovariate(1.0 / self._pause_s))
            if world.loop.time() >= end_s:
                return
            machine = self._somebody()
            if machine:
                key = draw.choice(self._keys)
                known = await self._get(machine, key)
                machine = self._somebody()
                if known is not None and machine:
                    await self._change(machine, key, *known)

    def _somebody(self) -> str:
        """A node that takes itself for a member of the cluster; one that is alone keeps a store of its own."""
        inside = self._assembly.inside()
        return self._draw.choice(inside) if inside else ""

    async def _get(self, machine: str, key: str) -> tuple[tuple[str, ...], str] | None:
        operation = self._history.get(self._name, machine, key)
        known = await self._ask(operation, machine, lambda node: siblings(node.bucket, key, None))
        if known is not None:
            self._history.end(operation, "ok", got=known[0])
        return known

    async def _change(self, machine: str, key: str, seen: tuple[str, ...], context: str) -> None:
        if self._draw.random() < BLIND:
            seen, context = (), NOTHING_READ
        if seen and self._draw.random() < 0.1:
            operation = self._history.delete(self._name, machine, key, seen)
            done = await self._ask(
                operation, machine, lambda node: node.bucket.delete(key, context=context, timeout_s=2.0)
            )
        else:
            self._written += 1
            value = f"{self._name}-{self._written}"
            operation = self._history.put(self._name, machine, key, value, seen)
            done = await self._ask(
                operation, machine, lambda node: node.bucket.put(key, value, context=context, timeout_s=2.0)
            )
        if done is not None:
            self._history.end(operation, "ok", note=_checked(done))

    async def _ask(
        self, operation: Operation, machine: str, act: Callable[[KvNode], Awaitable[ReplyT]]
    ) -> ReplyT | None:
        """Ask one node; note a failure. Only a node that was never reached is certain not to have done it."""
        try:
            async with asyncio.timeout(5.0):
                return await self._world.on(machine, act)
        except (RoostError, TimeoutError) as error:
            note = error.code if isinstance(error, RoostError) else "timeout"
            untouched = isinstance(error, NodeDown) and error.node == node_name(machine)
            self._history.end(operation, "fail" if untouched else "info", note=note)
            return None


async def siblings(bucket: Bucket, key: str, replies: int | None) -> tuple[tuple[str, ...], str]:
    """All concurrent values under a key, sorted, and the context to replace them with."""
    try:
        found = await bucket.get(key, n=None if replies is None else 3, r=replies, timeout_s=2.0)
    except Conflict as conflict:
        return tuple(sorted(str(value) for value in conflict.values)), conflict.context
    if found is None:
        return (), NOTHING_READ
    return (str(found.value),), found.context


def _checked(done: PutResult) -> str:
    assert len(set(done.nodes)) == done.acks >= 2, f"acknowledged by {done.nodes}"
    return ",".join(done.nodes)


def _is_quiet(world: World[KvNode], assembly: Assembly, gone: str = "") -> bool:
    """Whether all running members agree, and nothing waits that could be given to one of them: at most for `gone`,
    which may have to take something first."""
    if not assembly.agrees():
        return False
    nodes = [world.node(name) for name in world.running]
    up = [node_name(name) for name in assembly.inside()]
    return all(
        not any(
            waiting.target in up and waiting.phase != "given" and not (gone and node_name(gone) in waiting.reason)
            for waiting in one.kv.handoffs.status()
        )
        and not one.kv.storage.needs_commit
        for one in nodes
    )


def _values(node: KvNode, slot: int, key: str) -> tuple[str, ...]:
    """The values that a node has under a key in one slot."""
    stored = node.kv.storage.get(slot, PREFIX + key.encode())
    return () if stored is None else tuple(str(decode_value(one)) for one in causality.decode(stored).values())


def _copies_diverged(world: World[KvNode], assembly: Assembly, keys: Sequence[str]) -> bool:
    """Whether the replicas of any key differ."""
    nodes = {node_name(name): world.node(name) for name in assembly.inside()}
    first = next(iter(nodes.values()))
    for key in keys:
        copies = [
            nodes[replica.node].kv.storage.get(replica.slot, PREFIX + key.encode())
            for replica in first.bucket.where(key)
        ]
        if any(copy != copies[0] for copy in copies):
            return True
    return False


def _kept(world: World[KvNode]) -> dict[str, tuple[int, ...]]:
    """The slots in which each node keeps something."""
    return {node_name(name): tuple(sorted(world.node(name).kv.storage.counts())) for name in world.running}
