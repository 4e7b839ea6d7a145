"""Who belongs to the cluster, and who sees whom.

The members are the seeds of the configuration: a cluster is born with all its members, and every one of them has the
status `valid`. Who is *up* is each node's own view; in a netsplit the views differ, so they are kept apart and shown
side by side.
"""

from __future__ import annotations

from typing import Final

import msgspec

from roost.cluster.fabric import Fabric
from roost.cluster.link import Link
from roost.config import Config
from roost.errors import BadMessage, RoostError
from roost.wire.messages import Request

SERVICE: Final = "membership"
VIEW_TIMEOUT_S: Final = 1.0


class View(msgspec.Struct, frozen=True):
    """What one node sees: who it is, the digest of its ring, and whom it can reach."""

    node: str
    incarnation: int
    ring: bytes
    up: tuple[str, ...]


class Membership:
    """The members of this node's cluster; also the service that tells the others what this node sees.

    Attributes:
        members: the names of all members, sorted.
    """

    def __init__(self, config: Config, fabric: Fabric, ring_digest: bytes) -> None:
        self.members = config.members
        self.web = {seed.name: seed.web for seed in config.seeds}
        self._fabric = fabric
        self._ring_digest = ring_digest
        fabric.serve(SERVICE, self)

    def up(self) -> tuple[str, ...]:
        """The members that can be reached from here, sorted; this node is one of them."""
        return self._fabric.up()

    def unreachable(self) -> tuple[str, ...]:
        """The members that cannot be reached from here, sorted."""
        return tuple(name for name in self.members if not self._fabric.is_up(name))

    def view(self) -> View:
        """What this node sees."""
        return View(self._fabric.node, self._fabric.incarnation, self._ring_digest, self._fabric.up())

    async def views(self, timeout_s: float = VIEW_TIMEOUT_S) -> dict[str, View | None]:
        """What every member sees, this node's first; None for a member that does not answer in time."""
        views: dict[str, View | None] = {self._fabric.node: self.view()}
        for name in self.members:
            if name not in views:
                views[name] = await self._ask(name, timeout_s)
        return views

    async def _ask(self, name: str, timeout_s: float) -> View | None:
        try:
            body = await self._fabric.call(name, SERVICE, b"\xc0", timeout_s)
            return msgspec.msgpack.decode(body, type=View)
        except (RoostError, msgspec.MsgspecError):
            return None

    def on_request(self, link: Link, request: Request) -> None:
        """Another node asks what this one sees."""
        link.reply(request.id, msgspec.msgpack.encode(self.view()))

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        """Nothing is told to this service without a question."""
        raise BadMessage("the membership service takes questions only")
