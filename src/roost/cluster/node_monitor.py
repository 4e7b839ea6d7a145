"""Node monitors: a process is told which nodes come and go, as Erlang's `net_kernel:monitor_nodes/1` does.

class Roster(GenServer):
    def init(self) -> None:
        self.there: set[str] = set()
        monitor_nodes(self)

    @info
    def came(self, message: NodeIsUp) -> None:
        self.there.add(message.node)

    @info
    def went(self, message: NodeIsDown) -> None:
        self.there.discard(message.node)

What is told is what *this* node sees. In a netsplit each side sees the other one go; a node that is cut off from a few
others only is up for the rest.
"""

from __future__ import annotations

import msgspec

from roost.cluster.fabric import PeerDown, PeerUp
from roost.cluster.node import Node
from roost.errors import ConfigError
from roost.otp import GenServer
from roost.otp.process import Process


class NodeIsUp(msgspec.Struct, frozen=True):
    """Told to a process: `node` can be reached from here. `incarnation` is another number after each of its boots."""

    node: str
    incarnation: int


class NodeIsDown(msgspec.Struct, frozen=True):
    """Told to a process: `node` cannot be reached from here any more, and why.

    Whatever it sent before has arrived: a message that comes later is of another connection.
    """

    node: str
    incarnation: int
    reason: str


class NodeMonitor:
    """One watch over the nodes; it ends with `cancel`, or with the process that is told.

    Args:
        node: whose view is told.
        process: who is told.
    """

    def __init__(self, node: Node, process: GenServer) -> None:
        held: object = getattr(process, "_process", None)
        if not isinstance(held, Process) or held.scheduler is not node.scheduler:
            raise ConfigError("process", f"{process!r} does not live on {node.name}: let it watch the nodes itself")
        self._process = held
        self._end = process.down()
        self._unwatch = node.fabric.watch(self._tell)
        self._end.add_done_callback(lambda _: self._unwatch())

    def cancel(self) -> None:
        """Tell nothing more; what has been told stays in the mailbox. Harmless when it has ended."""
        self._end.cancel()
        self._unwatch()

    def _tell(self, event: PeerUp | PeerDown) -> None:
        message = (
            NodeIsUp(event.node, event.incarnation)
            if isinstance(event, PeerUp)
            else NodeIsDown(event.node, event.incarnation, event.reason)
        )
        self._process.inform(message, bounded=False)


def monitor_nodes(process: GenServer) -> NodeMonitor:
    """Tell `process` a NodeIsUp for every node that is up now, and then of every change, in order.

    Args:
        process: a process of this node; inside a handler, `self`. It takes the messages with `@info` handlers.

    Returns:
        what ends the watch. It ends by itself when the process does.

    Raises:
        RuntimeError: outside a node.
        ConfigError: when the process lives on another node.
    """
    return NodeMonitor(Node.current(), process)
