"""Several workers of one server on one machine are one cluster, without a setting.

A server that is told to start several workers says nothing to any of them about the others. So each takes a slot in a
folder that only their user can read (`roost.runtime.siblings`): the slot gives its node a name and a port, the folder
the secret that they share. The first begins a cluster, the others find it there and join; joins commit by themselves.

When things fail: a worker that the server starts in the place of one that has died takes its slot over, and is the same
member again. One whose place stays empty for SIBLING_ABSENT_S is removed, and what it held is copied anew: see
`roost.web.caretaker`. Without a folder to write to, a worker is alone, and says so.
"""

from __future__ import annotations

import logging
import math
from asyncio import Protocol
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from roost import limits
from roost.cluster.node import Node
from roost.config import Address, Config
from roost.errors import ConfigError, TooLarge
from roost.otp import Supervisor
from roost.runtime import Runtime
from roost.runtime.disk import FolderDisk, FolderNotes
from roost.runtime.run_folder import check_private, run_folder
from roost.runtime.siblings import (
    HOST,
    SiblingFolder,
    Slot,
    crew_path,
    node_name,
    remove_abandoned_crews,
    server_of_this_process,
)
from roost.web.caretaker import Caretaker

logger = logging.getLogger("roost.web")

CREWS: Final = "workers"
LOOK_S: Final = 0.02
"""How often a worker that begins looks at the others."""


class Sibling:
    """This process as one of several workers.

    Attributes:
        config: what the node here is told.
        runtime: its doors to the world.
    """

    def __init__(self, folder: SiblingFolder, slot: Slot, config: Config, runtime: Runtime) -> None:
        self._folder, self._slot = folder, slot
        self.config, self.runtime = config, runtime
        self._supervisor: Supervisor | None = None

    @classmethod
    async def claim(cls, app: str, config: Config, environ: Mapping[str, str]) -> Sibling | None:
        """Take a place among the workers of the server that has started this process.

        Args:
            app: what the application is called; those of one name belong together.
            config: the settings of all of them.
            environ: the environment; ROOST_SIBLINGS=off lets each worker be alone.

        Returns:
            None when this process is no worker, its settings say themselves who its companions are, or there is no
            folder for its place; the last is said in the log.
        """
        server = server_of_this_process(environ)
        is_told = config.listen is not None or config.seeds or config.contacts or config.discovery
        if server is None or is_told or environ.get("ROOST_SIBLINGS") == "off":
            return None
        try:
            path = crew_path(_crews(environ), server, app) if config.data is None else Path(config.data)
            folder = SiblingFolder(path, keeps=config.data is not None)
            slot = folder.claim()
        except (OSError, ConfigError, TooLarge) as error:
            logger.warning("%s is alone in a worker of its server, and knows nothing of the others: %s", app, error)
            return None
        try:
            return await cls._settled(folder, slot, path, config)
        except BaseException:
            slot.release()
            raise

    @classmethod
    async def _settled(cls, folder: SiblingFolder, slot: Slot, path: Path, config: Config) -> Sibling:
        if config.data is None:
            runtime = replace(Runtime.real(), notes=FolderNotes(slot.path))
        else:
            runtime = Runtime.real(FolderDisk(slot.path))
        port = await _free_port(runtime, slot.port or 0)
        slot.note_port(port)
        settings = replace(
            config,
            name=slot.name,
            listen=Address(HOST, port),
            advertise=None,
            discovery=f"siblings:{path}",
            policy="auto",
            cookie=config.cookie or folder.cookie(runtime.entropy),
            tls=None,
            data=None if config.data is None else str(slot.path),
        )
        return cls(folder, slot, settings, runtime)

    async def wait_for_the_first(self) -> None:
        """A worker that is new lets the first one begin, so that there is a cluster to join; not for ever."""

        def is_time() -> bool:
            first = self._folder.living()[0]
            return first == self._slot.number or first in self._folder.ready()

        if self._slot.is_new and not await self._until(is_time, limits.SIBLING_WAIT_S):
            logger.warning("%s begins, although the first worker is not ready yet", self.config.name)

    async def meet(self, node: Node, absent_s: float = limits.SIBLING_ABSENT_S) -> None:
        """The node here has started: let the others find it, wait until it is linked with those who are ready, and
        look after the places of all.

        Args:
            node: the node.
            absent_s: how long the place of a worker that is gone is kept, unless it has data of its own.
        """
        absent_s = absent_s if self.config.data is None else math.inf
        caretaker = Caretaker.child(self._folder, self._slot.number, node.membership, absent_s)
        self._supervisor = await Supervisor.start([caretaker], name="siblings")
        self._slot.ready()

        def is_linked() -> bool:
            return all(node.fabric.is_up(node_name(number)) for number in self._folder.ready())

        if not await self._until(is_linked, limits.SIBLING_MEET_S):
            logger.warning("%s serves, although it is not linked with all other workers yet", node.name)

    async def leave(self) -> None:
        """The node here is about to stop: look after the others no more."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None and supervisor.is_alive():
            await supervisor.stop("shutdown")

    def release(self) -> None:
        """The node here has stopped: let another process have its place."""
        self._slot.release()

    async def _until(self, condition: Callable[[], bool], patience_s: float) -> bool:
        clock = self.runtime.clock
        ends = clock.now() + patience_s
        while not condition():
            if clock.now() >= ends:
                return False
            await clock.sleep(LOOK_S)
        return True


def _crews(environ: Mapping[str, str]) -> Path:
    """The folder with those of all servers of this user."""
    private = run_folder(environ)
    FolderNotes(private)
    check_private(private)
    crews = private / CREWS
    FolderNotes(crews)
    remove_abandoned_crews(crews)
    return crews


async def _free_port(runtime: Runtime, wanted: int) -> int:
    """`wanted` when nobody listens there, or another one."""
    for port in (wanted, 0):
        try:
            listener = await runtime.net.listen(Address(HOST, port), Protocol)
        except OSError:
            if port == 0:
                raise
        else:
            listener.close()
            return listener.address.port
    raise AssertionError("any port is free or an error")
