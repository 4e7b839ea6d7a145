"""Process groups of one node: what its processes join, told to the others, and who hears of it.

The decisions are in `roost.core.process_group`. When things fail: the members of a node that goes down leave at once,
and are back when it is. A netsplit is the same seen from both sides. A peer that does not keep up is told everything
anew once it does.
"""

from __future__ import annotations

import logging
from typing import ClassVar, Final, TypeVar

import msgspec

from roost.cluster.courier import Courier
from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.core.process_group import Delta, Groups, Member, Snapshot
from roost.errors import BadMessage, NotLocal
from roost.otp import Down, GenServer, Monitor, Process, Scheduler
from roost.otp.remote import remote_handle, target_of
from roost.runtime.clock import Timer
from roost.wire.messages import Request

logger = logging.getLogger("roost.pg")

SERVICE: Final = "pg"
WAITING_MAX: Final = 1_000
"""Messages that wait for one peer; instead of more it is told everything anew."""
AGAIN_S: Final = 0.05
"""The pause before that is tried."""

ServerT = TypeVar("ServerT", bound=GenServer)


class Resend(msgspec.Struct, array_like=True, frozen=True, tag="resend"):
    """The sender has missed something and needs a snapshot."""


class GroupChanged(msgspec.Struct, frozen=True):
    """Processes have come into a group, or have gone, told to those who monitor it."""

    __sendable__: ClassVar[bool] = True

    group: str
    joined: tuple[GenServer, ...]
    left: tuple[GenServer, ...]
    scope: str = ""


_encode: Final = msgspec.msgpack.Encoder().encode
_RESEND: Final = _encode(Resend())
_decode: Final = msgspec.msgpack.Decoder(Delta | Snapshot | Resend).decode


