"""Vnodes: the partitions of the ring at work.

A `Vnode` class says what one partition does with a command; a `VnodeHost` is all the vnodes of that class on one node.
It starts a vnode when the first command for its partition comes, as the owner's or in place of an owner that is down,
and takes commands from this node and from others.

A handler runs to its end in the turn in which the command arrives. One that raises a Refusal, or another declared
error, answers with it. Anything else is a crash of that vnode alone: whoever waits for it gets ProcessDown, and it is
started anew from what is stored, after a pause when it crashes again and again.

The vnodes of a host belong to one supervised process: when that ends, every vnode ends, and nobody waits in vain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from roost.core.intensity import Backoff
from roost.errors import BadMessage, ConfigError, InvariantViolated, ProcessDown, RoostError
from roost.otp import Child, GenServer, Reason
from roost.wire.messages import Request

if TYPE_CHECKING:
    from roost.cluster.link import Link
    from roost.cluster.node import Node

logger = logging.getLogger("roost.vnode")

CommandT = TypeVar("CommandT")
ReplyT = TypeVar("ReplyT")
OnReply = Callable[[object], None]
"""Called exactly once: with what the vnode replied, or with the RoostError that ended the command."""

CALM_S: Final = 10.0
"""A vnode that ran this long since its last crash is restarted without a pause."""

encode: Final = msgspec.msgpack.Encoder().encode


class Later:
    """Returned by a handler that replies later, through its `Sender`. There is one: LATER."""

    __slots__ = ()


LATER: Final = Later()


class Sender:
    """Where the reply to one command goes; to be called once, and harmless after that.

    Attributes:
        node: the node that the command came from.
    """

    __slots__ = ("_on_reply", "_waiting", "node")

    def __init__(self, node: str, on_reply: OnReply) -> None:
        self.node = node
        self._on_reply: OnReply | None = on_reply
        self._waiting: dict[Sender, None] | None = None

    def reply(self, reply: object) -> None:
        """Answer the command: with a declared reply, or with a RoostError."""
        on_reply = self._on_reply
        if on_reply is not None:
            self._on_reply = None
            if self._waiting is not None:
                self._waiting.pop(self, None)
            on_reply(reply)

    def waits_in(self, waiting: dict[Sender, None]) -> None:
        """The reply comes later: until then this is one of those that wait for the vnode."""
        if self._on_reply is not None:
            self._waiting = waiting
            waiting[self] = None


class Vnode(Generic[CommandT, ReplyT]):
    """One partition of a ring service.

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
        node: the node it runs on.
    """

    __commands__: ClassVar[object] = None
    __replies__: ClassVar[object] = None

    partition: int
    node: str

    def init(self) -> None:
        """Set up the state, from what is stored. Runs before the first command."""

    def handle_command(self, command: CommandT, sender: Sender) -> ReplyT | Later:
        """Do what `command` says and return the reply, or LATER and call `sender.reply` when it is there.

        A declared error that is raised is the reply. Any other exception is a crash of this vnode.
        """
        raise BadMessage(f"{type(self).__name__} takes no {type(command).__name__}")

    def terminate(self, reason: str) -> None:
        """Clean up: the vnode has crashed, or its node stops."""


VnodeT = TypeVar("VnodeT", bound=Vnode[Any, Any])


class _Cell(Generic[VnodeT]):
    """The place of one partition's vnode, which outlives a crash of it."""

    __slots__ = ("backoff", "not_before", "vnode", "waiting")

    def __init__(self) -> None:
        self.vnode: VnodeT | None = None
        self.waiting: dict[Sender, None] = {}
        self.backoff = Backoff(CALM_S)
        self.not_before = 0.0


