"""global_name: names that one process of the whole cluster has at a time, with fencing tokens.

::

    lease = await global_name.register("leader", self.handle)
    await storage.write(data, token=lease.epoch)

A majority of the members has to agree on who has a name. A minority gets NoQuorum. The node of an owner renews the
name; when it cannot reach a majority for GLOBAL_NAME_LEASE_S, the owner gets a NameLost, or ends when it has no handler
for that, and only then another process can have the name. As a process may sleep through that moment, each new owner
has a higher epoch: let what you write to refuse a lower one than it has seen.
"""

from __future__ import annotations

from typing import TypeVar, overload

from roost.cluster.name_service import Lease as Lease
from roost.cluster.name_service import NameLost as NameLost
from roost.cluster.node import Node
from roost.limits import CALL_TIMEOUT_S
from roost.otp import GenServer

ServerT = TypeVar("ServerT", bound=GenServer)


async def register(name: str, process: GenServer, timeout_s: float = CALL_TIMEOUT_S) -> Lease:
    """Give a process of this node a name in the whole cluster; it is given back when the process ends.

    When the node of the present owner cannot be reached, this waits until his lease is over.

    Args:
        name: the name.
        process: who gets it.
        timeout_s: how long to try, in seconds.

    Raises:
        NameTaken: when another process has the name.
        NoQuorum, DeadlineExceeded: when no majority of the members answers; the name is free, or is so soon.
        NotLocal: when the process is of another node.
        ProcessDown: when it has ended.
        TooLarge: when the name is too long, or there are REGISTERS_MAX.
    """
    return await Node.current().names.register(name, process, timeout_s)


async def unregister(name: str, timeout_s: float = CALL_TIMEOUT_S) -> None:
    """Give back a name that a process of this node has.

    Raises:
        NoSuchProcess: when no process of this node has it.
        NoQuorum, DeadlineExceeded: when no majority answers; the name is free when its lease is over.
    """
    await Node.current().names.unregister(name, timeout_s)


@overload
async def whereis(name: str, *, timeout_s: float = ...) -> GenServer: ...
@overload
async def whereis(name: str, kind: type[ServerT], *, timeout_s: float = ...) -> ServerT: ...
async def whereis(name: str, kind: type[GenServer] = GenServer, *, timeout_s: float = CALL_TIMEOUT_S) -> object:
    """Who has a name: what a majority says, so that nothing older than this call is told.

    Args:
        name: the name.
        kind: the class of its process, which a handle of another node cannot know by itself.
        timeout_s: how long to wait for a majority, in seconds.

    Raises:
        NoSuchProcess: when nobody has it.
        NoQuorum, DeadlineExceeded: when no majority answers.
    """
    return await Node.current().names.whereis(name, kind, timeout_s)
