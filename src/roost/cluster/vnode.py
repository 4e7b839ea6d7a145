"""Vnodes: the partitions of the ring at work.

A `Vnode` class says what one copy of a partition does with a command; a `VnodeHost` is all the vnodes of that class on
one node. A vnode is a slot on a node. The host starts it when the first command for its slot comes, as the holder's or
in place of a holder that is down, and takes commands from this node and from others.

A handler runs to its end in the turn in which the command arrives. One that raises a Refusal, or another declared
error, answers with it. Anything else is a crash of that vnode alone: whoever waits for it gets ProcessDown, and it is
started anew from what is stored, after a pause when it crashes again and again.

The vnodes of a host belong to one supervised process: when that ends, every vnode ends, and nobody waits in vain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from roost import limits
from roost.cluster.address import AGAIN, FALLBACK, FORWARDED, MODE_BITS, MODE_MASK, PRIMARY
from roost.cluster.coverage import Coverages
from roost.cluster.fold import Fold as Fold
from roost.cluster.fold import Folds, Items, ResultT, StartFolds
from roost.cluster.handoff import Handoffs
from roost.cluster.sender import LATER as LATER
from roost.cluster.sender import Crowd, Waiting
from roost.cluster.sender import Later as Later
from roost.cluster.sender import OnReply as OnReply
from roost.cluster.sender import Sender as Sender
from roost.core.handoff import digest
from roost.core.intensity import Backoff
from roost.core.ring import SLOT_BITS, partition_and_index, slot_of
from roost.errors import BadMessage, ConfigError, HandoffRefused, InvariantViolated, Overloaded, ProcessDown, RoostError
from roost.otp import Child, GenServer, Reason, Supervisor, info
from roost.wire.messages import Request

if TYPE_CHECKING:
    from roost.cluster.link import Link
    from roost.cluster.node import Node
    from roost.cluster.transit import Transit

logger = logging.getLogger("roost.vnode")

CommandT = TypeVar("CommandT")
ReplyT = TypeVar("ReplyT")

CALM_S: Final = 10.0
"""A vnode that ran this long since its last crash is restarted without a pause."""

OnDurable = Callable[[RoostError | None], None]
"""Called exactly once: with None when what was stored is as safe as it gets, or with what went wrong."""

encode: Final = msgspec.msgpack.Encoder().encode


class Vnode(Generic[CommandT, ReplyT]):
    """One copy of a partition of a ring service.

    ::

        class Ping(msgspec.Struct, frozen=True): ...
        class Pong(msgspec.Struct, frozen=True):
            partition: int

        class PingVnode(Vnode[Ping, Pong]):
            def handle_command(self, command: Ping, sender: Sender) -> Pong:
                return Pong(self.partition)

    Commands and replies are declared messages. Where there are several, their union is named, and each of them needs
    a tag: `class Put(msgspec.Struct, frozen=True, tag=True)`.

    Attributes:
        partition: which partition this is.
        index: which copy of it: 0 for the first one of its preference list.
        node: the node it runs on.
    """

    __commands__: ClassVar[object] = None
    __replies__: ClassVar[object] = None

    partition: int
    index: int
    node: str

    @property
    def slot(self) -> int:
        """The partition and the index in one number."""
        return self.partition << SLOT_BITS | self.index

    def init(self) -> None:
        """Set up the state, from what is stored. Runs before the first command."""

    def handle_command(self, command: CommandT, sender: Sender) -> ReplyT | Later:
        """Do what `command` says and return the reply, or LATER and call `sender.reply` when it is there, or a `fold`.

        A declared error that is raised is the reply. Any other exception is a crash of this vnode.
        """
        raise BadMessage(f"{type(self).__name__} takes no {type(command).__name__}")

    def fold(
        self, function: Callable[[ResultT, Items], ResultT], start: ResultT, reply: Callable[[ResultT], ReplyT]
    ) -> Fold[ResultT]:
        """A slow function over everything that is kept here, for worker processes; the loop goes on meanwhile.

        To be returned by `handle_command`, or yielded by `cover`: `return self.fold(longest, 0, Longest)`.

        Args:
            function: a `def` at the top of a module, called with what has been computed so far and some items (keys,
                and values as `item` encodes them); what it returns goes into the next call.
            start: what the first call gets. It and the results may be what crosses between processes.
            reply: makes the reply of the last result, here.

        Who asked gets what the function raises, when that is a declared error; CpuFailed when it is another one,
        ProcessDown when the vnode ends meanwhile, and Overloaded when FOLDS_MAX folds are under way.
        """
        return Fold(function, start, reply)

    def terminate(self, reason: str) -> None:
        """Clean up: the vnode has crashed, its slot is held elsewhere and nothing is left here, or its node stops."""

    # Handoff. What is not told here does not move: a vnode that keeps anything else starts anew on its next node.

    merges: ClassVar[bool] = False
    """Whether values of two nodes can be merged, in any order and more than once, without a loss."""

    def held(self) -> AbstractSet[bytes]:
        """The keys of everything that is kept here, and moves with the slot."""
        return frozenset()

    def item_count(self) -> int:
        """How many keys those are."""
        return len(self.held())

    def item(self, key: bytes) -> bytes | None:
        """What is kept under a key now, encoded. Any exception ends the transfer, visibly, and nothing is forgotten."""
        return None

    def receive(self, items: Sequence[tuple[bytes, bytes]], *, replace: bool) -> None:
        """Keep what another node hands over. Any exception ends the transfer, visibly, and the giver keeps it all.

        Args:
            items: keys and encoded values.
            replace: whether the giver is in charge of the slot, so that its values replace what is here. Otherwise
                they were kept by one that stood in, and must not replace what a command has written here.
        """
        raise BadMessage(f"{type(self).__name__} keeps nothing that could be handed over")

    def missing(self, offers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """Which of these keys must be sent, because what is kept here has not the digest that is named."""
        absent: list[bytes] = []
        for key, named in offers:
            found = self.item(key)
            if found is None or digest(found) != named:
                absent.append(key)
        return absent

    def forget(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Another node has these items safely: forget those that have not changed since."""

    def drop(self, keys: Sequence[bytes]) -> None:
        """The node in charge of the slot has nothing under these keys: forget them."""

    def clear(self) -> None:
        """The node in charge of the slot has all that it is to have: forget everything."""
        self.drop(tuple(self.held()))

    def when_durable(self, on_durable: OnDurable) -> None:
        """Call back when everything that was stored until now is as safe as it gets."""
        on_durable(None)

    def forwards(self, command: CommandT) -> object:
        """What the next holder must do when this vnode has done `command` during its handoff; None for nothing.

        The command itself, unless this is overridden: for one that changes nothing None saves the way.
        """
        return command

    def cover(self, command: CommandT) -> Iterable[ReplyT | Later]:
        """Answer a coverage: everything that this vnode has to say to `command`, one reply after the other.

        A generator is taken from bit by bit, with other commands in between. So iterate over a copy of what changes:
        `for key in tuple(self.store)`. One that looks at much and finds little yields LATER now and then.
        """
        raise BadMessage(f"{type(self).__name__} answers no coverage with {type(command).__name__}")


