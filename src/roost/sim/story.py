"""The story that proves the store: clients read and write while a nemesis breaks the cluster, then the judges come.

Every run has three acts. *Safety*: faults happen and clients work. *Liveness*: one machine stays off, all else is
mended, and every acknowledged write must be readable. *Whole*: everything is mended; what stood in for others is given
back, and every node must tell the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from roost.cluster.node import Node
from roost.config import Config
from roost.core.context import NOTHING_READ
from roost.data.bucket import Bucket, PutResult
from roost.data.kv import Kv
from roost.errors import Conflict, NodeDown, RoostError
from roost.runtime import Runtime
from roost.sim.checkers import Broken, Values, diverged, invented, lost_writes, resurrected, unanswered
from roost.sim.history import History, Operation
from roost.sim.nemesis import KINDS, Nemesis, Plan
from roost.sim.running import run
from roost.sim.world import World, node_name

ReplyT = TypeVar("ReplyT")

KEYS: Final = ("k1", "k2", "k3", "k4")
CLIENTS: Final = ("c1", "c2", "c3")
"""The context of a client that knows that it replaces nothing."""
SETTLE_S: Final = 20.0
"""How long a mended cluster may take until every node reaches every other, and nothing waits to be given back."""


class KvNode:
    """A node with the store on it."""

    def __init__(self, node: Node, kv: Kv, bucket: Bucket) -> None:
        self.node, self.kv, self.bucket = node, kv, bucket

    @classmethod
    async def boot(cls, config: Config, runtime: Runtime) -> KvNode:
        """Start one."""
        node = Node(config, runtime)
        kv = Kv(node)
        bucket = kv.bucket("store", n=3, r=2, w=2)
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
        disk_lost: whether the machine that is off in the second act comes back with an empty disk.
        act_s: how long the faults last, in virtual seconds.
        pause_s: the mean time between two operations of one client.
        kinds: the faults that may happen; the seed chooses among them.
    """

    machines: int = 3
    disk_lost: bool = False
    act_s: float = 5.0
    pause_s: float = 0.06
    kinds: tuple[str, ...] = KINDS


@dataclass(slots=True)
class Verdict:
    """What came of one seed.

    Attributes:
        seed: which world it was.
        plan: what happened to it.
        digest: equal for equal seeds.
        broken: the promises that did not hold.
        acknowledged: the writes that clients could rely on.
        virtual_s: how long the story took in its own time.
        outcomes: how often each outcome was told to a client.
        fired: how often each fault happened.
        tail: the last events of the trace.
    """

    seed: int
    plan: str
    digest: str = ""
    broken: list[Broken] = field(default_factory=list)
    acknowledged: int = 0
    virtual_s: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    history: list[Operation] = field(default_factory=list)
    tail: tuple[str, ...] = ()


def tell(seed: int, tale: Tale | None = None) -> Verdict:
    """Run the story of a seed to its end, whatever it proves.

    Raises:
        SimulationError: the world got stuck, or something failed unseen.
    """
    tale = tale or Tale(machines=3 if seed % 4 else 5, disk_lost=seed % 5 == 0)
    return run(seed, _Story(seed, tale).told(), limit_s=3600.0)


