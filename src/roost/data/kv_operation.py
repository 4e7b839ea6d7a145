"""Writes and reads that this node coordinates: one request to the vnodes of a key, and one answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from roost.cluster.coordinator import Operation
from roost.cluster.vnode import OnReply, Sender, encode
from roost.core.causality import Clock
from roost.core.quorum import GetOp, PutOp, Repair
from roost.core.ring import Replica
from roost.core.terms import WriteTerms
from roost.data.kv_vnode import Fetch, Store
from roost.errors import RoostError

if TYPE_CHECKING:
    from roost.data.kv import Kv

NIL: Final = b"\xc0"
VIEWS_MEET_S: Final = 0.02
"""How soon a write is looked at again when two nodes see different clusters."""


class Order(msgspec.Struct, array_like=True, frozen=True):
    """A write on its way to a node that holds a copy.

    Attributes:
        timeout_s: what is left of the caller's patience.
        hops: how often it has been passed on.
        breadth: how many nodes its partition can have copies on, as far as its sender knows.
        return_value: whether the outcome tells what is stored now.
    """

    bucket: str
    key: bytes
    value: bytes | None
    seen: Clock | None
    terms: WriteTerms
    timeout_s: float
    hops: int
    breadth: int
    return_value: bool = False


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """The outcome of a write: who has it, what its successor follows from, and what is stored now if that was asked.

    Nobody has it, and nothing has begun, when its sender has to look again: its terms are those of a smaller cluster.
    """

    nodes: tuple[str, ...]
    clock: Clock
    found: bytes | None = None


class Write(Operation):
    """A write that this node coordinates.

    Where its terms are staged, a replica is told twice, in this order: to store it and say so, and to store it and say
    so when it is on disk. The second changes nothing more.
    """

    __slots__ = ("_command", "_kv", "_staged", "written")

    quorum: PutOp

    def __init__(self, kv: Kv, quorum: PutOp, timeout_s: float) -> None:
        super().__init__(kv.node.operations, quorum, timeout_s)
        self._kv = kv
        self._command = b""
        self._staged = b""
        self.written: tuple[bytes, Clock] = (b"", ())

    def begin(
        self, here: Replica, others: list[Replica], key: bytes, written: tuple[bytes, Clock], terms: WriteTerms
    ) -> None:
        """The local vnode has given the write its dot: let the others store it."""
        encoded, _ = self.written = written
        durable = terms.durable
        is_durable = durable >= terms.needed
        self._command = encode(Store(key, encoded, is_durable))
        if durable and not is_durable:
            self._staged = encode(Store(key, encoded, True))
        for replica in others:
            self.ask(replica)
        kv, heard = self._kv, partial(self._heard, here)
        when = kv.storage.when_durable if is_durable else _at_once
        transit = kv.host.transits.get(here.slot) if kv.host.transits else None
        if transit is not None:
            transit.did(self._command, when, heard)
            if self._staged:
                transit.did(self._staged, kv.storage.when_durable, self._flushed)
            return
        when(heard)
        if self._staged:
            kv.storage.when_durable(self._flushed)

    def ask(self, replica: Replica) -> None:
        """Let a replica on another node store it."""
        kv = self._kv
        mode = not replica.is_primary
        body = kv.host.envelope(replica.slot, mode, self._command)
        kv.node.fabric.request(replica.node, kv.host.service, body, self.patience_s, partial(self._heard, replica))
        if self._staged:
            body = kv.host.envelope(replica.slot, mode, self._staged)
            kv.node.fabric.request(replica.node, kv.host.service, body, self.patience_s, self._flushed)

    def _heard(self, replica: Replica, outcome: object) -> None:
        if isinstance(outcome, RoostError):
            self.failed(replica, outcome)
        elif effects := self.quorum.replied(replica):
            self.perform(effects)

    def _flushed(self, outcome: object) -> None:
        if effects := self.quorum.flushed(not isinstance(outcome, RoostError)):
            self.perform(effects)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes whose answers have met its terms."""
        quorum = self.quorum
        return tuple([replica.node for replica in quorum.acks[: quorum.counted]])

    def outcome(self, return_value: bool) -> Outcome:
        """What is told of it when it has succeeded."""
        found, clock = self.written
        return Outcome(self.nodes, clock, found if return_value else None)


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
            if kv.host.transits and replica.slot in kv.host.transits:
                kv.host.ask(replica.slot, Fetch(self._key), Sender(replica.node, partial(self._heard, replica)))
                return
            try:
                found = kv.host.vnode(replica.slot).fetch(self._key)
                effects = self.quorum.found_at(replica, found)
            except RoostError:
                effects = self.quorum.failed(replica)
            except Exception as error:
                kv.host.crashed(replica.slot, error)
                effects = self.quorum.failed(replica)
            self.perform(effects)
            return
        command = self._command
        if not command:
            command = self._command = encode(Fetch(self._key))
        body = kv.host.envelope(replica.slot, not replica.is_primary, command)
        kv.node.fabric.request(replica.node, kv.host.service, body, self.patience_s, partial(self._heard, replica))

    def repair(self, effect: Repair) -> None:
        """Write what all replicas hold together to those that hold less; nobody waits for it."""
        kv = self._kv
        repairs = kv.repairs
        command = Store(self._key, effect.found, False)
        body = encode(command)
        for replica in effect.replicas:
            if not repairs.may_begin():
                continue
            if replica.node == kv.node.name:
                sender = Sender(replica.node, repairs.ended)
                if replica.is_primary and replica.slot not in kv.host.served:  # it has moved on meanwhile
                    kv.handoffs.pass_on(replica.slot, command, sender)
                else:
                    kv.host.ask(replica.slot, command, sender)
            else:
                envelope = kv.host.envelope(replica.slot, not replica.is_primary, body)
                kv.node.fabric.request(replica.node, kv.host.service, envelope, self.timeout_s, repairs.ended)

    def _heard(self, replica: Replica, outcome: Any) -> None:
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


