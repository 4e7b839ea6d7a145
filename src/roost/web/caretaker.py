"""The process that looks after the places of the workers of one server.

It does what an operator would do, because nobody is there to do it. A worker that is gone for good, as when its server
goes on with fewer, would hold up the others: they would wait for its vote, and for what it held; so it is removed by
force. That may be done here, because it is certain that a process has ended: the kernel says so, and no netsplit
divides one machine. A worker that has come back at another port, because its own was taken meanwhile, is made known
there, also where it is one of two and the other one is no majority.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from roost.cluster.membership import Membership
from roost.config import Address
from roost.errors import DeadlineExceeded, NoQuorum, RoostError
from roost.otp import GenServer, info
from roost.runtime.siblings import SiblingFolder, node_name
from roost.wire.membership import Moved

logger = logging.getLogger("roost.web")

TURN_S: Final = 1.0
"""How often it looks."""
FRESH_S: Final = 3600.0
"""How often it touches what the workers share, lest it be taken for forgotten."""


class _Turn(msgspec.Struct, frozen=True):
    """Time to look."""


class _Freshen(msgspec.Struct, frozen=True):
    """Time to touch everything."""


class Caretaker(GenServer):
    """Removes members whose place has been empty for long, and makes known who has moved. Only that of the first worker
    that lives does anything.

    When it crashes it is started anew, and counts the time from then on. What it could not do it tries again.

    Args of its init:
        folder: the places.
        own: the number of this worker's.
        membership: the way to change the cluster.
        absent_s: how long a place may be empty.
    """

    def init(self, folder: SiblingFolder, own: int, membership: Membership, absent_s: float) -> None:
        self._folder, self._own, self._membership, self._absent_s = folder, own, membership, absent_s
        self._empty_since: dict[int, float] = {}
        self.send_after(0.0, _Turn())
        self.send_after(0.0, _Freshen())

    @info
    def freshen(self, message: _Freshen) -> None:
        """Keep the cleaners of /tmp away from the folder."""
        self.send_after(FRESH_S, message)
        self._folder.keep_fresh()

    @info
    async def turn(self, message: _Turn) -> None:
        """Look, and do what is to be done."""
        self.send_after(TURN_S, message)
        if self._folder.living()[:1] != (self._own,):
            self._empty_since.clear()
            return
        for number, address in self._folder.ready().items():
            await self._make_known(node_name(number), address)
        now = self.scheduler.runtime.clock.now()
        self._empty_since = {number: self._empty_since.get(number, now) for number in self._folder.vacant()}
        for number, since in self._empty_since.items():
            if now - since >= self._absent_s:
                await self._give_up(number)

    async def _make_known(self, name: str, address: Address) -> None:
        membership = self._membership
        if name not in membership.unreachable() or membership.cluster.member(name).address == str(address):
            return
        moved = Moved(msgspec.structs.replace(membership.cluster.member(name), address=str(address)))
        try:
            try:
                await membership.relocate(moved)
            except (NoQuorum, DeadlineExceeded):
                await membership.down(name)  # until it is seen again, which it is as soon as it is known where
                await membership.relocate(moved)
        except RoostError as error:
            logger.warning("%s is at %s, and cannot be made known there yet: %s", name, address, error)

    async def _give_up(self, number: int) -> None:
        slot = self._folder.hold(number)
        if slot is None:
            return
        is_removed = False
        try:
            await self._remove(node_name(number))
            is_removed = True
        except RoostError as error:
            logger.warning("%s is gone, and cannot be removed yet: %s", node_name(number), error)
        finally:
            slot.release(forget=is_removed)

    async def _remove(self, name: str) -> None:
        membership = self._membership
        if not membership.cluster.has(name):
            return
        if membership.cluster.member(name).status == "joining":
            await membership.clear()  # the others that were about to join ask again
            return
        if membership.cluster.member(name).status in ("valid", "leaving"):
            await membership.down(name)
        if not any(change.node == name for change in membership.cluster.staged):
            await membership.force_remove(name)
        await membership.plan()
        await membership.commit()
        logger.info("%s is gone, and was removed", name)