class VnodeHost(Generic[VnodeT]):
    """All vnodes of one class on one node; a service of its fabric, called "ring:<name>" on every node.

    Args:
        node: where they run.
        name: what the service is called.
        kind: the class of the vnodes.
        make: makes one; its partition and node are set afterwards, then its `init` is called.

    Raises:
        ConfigError: when the messages of `kind` are not declared.
    """

    def __init__(self, node: Node, name: str, kind: type[VnodeT], make: Callable[[], VnodeT]) -> None:
        self.service = f"ring:{name}"
        commands, replies = _messages(kind)
        self._kind = kind
        self._make = make
        self._node = node
        self._size = node.ring.size
        self._cells: dict[int, _Cell[VnodeT]] = {}
        self._is_open = False
        self._decode: Callable[[msgspec.Raw], Any] = _decoder(kind, tuple[int, commands])  # type: ignore[valid-type]  # a type that is known at run time only
        self._decode_reply: Callable[[msgspec.Raw], Any] = _decoder(kind, replies)
        self._prefixes = tuple(b"\x92" + encode(partition) for partition in range(self._size))
        node.fabric.serve(self.service, self)

    def part(self) -> Child:
        """The process that the vnodes belong to, as a part of the node."""
        return VnodeManager.child(self, id=f"vnodes {self.service}")

    def open(self) -> None:
        """Take commands."""
        self._is_open = True

    def close(self, reason: str) -> None:
        """End every vnode; whoever waits for one gets ProcessDown."""
        self._is_open = False
        for partition, cell in list(self._cells.items()):
            if cell.vnode is not None:
                self._end(partition, cell, reason)
        self._cells.clear()

    def running(self) -> dict[int, VnodeT]:
        """The vnodes that run here, by partition."""
        return {partition: cell.vnode for partition, cell in self._cells.items() if cell.vnode is not None}

    def vnode(self, partition: int) -> VnodeT:
        """The vnode of `partition`, started when it does not run.

        Raises:
            BadMessage: when the ring has no such partition.
            ProcessDown: when it cannot run now: it has crashed just before, or its node stops.
        """
        cell = self._cells.get(partition)
        if cell is None or cell.vnode is None:
            return self._start(partition)
        return cell.vnode

    def ask(self, partition: int, command: object, sender: Sender) -> None:
        """Let the vnode of `partition` on this node handle `command`; `sender` gets exactly one reply."""
        try:
            vnode = self.vnode(partition)
            reply = vnode.handle_command(command, sender)
        except RoostError as error:
            if isinstance(error, InvariantViolated):
                self.crashed(partition, error)
            sender.reply(error)
        except Exception as error:
            sender.reply(self.crashed(partition, error))
        else:
            if reply is LATER:
                sender.waits_in(self._cells[partition].waiting)
            else:
                sender.reply(reply)

    def crashed(self, partition: int, error: Exception) -> ProcessDown:
        """A handler of the vnode of `partition` raised `error`: end it; return what its askers are told."""
        name = f"{self._kind.__name__} {partition}"
        logger.error("%s: %s crashed", self._node.name, name, exc_info=error)
        down = ProcessDown(f"{name} on {self._node.name}", f"{type(error).__name__}: {error}")
        cell = self._cells.get(partition)
        if cell is not None and cell.vnode is not None:
            runtime = self._node.runtime
            now = runtime.clock.now()
            cell.not_before = now + cell.backoff.pause_s(now, runtime.entropy.uniform(0.0, 1.0))
            self._end(partition, cell, down.reason)
        return down

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

    def envelope(self, partition: int, command: bytes) -> bytes:
        """What is sent to the node of the vnode of `partition`."""
        return self._prefixes[partition] + command

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
            partition, command = self._decode(request.body)
        except msgspec.MsgspecError as error:
            raise BadMessage(f"a command for {self.service}: {error}") from None
        self.ask(partition, command, _LinkSender(link, request.id))

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Vnodes are asked, and reply."""
        raise BadMessage(f"{self.service} takes questions only")

    def _start(self, partition: int) -> VnodeT:
        if not 0 <= partition < self._size:
            raise BadMessage(f"there is no partition {partition}")
        name = f"{self._kind.__name__} {partition} on {self._node.name}"
        if not self._is_open:
            raise ProcessDown(name, "its node does not run")
        cell = self._cells.get(partition)
        if cell is None:
            cell = self._cells[partition] = _Cell()
        now = self._node.runtime.clock.now()
        if now < cell.not_before:
            raise ProcessDown(name, "it crashes again and again, and is restarted after a pause")
        vnode = self._make()
        vnode.partition, vnode.node = partition, self._node.name
        cell.vnode = vnode
        cell.backoff.started(now)
        vnode.init()
        return vnode

    def _end(self, partition: int, cell: _Cell[VnodeT], reason: str) -> None:
        vnode, cell.vnode = cell.vnode, None
        waiting, cell.waiting = cell.waiting, {}
        for sender in list(waiting):
            sender.reply(ProcessDown(f"{self._kind.__name__} {partition} on {self._node.name}", reason))
        if vnode is not None:
            try:
                vnode.terminate(reason)
            except Exception:
                logger.exception(
                    "%s: %s %d did not end in good order", self._node.name, type(vnode).__name__, partition
                )


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
        host.open()

    def terminate(self, reason: Reason) -> None:
        """End every vnode."""
        self._host.close(str(reason))


def _messages(kind: type[Vnode[Any, Any]]) -> tuple[object, object]:
    """The types of the commands and of the replies of a class: its type arguments, or its handler's annotations."""
    for base in kind.__mro__:
        for generic in vars(base).get("__orig_bases__", ()):
            origin = get_origin(generic)
            if isinstance(origin, type) and issubclass(origin, Vnode):
                commands, replies = get_args(generic)
                if not isinstance(commands, TypeVar):
                    return commands, replies
    hints = get_type_hints(kind.handle_command)
    commands, replies = hints.get("command"), hints.get("return")
    if commands is None or replies is None or isinstance(commands, TypeVar):
        raise ConfigError(kind.__name__, "it must name its messages: class PingVnode(Vnode[Ping, Pong])")
    kinds = tuple(one for one in get_args(replies) or (replies,) if one is not Later)
    return commands, Union[kinds]  # noqa: UP007  # a union of types that are known at run time only


def _decoder(kind: type, messages: object) -> Callable[[msgspec.Raw], Any]:
    try:
        return msgspec.msgpack.Decoder(messages).decode
    except TypeError as error:
        raise ConfigError(kind.__name__, f"its messages cannot be told apart on the wire: {error}") from None
