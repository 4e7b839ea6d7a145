"""The rooms over plain TCP, one line for each command: `nc localhost 4040`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final
from typing import cast as typed

import msgspec

from examples.zap_chat.visit import BANNER, LINE_BYTES_MAX, Listener, Visit
from roost import DynamicSupervisor, GenServer, Stop, cast, info, send
from roost.cluster.node import Node
from roost.config import Address
from roost.errors import ChildNotStarted, RoostError, TooManyChildren
from roost.otp import Reason

if TYPE_CHECKING:
    from examples.zap_chat.vnode import Command, Reply
    from roost.web.kv import AppRing

PORTS_AFTER: Final = 40
"""4040 is the port beside the page at 4000, 4041 beside 4001, and so on."""
CONNECTIONS_MAX: Final = 400
LINES_WAITING_MAX: Final = 20
"""Commands of one connection that wait; more are not read from it meanwhile."""
EARLY_BYTES_MAX: Final = 1 << 18
"""What may come before somebody is welcomed."""
UNSENT_BYTES_MAX: Final = 1 << 20
"""A connection that takes so much less than it is told is closed."""
PROMPT: Final = "> "

logger = logging.getLogger("zap_chat")


class Arrived(msgspec.Struct, frozen=True):
    """Somebody has connected."""

    number: int


class Closed(msgspec.Struct, frozen=True):
    """The connection has ended."""


class Connection(asyncio.Protocol):
    """One TCP connection: cuts what comes into lines, and writes what its process says."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._line = bytearray()
        self._skips = False
        self._lines_waiting = 0
        self._process: TcpListener | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have a process started for it."""
        self._transport = typed("asyncio.Transport", transport)
        self._door.welcome(self)

    def begin(self, process: TcpListener) -> None:
        """Its process is there."""
        self._process = process
        if self._transport is None:
            send(process, Closed())
            return
        self.tell(BANNER)
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        """Hand over every line that is whole; what comes before there is a process waits for it."""
        self._line += data
        if self._process is None:
            if len(self._line) > EARLY_BYTES_MAX:
                self.close()
            return
        *lines, rest = self._line.split(b"\n")
        self._line = bytearray() if len(rest) > LINE_BYTES_MAX else rest
        for line in lines:
            is_whole = not self._skips and len(line) <= LINE_BYTES_MAX
            self._skips = False
            self._give(line.decode(errors="replace") if is_whole else None)
        self._skips = self._skips or len(rest) > LINE_BYTES_MAX
        if self._lines_waiting >= LINES_WAITING_MAX and self._transport is not None:
            self._transport.pause_reading()

    def _give(self, line: str | None) -> None:
        assert self._process is not None
        self._lines_waiting += 1
        try:
            self._process.line(line)
        except RoostError:
            self.close()

    def taken(self) -> None:
        """A line has been dealt with."""
        self._lines_waiting -= 1
        if self._lines_waiting == 0 and self._transport is not None:
            self._transport.resume_reading()

    def tell(self, text: str) -> None:
        """A line over the prompt, and a new prompt below it."""
        if self._transport is None:
            return
        self._transport.write(f"\r{text}\n{PROMPT}".encode())
        if self._transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._transport.abort()

    def close(self, farewell: str = "") -> None:
        """End it, after what was written has been sent."""
        if self._transport is not None:
            self._transport.write(farewell.encode())
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell its process, which leaves the rooms."""
        self._transport = None
        if self._process is not None and self._process.is_alive():
            send(self._process, Closed())


class TcpListener(Listener):
    """The process of one connection."""

    def init(self, connection: Connection, ring: AppRing[Command, Reply]) -> None:
        self._connection = connection
        self._visit = Visit(self.handle, ring, connection.tell)

    @cast
    async def line(self, line: str | None) -> None:
        """A command; None is one that was too long."""
        if line is None:
            self._connection.tell(f"sorry, a line has at most {LINE_BYTES_MAX} bytes")
        elif line.strip() in ("quit", "exit"):
            raise Stop("normal")
        else:
            await self._visit.take(line)
        self._connection.taken()

    @cast
    def hear(self, text: str) -> None:
        """Something has happened in a room."""
        self._connection.tell(text)

    @info
    def closed(self, message: Closed) -> None:
        """Nobody is there any more."""
        raise Stop("normal")

    async def terminate(self, reason: Reason) -> None:
        """Leave the rooms."""
        self._connection.close("bye\n")
        await self._visit.close()


class Door(GenServer):
    """Listens on this node's port, and has a process started for each connection."""

    async def init(self, ring: AppRing[Command, Reply]) -> None:
        self._ring = ring
        self._numbers = 0
        self._arriving: dict[int, Connection] = {}
        me = self.handle

        def welcome(connection: Connection) -> None:
            self._numbers += 1
            self._arriving[self._numbers] = connection
            send(me, Arrived(self._numbers))

        self.welcome = welcome
        web = Node.current().config.web or Address("127.0.0.1", 0)
        address = Address(web.host, web.port + PORTS_AFTER if web.port else 0)
        self._listener = await self.scheduler.runtime.net.listen(address, lambda: Connection(self))
        logger.info("%s: lines on %s", Node.current().name, self._listener.address)

    @info
    async def arrived(self, message: Arrived) -> None:
        """Give the connection a process."""
        connection = self._arriving.pop(message.number)
        visits = DynamicSupervisor.whereis("visits")
        try:
            process = await visits.start_child(TcpListener.child(connection, self._ring, restart="temporary"))
        except TooManyChildren:
            connection.close("sorry, this node is full: try another one\n")
        except ChildNotStarted:
            connection.close("sorry, something is wrong here: try another node\n")
        else:
            connection.begin(process)

    def terminate(self, reason: Reason) -> None:
        """Listen no more."""
        self._listener.close()
