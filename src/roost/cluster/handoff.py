"""Handoff: everything that a node keeps goes to where it belongs, and nothing is lost on the way.

There are three reasons. *Ownership*: the cluster has a plan by which another node will hold a slot; this one gives it,
and goes on serving it until the cluster lets the partition arrive. *Hinted*: this node has something in a slot that it
does not hold, because it stood in for the holder, or held it before; the holder gets it, and only what the holder has
safely is forgotten here. *Repair*: a holder has asked for what another copy of the partition has.

What waits is found by looking at the layout and at what is stored, so it is found again after a restart, and when a
node has forgotten why it has it. `core.handoff` decides; `docs/handoff.md` says what an operator sees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from roost import limits
from roost.cluster.address import FORWARDED
from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.handover import (
    NIL,
    Accepted,
    Compare,
    Conclude,
    Handover,
    Missing,
    Propose,
    Request,
    Restart,
    Take,
    decode,
    encode,
)
from roost.cluster.outgoing import Heard, Outgoing
from roost.cluster.sender import Sender
from roost.cluster.status import Kind, TransferStatus
from roost.cluster.transit import Transit
from roost.core.handoff import Taking
from roost.core.layout import Layout, Transfer
from roost.core.ring import partition_and_index, slot_of
from roost.errors import BadMessage, HandoffRefused, NoQuorum, Overloaded, ProcessDown, RoostError
from roost.otp import Child, GenServer, Reason, info, send
from roost.wire import messages

if TYPE_CHECKING:
    from roost.cluster.link import Link
    from roost.cluster.node import Node
    from roost.cluster.vnode import Vnode, VnodeHost

logger = logging.getLogger("roost.handoff")

SILENT_S: Final = 2 * limits.HANDOFF_ACK_S
"""A giver that has said nothing for so long has given up."""

Key = tuple[Kind, int, int, str]
"""Kind, source, target and taker: what makes two transfers the same."""


class _Incoming:
    """A transfer that this node takes."""

    __slots__ = ("heard_at", "is_over", "replace", "taking", "vnode")

    def __init__(self, taking: Taking, vnode: Vnode[Any, Any], *, replace: bool, now: float) -> None:
        self.taking = taking
        self.vnode = vnode
        self.replace = replace
        self.heard_at = now
        self.is_over = False


class Handoffs:
    """The handoffs of one ring on one node; a service of its fabric, called "handoff:<ring>" on every node.

    Args:
        node: this node.
        host: the vnodes.
        counts: how many items each slot has here.

    Attributes:
        node: this node.
        service: what the service is called.
    """

    # Any: a host of vnodes of whatever class.
    def __init__(self, node: Node, host: VnodeHost[Any], counts: Callable[[], Mapping[int, int]]) -> None:
        self.node = node
        self.service = f"handoff:{host.name}"
        self._host = host
        self._counts = counts
        self._outgoing: dict[Key, Outgoing] = {}
        self._incoming: dict[tuple[str, int], _Incoming] = {}
        self._broken: set[tuple[str, int]] = set()
        """Givers, and slots in which what they gave may be gone, until they begin again."""
        self._repairs: dict[Key, Outgoing] = {}
        self._copied: dict[Key, None] = {}
        self._manager: HandoffManager | None = None
        self._planned: dict[Key, Transfer] = {}
        self._is_look_due = False
        node.fabric.serve(self.service, self)
        node.placement.watch(self._layout_changed)
        node.traffic.join(self)

    def part(self) -> Child:
        """The process that handoffs belong to, as a part of the node."""
        return HandoffManager.child(self, self.node, id=self.service)

    # What there is to know

    @property
    def outgoing_count(self) -> int:
        """How many transfers are being given."""
        return sum(one.is_active for one in (*self._outgoing.values(), *self._repairs.values()))

    @property
    def incoming_count(self) -> int:
        """How many transfers are being taken."""
        return sum(not one.is_over for one in self._incoming.values())

    def status(self) -> tuple[TransferStatus, ...]:
        """Every transfer from here, by slot."""
        if self._manager is not None:
            self._refresh()
        every = sorted((*self._outgoing.values(), *self._repairs.values()), key=lambda one: (one.source, one.target))
        under_way = self.node.traffic.outgoing
        return tuple(one.status(under_way) for one in every)

    def ungiven(self) -> set[int] | None:
        """The partitions of which this ring has not given everything by the present plan; None while it is closed."""
        if self._manager is None:
            return None
        return {
            partition_and_index(one.source)[0]
            for one in self._outgoing.values()
            if one.kind == "ownership" and one.giving.phase != "given"
        }

    def keeps_strays(self) -> bool:
        """Whether anything is stored here in slots that other nodes hold."""
        return self._manager is None or any(slot not in self._host.served for slot in self._counts())

    def count(self, slot: int) -> int:
        """How many items a slot has here."""
        return self._counts().get(slot, 0)

    def why_waiting(self, one: Outgoing, under_way: int) -> str:
        """Why a transfer is not under way, while so many of this node are."""
        node, traffic = self.node, self.node.traffic
        if not node.fabric.is_up(one.taker):
            return f"{one.taker} is down"
        if self._host.name in traffic.excluded:
            return f"the ring {self._host.name} is excluded from handoff"
        if node.runtime.clock.now() >= one.not_before and under_way >= traffic.outgoing_max:
            return f"{under_way} transfers are under way here, the limit"
        return one.reason

    # What is wished for

    async def repair(self, slot: int, timeout_s: float = limits.CALL_TIMEOUT_S) -> tuple[str, ...]:
        """Fetch what the other copies of the partition have into a slot of this node. They go on by themselves.

        Returns: the nodes that give.

        Raises:
            HandoffRefused: when this node does not hold the slot.
            NoQuorum: when no other copy can be reached.
        """
        node, (partition, index) = self.node, partition_and_index(slot)
        order = node.placement.layout.order(partition)[: node.depth]
        if node.placement.holder(slot) != node.name:
            raise HandoffRefused(node.name, partition, index, "it does not hold it")
        givers: list[str] = []
        for other, name in enumerate(order):
            if name == node.name or not node.fabric.is_up(name):
                continue
            try:
                await node.fabric.call(name, self.service, encode(Request(slot_of(partition, other), slot)), timeout_s)
            except RoostError as error:
                logger.warning("%s: %s gives nothing for a repair: %s", node.name, name, error)
            else:
                givers.append(name)
        if not givers:
            raise NoQuorum(0, 1)
        return tuple(givers)

    def look_soon(self) -> None:
        """Something has changed that transfers may have waited for."""
        if self._manager is not None and not self._is_look_due:
            self._is_look_due = True
            send(self._manager, _Look())

    def pass_on(self, slot: int, command: object, sender: Sender) -> None:
        """Somebody thinks that this node holds a slot: let the holder handle the command."""
        (target, holder), host = self._home(slot), self._host
        if target != slot and not host.kind.merges:  # what is done twice to another copy would be wrong there
            sender.reply(HandoffRefused(self.node.name, *partition_and_index(slot), "so many copies are not kept now"))
            return
        if holder == self.node.name:
            host.ask(target, command, sender, FORWARDED)
            return
        body = host.envelope(target, FORWARDED, host.encode_command(command))
        self.node.fabric.request(
            holder,
            host.service,
            body,
            limits.OPERATION_TIMEOUT_S,
            lambda outcome: sender.reply(host.decode_reply(outcome)),
        )

    # What the manager asks for

    def open(self, manager: HandoffManager) -> None:
        """Begin."""
        self._manager = manager
        self._is_look_due = False
        self._plan()
        self._refresh()

    def close(self) -> None:
        """End every transfer; what is not acknowledged stays here."""
        self._manager = None
        for one in (*self._outgoing.values(), *self._repairs.values()):
            one.drop()
        self._outgoing.clear()
        self._repairs.clear()
        self.vnodes_ended({slot for _, slot in self._incoming})
        self._host.transits.clear()

    def look(self) -> float:
        """Begin what is due and possible; return how long until something should be looked at again, in seconds."""
        node, now = self.node, self.node.runtime.clock.now()
        self._is_look_due = False
        self._refresh()
        for key, incoming in list(self._incoming.items()):
            if not incoming.is_over and now - incoming.heard_at > SILENT_S:
                del self._incoming[key]
        traffic = node.traffic
        room = 0 if self._host.name in traffic.excluded else traffic.outgoing_max - traffic.outgoing
        for one in (*self._outgoing.values(), *self._repairs.values()):
            if room <= 0:
                break
            if one.giving.phase == "waiting" and now >= one.not_before and node.fabric.is_up(one.taker):
                one.begin()
                room -= one.is_active
        self._retire()
        waits: list[float] = [
            one.not_before - now
            for one in (*self._outgoing.values(), *self._repairs.values())
            if one.giving.phase == "waiting" and one.not_before > now
        ]
        waits.append(limits.HANDOFF_LOOK_S)
        return min(waits)

    def peer_up(self, peer: str) -> None:
        """A node can be reached: what waits for it need not wait any longer.

        It may be another life of one whose end was not noticed, so whatever was under way begins anew.
        """
        self.peer_down(peer)
        for one in (*self._outgoing.values(), *self._repairs.values()):
            if one.taker == peer:
                one.not_before = 0.0
        self.look_soon()

    def peer_down(self, peer: str) -> None:
        """A node is lost: so is everything that is on its way to it, or from it."""
        for one in (*self._outgoing.values(), *self._repairs.values()):
            if one.taker == peer:
                one.fail(f"{peer} is down")
        for key in [key for key in self._incoming if key[0] == peer]:
            del self._incoming[key]
        self._broken = {key for key in self._broken if key[0] != peer}

    def vnodes_ended(self, slots: Container[int]) -> None:
        """The vnodes of some slots have ended, and others will take their place: what was given to them is given again.

        A giver that counts on the one that has ended would let a partition arrive of which nothing is left.
        """
        for key in [key for key in self._incoming if key[1] in slots]:
            restart = Restart(key[1], self._incoming.pop(key).taking.attempt)
            if key[0] == self.node.name:
                self._restarted(restart, key[0])
            else:
                self._broken.add(key)
                self.node.fabric.request(key[0], self.service, encode(restart), limits.HANDOFF_ACK_S, _ignored)

    def is_broken(self, giver: str, slot: int) -> bool:
        """Whether what a node hands on to a slot here belongs to something that is not here any more."""
        return (giver, slot) in self._broken

    # What transfers tell

    def pause_after_s(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        pause_s = min(limits.REDIAL_LAST_S, limits.REDIAL_FIRST_S * 2.0 ** min(failures, 10))
        return pause_s * self.node.runtime.entropy.uniform(0.5, 1.0)

    def over(self, one: Outgoing) -> None:
        """A transfer is given, is done, or has failed."""
        if one.giving.phase == "given":
            self.node.traffic.given(partition_and_index(one.source)[0])
        elif one.giving.phase == "done":
            key: Key = (one.kind, one.source, one.target, one.taker)
            if self._outgoing.pop(key, None) is not None and one.kind == "repair":
                self._copied[key] = None
            self._repairs.pop(key, None)
        self.node.traffic.look()

    # What is to be given

    def _layout_changed(self) -> None:
        if self._manager is None:
            return
        self._copied.clear()
        held = self._host.served
        if not self._host.kind.merges:
            self._clear_superseded()
        for repair in [key for key in self._repairs if self.node.placement.holder(key[2]) != key[3]]:
            self._repairs.pop(repair).drop()
        self._plan()
        self._refresh()
        for key in [key for key in self._incoming if key[1] not in held]:
            del self._incoming[key]
        self._broken = {key for key in self._broken if held.get(key[1]) is False}
        self.look_soon()

    def _clear_superseded(self) -> None:
        """Forget copies of what others are in charge of, when these have had it all.

        Values that cannot be merged say nothing about their age: if these copies were handed over as something that
        was kept for the holder, what the holder has deleted would come back.
        """
        holder, running = self.node.placement.holder, self._host.running()
        given = [(one.source, one.taker) for one in self._outgoing.values() if one.is_superseded]
        taken = [(slot, giver) for (giver, slot), one in self._incoming.items() if one.replace]
        for slot, other in (*given, *taken):
            if slot in running and slot not in self._host.served and holder(slot) == other:
                try:
                    running[slot].clear()
                except Exception as error:
                    self._host.crashed(slot, error)

    def _plan(self) -> None:
        """Note what the layout wants this node to give."""
        layout, here = self.node.placement.layout, self.node.name
        self._planned = {
            ("ownership", one.source, one.target, one.taker): one
            for partition in layout.moving()
            for one in layout.transfers(partition, self.node.depth, self.node.placement.gone)
            if one.giver == here
        }

    def _refresh(self) -> None:
        """Enter what should be given and is not in the book; drop what should not be given any more."""
        layout = self.node.placement.layout
        wanted: dict[Key, Transfer | None] = {**self._planned}
        under_way = [one.source for one in self._outgoing.values() if one.kind != "ownership" and one.is_active]
        for slot in sorted({*self._counts(), *under_way}):
            if slot not in self._host.served:
                home, *others = self._homes(slot)
                copies: list[Key] = [("repair", slot, *other) for other in others]
                missing = [key for key in copies if key not in self._copied]
                wanted.update(dict.fromkeys(missing))
                if not missing:  # only the last one may be the reason to forget it here
                    wanted["hinted", slot, *home] = None
        changed = False
        for key in [key for key in self._outgoing if key not in wanted]:
            self._outgoing.pop(key).drop()
            changed = True
        for key, transfer in wanted.items():
            if key not in self._outgoing:
                self._outgoing[key] = self._made(key, transfer, layout)
                changed = True
        if changed:
            self._connect()
            self.node.traffic.look()

    def _made(self, key: Key, transfer: Transfer | None, layout: Layout) -> Outgoing:
        kind, source, target, taker = key
        if transfer is None:
            return Outgoing(self, self._host, kind=kind, source=source, target=target, taker=taker)
        partition = partition_and_index(target)[0]
        every = layout.transfers(partition, self.node.depth, self.node.placement.gone)
        # Values that cannot be merged come from one giver. Others, and givers to a node that holds the slot already and
        # handles every command itself, only fill in what is not there.
        first = next(one for one in every if one.target == target)
        replace = layout.holder(target) != taker and (first.source, first.giver) == (source, self.node.name)
        return Outgoing(
            self,
            self._host,
            kind="ownership",
            source=source,
            target=target,
            taker=taker,
            moves=source == target,
            replace=replace,
            follows=replace or self._host.kind.merges,
        )

    def _connect(self) -> None:
        """Let commands to the slots that are being given go through those who are given to."""
        transits: dict[int, Transit] = {}
        for one in self._outgoing.values():
            if one.kind == "ownership":
                if one.source not in transits:
                    transits[one.source] = Transit(self._host, one.source, self.node.name)
                transits[one.source].takers.append(one)
        self._host.transits = transits

    def _home(self, slot: int) -> tuple[int, str]:
        """Where what is in a slot belongs: the slot at its holder, or the first copy when so many are not kept."""
        return self._homes(slot)[0]

    def _homes(self, slot: int) -> list[tuple[int, str]]:
        """Everybody who must have what is in a slot: its holder, or all holders of the partition when it has none.

        Nobody can say which of them lacks what was kept here.
        """
        partition, index = partition_and_index(slot)
        order = self.node.placement.layout.order(partition)
        if index < len(order):
            return [(slot, order[index])]
        return [(slot_of(partition, other), node) for other, node in enumerate(order)]

    def _retire(self) -> None:
        """End the vnodes of slots that are held elsewhere, where nothing is left."""
        busy = {target for _, target in self._incoming}
        for slot, vnode in self._host.running().items():
            is_left = slot not in self._host.served and slot not in busy and not vnode.item_count()
            if is_left and self.node.fabric.is_up(self._home(slot)[1]):
                self._host.retire(slot)

    # What is taken

    def on_request(self, link: Link, request: messages.Request) -> None:
        """A giver says something."""
        try:
            message = decode(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a handoff of {self.service}: {error}") from None

        def heard(outcome: msgspec.Raw | bytes | RoostError) -> None:
            if isinstance(outcome, RoostError):
                link.refuse(request.id, outcome)
            else:
                link.reply(request.id, bytes(outcome))

        self.handle(message, link.peer, heard)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Handoffs are acknowledged."""
        raise BadMessage(f"{self.service} takes questions only")

    def handle(self, message: Handover, giver: str, heard: Heard) -> None:
        """Do what a giver says; `heard` is told the encoded reply, or what went wrong."""
        try:
            if self._manager is None:
                raise ProcessDown(f"{self.service} on {self.node.name}", "its node does not run")
            if isinstance(message, Propose):
                heard(encode(self._proposed(message, giver)))
            elif isinstance(message, Request):
                self._requested(message, giver)
                heard(NIL)
            elif isinstance(message, Restart):
                self._restarted(message, giver)
                heard(NIL)
            else:
                self._told(message, giver, heard)
        except RoostError as error:
            heard(error)
        except Exception as error:
            logger.exception("%s: what %s hands over is not taken", self.node.name, giver)
            heard(BadMessage(f"what was handed over cannot be taken: {type(error).__name__}: {error}"))

    def _proposed(self, message: Propose, giver: str) -> Accepted:
        host, traffic, key = self._host, self.node.traffic, (giver, message.target)
        partition, index = partition_and_index(message.target)
        if message.target not in host.served:
            raise HandoffRefused(self.node.name, partition, index, "by what it knows it does not hold it")
        if key not in self._incoming and traffic.incoming >= traffic.incoming_max:
            raise Overloaded(
                f"{self.node.name}, with {traffic.incoming} transfers to it under way,", limits.REDIAL_LAST_S
            )
        if message.kind == "ownership":
            self._check_single(partition, index)
        vnode = host.vnode(message.target)
        replace = message.replace and not vnode.merges
        if replace and (host.served[message.target] or message.target in host.asked):
            raise HandoffRefused(self.node.name, partition, index, "it serves it already")
        stale = vnode.held() if replace else ()
        now = self.node.runtime.clock.now()
        self._broken.discard(key)
        self._incoming[key] = _Incoming(Taking(message.attempt, stale), vnode, replace=replace, now=now)
        return Accepted(vnode.item_count())

    def _check_single(self, partition: int, index: int) -> None:
        """Refuse a second copy of a partition while one is kept here for another node: both would be on one disk."""
        for slot in self._counts():
            if slot not in self._host.served and partition_and_index(slot)[0] == partition:
                home = self._home(slot)[1]
                if home not in self.node.placement.gone:
                    reason = f"it keeps another copy of it, which {home} has to take first"
                    raise HandoffRefused(self.node.name, partition, index, reason)

    def _told(self, message: Compare | Take | Conclude, giver: str, heard: Heard) -> None:
        incoming = self._incoming.get((giver, message.target))
        partition, index = partition_and_index(message.target)
        if incoming is None or incoming.taking.attempt != message.attempt:
            raise HandoffRefused(self.node.name, partition, index, "this attempt is not under way any more")
        if self._host.vnode(message.target) is not incoming.vnode:
            raise HandoffRefused(self.node.name, partition, index, "its vnode has begun anew")
        incoming.heard_at = self.node.runtime.clock.now()
        vnode = incoming.vnode
        reply = NIL
        if not isinstance(message, Conclude) and message.absent and incoming.replace:
            incoming.taking.named(message.absent)
            vnode.drop(message.absent)
        if isinstance(message, Compare):
            incoming.taking.named([key for key, _ in message.offers])
            reply = encode(Missing(tuple(vnode.missing(message.offers))))
        elif isinstance(message, Take):
            incoming.taking.named([key for key, _ in message.items])
            vnode.receive(message.items, replace=incoming.replace)
            transit = self._host.transits.get(message.target)
            if transit is not None:
                transit.hand_on(message.items, partial(self._handed_on, vnode, heard))
                return
        else:
            unwanted = incoming.taking.unwanted()
            if unwanted:
                vnode.drop(unwanted)
            incoming.is_over = True
            self.node.traffic.look()
        vnode.when_durable(lambda error: heard(reply if error is None else error))

    def _handed_on(self, vnode: Vnode[Any, Any], heard: Heard, outcome: object) -> None:
        if isinstance(outcome, RoostError):
            heard(outcome)
        else:
            vnode.when_durable(lambda error: heard(NIL if error is None else error))

    def _restarted(self, message: Restart, taker: str) -> None:
        for one in (*self._outgoing.values(), *self._repairs.values()):
            if (one.taker, one.target, one.attempts) == (taker, message.target, message.attempt):
                one.fail(f"its vnode on {taker} has begun anew")

    def _requested(self, message: Request, giver: str) -> None:
        partition, index = partition_and_index(message.source)
        if message.source not in self._host.served:
            raise HandoffRefused(self.node.name, partition, index, "by what it knows it does not hold it")
        key: Key = ("repair", message.source, message.target, giver)
        if key not in self._repairs:
            self._repairs[key] = Outgoing(
                self, self._host, kind="repair", source=message.source, target=message.target, taker=giver
            )
            self.look_soon()


def _ignored(outcome: object) -> None:
    """A giver that cannot be told is lost, and begins again by itself."""


class _Look(msgspec.Struct, frozen=True):
    """Time to look for what should be given."""


class HandoffManager(GenServer):
    """Looks for what should be given: when something has changed, when one is tried again, every HANDOFF_LOOK_S."""

    def init(self, handoffs: Handoffs, node: Node) -> None:
        self.trap_exits()
        self._handoffs = handoffs
        handoffs.open(self.handle)

        def seen(event: PeerUp | PeerDown) -> None:
            if isinstance(event, PeerUp):
                handoffs.peer_up(event.node)
            else:
                handoffs.peer_down(event.node)

        self._next = self.send_after(0.0, _Look())
        self._unwatch = node.fabric.watch(seen)

    @info
    def look(self, message: _Look) -> None:
        """Begin what is due."""
        self._next.cancel()
        self._next = self.send_after(self._handoffs.look(), message)

    def terminate(self, reason: Reason) -> None:
        """Give no more."""
        self._unwatch()
        self._handoffs.close()