class ProcessGroups:
    """The groups of the cluster on one node. It is a service of the fabric.

    Args:
        scheduler: the processes of this node.
        fabric: its links.
    """

    def __init__(self, scheduler: Scheduler, fabric: Fabric) -> None:
        self._scheduler, self._fabric = scheduler, fabric
        self._state = Groups(fabric.node, fabric.incarnation)
        self._courier = Courier(fabric, scheduler.runtime.clock, SERVICE)
        self._ends: dict[int, Monitor] = {}
        self._watchers: dict[tuple[str, str], dict[GroupMonitor, None]] = {}
        self._behind: dict[str, None] = {}
        self._timer: Timer | None = None
        fabric.serve(SERVICE, self)
        fabric.watch(self._on_peer)

    def join(self, scope: str, group: str, handle: GenServer) -> None:
        """Take a process of this node into a group; it leaves when it ends.

        Raises:
            NotLocal: when it is of another node.
            ProcessDown: when it has ended.
            TooLarge: when a name is too long, or this node has MEMBERSHIPS_MAX.
        """
        process = self._local(handle)
        if not process.alive:
            raise process.down()
        self._state.join(scope, group, process.pid)
        if process.pid not in self._ends:
            monitor = self._ends[process.pid] = Monitor(process, None, self._on_end)
            process.tied.monitors[monitor] = None
        self._tell()

    def leave(self, scope: str, group: str, handle: GenServer) -> bool:
        """Take a process of this node out of a group, once. Returns whether it was in it.

        Raises:
            NotLocal: when it is of another node.
        """
        process = self._local(handle)
        was_in = self._state.leave(scope, group, process.pid)
        if not self._state.is_member(process.pid):
            monitor = self._ends.pop(process.pid, None)
            if monitor is not None:
                monitor.cancel()
        self._tell()
        return was_in

    def members(self, scope: str, group: str, kind: type[ServerT]) -> list[ServerT]:
        """The processes of a group on all nodes that can be reached."""
        return [self._handle(member, kind) for member in self._state.members(scope, group)]

    def local_members(self, scope: str, group: str, kind: type[ServerT]) -> list[ServerT]:
        """The processes of a group on this node."""
        return [self._handle(member, kind) for member in self._state.local_members(scope, group)]

    def groups(self, scope: str) -> list[str]:
        """The groups of a scope that have members, sorted."""
        return self._state.groups(scope)

    def monitor(self, scope: str, group: str, process: Process) -> GroupMonitor:
        """Send a GroupChanged to `process` whenever somebody comes into a group, or goes."""
        return GroupMonitor(self, (scope, group), process)

    def add_watcher(self, key: tuple[str, str], monitor: GroupMonitor) -> None:
        """A monitor begins."""
        self._watchers.setdefault(key, {})[monitor] = None

    def remove_watcher(self, key: tuple[str, str], monitor: GroupMonitor) -> None:
        """A monitor ends; harmless when it has."""
        watchers = self._watchers.get(key, {})
        watchers.pop(monitor, None)
        if not watchers:
            self._watchers.pop(key, None)

    def _local(self, handle: GenServer) -> Process:
        if target_of(handle) is not None or handle._process.scheduler is not self._scheduler:
            raise NotLocal(repr(handle))
        return handle._process

    def _handle(self, member: Member, kind: type[ServerT]) -> ServerT:
        process = self._scheduler.processes.get(member.pid) if member.node == self._fabric.node else None
        if process is not None and isinstance(process.handle, kind):
            return process.handle
        assert self._scheduler.transport is not None
        return remote_handle(kind, member.pid, member.node, self._scheduler.transport, member.incarnation)

    def _on_end(self, down: Down) -> None:
        pid = down.process.pid
        self._ends.pop(pid, None)
        self._state.ended(pid)
        self._tell()

    # Telling

    def _tell(self) -> None:
        delta = self._state.take_delta()
        if delta is not None:
            body = _encode(delta)
            for peer in self._fabric.up():
                if peer != self._fabric.node:
                    self._say(peer, body)
        for scope, group, joined, left in self._state.take_news():
            watchers = self._watchers.get((scope, group))
            if watchers:
                gone = tuple([self._handle(member, GenServer) for member in left])
                news = tuple([self._handle(member, GenServer) for member in joined])
                message = GroupChanged(group, news, gone, scope)
                for watcher in list(watchers):
                    watcher.process.inform(message, bounded=False)

    def _say(self, peer: str, body: bytes) -> None:
        if peer in self._behind:
            return
        if self._courier.waiting(peer) < WAITING_MAX:
            self._courier.say(peer, body)
            return
        logger.warning("%s is behind with process groups: it is told everything anew", peer)
        self._behind[peer] = None
        self._look_again()

    def _look_again(self) -> None:
        if self._timer is None:
            self._timer = self._scheduler.runtime.clock.call_later(AGAIN_S, self._catch_up)

    def _catch_up(self) -> None:
        self._timer = None
        for peer in list(self._behind):
            if not self._courier.waiting(peer):
                del self._behind[peer]
                self._tell_everything(peer)
        if self._behind:
            self._look_again()

    def _tell_everything(self, peer: str) -> None:
        for part in self._state.snapshot():
            self._courier.say(peer, _encode(part))

    # Hearing

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """What another node says about its groups."""
        message = _decode(body)
        if isinstance(message, Resend):
            self._tell_everything(link.peer)
        elif not self._state.merge(link.peer, message):
            self._courier.say(link.peer, _RESEND)
        self._tell()

    def on_request(self, link: Link, request: Request) -> None:
        """Nothing about groups is asked for."""
        raise BadMessage("process groups are not asked for")

    def _on_peer(self, event: PeerUp | PeerDown) -> None:
        self._courier.forget(event.node)
        self._behind.pop(event.node, None)
        if isinstance(event, PeerUp):
            self._state.peer_up(event.node, event.incarnation)
            self._tell_everything(event.node)
        else:
            self._state.peer_down(event.node)
        self._tell()


class GroupMonitor:
    """A watch over a group; it ends with its process, or with `cancel`."""

    __slots__ = ("_end", "_groups", "_key", "process")

    def __init__(self, groups: ProcessGroups, key: tuple[str, str], process: Process) -> None:
        self.process = process
        self._groups, self._key = groups, key
        self._end = Monitor(process, None, lambda _: groups.remove_watcher(key, self))
        process.tied.monitors[self._end] = None
        groups.add_watcher(key, self)

    def cancel(self) -> None:
        """Stop watching; harmless when the process has ended."""
        self._end.cancel()
        self._groups.remove_watcher(self._key, self)