class _Story:
    def __init__(self, seed: int, tale: Tale) -> None:
        self._tale = tale
        self._plan = Plan.draw(seed, tale.kinds)
        self._verdict = Verdict(seed, str(self._plan))
        self._draw = random.Random(f"{seed}/story")

    async def told(self) -> Verdict:
        verdict, names = self._verdict, "abcdefg"[: self._tale.machines]
        async with World(*names, boot=KvNode.boot, drift=0.001) as world:
            history = History(world.trace)
            verdict.history = history.operations
            try:
                await self._acts(world, history)
            except (AssertionError, RoostError) as error:
                verdict.broken.append(Broken("liveness", "the cluster", f"{type(error).__name__}: {error}"))
            verdict.broken += unanswered(history.operations)
            verdict.acknowledged = len(history.acknowledged())
            for one in history.operations:
                verdict.outcomes[one.outcome] = verdict.outcomes.get(one.outcome, 0) + 1
            verdict.digest, verdict.virtual_s, verdict.tail = world.trace.digest, world.loop.time(), world.trace.tail()
        return verdict

    async def _acts(self, world: World[KvNode], history: History) -> None:
        await world.start()
        await world.eventually(lambda: _settled(world), SETTLE_S, "a full mesh at the start")
        nemesis = Nemesis(world, self._plan)
        end_s = world.loop.time() + self._tale.act_s
        async with asyncio.TaskGroup() as group:
            raging = group.create_task(nemesis.rage(self._tale.act_s))
            for name in CLIENTS:
                group.create_task(_Client(world, history, name, self._tale.pause_s).work(end_s))
        await raging
        self._verdict.fired = nemesis.fired
        await self._liveness(world, history, nemesis)
        await self._whole(world, history, nemesis)

    async def _liveness(self, world: World[KvNode], history: History, nemesis: Nemesis[KvNode]) -> None:
        """One machine is off for good: the one that was asked for the last write, if any was acknowledged."""
        gone = history.acknowledged()[-1].node if history.acknowledged() else self._draw.choice(world.names)
        world.crash(gone)
        await world.eventually(lambda: _settled(world), SETTLE_S, f"a full mesh without {gone}")
        asked = self._draw.choice(world.running)
        replies = 2 if len(world.names) == 3 else 3
        final = {key: await self._read(world, asked, key, replies) for key in KEYS}
        self._judge(history, final)
        if self._tale.disk_lost:
            world.trace.add("disk lost", gone)
            world.platter(gone).wipe()
        await nemesis.mend()

    async def _whole(self, world: World[KvNode], history: History, nemesis: Nemesis[KvNode]) -> None:
        """Everything works: nothing is lost, nothing comes back, and all tell the same."""
        await world.eventually(lambda: _settled(world), SETTLE_S, "a whole cluster")
        # An empty disk may make two of three replicas know nothing of a write that two had acknowledged: ask all.
        replies = 3 if self._tale.disk_lost else 2
        for name in world.names:
            self._judge(history, {key: await self._read(world, name, key, replies) for key in KEYS})
        # A write that failed may still be on one replica; the reads have repaired that, so now all must agree.
        await world.eventually(lambda: not _copies_diverged(world), SETTLE_S, "equal replicas after reads")
        told = {name: {key: await self._read(world, name, key, 2) for key in KEYS} for name in world.names}
        self._verdict.broken += diverged(told)
        for name in world.names:
            await world.stop(name)

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

    def __init__(self, world: World[KvNode], history: History, name: str, pause_s: float) -> None:
        self._world, self._history, self._name, self._pause_s = world, history, name, pause_s
        self._draw = random.Random(f"{world.seed}/client/{name}")
        self._written = 0

    async def work(self, end_s: float) -> None:
        """Work until `end_s`."""
        world, draw = self._world, self._draw
        while True:
            await asyncio.sleep(draw.expovariate(1.0 / self._pause_s))
            if world.loop.time() >= end_s:
                return
            if world.running:
                key = draw.choice(KEYS)
                known = await self._get(draw.choice(world.running), key)
                if known is not None and world.running:
                    await self._change(draw.choice(world.running), key, *known)

    async def _get(self, machine: str, key: str) -> tuple[tuple[str, ...], str] | None:
        operation = self._history.get(self._name, machine, key)
        known = await self._ask(operation, machine, lambda node: siblings(node.bucket, key, None))
        if known is not None:
            self._history.end(operation, "ok", got=known[0])
        return known

    async def _change(self, machine: str, key: str, seen: tuple[str, ...], context: str) -> None:
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


def _settled(world: World[KvNode]) -> bool:
    """Whether all running nodes reach each other, and nothing waits that could be given back."""
    nodes = [world.node(name) for name in world.running]
    up = tuple(sorted(one.node.name for one in nodes))
    return all(
        one.node.fabric.up() == up
        and not any(waiting.target in up for waiting in one.kv.handoffs.status())
        and not one.kv.storage.needs_commit
        for one in nodes
    )


def _copies_diverged(world: World[KvNode]) -> bool:
    """Whether the replicas of any key differ."""
    nodes = {world.node(name).node.name: world.node(name) for name in world.names}
    for key in KEYS:
        copies = [
            nodes[replica.node].kv.storage.get(replica.partition, b"\x05store" + key.encode())
            for replica in nodes[node_name("a")].bucket.where(key)
        ]
        if any(copy != copies[0] for copy in copies):
            return True
    return False
