"""Joining: how a node that is a cluster of its own comes to belong to another one.

The newcomer knocks at a member that it knows by its address, over a link of its own that is no part of the mesh. The
member has the join agreed on, and answers with the cluster as it is then; the newcomer takes that for its own. From
then on it is linked with everybody, waits as `joining` for the commit of a plan, and what it had stored before goes
to those who hold it now.

When things fail: what was not answered may have been agreed on; knocking again changes nothing more. A node that is
told by its settings to join goes on knocking, with pauses that grow, until it is in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from roost import limits
from roost.cluster.fabric import Fabric
from roost.cluster.membership import SERVICE, Membership
from roost.config import Address, Config
from roost.errors import (
    BadMessage,
    ChangeFailed,
    HandshakeRefused,
    NodeDown,
    NotReachable,
    Overloaded,
    RoostError,
    SelfJoin,
    Unavailable,
)
from roost.otp import GenServer, Reason, call, cast, info
from roost.runtime import Runtime
from roost.wire.membership import Join, Look, Moved, decode_learned, decode_view, encode

logger = logging.getLogger("roost.joining")

ANSWER_S: Final = 8.0
"""How long the answer to a join may take."""

Answered = Callable[[bytes | RoostError], None]


class Doors:
    """What other nodes have asked for, a join or to be known elsewhere, and is not answered yet."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._open: dict[int, tuple[Join | Moved, Answered]] = {}
        self._tickets = 0
        self.keeper: Joiner | None = None

    def take(self, asked: Join | Moved, answered: Answered) -> None:
        """Somebody knocks; `answered` is called exactly once, with the encoded answer or a refusal."""
        if self.keeper is None or len(self._open) >= limits.JOINS_WAITING_MAX:
            answered(Overloaded(f"the list of joins of {self._node}", limits.HEARTBEAT_S))
            return
        self._tickets += 1
        self._open[self._tickets] = (asked, answered)
        self.keeper.welcome(self._tickets)

    def found(self, address: Address) -> None:
        """A node was discovered there: it may be one to join."""
        if self.keeper is not None:
            self.keeper.found(*address)

    def pop(self, ticket: int) -> tuple[Join | Moved, Answered] | None:
        """Take what is behind a ticket to answer it."""
        return self._open.pop(ticket, None)

    def close(self) -> None:
        """Nobody will be let in any more."""
        self.keeper = None
        for _, answered in self._open.values():
            answered(NodeDown(self._node, "it stops"))
        self._open.clear()


class _Knock(msgspec.Struct, frozen=True):
    """Time to try to join."""


class Joiner(GenServer):
    """Lets others in, and gets this node in where its settings, or what was discovered, say so."""

    def init(self, config: Config, runtime: Runtime, fabric: Fabric, membership: Membership, doors: Doors) -> None:
        self.trap_exits()
        self._config, self._runtime, self._fabric = config, runtime, fabric
        self._membership, self._doors = membership, doors
        self._found: dict[Address, None] = {}
        self._pause_s = limits.REDIAL_FIRST_S
        self._trouble = ""
        doors.keeper = self.handle
        membership.doors = doors.take
        self._timer = self.send_after(0.0, _Knock())

    @cast
    async def welcome(self, ticket: int) -> None:
        """Let the node behind a ticket in, or let it be known where it is."""
        found = self._doors.pop(ticket)
        if found is None:
            return
        asked, answered = found
        membership = self._membership
        try:
            learned = await (membership.welcome(asked) if isinstance(asked, Join) else membership.relocate(asked))
            answered(encode(learned))
        except RoostError as error:
            answered(error)

    @call
    async def join(self, host: str, port: int) -> tuple[str, ...]:
        """Make this node a member of the cluster to which the node at an address belongs; return all members.

        Raises:
            NotSingleNode: this node has companions.
            SelfJoin: it is this node's own address.
            NotReachable: nothing answers there, or does not let this node in.
            AlreadyMember, DifferentRingSizes, TooLarge, NoQuorum: what the cluster says.
        """
        return await self._join(Address(host, port), only_greater=False)

    @cast
    def found(self, host: str, port: int) -> None:
        """A node was discovered: join its cluster, unless this one is rather for others to join."""
        self._found[Address(host, port)] = None
        if len(self._found) > limits.NODES_MAX:
            self._found.pop(next(iter(self._found)))
        self._timer.cancel()
        self._timer = self.send_after(0.0, _Knock())

    @info
    async def knock(self, message: _Knock) -> None:
        """Try every address that is known, unless this node is in a cluster already."""
        self._timer.cancel()
        if len(self._membership.members) > 1:
            self._pause_s = limits.REDIAL_FIRST_S
        elif not await self._try_all():
            jitter = self._runtime.entropy.uniform(0.5, 1.0)
            self._timer = self.send_after(self._pause_s * jitter, message)
            self._pause_s = min(self._pause_s * 2, limits.REDIAL_LAST_S)

    async def _try_all(self) -> bool:
        addresses = [(address, False) for address in self._config.contacts]
        addresses += [(address, True) for address in self._found]
        for address, is_discovered in addresses:
            try:
                if await self._join(address, only_greater=is_discovered):
                    return True
            except RoostError as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    logger.warning("%s: not in a cluster yet: %s", self._config.name, error)
        return not addresses

    async def _join(self, address: Address, *, only_greater: bool) -> tuple[str, ...]:
        membership = self._membership
        membership.check_single()
        if address == self._config.reachable:
            raise SelfJoin(self._config.name)
        try:
            async with self._fabric.guest(address) as member:
                if only_greater:
                    view = decode_view(await member.call(SERVICE, encode(Look()), ANSWER_S))
                    if view.node >= self._config.name and len(view.up) < 2:
                        return ()
                body = await member.call(SERVICE, encode(membership.request_to_join()), ANSWER_S)
                cluster = membership.admitted(decode_learned(body))
        except (NodeDown, HandshakeRefused, OSError) as error:
            raise NotReachable(str(address), str(error) or type(error).__name__) from None
        except msgspec.MsgspecError as error:
            raise BadMessage(f"the answer to a join: {error}") from None
        except Unavailable as error:
            raise ChangeFailed(str(error)) from None
        logger.info("%s: joined %s: %s", self._config.name, cluster.name, ", ".join(cluster.names))
        return cluster.names

    def terminate(self, reason: Reason) -> None:
        """Nobody waits at the door in vain."""
        self._membership.doors = None
        self._doors.close()
