"""A ground for machines that refuse namespaces: all nodes on loopback, and a byte proxy on the way from each to each.

A cut holds bytes back, as a network does that loses packets which are sent again; when it heals they go on their way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final, cast

from roost.config import Address
from tests.e2e.cluster import HOST, LINK_PORTS_AFTER, free_ports
from tests.real.ground import PLACES, Pair, isolated

DOOR: Final = "?"
"""Whoever dials the address that a node advertises: nobody knows who it is."""


class Loopback:
    """The ground."""

    mode: str = "loopback with a byte proxy per link"

    def __init__(self) -> None:
        self._port = free_ports(len(PLACES))
        self._ways: dict[Pair, Way] = {}
        self._servers: dict[Pair, asyncio.Server] = {}

    def name(self, letter: str) -> str:
        """See Ground."""
        return f"{letter}@{HOST}"

    def listens(self, letter: str) -> Address:
        """See Ground."""
        return Address(HOST, self._port + LINK_PORTS_AFTER + PLACES.index(letter))

    def advertised(self, letter: str) -> Address:
        """See Ground. A door that is shut only when the node is cut off from everybody."""
        return self._proxy(DOOR, letter)

    def dialled(self, by: str, letter: str) -> Address:
        """See Ground."""
        return self._proxy(by, letter)

    def web(self, letter: str) -> Address:
        """See Ground."""
        return Address(HOST, self._port + PLACES.index(letter))

    def inside(self, letter: str, command: Sequence[str]) -> list[str]:
        """See Ground."""
        return list(command)

    async def open(self) -> None:
        """See Ground."""
        loop = asyncio.get_running_loop()
        for to in PLACES:
            for by in (DOOR, *PLACES):
                way = self._ways[by, to] = Way(self.listens(to))
                self._servers[by, to] = await loop.create_server(way.accept, HOST, 0)

    async def cut(self, pairs: AbstractSet[Pair]) -> None:
        """See Ground."""
        for (by, to), way in self._ways.items():
            if by == DOOR:
                is_shut = isolated(to) <= pairs
                way.cut(there=is_shut, back=is_shut)
            else:
                way.cut(there=(by, to) in pairs, back=(to, by) in pairs)

    async def close(self) -> None:
        """See Ground."""
        for server in self._servers.values():
            server.close()
        for way in self._ways.values():
            way.close()

    def _proxy(self, by: str, to: str) -> Address:
        return Address(HOST, self._servers[by, to].sockets[0].getsockname()[1])


class Way:
    """The way from one node to another: everything that goes along it, both ways.

    Args:
        target: where it leads.
    """

    def __init__(self, target: Address) -> None:
        self.target = target
        self.is_cut = {"there": False, "back": False}
        self.healed = asyncio.Event()
        self.healed.set()
        self.ends: dict[End, None] = {}
        self.tasks: dict[asyncio.Task[None], None] = {}

    def accept(self) -> End:
        """Somebody sets out."""
        return End(self, "there")

    def cut(self, *, there: bool, back: bool) -> None:
        """From now on nothing passes in these directions."""
        self.is_cut = {"there": there, "back": back}
        if there or back:
            self.healed.clear()
        else:
            self.healed.set()
        for end in list(self.ends):
            end.look()

    def close(self) -> None:
        """Hang up."""
        for task in self.tasks:
            task.cancel()
        for end in list(self.ends):
            end.transport.abort()


class End(asyncio.Protocol):
    """One end of one connection: what comes in here goes out at the other end.

    Args:
        way: to which it belongs.
        direction: in which its bytes go.
    """

    def __init__(self, way: Way, direction: str, other: End | None = None) -> None:
        self._way, self._direction, self._other = way, direction, other
        self._is_full = False
        self._is_paused = False
        self._is_lost = False
        self._held = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: it is there."""
        self.transport = cast(asyncio.Transport, transport)
        self._way.ends[self] = None
        if self._other is None:
            task = asyncio.get_running_loop().create_task(self._dial())
            self._way.tasks[task] = None
            task.add_done_callback(lambda done: self._way.tasks.pop(done, None))
        else:
            self._other._other = self
            self._other.look()
            if self._other._is_lost:
                self.transport.abort()
        self.look()

    async def _dial(self) -> None:
        """The first packet of a connection gets through only when both ways are free."""
        await self._way.healed.wait()
        try:
            await asyncio.get_running_loop().create_connection(lambda: End(self._way, "back", self), *self._way.target)
        except OSError:
            self.transport.abort()

    def look(self) -> None:
        """Read on, or hold back."""
        other = self._other
        must_pause = other is None or other._is_full or self._way.is_cut[self._direction]
        if self._is_lost or must_pause == self._is_paused:
            return
        self._is_paused = must_pause
        if must_pause:
            self.transport.pause_reading()
            return
        self.transport.resume_reading()
        if self._held and other is not None:
            other.say(bytes(self._held))
            self._held.clear()

    def say(self, data: bytes) -> None:
        """Pass bytes on to whoever is at this end, unless he has hung up."""
        if not self._is_lost and not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes to pass on, or to hold when they came before reading could be stopped."""
        if self._other is None or self._is_paused:
            self._held += data
            asyncio.get_running_loop().call_soon(self.transport.pause_reading)
        else:
            self._other.say(data)

    def pause_writing(self) -> None:
        """asyncio: this end does not keep up."""
        self._is_full = True
        if self._other is not None:
            self._other.look()

    def resume_writing(self) -> None:
        """asyncio: it does again."""
        self._is_full = False
        if self._other is not None:
            self._other.look()

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: this end has hung up; the other one learns of it unless it is cut off."""
        self._is_lost = True
        self._way.ends.pop(self, None)
        other = self._other
        if other is None or other._is_lost:
            return
        if self._way.healed.is_set():
            other.transport.close()
            return
        task = asyncio.get_running_loop().create_task(self._tell(other))
        self._way.tasks[task] = None
        task.add_done_callback(lambda done: self._way.tasks.pop(done, None))

    async def _tell(self, other: End) -> None:
        await self._way.healed.wait()
        other.transport.close()