VnodeT = TypeVar("VnodeT", bound=Vnode[Any, Any])


class _Cell(Generic[VnodeT]):
    """The place of one slot's vnode, which outlives a crash of it."""

    __slots__ = ("backoff", "not_before", "vnode", "waiting")

    def __init__(self, crowd: Crowd) -> None:
        self.vnode: VnodeT | None = None
        self.waiting = Waiting(crowd)
        self.backoff = Backoff(CALM_S)
        self.not_before = 0.0


class VnodeHost(Generic[VnodeT]):
    """All vnodes of one class on one node; a service of its fabric, called "ring:<name>" on every node.

    Args:
        node: where they run.
        name: what the service is called.
        kind: the class of the vnodes.
        make: makes one; its partition, index and node are set afterwards, then its `init` is called.
        counts: how many items each slot has stored here; those of the vnodes that run when not given.

    Attributes:
        kind: the class of the vnodes.
        crowd: how many commands wait for an answer, and how many were refused.
        handoffs: what moves between this node and others.
        folds: slow functions over what the vnodes keep.
        served: the slots that this node holds (True), or will hold (False).
        asked: the slots of those that it will hold in which it was asked as the holder already: others know more.
        transits: the slots that are moving away from here, and what commands to them must go through.

    Raises:
        ConfigError: when the messages of `kind` are not declared.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        kind: type[VnodeT],
        make: Callable[[], VnodeT],
        counts: Callable[[], Mapping[int, int]] | None = None,
    ) -> None:
        self.name = name
        self.service = f"ring:{name}"
        commands, replies = _messages(kind)
        self.kind = kind
        self._make = make
        self._node = node
        self._slots = node.placement.size << SLOT_BITS
        self._cells: dict[int, _Cell[VnodeT]] = {}
        self._is_open = False
        self._decode: Callable[[msgspec.Raw], Any] = _decoder(kind, tuple[int, commands])  # type: ignore[valid-type]  # a type that is known at run time only
        self._decode_reply: Callable[[msgspec.Raw], Any] = _decoder(kind, replies)
        self._prefixes: dict[int, bytes] = {}
        self._placement = node.placement
        self.served: dict[int, bool] = {}
        self.asked: set[int] = set()
        self._serve()
        node.placement.watch(self._serve)
        self.crowd = Crowd()
        self.transits: dict[int, Transit] = {}
        self.handoffs = Handoffs(node, self, counts or self._counts)
        self.folds = Folds(self, node)
        self.coverages = Coverages(node, self)
        node.fabric.serve(self.service, self)

    def part(self) -> Child:
        """The processes that the vnodes and their handoff belong to, as a part of the node."""
        manager = VnodeManager.child(self, id=f"vnodes {self.service}")
        return Supervisor.child([manager, self.handoffs.part()], id=f"ring {self.service}", strategy="rest_for_one")

    def open(self) -> None:
        """Take commands."""
        self._is_open = True

    def close(self, reason: str) -> None:
        """End every vnode; whoever waits for one gets ProcessDown."""
        self._is_open = False
        self.folds.close(reason)
        self.handoffs.vnodes_ended(self.running())
        for slot, cell in list(self._cells.items()):
            if cell.vnode is not None:
                self._end(slot, cell, reason)
        self._cells.clear()
        self.asked.clear()

    def running(self) -> dict[int, VnodeT]:
        """The vnodes that run here, by slot."""
        return {slot: cell.vnode for slot, cell in self._cells.items() if cell.vnode is not None}

    def vnode(self, slot: int) -> VnodeT:
        """The vnode of `slot`, started when it does not run.

        Raises:
            BadMessage: when the ring has no such slot.
            ProcessDown: when it cannot run now: it has crashed just before, or its node stops.
        """
        cell = self._cells.get(slot)
        if cell is None or cell.vnode is None:
            return self._start(slot)
        return cell.vnode

    def ask(self, slot: int, command: object, sender: Sender, mode: int = PRIMARY) -> None:
        """Let the vnode of `slot` on this node handle `command`; `sender` gets exactly one reply."""
        if self.transits and mode != AGAIN:
            transit = self.transits.get(slot)
            if transit is not None:
                transit.take(command, sender, mode)
                return
        self.apply(slot, command, sender)

    def apply(self, slot: int, command: object, sender: Sender) -> None:
        """Handle `command` here and nowhere else; see `ask`."""
        try:
            self.check_room(slot)
            vnode = self.vnode(slot)
            reply = vnode.handle_command(command, sender)
        except RoostError as error:
            if isinstance(error, InvariantViolated):
                self.crashed(slot, error)
            sender.reply(error)
        except Exception as error:
            sender.reply(self.crashed(slot, error))
        else:
            if isinstance(reply, Later):
                sender.waits_in(self._cells[slot].waiting)
                if isinstance(reply, Fold):
                    self.folds.begin(vnode, reply, sender.reply)
            else:
                sender.reply(reply)

    def check_room(self, slot: int) -> None:
        """Count a command that is refused because too many wait.

        Raises:
            Overloaded: when it is.
        """
        cell = self._cells.get(slot)
        if cell is None:
            return
        if len(cell.waiting) >= limits.VNODE_WAITING_MAX or self.crowd.size >= limits.VNODES_WAITING_MAX:
            self.crowd.refused += 1
            raise Overloaded(f"{self._name(slot)} on {self._node.name}", limits.HEARTBEAT_S)

    def ask_encoded(self, slot: int, mode: int, command: bytes, on_reply: OnReply) -> None:
        """As `ask`, for a command that comes encoded from another vnode of this node."""
        try:
            _, decoded = self._decode(msgspec.Raw(self.envelope(slot, mode, command)))
        except msgspec.MsgspecError as error:
            on_reply(BadMessage(f"a command for {self.service}: {error}"))
            return
        self.ask(slot, decoded, Sender(self._node.name, on_reply), mode)

    def cover(self, slot: int, command: msgspec.Raw) -> Iterator[object]:
        """What the vnode of `slot` has to say to a coverage with an encoded command."""
        try:
            _, decoded = self._decode(msgspec.Raw(self.envelope(slot, PRIMARY, bytes(command))))
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a coverage of {self.service}: {error}") from None
        return iter(self.vnode(slot).cover(decoded))

    def crashed(self, slot: int, error: Exception) -> ProcessDown:
        """A handler of the vnode of `slot` raised `error`: end it; return what its askers are told."""
        name = self._name(slot)
        logger.error("%s: %s crashed", self._node.name, name, exc_info=error)
        down = ProcessDown(f"{name} on {self._node.name}", f"{type(error).__name__}: {error}")
        cell = self._cells.get(slot)
        if cell is not None and cell.vnode is not None:
            runtime = self._node.runtime
            now = runtime.clock.now()
            cell.not_before = now + cell.backoff.pause_s(now, runtime.entropy.uniform(0.0, 1.0))
            self._end(slot, cell, down.reason)
            self.handoffs.vnodes_ended((slot,))
        transit = self.transits.get(slot)
        if transit is not None:
            transit.crashed(down)
        return down

    def retire(self, slot: int) -> None:
        """Nothing is left in `slot`, and it is held elsewhere: end its vnode, unless somebody waits for it."""
        cell = self._cells.get(slot)
        if cell is not None and cell.vnode is not None and not len(cell.waiting):
            self._end(slot, cell, "its slot is held elsewhere")
            del self._cells[slot]

    # Other nodes

    def encode_command(self, command: object) -> bytes:
        """A command, encoded once for all vnodes of other nodes that get it.

        Raises:
            BadMessage: when it is not declared.
        """
        try:
            return encode(command)
        except (TypeError, OverflowError) as error:
            raise BadMessage(str(error)) from None

    def envelope(self, slot: int, mode: int, command: bytes) -> bytes:
        """What is sent to the node of the vnode of `slot`."""
        address = slot << MODE_BITS | mode
        prefix = self._prefixes.get(address)
        if prefix is None:
            prefix = self._prefixes[address] = b"\x92" + encode(address)
        return prefix + command

    def decode_reply(self, outcome: msgspec.Raw | RoostError) -> object:
        """What a vnode of another node has replied, or a RoostError."""
        if isinstance(outcome, RoostError):
            return outcome
        try:
            return self._decode_reply(outcome)
        except msgspec.MsgspecError as error:
            return BadMessage(f"a reply of {self.service}: {error}")

    def on_request(self, link: Link, request: Request) -> None:
        """A command for a vnode here."""
        try:
            address, command = self._decode(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a command for {self.service}: {error}") from None
        slot, mode = address >> MODE_BITS, address & MODE_MASK
        sender = _LinkSender(link, request.id)
        if not 0 <= slot < self._slots:
            raise BadMessage(f"there is no slot {slot}")
        if mode == PRIMARY and not self.served.get(slot):
            if slot not in self.served:
                self.handoffs.pass_on(slot, command, sender)
                return
            if self._holder_first(slot, command, sender):
                return
            self.asked.add(slot)
        elif mode == FALLBACK and not self._may_stand_in(slot):
            raise ProcessDown(f"{self._name(slot)} on {self._node.name}", "its node owns nothing, and may go")
        elif mode in (FORWARDED, AGAIN):
            self._check_handed_on(link.peer, slot, mode)
        self.ask(slot, command, sender, mode)

    def _may_stand_in(self, slot: int) -> bool:
        """Whether this node is one of those that stand in for the holder of a slot.

        One that leaves has said, or will say, that it keeps nothing: what it took after that would be lost with it.
        """
        return self._node.name in self._placement.layout.order(slot >> SLOT_BITS)

    def _holder_first(self, slot: int, command: object, sender: Sender) -> bool:
        """Let the present holder of a slot that this node will hold handle a command, where it must not be done twice.

        Who asks may know that the partition has arrived, or only where it was long ago. The holder can tell: it does
        it, and whatever it does comes here too, or refuses, since it holds the slot no more. Then it is done here.
        """
        holder = self._placement.holder(slot)
        if self.kind.merges or slot in self.asked or holder is None or not self._node.fabric.is_up(holder):
            return False

        def heard(outcome: msgspec.Raw | RoostError) -> None:
            reply = self.decode_reply(outcome)
            if isinstance(reply, HandoffRefused) and reply.node == holder:
                self.asked.add(slot)
                self.ask(slot, command, sender)
            else:
                sender.reply(reply)

        body = self.envelope(slot, FORWARDED, self.encode_command(command))
        self._node.fabric.request(holder, self.service, body, limits.OPERATION_TIMEOUT_S, heard)
        return True

    def _check_handed_on(self, peer: str, slot: int, mode: int) -> None:
        """Refuse a command that another node hands on to where it would be lost.

        What can be merged gets from anywhere to where it belongs. What cannot must be done where the slot is; when
        this is not there, or is leaving and the command may not follow, the nodes do not see the same layout yet.
        """
        reason = ""
        if self.handoffs.is_broken(peer, slot):
            reason = "its vnode has begun anew"
        elif not self.kind.merges and slot not in self.served:
            reason = "by what it knows it does not hold it"
        elif not self.kind.merges and mode == AGAIN and slot in self.transits:
            reason = "it is giving it to others, and the command was handed on twice"
        if reason:
            raise HandoffRefused(self._node.name, *partition_and_index(slot), reason)

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Vnodes are asked, and reply."""
        raise BadMessage(f"{self.service} takes questions only")

    def _serve(self) -> None:
        """Note which slots this node holds (True), or will hold (False)."""
        layout, name = self._placement.layout, self._node.name
        served: dict[int, bool] = {}
        for partition in range(layout.size):
            if layout.at[partition] != len(layout.rings) - 1:
                served.update(dict.fromkeys(_slots(partition, layout.goal.order(partition), name), False))
            served.update(dict.fromkeys(_slots(partition, layout.order(partition), name), True))
        self.served = served
        self.asked = {slot for slot in self.asked if served.get(slot) is False}

    def _counts(self) -> Mapping[int, int]:
        counts = {slot: vnode.item_count() for slot, vnode in self.running().items()}
        return {slot: count for slot, count in counts.items() if count}

    def _start(self, slot: int) -> VnodeT:
        if not 0 <= slot < self._slots:
            raise BadMessage(f"there is no slot {slot}")
        name = f"{self._name(slot)} on {self._node.name}"
        if not self._is_open:
            raise ProcessDown(name, "its node does not run")
        cell = self._cells.get(slot)
        if cell is None:
            cell = self._cells[slot] = _Cell(self.crowd)
        now = self._node.runtime.clock.now()
        if now < cell.not_before:
            raise ProcessDown(name, "it crashes again and again, and is restarted after a pause")
        vnode = self._make()
        (vnode.partition, vnode.index), vnode.node = partition_and_index(slot), self._node.name
        cell.vnode = vnode
        cell.backoff.started(now)
        vnode.init()
        return vnode

    def _name(self, slot: int) -> str:
        partition, index = partition_and_index(slot)
        return f"{self.kind.__name__} {partition}.{index}"

    def _end(self, slot: int, cell: _Cell[VnodeT], reason: str) -> None:
        vnode, cell.vnode = cell.vnode, None
        for sender in cell.waiting.all():
            sender.reply(ProcessDown(f"{self._name(slot)} on {self._node.name}", reason))
        if vnode is not None:
            try:
                vnode.terminate(reason)
            except Exception:
                logger.exception("%s: %s did not end in good order", self._node.name, self._name(slot))