class HedgedRead(Read):
    """A read that asks no more nodes than must answer, and a further one when one of them is late."""

    __slots__ = ("_asked",)

    def __init__(self, kv: Kv, quorum: GetOp, timeout_s: float, key: bytes) -> None:
        super().__init__(kv, quorum, timeout_s, key)
        self._asked: dict[str, tuple[float, float]] = {}
        """Per node that is waited for: when it was asked, and when it is late."""

    def ask(self, replica: Replica) -> None:
        """As any read does; and note the time."""
        node = self._kv.node
        if replica.node != node.name:
            now = node.runtime.clock.now()
            self._asked[replica.node] = (now, now + self.operations.hedges.latencies.patience_s(replica.node, now))
        super().ask(replica)

    def watch(self) -> None:
        """Be looked at while there is somebody to wait for, and somebody else to ask."""
        if not self.quorum.is_answered and self.quorum.reserve:
            self.operations.hedges.watch(self)

    def look(self, now: float) -> bool:
        """Ask a further node in place of each one that is late."""
        hedges, quorum = self.operations.hedges, self.quorum
        for node, (asked_at, late_at) in list(self._asked.items()):
            if late_at <= now and not quorum.is_answered:
                del self._asked[node]
                hedges.latencies.late(node, now - asked_at, now)
                if effects := quorum.hedge():
                    hedges.asked += 1
                    self.perform(effects)
        return not quorum.is_answered and bool(quorum.reserve) and bool(self._asked)

    def _heard(self, replica: Replica, outcome: Any) -> None:
        asked = self._asked.pop(replica.node, None)
        if asked is not None and not isinstance(outcome, RoostError):
            now = self._kv.node.runtime.clock.now()
            self.operations.hedges.latencies.answered(replica.node, now - asked[0], now)
        super()._heard(replica, outcome)
        if self.quorum.is_answered:
            self.operations.hedges.leave(self)


def _at_once(on_reply: OnReply) -> None:
    on_reply(None)
