"""The process by which a member that the others do not see finds out why, and is found.

It asks as a guest, over a link of its own, because those who do not know this node, or know it elsewhere, have no link
with it. When nobody answers, or too few can agree on where this node is, it asks again in a later turn; when it crashes
it is started anew, and has forgotten nothing that matters.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from roost.cluster.fabric import Fabric
from roost.cluster.membership import SERVICE, Membership
from roost.config import Address
from roost.core.caspaxos import has_majority
from roost.errors import RoostError
from roost.otp import GenServer, info
from roost.wire.membership import Pull, decode_learned, encode

logger = logging.getLogger("roost.visitor")

TURN_S: Final = 1.0
"""How often a node that sees no majority, or has moved, asks one of the others."""
MISSING_TURNS: Final = 5
"""Every how many of those turns a node asks that sees some others, but not all."""
ANSWER_S: Final = 8.0
"""How long an answer may take: the cluster may have to agree on where this node is."""


class _Turn(msgspec.Struct, frozen=True):
    """Time to see whether the others still know this node, and where."""


class Visitor(GenServer):
    """Asks the members that this node does not see, one in each turn.

    Args of its init:
        fabric: the way to them.
        membership: what this node knows.
    """

    def init(self, fabric: Fabric, membership: Membership) -> None:
        self._fabric, self._membership = fabric, membership
        self._asked = self._turns = 0
        self.send_after(TURN_S, _Turn())

    @info
    async def turn(self, message: _Turn) -> None:
        """A node that does not see all others, or is elsewhere than they know, asks one after the other as a guest.

        It may be a member no more, alone or together with those whom it sees; or those who would dial it look for it
        where it was. A node that sees no majority asks in every turn, one that misses some now and then.
        """
        self.send_after(TURN_S, message)
        membership, me = self._membership, self._fabric.node
        moved = membership.moved()
        if moved is not None:
            try:
                await membership.relocate(moved)
                return
            except RoostError as error:
                logger.debug("%s: too few are linked to know where it is now: %s", me, error)
        cluster, up = membership.cluster, membership.up()
        self._turns += 1
        is_lost = moved is not None or not has_majority(cluster.voters, {*up})
        if not is_lost and self._turns % MISSING_TURNS:
            return
        others = [one for one in cluster.members if one.address and one.name not in up]
        if not others or not cluster.has(me):
            return
        self._asked += 1
        try:
            async with self._fabric.guest(Address.parse(others[self._asked % len(others)].address)) as member:
                body = await member.call(SERVICE, encode(moved or Pull()), ANSWER_S)
                membership.told(decode_learned(body))
        except (RoostError, OSError, msgspec.MsgspecError) as error:
            logger.debug("%s: nobody knows this node: %s", me, error)