class _LinkSender(Sender):
    """The sender of a command that came over a link."""

    __slots__ = ("_id", "_link")

    def __init__(self, link: Link, request_id: int) -> None:
        super().__init__(link.peer, self._send)
        self._link = link
        self._id = request_id

    def _send(self, reply: object) -> None:
        if isinstance(reply, RoostError):
            self._link.refuse(self._id, reply)
        else:
            self._link.reply(self._id, encode(reply))


class VnodeManager(GenServer):
    """The process that the vnodes of a host belong to; they are no processes themselves, so a command costs no mail."""

    # Any: a host of vnodes of whatever class.
    def init(self, host: VnodeHost[Any]) -> None:
        self.trap_exits()
        self._host = host
        host.folds.open(self.handle)
        host.open()

    @info
    def fold(self, message: StartFolds) -> None:
        """Run what is to be run in a process of its own."""
        self._host.folds.start()

    def terminate(self, reason: Reason) -> None:
        """End every vnode."""
        self._host.close(str(reason))


def _slots(partition: int, order: Sequence[str], name: str) -> Iterable[int]:
    return [slot_of(partition, index) for index, node in enumerate(order[: limits.REPLICAS_MAX]) if node == name]


def _messages(kind: type[Vnode[Any, Any]]) -> tuple[object, object]:
    """The types of the commands and of the replies of a class: its type arguments, or its handler's annotations."""
    for base in kind.__mro__:
        for generic in vars(base).get("__orig_bases__", ()):
            origin = get_origin(generic)
            if isinstance(origin, type) and issubclass(origin, Vnode):
                commands, replies = get_args(generic)[:2]
                if not isinstance(commands, TypeVar):
                    return commands, replies
    hints = get_type_hints(kind.handle_command)
    commands, replies = hints.get("command"), hints.get("return")
    if commands is None or replies is None or isinstance(commands, TypeVar):
        raise ConfigError(kind.__name__, "it must name its messages: class PingVnode(Vnode[Ping, Pong])")
    kinds = tuple(one for one in get_args(replies) or (replies,) if one is not Later and get_origin(one) is not Fold)
    return commands, Union[kinds]  # noqa: UP007  # a union of types that are known at run time only


def _decoder(kind: type, messages: object) -> Callable[[msgspec.Raw], Any]:
    try:
        return msgspec.msgpack.Decoder(messages).decode
    except TypeError as error:
        raise ConfigError(kind.__name__, f"its messages cannot be told apart on the wire: {error}") from None
