"""The network seam: the only place that opens sockets.

Bytes flow through ordinary `asyncio.Protocol` and `asyncio.Transport` objects, so the same protocol class runs
over TCP here and over the simulated network, with its splits, delays and resets, under `roost.sim`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from roost.config import Address


class Listener(Protocol):
    """A port that accepts connections."""

    @property
    def address(self) -> Address:
        """Where it listens, with the real port when 0 was asked for."""

    def close(self) -> None:
        """Accept nothing more. Connections that were accepted live on."""


class Net(Protocol):
    """A node's network."""

    async def listen(self, address: Address, accept: Callable[[], asyncio.Protocol]) -> Listener:
        """Accept connections at `address`, each served by a protocol that `accept` makes.

        Raises:
            OSError: when the address cannot be bound.
        """

    async def connect(self, address: Address, make: Callable[[], asyncio.Protocol], timeout_s: float) -> None:
        """Connect to `address`; on return the protocol that `make` made has its transport.

        Raises:
            OSError: when nothing answers within `timeout_s` (TimeoutError is one), or the other side refuses.
        """


class _TcpListener:
    def __init__(self, server: asyncio.Server) -> None:
        self._server = server
        host, port = server.sockets[0].getsockname()[:2]
        self.address = Address(host, port)

    def close(self) -> None:
        self._server.close()


class TcpNet:
    """TCP on the running loop, without Nagle's delay."""

    async def listen(self, address: Address, accept: Callable[[], asyncio.Protocol]) -> Listener:
        """Accept TCP connections at `address`."""
        loop = asyncio.get_running_loop()
        return _TcpListener(await loop.create_server(accept, address.host, address.port, reuse_address=True))

    async def connect(self, address: Address, make: Callable[[], asyncio.Protocol], timeout_s: float) -> None:
        """Connect to `address` over TCP."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            transport, _ = await loop.create_connection(make, address.host, address.port)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
