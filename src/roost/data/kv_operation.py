"""Writes and reads that this node coordinates: one request to the vnodes of a key, and one answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from roost.cluster.coordinator import Operation
from roost.cluster.vnode import Sender, encode
from roost.core.causality import Clock
from roost.core.quorum import GetOp, PutOp, Repair
from roost.core.ring import Replica
from roost.data.kv_vnode import Fetch, Store
from roost.errors import RoostError

if TYPE_CHECKING:
    from roost.data.kv import Kv

NIL: Final = b"\xc0"


class Order(msgspec.Struct, array_like=True, frozen=True):
    """A write on its way to a node that holds a copy."""

    bucket: str
    key: bytes
    value: bytes | None
    seen: Clock | None
    n: int
    w: int
    durable: bool
    timeout_s: float
    hops: int


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """The outcome of a write that was passed on."""

    nodes: tuple[str, ...]
    clock: Clock


class Write(Operation):
    """A write that this node coordinates."""

    __slots__ = ("_command", "_kv", "clock")

    quorum: PutOp

    def __init__(self, kv: Kv, quorum: PutOp, timeout_s: float) -> None:
        super().__init__(kv.node.operations, quorum, timeout_s)
        self._kv = kv
        self._command = b""
        self.clock: Clock = ()

    def begin(
        self, here: Replica, others: list[Replica], key: bytes, written: tuple[bytes, Clock], durable: bool
    ) -> None:
        """The local vnode has given the write its dot: let the others store it."""
        encoded, self.clock = written
        self._command = encode(Store(key, encoded, durable))
        for replica in others:
            self.ask(replica)
        if durable:
            self._kv.storage.when_durable(partial(self._heard, here))
        else:
            self._heard(here, None)

    def ask(self, replica: Replica) -> None:
        """Let a replica on another node store it."""
        kv = self._kv
        body = kv.host.envelope(replica.partition, self._command)
        kv.node.fabric.request(replica.node, kv.host.service, body, self.timeout_s, partial(self._heard, replica))

    def _heard(self, replica: Replica, outcome: msgspec.Raw | RoostError | None) -> None:
        if isinstance(outcome, RoostError):
            self.failed(replica, outcome)
        elif effects := self.quorum.replied(replica):
            self.perform(effects)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes whose answers made the quorum."""
        return self.quorum.nodes[: self.quorum.needed]


class Read(Operation):
    """A read that this node coordinates."""

    __slots__ = ("_command", "_key", "_kv")

    quorum: GetOp

    def __init__(self, kv: Kv, quorum: GetOp, timeout_s: float, key: bytes) -> None:
        super().__init__(kv.node.operations, quorum, timeout_s)
        self._kv = kv
        self._key = key
        self._command = b""

    def ask(self, replica: Replica) -> None:
        """Ask the vnode here, or one on another node, what it holds."""
        kv = self._kv
        if replica.node == kv.node.name:
            try:
                found = kv.host.vnode(replica.partition).fetch(self._key)
                effects = self.quorum.found_at(replica, found)
            except RoostError:
                effects = self.quorum.failed(replica)
            except Exception as error:
                kv.host.crashed(replica.partition, error)
                effects = self.quorum.failed(replica)
            self.perform(effects)
            return
        command = self._command
        if not command:
            command = self._command = encode(Fetch(self._key))
        body = kv.host.envelope(replica.partition, command)
        kv.node.fabric.request(replica.node, kv.host.service, body, self.timeout_s, partial(self._heard, replica))

    def repair(self, effect: Repair) -> None:
        """Write what all replicas hold together to those that hold less; nobody waits for it."""
        kv = self._kv
        command = Store(self._key, effect.found, False)
        body = encode(command)
        for replica in effect.replicas:
            if replica.node == kv.node.name:
                kv.host.ask(replica.partition, command, Sender(replica.node, _ignore))
            else:
                envelope = kv.host.envelope(replica.partition, body)
                kv.node.fabric.request(replica.node, kv.host.service, envelope, self.timeout_s, _ignore)

    def _heard(self, replica: Replica, outcome: msgspec.Raw | RoostError) -> None:
        quorum = self.quorum
        if isinstance(outcome, RoostError):
            self.failed(replica, outcome)
            return
        found = bytes(outcome)
        try:
            effects = quorum.found_at(replica, None if found == NIL else found)
        except msgspec.MsgspecError:
            effects = quorum.failed(replica)
        self.perform(effects)


def _ignore(outcome: object) -> None:
    """Nobody waits."""
