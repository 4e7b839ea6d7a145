"""pg: groups of processes over the whole cluster.

::

    pg.join("workers", self.handle)              # in init; it leaves when it ends
    for worker in pg.members("workers", Worker):
        worker.refresh()

After Erlang's pg. What is told here is this node's view: it follows the others within milliseconds, a node that is lost
takes its members along at once, and in a netsplit each side sees its own. So a member may have ended when you speak to
it, as any process may. A *scope* is a world of groups for itself.
"""

from __future__ import annotations

from typing import TypeVar, overload

from roost.cluster.node import Node
from roost.cluster.process_group import GroupChanged as GroupChanged
from roost.cluster.process_group import GroupMonitor as GroupMonitor
from roost.otp import GenServer

ServerT = TypeVar("ServerT", bound=GenServer)


def join(group: str, process: GenServer, *, scope: str = "") -> None:
    """Take a process of this node into a group; it leaves when it ends. Who joins twice is in it twice.

    Raises:
        NotLocal: when it is of another node.
        ProcessDown: when it has ended.
        TooLarge: when a name is over NAME_BYTES_MAX, or the processes of this node are in MEMBERSHIPS_MAX groups.
    """
    Node.current().groups.join(scope, group, process)


def leave(group: str, process: GenServer, *, scope: str = "") -> bool:
    """Take a process of this node out of a group, once. Returns whether it was in it.

    Raises:
        NotLocal: when it is of another node.
    """
    return Node.current().groups.leave(scope, group, process)


@overload
def members(group: str, *, scope: str = "") -> list[GenServer]: ...
@overload
def members(group: str, kind: type[ServerT], *, scope: str = "") -> list[ServerT]: ...
def members(group: str, kind: type[GenServer] = GenServer, *, scope: str = "") -> object:
    """The processes of a group on all nodes that can be reached from here.

    Args:
        group: its name.
        kind: the class of its processes, which handles of other nodes cannot know by themselves.
        scope: the world of the group.
    """
    return Node.current().groups.members(scope, group, kind)


@overload
def local_members(group: str, *, scope: str = "") -> list[GenServer]: ...
@overload
def local_members(group: str, kind: type[ServerT], *, scope: str = "") -> list[ServerT]: ...
def local_members(group: str, kind: type[GenServer] = GenServer, *, scope: str = "") -> object:
    """The processes of a group on this node; otherwise as `members`."""
    return Node.current().groups.local_members(scope, group, kind)


def which_groups(*, scope: str = "") -> list[str]:
    """The groups that have members, sorted."""
    return Node.current().groups.groups(scope)


def monitor(group: str, process: GenServer, *, scope: str = "") -> tuple[list[GenServer], GroupMonitor]:
    """Send a GroupChanged to a process of this node whenever somebody comes into a group, or goes.

    Returns: who is in it now, and what ends the watch.
    """
    groups = Node.current().groups
    return groups.members(scope, group, GenServer), groups.monitor(scope, group, process._process)
