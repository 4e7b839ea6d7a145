"""A link of an operator's console to a node: it asks, and is no member of anything."""

from __future__ import annotations

import asyncio
import types

import msgspec

from roost import limits
from roost.cluster.link import Link, Service
from roost.config import Address
from roost.errors import HandshakeRefused, NodeDown
from roost.runtime import Runtime
from roost.wire.handshake import NONCE_BYTES, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Handshake, Hello


class ConsoleLink:
    """One connection of a console; use it as an async context manager::

        async with ConsoleLink(Runtime.real(), address, cluster="demo", cookie=cookie) as node:
            answer = await node.call("console", body)

    Args:
        runtime: the network and the entropy to use.
        address: where the node listens.
        cluster: the name of its cluster.
        cookie: the secret of its cluster.

    Raises:
        OSError: on entry, when nothing listens there.
        HandshakeRefused: on entry, when the node does not let this console in.
        NodeDown: on entry or in a call, when the connection is lost.
    """

    def __init__(self, runtime: Runtime, address: Address, *, cluster: str, cookie: bytes) -> None:
        self._runtime = runtime
        self._address = address
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        hello = Hello(
            version=PROTOCOL_VERSION,
            version_min=PROTOCOL_VERSION_MIN,
            cluster=cluster,
            node="console",
            incarnation=0,
            role="console",
            ring=b"",
            nonce=runtime.entropy.token(NONCE_BYTES),
        )
        self._link = Link(self, runtime.clock, Handshake(hello, cookie), dialled=True)

    async def __aenter__(self) -> ConsoleLink:
        await self._runtime.net.connect(self._address, lambda: self._link, limits.HANDSHAKE_S)
        try:
            async with asyncio.timeout(limits.HANDSHAKE_S):
                await self._opened
        except TimeoutError:
            self._link.hang_up("the handshake took too long", abort=True)
            raise NodeDown(str(self._address), "the handshake took too long") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._link.hang_up("the console is done")
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

    @property
    def services(self) -> dict[str, Service]:
        """A console offers nothing."""
        return {}

    def admit(self, peer: Hello) -> None:
        """Any node that knows the cookie will do."""

    def opened(self, link: Link) -> None:
        """The node has let this console in."""
        if not self._opened.done():
            self._opened.set_result(None)

    def closed(self, link: Link, reason: str) -> None:
        """The connection is lost, or was refused."""
        if not self._opened.done():
            self._opened.set_exception(HandshakeRefused(reason))

    def released(self, link: Link) -> None:
        """The connection is gone for good."""
        if not self._released.done():
            self._released.set_result(None)
