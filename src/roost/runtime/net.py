"""The network seam: the only place that opens sockets.

With `tls`, both sides show certificates before a byte of the protocol above is seen; see `roost.runtime.tls`.

Bytes flow through ordinary `asyncio.Protocol` and `asyncio.Transport` objects, so the same protocol class runs
over TCP here and over the simulated network, with its splits, delays and resets, under `roost.sim`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from roost import limits
from roost.config import Address, Tls
from roost.runtime.tls import Keyring


class Listener(Protocol):
    """A port that accepts connections."""

    @property
    def address(self) -> Address:
        """Where it listens, with the real port when 0 was asked for."""

    def close(self) -> None:
        """Accept nothing more. Connections that were accepted live on."""


class Net(Protocol):
    """A node's network."""

    async def listen(
        self, address: Address, accept: Callable[[], asyncio.Protocol], tls: Tls | None = None
    ) -> Listener:
        """Accept connections at `address`, each served by a protocol that `accept` makes.

        Args:
            address: the host and the port; port 0 is any that is free.
            accept: called for each connection, with TLS when both sides have seen each other's certificate.
            tls: this side's certificate, and whose certificates it takes; None is plain TCP.

        Raises:
            OSError: when the address cannot be bound.
            ConfigError: when the files of `tls` are of no use.
        """

    async def connect(
        self, address: Address, make: Callable[[], asyncio.Protocol], timeout_s: float, tls: Tls | None = None
    ) -> None:
        """Connect to `address`; on return the protocol that `make` made has its transport.

        Raises:
            OSError: when nothing answers within `timeout_s` (TimeoutError is one), or the other side refuses.
            ConfigError: when the files of `tls` are of no use.
        """

    async def resolve(self, name: str, port: int, timeout_s: float) -> tuple[Address, ...]:
        """All addresses that `name` stands for, each with `port`; sorted.

        Raises:
            OSError: when the name is not known, or nobody says within `timeout_s`.
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

    def __init__(self) -> None:
        self._keys = Keyring()

    async def listen(
        self, address: Address, accept: Callable[[], asyncio.Protocol], tls: Tls | None = None
    ) -> Listener:
        """Accept TCP connections at `address`."""
        loop = asyncio.get_running_loop()
        if tls is None:
            server = await loop.create_server(accept, address.host, address.port, reuse_address=True)
        else:
            server = await loop.create_server(
                accept,
                address.host,
                address.port,
                reuse_address=True,
                ssl=self._keys.server(tls),
                ssl_handshake_timeout=limits.HANDSHAKE_S,
                ssl_shutdown_timeout=limits.HANDSHAKE_S,
            )
        return _TcpListener(server)

    async def connect(
        self, address: Address, make: Callable[[], asyncio.Protocol], timeout_s: float, tls: Tls | None = None
    ) -> None:
        """Connect to `address` over TCP."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            if tls is None:
                transport, _ = await loop.create_connection(make, address.host, address.port)
            else:
                transport, _ = await loop.create_connection(
                    make,
                    address.host,
                    address.port,
                    ssl=self._keys.client(tls),
                    server_hostname="",
                    ssl_handshake_timeout=timeout_s,
                    ssl_shutdown_timeout=timeout_s,
                )
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def resolve(self, name: str, port: int, timeout_s: float) -> tuple[Address, ...]:
        """Ask the system's resolver for the A and AAAA records of `name`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        return tuple(sorted({Address(str(place[0]), port) for *_, place in found}))
