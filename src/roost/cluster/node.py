"""A node: one OS process, one event loop, one world of processes, and its place in a cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from roost.cluster.coordinator import Operations
from roost.cluster.fabric import Fabric
from roost.cluster.membership import Membership
from roost.cluster.mesh import mesh
from roost.cluster.process_service import ProcessService
from roost.cluster.ring import Placement, load_ring
from roost.config import Config
from roost.otp import Child, Down, Scheduler, Supervisor
from roost.otp.system_monitor import SystemMonitor
from roost.runtime import Runtime

logger = logging.getLogger("roost.node")

_current: ContextVar[Node | None] = ContextVar("roost_node", default=None)


class Node:
    """One node of a cluster, with everything that lives on it.

    Its own parts are supervised processes. *Parts* (storage, vnodes, topics) start first, so that a node that can be
    reached can answer; then the links open; then the *children* of the application start. All of it stops in the
    reverse order: the links say goodbye only after the children have finished.

    Args:
        config: its name, its cluster, its companions.
        runtime: its doors to the world.

    Raises:
        ConfigError: when its data belongs to another cluster.
        OSError: when its disk fails.
    """

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config = config
        self.runtime = runtime
        self.name = config.name
        self.ring = load_ring(config, runtime.disk)
        self.fabric = Fabric(config, runtime, self.ring.digest())
        self.membership = Membership(config, self.fabric, self.ring.digest())
        self.placement = Placement(self.ring, self.fabric)
        token = _current.set(self)  # a scheduler hands on the context in which it is made
        try:
            self.scheduler = Scheduler(runtime, config.name)
        finally:
            _current.reset(token)
        ProcessService(self.scheduler, self.fabric)
        self._parts: list[Child] = []
        self._children: list[Child] = []
        self.operations = Operations(self)
        self._root: Supervisor | None = None

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
                Supervisor.child([*self._parts, self.operations.part()], id="parts"),
                mesh(self.fabric),
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

    def _ended(self, down: asyncio.Future[Down]) -> None:
        """The root has ended. Unless it was told to, nobody looks after the links any more, so they end too."""
        if self._root is not None and not down.cancelled():
            logger.critical("%s: its parts crash again and again (%s)", self.name, down.result().reason)
            self.fabric.close("gave up")
