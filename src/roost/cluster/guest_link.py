"""A link that asks a node without being a member of its cluster: of a console, or of a node that wants to join.

It belongs to no mesh: nobody dials it again, and whoever opened it closes it. The other side serves only what is
meant for such visitors.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Mapping
from typing import Self

import msgspec

from roost import limits
from roost.cluster.link import Link, Service
from roost.config import Address, Tls
from roost.errors import HandshakeRefused, NodeDown
from roost.runtime import Runtime
from roost.wire.handshake import Handshake, Hello, Role


class GuestLink:
    """One connection of a guest; use it as an async context manager::

        async with fabric.guest(address) as member:
            answer = await member.call("membership", body)

    Args:
        runtime: the network and the clock to use.
        address: where the node listens.
        hello: who the guest is, with a fresh nonce.
        cookie: the secret of the node's cluster.
        tls: the guest's certificate, where links have them.

    Raises:
        OSError: on entry, when nothing listens there.
        HandshakeRefused: on entry, when the node does not let this guest in.
        NodeDown: on entry or in a call, when the connection is lost.
    """

    def __init__(self, runtime: Runtime, address: Address, hello: Hello, cookie: bytes, tls: Tls | None = None) -> None:
        self._runtime = runtime
        self._address = address
        self._tls = tls
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._link = Link(self, runtime.clock, Handshake(hello, cookie), dialled=True)

    @property
    def peer(self) -> Hello:
        """Who the node is: its name, its boot, its cluster. To be read inside the block only."""
        hello = self._link.peer_hello
        assert hello is not None
        return hello

    async def __aenter__(self) -> Self:
        await self._runtime.net.connect(self._address, lambda: self._link, limits.HANDSHAKE_S, self._tls)
        try:
            async with asyncio.timeout(limits.HANDSHAKE_S):
                await self._opened
        except BaseException as error:
            self._link.hang_up("the handshake took too long", abort=True)
            await self._released
            if isinstance(error, TimeoutError):
                raise NodeDown(str(self._address), "the handshake took too long") from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._link.hang_up(f"the {self._link.hello.role} is done")
        await self._released

    async def call(self, service: str, body: bytes, timeout_s: float = limits.CALL_TIMEOUT_S) -> msgspec.Raw:
        """Ask a service of the node.

        Raises:
            NodeDown: when the connection is lost, or nothing comes back within `timeout_s`.
            RoostError: what the service refused with.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._link.call(service, body, timeout_s)
        except TimeoutError:
            raise NodeDown(str(self._address), f"no answer within {timeout_s:g} s") from None

    # What the link tells.

    def services_for(self, role: Role) -> Mapping[str, Service]:
        """A guest offers nothing."""
        return {}

    def connected(self, link: Link) -> None:
        """There is a connection."""

    def admit(self, peer: Hello) -> None:
        """Any node that knows the cookie will do."""

    def opened(self, link: Link) -> None:
        """The node has let this guest in."""
        if not self._opened.done():
            self._opened.set_result(None)

    def doubted(self, node: str) -> None:
        """A guest watches nobody."""

    def closed(self, link: Link, reason: str) -> None:
        """The connection is lost, or was refused."""
        if not self._opened.done():
            self._opened.set_exception(HandshakeRefused(reason))

    def released(self, link: Link) -> None:
        """The connection is gone for good."""
        if not self._released.done():
            self._released.set_result(None)
