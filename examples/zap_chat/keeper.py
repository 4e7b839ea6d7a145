"""Keeps the rooms in order when nodes come and go."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from examples.zap_chat.room import Leave
from examples.zap_chat.visit import announce, ask
from examples.zap_chat.vnode import COPIES, Ghost, Stranded
from roost import GenServer, NodeIsDown, NodeIsUp, info, monitor_nodes
from roost.cluster.node import Node
from roost.core.ring import partition_and_index
from roost.errors import RoostError

if TYPE_CHECKING:
    from examples.zap_chat.vnode import Command, Reply
    from roost.web.kv import AppRing

TRANSFERS_MAX: Final = 16
"""Partitions that may move to a node, and from it, at a time: rooms are small."""

logger = logging.getLogger("zap_chat")


class Keeper(GenServer):
    """When a node is lost, those who came through it leave their rooms. When this node has come back, it fetches the
    copies of rooms that it has lost with its memory."""

    def init(self, ring: AppRing[Command, Reply]) -> None:
        self._ring = ring
        self._node = Node.current()
        self._node.traffic.limit(outgoing=TRANSFERS_MAX, incoming=TRANSFERS_MAX)
        monitor_nodes(self)

    @info
    async def came(self, message: NodeIsUp) -> None:
        """That node may have the other copy of rooms that this node is to have, and has lost."""
        host, layout = self._ring.ring.host, self._node.placement.layout
        for slot in [slot for slot, is_holder in host.served.items() if is_holder]:
            partition, index = partition_and_index(slot)
            if index < COPIES and message.node in layout.order(partition)[:COPIES]:
                try:
                    await host.handoffs.repair(slot)
                except RoostError as error:
                    logger.info("a copy of some rooms cannot be fetched: %s", error)

    @info
    async def went(self, message: NodeIsDown) -> None:
        """One of the nodes that are left, the first by name, sees those out who came through the lost one."""
        if self._node.name != min(self._node.fabric.up()):
            return
        now_ms = int(self._node.runtime.clock.wall() * 1000)
        try:
            ghosts = [each async for each in self._ring.coverage(Stranded(message.node)) if isinstance(each, Ghost)]
            for ghost in ghosts:
                answer = await ask(self._ring, ghost.room, Leave(ghost.room, ghost.who, now_ms))
                announce(ghost.room, answer.to_all)
        except RoostError as error:
            logger.info("somebody who is gone may still be shown: %s", error)
