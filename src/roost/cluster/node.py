"""A node: one OS process, one event loop, one world of processes, and its place in a cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from roost import limits
from roost.cluster.claimant import Claimant
from roost.cluster.coordinator import Operations
from roost.cluster.discovery.finder import discovery_child
from roost.cluster.fabric import Fabric
from roost.cluster.joining import Doors, Joiner
from roost.cluster.membership import Membership
from roost.cluster.mesh import mesh
from roost.cluster.name_service import NameService
from roost.cluster.process_group import ProcessGroups
from roost.cluster.process_service import ProcessService
from roost.cluster.record import Record
from roost.cluster.register import Registers
from roost.cluster.ring import Placement
from roost.cluster.rpc_service import RpcService
from roost.cluster.traffic import Traffic
from roost.cluster.visitor import Visitor
from roost.config import Config
from roost.core.ring import Ring
from roost.errors import InvalidQuorum
from roost.otp import Child, Down, Scheduler, Supervisor
from roost.otp.system_monitor import SystemMonitor
from roost.runtime import Runtime

logger = logging.getLogger("roost.node")

JOINER: Final = "joiner"
"""The name of the process that lets nodes in, and this node into a cluster."""

_current: ContextVar[Node | None] = ContextVar("roost_node", default=None)


class Node:
    """One node of a cluster, with everything that lives on it.

    Its own parts are supervised processes. *Parts* (storage, vnodes, topics) start first, so that a node that can be
    reached can answer; then the links open; then the *children* of the application start. All of it stops in the
    reverse order: the links say goodbye only after the children have finished.

    Args:
        config: its name, its cluster, its companions.
        runtime: its doors to the world.

    Attributes:
        depth: the largest number of copies that anything on this node keeps.
        traffic: what moves between this node and others.

    Raises:
        ConfigError: when its data belongs to another cluster, or another node.
        OSError: when its disk fails.
    """

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config = config
        self.runtime = runtime
        self.name = config.name
        record = Record(config, runtime)
        self.depth = limits.REPLICAS
        self.fabric = Fabric(config, runtime, record.cluster.id)
        self.membership = Membership(config, runtime, self.fabric, record, lambda: self.depth)
        self.placement = Placement(record.cluster.layout, self.fabric, record.cluster.gone)
        self.traffic = Traffic(self.name, self.placement, lambda: self.depth)
        self.membership.watch(lambda cluster: self.placement.adopt(cluster.layout, cluster.gone))
        self._doors = Doors(self.name)
        token = _current.set(self)  # a scheduler hands on the context in which it is made
        try:
            self.scheduler = Scheduler(runtime, config.name)
        finally:
            _current.reset(token)
        self.processes = ProcessService(self.scheduler, self.fabric)
        self.groups = ProcessGroups(self.scheduler, self.fabric)
        self.registers = Registers(self.scheduler, self.fabric)
        self.names = NameService(self.scheduler, self.fabric, self.registers, lambda: self.membership.members)
        self.rpc = RpcService(self.scheduler, self.fabric, self.processes)
        self._parts: list[Child] = []
        self._children: list[Child] = []
        self.operations = Operations(self)
        self._root: Supervisor | None = None

    @property
    def ring(self) -> Ring:
        """The ring of the cluster, or the one that it is on its way to."""
        return self.placement.layout.goal

    def needs_copies(self, n: int) -> None:
        """Something on this node keeps `n` copies: so many must move along whenever a partition does.

        Raises:
            InvalidQuorum: when n is not from 1 to REPLICAS_MAX.
        """
        if not 1 <= n <= limits.REPLICAS_MAX:
            raise InvalidQuorum("n", n, f"it must be from 1 to {limits.REPLICAS_MAX}, the most copies there are")
        self.depth = max(self.depth, n)

    @classmethod
    def current(cls) -> Node:
        """The node that the running code belongs to.

        Raises:
            RuntimeError: when it belongs to none.
        """
        node = _current.get()
        if node is None:
            raise RuntimeError(
                "no node here: this code must run in a handler, a child or a request of a Roost application"
            )
        return node

    @contextmanager
    def entered(self) -> Iterator[Node]:
        """Make this the current node, and its process world the current one, inside the block and for its tasks."""
        token = _current.set(self)
        try:
            with self.scheduler.entered():
                yield self
        finally:
            _current.reset(token)

    def add_part(self, part: Child) -> None:
        """A process that must run before other nodes can reach this one; to be said before `start`."""
        self._parts.append(part)

    def add_child(self, child: Child) -> None:
        """A process of the application, started once the links are open; to be said before `start`."""
        self._children.append(child)

    async def start(self) -> None:
        """Start everything, in order; companions that are not there yet are dialled from now on.

        Raises:
            StartFailed: when a part, the links or a child did not start; what had started was stopped, and this
                object is of no more use.
        """
        with self.entered():
            tree = [
                SystemMonitor.child(),
                Supervisor.child([*self._parts, *self._own_parts()], id="parts"),
                mesh(self.fabric),
                Supervisor.child(self._stewards(), id="membership"),
                Supervisor.child(self._children, id="children"),
            ]
            try:
                self._root = await Supervisor.start(tree, name="root")
            except BaseException:
                await self.fabric.stop("did not start")
                raise
            self._root.down().add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop everything in reverse order, saying goodbye to the other nodes. Harmless when it is not running."""
        root, self._root = self._root, None
        if root is not None:
            with self.entered():
                await root.stop("shutdown")
                await self.fabric.stop("shutdown")
                await self.runtime.cpu.close()

    def _stewards(self) -> list[Child]:
        """What lets the cluster go on, lets others in, asks those who are not seen, and finds others to join."""
        claimant = Claimant.child(self.membership, self.fabric, self.traffic, lambda: self.depth, id="claimant")
        joiner = Joiner.child(self.config, self.runtime, self.fabric, self.membership, self._doors, name=JOINER)
        finder = discovery_child(self.config, self.runtime, self.fabric, self._doors.found)
        visitor = Visitor.child(self.fabric, self.membership, id="visitor")
        return [claimant, joiner, visitor] if finder is None else [claimant, joiner, visitor, finder]

    def _own_parts(self) -> list[Child]:
        return [self.operations.part(), self.rpc.part(), self.registers.part(), self.names.part()]

    def _ended(self, down: asyncio.Future[Down]) -> None:
        """The root has ended. Unless it was told to, nobody looks after the links any more, so they end too."""
        if self._root is not None and not down.cancelled():
            logger.critical("%s: its parts crash again and again (%s)", self.name, down.result().reason)
            self.fabric.close("gave up")
