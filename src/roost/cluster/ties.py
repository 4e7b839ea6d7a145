"""Ties over nodes: monitors, links and exit signals between processes of different nodes.

A process elsewhere is stood for by an `Elsewhere`, which is tied to the processes of this node as any process is. Its
end is theirs, as far as the kernel sees; what happens to them it tells the other node. So whatever holds for ties of
one node holds between two: a Down or an Exit comes exactly once, after what its process has sent before.

When things fail: when the link is lost every tie over it ends at once, on both sides, with the reason NodeDown; nothing
of it is left when the nodes meet again. In a netsplit both sides hear that; the processes run on. What a peer that does
not keep up has not taken waits for it, see `roost.cluster.courier`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from roost.cluster.courier import Courier
from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.errors import BadMessage, NodeDown, Overloaded, RoostError
from roost.limits import HEARTBEAT_S, REMOTE_TIES_MAX, REPORT_CHARS_MAX
from roost.otp import Down, GenServer, Monitor, Process, Reason, Scheduler
from roost.otp.crash import explain
from roost.otp.ending import STOP
from roost.otp.remote import RemoteProcess, remote_handle
from roost.wire.failures import decode_failure, encode_failure
from roost.wire.messages import Request
from roost.wire.ties import (
    Cause,
    Ended,
    ExitTo,
    LinkTo,
    Sender,
    Signal,
    StopTo,
    Tie,
    Unlink,
    Unwatch,
    Watch,
    Who,
    decode_tie,
    encode_tie,
)

logger = logging.getLogger("roost.ties")

SERVICE: Final = "ties"


class Elsewhere(Process):
    """Stands for a process of another node, in the tables of those that are tied to it."""

    __slots__ = ("_ties", "peer", "who")

    def __init__(self, ties: RemoteTies, peer: str, who: Who, handle: GenServer) -> None:
        super().__init__(ties.scheduler, 0, None, 0)
        self._ties, self.peer, self.who, self.handle = ties, peer, who, handle

    def __str__(self) -> str:
        return repr(self.handle).strip("<>")

    def signal(self, sender: Process, reason: Reason) -> None:
        """A process of this node that is linked with it has ended."""
        self._ties.tell_end(self, sender, reason)


class _Watched(Monitor):
    """A monitor of a process of another node."""

    __slots__ = ("_peer", "handle", "ref")

    def __init__(
        self, peer: _Peer, ref: int, elsewhere: Elsewhere, watcher: Process | None, deliver: Callable[[Down], None]
    ) -> None:
        super().__init__(elsewhere, watcher, deliver)
        self._peer, self.ref, self.handle = peer, ref, elsewhere.handle

    def cancel(self) -> None:
        """Stop watching; nothing is left on either node."""
        super().cancel()
        if self._peer.watches.pop(self.ref, None) is not None:
            self._peer.say(Unwatch(self.ref))

    def fire(self, reason: Reason) -> None:
        """It has ended."""
        self._peer.watches.pop(self.ref, None)
        deliver = self.deliver
        super().cancel()
        deliver(Down(self.handle, reason))


class _Peer:
    """Everything that ties this node to another one, for as long as the link between them is up."""

    def __init__(self, name: str, courier: Courier) -> None:
        self.name, self._courier = name, courier
        self.refs = 0
        self.watches: dict[int, _Watched] = {}  # over processes there
        self.watched: dict[int, Monitor] = {}  # over processes here, for those there
        self.away: dict[Who, Elsewhere] = {}  # processes there that are linked with some here

    def say(self, tie: Tie) -> None:
        self._courier.say(self.name, encode_tie(tie))

    @property
    def count(self) -> int:
        return len(self.watches) + len(self.watched) + len(self.away)


class RemoteTies:
    """Both directions of the ties of one node to processes of others.

    Args:
        scheduler: the processes of this node.
        fabric: its links.
    """

    def __init__(self, scheduler: Scheduler, fabric: Fabric) -> None:
        self.scheduler = scheduler
        self._fabric = fabric
        self._courier = Courier(fabric, scheduler.runtime.clock, SERVICE)
        self._peers: dict[str, _Peer] = {}
        fabric.serve(SERVICE, self)
        fabric.watch(self._on_peer)

    def find(self, who: Who) -> Process | None:
        """The live process of this node under a name or a number."""
        return self.scheduler.processes.get(who) if isinstance(who, int) else self.scheduler.names.get(who)

    def here(self, target: RemoteProcess) -> Process | None:
        """The process, when `target` is of this node and of its present boot, and lives."""
        is_old = target.incarnation not in (0, self._fabric.incarnation)
        return None if is_old or target.node != self._fabric.node else self.find(target.who)

    def absence(self, target: RemoteProcess) -> Reason | None:
        """Why there can be no tie with `target`; None when it may be there."""
        incarnation = self._fabric.peer_incarnation(target.node)
        if target.node == self._fabric.node:
            return "noproc"
        if incarnation is None:
            return NodeDown(target.node, "not connected")
        return "noproc" if target.incarnation not in (0, incarnation) else None

    # Out

    def watch(
        self, target: RemoteProcess, handle: GenServer, watcher: Process | None, deliver: Callable[[Down], None]
    ) -> Monitor:
        """Call `deliver` once when `target` ends, at once when it is not there.

        Raises:
            Overloaded: when there are REMOTE_TIES_MAX ties with its node.
        """
        process = self.here(target)
        if process is not None:
            monitor = Monitor(process, watcher, deliver)
            process.tied.monitors[monitor] = None
            if watcher is not None:
                watcher.tied.monitoring[monitor] = None
            return monitor
        elsewhere = Elsewhere(self, target.node, target.who, handle)
        absence = self.absence(target)
        if absence is not None or (watcher is not None and not watcher.alive):
            if absence is not None:
                deliver(Down(handle, absence))
            return Monitor(elsewhere, watcher, deliver)
        peer = self._roomy(target.node)
        peer.refs += 1
        watch = peer.watches[peer.refs] = _Watched(peer, peer.refs, elsewhere, watcher, deliver)
        if watcher is not None:
            watcher.tied.monitoring[watch] = None
        peer.say(Watch(watch.ref, target.who))
        return watch

    def link(self, target: RemoteProcess, handle: GenServer, process: Process) -> None:
        """Tie the ends of two processes together.

        Raises:
            Overloaded: when there are REMOTE_TIES_MAX ties with its node.
        """
        theirs = self.here(target)
        if not process.alive or theirs is process:
            return
        if theirs is not None:
            process.tied.links[theirs] = theirs.tied.links[process] = None
            return
        absence = self.absence(target)
        if absence is not None:
            elsewhere = Elsewhere(self, target.node, target.who, handle)
            process.tied.links[elsewhere] = None
            process.signal(elsewhere, absence)
            if process.ties is not None:
                process.ties.links.pop(elsewhere, None)
            return
        peer = self._peers[target.node]
        known = peer.away.get(target.who)
        if known is not None and process in known.tied.links:
            return
        self._tie(self._roomy(target.node), target.who, handle, process)
        peer.say(LinkTo(_sender(process), target.who))

    def unlink(self, target: RemoteProcess, process: Process) -> None:
        """Untie two processes."""
        theirs = self.here(target)
        if theirs is not None:
            for one, other in ((process, theirs), (theirs, process)):
                if one.ties is not None:
                    one.ties.links.pop(other, None)
            return
        peer = self._peers.get(target.node)
        if peer is not None and self.absence(target) is None:
            self._untie(peer, target.who, process)
            peer.say(Unlink(_sender(process), target.who))

    def exit(self, target: RemoteProcess, reason: Reason) -> None:
        """Send an exit signal to a process of another node; to one that has ended it is lost.

        Raises:
            NodeDown: when its node is not connected.
        """
        process = self.here(target)
        if process is not None:
            process.exit(reason)
        elif (peer := self._reached(target)) is not None:
            peer.say(ExitTo(target.who, _cause(reason, str(target))))

    def stop(self, target: RemoteProcess, reason: Reason) -> None:
        """Let a process of another node end after the mail that waits.

        Raises:
            NodeDown: when its node is not connected.
        """
        process = self.here(target)
        if process is not None:
            process.post_control(STOP, reason)
        elif (peer := self._reached(target)) is not None:
            peer.say(StopTo(target.who, _cause(reason, str(target))))

    def tell_end(self, elsewhere: Elsewhere, process: Process, reason: Reason) -> None:
        """A process of this node has ended that was linked with `elsewhere`, which is told."""
        peer = self._peers.get(elsewhere.peer)
        if peer is not None and peer.away.get(elsewhere.who) is elsewhere:
            if not elsewhere.tied.links:
                del peer.away[elsewhere.who]
            peer.say(Signal(_sender(process), elsewhere.who, _cause(reason, str(process))))

    def _reached(self, target: RemoteProcess) -> _Peer | None:
        absence = self.absence(target)
        if isinstance(absence, NodeDown):
            raise absence
        return None if absence is not None else self._peers[target.node]

    def _roomy(self, node: str) -> _Peer:
        peer = self._peers[node]
        if peer.count >= REMOTE_TIES_MAX:
            raise _crowded(node)
        return peer

    def _tie(self, peer: _Peer, who: Who, handle: GenServer, process: Process) -> None:
        elsewhere = peer.away.get(who)
        if elsewhere is None:
            elsewhere = peer.away[who] = Elsewhere(self, peer.name, who, handle)
        process.tied.links[elsewhere] = elsewhere.tied.links[process] = None

    def _untie(self, peer: _Peer, who: Who | None, process: Process) -> Elsewhere | None:
        """Take a link out of the tables; None when there is none."""
        elsewhere = None if who is None else peer.away.get(who)
        if elsewhere is None or elsewhere.tied.links.pop(process, elsewhere) is elsewhere:
            return None
        if process.ties is not None:
            process.ties.links.pop(elsewhere, None)
        if not elsewhere.tied.links:
            del peer.away[elsewhere.who]
        return elsewhere

    # In

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Another node says something about ties."""
        peer = self._peers.get(link.peer)
        try:
            tie = decode_tie(body)
        except msgspec.MsgspecError as error:
            logger.warning("%s: %s says what no tie is: %s", self._fabric.node, link.peer, error)
            return
        if peer is not None:
            self._take(peer, tie, link.incarnation)

    def on_request(self, link: Link, request: Request) -> None:
        """Nothing about ties is asked for."""
        raise BadMessage("ties are told, not asked for")

    def _take(self, peer: _Peer, tie: Tie, incarnation: int) -> None:
        match tie:
            case Watch(ref, who):
                self._take_watch(peer, ref, who)
            case Unwatch(ref):
                monitor = peer.watched.pop(ref, None)
                if monitor is not None:
                    monitor.cancel()
            case Ended(ref, cause):
                watch = peer.watches.get(ref)
                if watch is not None:
                    watch.fire(_reason(cause))
            case LinkTo(sender, who):
                self._take_link(peer, sender, who, incarnation)
            case Unlink(sender, who):
                self._take_unlink(peer, sender, who)
            case Signal(sender, who, cause):
                self._take_signal(peer, sender, who, _reason(cause))
            case ExitTo(who, cause):
                process = self.find(who)
                if process is not None:
                    process.exit(_reason(cause))
            case StopTo(who, cause):
                process = self.find(who)
                if process is not None:
                    process.post_control(STOP, _reason(cause))

    def _take_watch(self, peer: _Peer, ref: int, who: Who) -> None:
        process = self.find(who)
        if process is None or peer.count >= REMOTE_TIES_MAX:
            reason: Reason = "noproc" if process is None else _crowded(self._fabric.node)
            peer.say(Ended(ref, _cause(reason, f"{who!r}")))
            return

        def deliver(down: Down) -> None:
            if peer.watched.pop(ref, None) is not None:
                peer.say(Ended(ref, _cause(down.reason, repr(down.process))))

        monitor = peer.watched[ref] = Monitor(process, None, deliver)
        process.tied.monitors[monitor] = None

    def _take_link(self, peer: _Peer, sender: Sender, who: Who, incarnation: int) -> None:
        process = self.find(who)
        if process is None or peer.count >= REMOTE_TIES_MAX:
            reason: Reason = "noproc" if process is None else _crowded(self._fabric.node)
            mine = Sender(who, None) if isinstance(who, int) else Sender(0, who)
            peer.say(Signal(mine, sender.pid, _cause(reason, f"{who!r}")))
            return
        assert self.scheduler.transport is not None
        handle = remote_handle(GenServer, sender.pid, peer.name, self.scheduler.transport, incarnation)
        self._tie(peer, sender.pid, handle, process)

    def _take_unlink(self, peer: _Peer, sender: Sender, who: Who) -> None:
        process = self.find(who)
        if process is None:
            return
        found = [self._untie(peer, key, process) for key in (sender.pid, sender.name)]
        if any(found):  # the other side may know the link under another name
            peer.say(Unlink(_sender(process), sender.pid))

    def _take_signal(self, peer: _Peer, sender: Sender, who: Who, reason: Reason) -> None:
        process = self.find(who)
        if process is None:
            return
        found = [self._untie(peer, key, process) for key in (sender.pid, sender.name)]
        known = next((one for one in found if one is not None), None)
        if known is not None:
            self.scheduler.signal(process, known, reason)

    # Peers

    def _on_peer(self, event: PeerUp | PeerDown) -> None:
        if isinstance(event, PeerUp):
            self._peers[event.node] = _Peer(event.node, self._courier)
            return
        self._courier.forget(event.node)
        peer = self._peers.pop(event.node, None)
        if peer is None:
            return
        lost = NodeDown(event.node, event.reason)
        for monitor in list(peer.watched.values()):
            monitor.cancel()
        for watch in list(peer.watches.values()):
            watch.fire(lost)
        for elsewhere in list(peer.away.values()):
            for process in list(elsewhere.tied.links):
                if process.ties is not None and elsewhere in process.ties.links:
                    del process.ties.links[elsewhere]
                    self.scheduler.signal(process, elsewhere, lost)


def _sender(process: Process) -> Sender:
    return Sender(process.pid, process.name)


def _crowded(node: str) -> Overloaded:
    return Overloaded(f"the list of ties to processes of {node}", HEARTBEAT_S)


def _cause(reason: Reason, target: str) -> Cause:
    """A reason on its way: a word, or a declared error; of any other exception its text."""
    if isinstance(reason, RoostError):
        code, arguments = encode_failure(reason, target)
        return Cause("", code, arguments)
    text = reason if isinstance(reason, str) else explain(reason)
    return Cause(text[:REPORT_CHARS_MAX].encode(errors="backslashreplace").decode())


def _reason(cause: Cause) -> Reason:
    return decode_failure(cause.code, cause.arguments) if cause.code else cause.text
