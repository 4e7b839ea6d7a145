"""Handoff: what a node has kept for others goes back to them.

A fallback that stood in for the owner of a partition holds data that belongs elsewhere. As soon as the owner can be
reached it gets them, in batches; it answers a batch when it has stored it durably, and only then are these items
forgotten here, and only those that have not changed meanwhile. What fails is tried again, with pauses that grow; what
arrives twice is merged, which changes nothing.

Data of a partition that this node does not own is found by looking at what is stored, so it is given back even when
this node was restarted, or has forgotten why it has it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from roost import limits
from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.status import Handoff
from roost.errors import RoostError
from roost.otp import Child, GenServer, Reason, info, send

if TYPE_CHECKING:
    from roost.cluster.node import Node

logger = logging.getLogger("roost.handoff")

Items = list[tuple[bytes, bytes]]


class Giver(Protocol):
    """A vnode whose data can be handed off."""

    def items(self) -> Mapping[bytes, bytes]:
        """Everything that is stored here."""

    def given(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Another node has these items: forget those that have not changed since."""


class Givers(Protocol):
    """The vnodes of one ring service on this node."""

    service: str

    def vnode(self, partition: int) -> Giver:
        """The vnode of a partition, started when it does not run."""

    def envelope(self, partition: int, command: bytes) -> bytes:
        """What is sent to the node of the vnode of a partition."""


@dataclass(slots=True)
class _Try:
    """How often a partition was tried, and what came of it."""

    attempts: int = 0
    reason: str = "not tried yet"
    not_before: float = 0.0


class Handoffs:
    """The handoffs of one ring service on one node.

    Args:
        node: this node.
        givers: its vnodes.
        encode_receive: the command that lets a vnode store items and reply when they are durable.
        counts: how many items each partition holds here.
    """

    def __init__(
        self,
        node: Node,
        givers: Givers,
        encode_receive: Callable[[tuple[tuple[bytes, bytes], ...]], bytes],
        counts: Callable[[], Mapping[int, int]],
    ) -> None:
        self._node = node
        self._givers = givers
        self._encode_receive = encode_receive
        self._counts = counts
        self._tries: dict[int, _Try] = {}

    def status(self) -> tuple[Handoff, ...]:
        """What waits to be given back, by partition."""
        found: list[Handoff] = []
        for partition, items in sorted(self._strays().items()):
            known = self._tries.get(partition, _Try())
            target = self._node.ring.owner(partition)
            reason = known.reason if self._node.fabric.is_up(target) else f"{target} is down"
            found.append(Handoff(partition, self._node.name, target, items, known.attempts, reason))
        return tuple(found)

    def part(self) -> Child:
        """The process that gives back, as a part of the node."""
        return HandoffManager.child(self, self._node, id=f"handoff {self._givers.service}")

    async def give_back(self) -> None:
        """Try every partition that is due and whose owner is up, one after the other."""
        clock, fabric, owner = self._node.runtime.clock, self._node.fabric, self._node.ring.owner
        failing: list[str] = []
        for partition in sorted(self._strays()):
            known = self._tries.setdefault(partition, _Try())
            if clock.now() < known.not_before or not fabric.is_up(owner(partition)) or owner(partition) in failing:
                continue
            known.attempts += 1
            known.reason = "under way"
            try:
                await self._give(partition)
            except RoostError as error:
                known.reason = str(error)
                failing.append(owner(partition))
                pause_s = min(limits.REDIAL_LAST_S, limits.REDIAL_FIRST_S * 2 ** min(known.attempts, 10))
                known.not_before = clock.now() + pause_s * self._node.runtime.entropy.uniform(0.5, 1.0)
                logger.info("%s: partition %d stays here: %s", self._node.name, partition, error)
            else:
                self._tries.pop(partition, None)

    def retry_soon(self, node: str) -> None:
        """A node is up: what belongs to it need not wait any longer."""
        for partition, known in self._tries.items():
            if self._node.ring.owner(partition) == node:
                known.not_before = 0.0

    def pause_s(self) -> float:
        """How long until something should be tried again."""
        now = self._node.runtime.clock.now()
        waits = [known.not_before - now for known in self._tries.values() if known.not_before > now]
        return min([limits.HANDOFF_LOOK_S, *waits])

    def _strays(self) -> dict[int, int]:
        ring, here = self._node.ring, self._node.name
        return {partition: count for partition, count in self._counts().items() if ring.owner(partition) != here}

    async def _give(self, partition: int) -> None:
        """Give one partition back to its owner, batch by batch.

        Raises:
            RoostError: when the owner is lost, refuses, or does not answer in time.
        """
        fabric, target = self._node.fabric, self._node.ring.owner(partition)
        sent = 0
        for batch in _batches(list(self._givers.vnode(partition).items().items())):
            await fabric.writable(target)
            body = self._givers.envelope(partition, self._encode_receive(tuple(batch)))
            await fabric.call(target, self._givers.service, body, limits.HANDOFF_ACK_S)
            self._givers.vnode(partition).given(batch)
            sent += len(batch)
        logger.info("%s: gave %d items of partition %d back to %s", self._node.name, sent, partition, target)


class _Look(msgspec.Struct, frozen=True):
    """Time to look for data that belongs elsewhere."""


class HandoffManager(GenServer):
    """Looks for data that belongs elsewhere: when a node comes up, when one is tried again, every HANDOFF_LOOK_S."""

    def init(self, handoffs: Handoffs, node: Node) -> None:
        self.trap_exits()
        self._handoffs = handoffs
        me = self.handle

        def seen(event: PeerUp | PeerDown) -> None:
            if isinstance(event, PeerUp):
                handoffs.retry_soon(event.node)
                send(me, _Look())

        self._next = self.send_after(limits.HANDOFF_LOOK_S, _Look())
        self._unwatch = node.fabric.watch(seen)

    @info
    async def look(self, message: _Look) -> None:
        """Give back what can be given back."""
        self._next.cancel()
        await self._handoffs.give_back()
        self._next = self.send_after(self._handoffs.pause_s(), message)

    def terminate(self, reason: Reason) -> None:
        """Look no more."""
        self._unwatch()


def _batches(items: Items) -> Iterable[Items]:
    batch: Items = []
    size = 0
    for item in items:
        item_size = len(item[0]) + len(item[1])
        if batch and (len(batch) >= limits.HANDOFF_BATCH_ITEMS or size + item_size > limits.HANDOFF_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item_size
    if batch:
        yield batch
