"""One end of a simulated connection, with the manners of asyncio's own TCP transport."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from roost.config import Address
from roost.sim.pipe import Event, Pipe

if TYPE_CHECKING:
    from roost.sim.life import Life
    from roost.sim.net import SimNetwork

T = TypeVar("T")

HIGH_WATER_BYTES: Final = 65_536
"""asyncio's default: beyond it the protocol is asked to pause."""


class SimTransport(asyncio.Transport):
    """What a protocol writes to.

    Args:
        network: that the connection belongs to.
        host: the machine of this end.
        life: whose it is; None until a listening node has accepted.
        own: the address of this end.
        peer: the address of the other.
    """

    def __init__(self, network: SimNetwork, host: str, life: Life | None, own: Address, peer: Address) -> None:
        super().__init__({"sockname": tuple(own), "peername": tuple(peer)})
        self._network = network
        self.host, self.life = host, life
        self.protocol: asyncio.BaseProtocol | None = None
        self.out: Pipe
        self.back: Pipe
        self.on_open: Callable[[], asyncio.BaseProtocol] | None = None
        self.lost = False
        self._closing = False
        self._ended = False
        self._paused_writer = False
        self._reading = True
        self._high, self._low = HIGH_WATER_BYTES, HIGH_WATER_BYTES // 4

    # What a protocol may call

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes. Ignored once the connection is closing or lost, as asyncio does."""
        if self._closing or self.lost or not data or self._is_dead():
            return
        if self._ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        self.out.send(Event.DATA, bytes(data))
        if not self._paused_writer and self.get_write_buffer_size() > self._high and self.protocol is not None:
            self._paused_writer = True
            self.protocol.pause_writing()

    def write_eof(self) -> None:
        """Send nothing more, but keep reading."""
        if not self._ended and not self._closing and not self._is_dead():
            self._ended = True
            self.out.send(Event.END)

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def close(self) -> None:
        """Send what is buffered, then end the connection."""
        if self._closing or self.lost or self._is_dead():
            return
        self._closing = True
        if not self._ended:
            self._ended = True
            self.out.send(Event.END)
        self.on_drained()

    def abort(self) -> None:
        """End the connection at once; what is buffered is lost."""
        self.fail(None)

    def is_closing(self) -> bool:
        """Whether close or abort was called, or the connection is lost."""
        return self._closing or self.lost

    def get_write_buffer_size(self) -> int:
        """Bytes that are written but do not fit into the socket yet."""
        return max(0, self.out.in_flight_bytes - self._network.weather.climate.window_bytes)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high water mark, in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Choose when the protocol is asked to pause and to resume, in bytes."""
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low

    def pause_reading(self) -> None:
        """Leave what arrives in the connection, so that the writer feels it."""
        self._reading = False
        self.back.read(False)

    def resume_reading(self) -> None:
        """Take what arrives."""
        self._reading = True
        self.back.read(True)

    def is_reading(self) -> bool:
        """Whether what arrives is taken."""
        return self._reading and not self._closing and not self.lost

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection to another protocol."""
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol of this end."""
        assert self.protocol is not None
        return self.protocol

    # What the network calls

    @property
    def waits(self) -> bool:
        """Whether this end wants to hear that bytes have left."""
        return self._paused_writer or self._closing

    def opened(self, protocol: asyncio.BaseProtocol) -> None:
        """The connection stands: `protocol` has it from now on."""
        self.protocol = protocol
        protocol.connection_made(self)
        self.back.read(self._reading)

    def arrived(self, event: Event, data: bytes) -> None:
        """Hand on what came from the other end."""
        if event is Event.RESET:
            self.vanish(ConnectionResetError("Connection reset by peer"))
        elif self.lost or self._closing:
            if event is Event.DATA:
                self.out.reset()
        elif event is Event.DATA:
            self._feed(data)
        elif event is Event.END:
            keep_open = self._guarded(self.protocol.eof_received) if isinstance(self.protocol, asyncio.Protocol) else 0
            if not keep_open:
                self.close()

    def on_drained(self) -> None:
        """Bytes have left: let the protocol write again, or finish a close that waited for them."""
        if self.lost or self._is_dead():
            return
        size = self.get_write_buffer_size()
        if self._paused_writer and size <= self._low and self.protocol is not None:
            self._paused_writer = False
            self._guarded(self.protocol.resume_writing)
        if self._closing and size == 0:
            self.vanish(None)

    def fail(self, error: Exception | None) -> None:
        """Reset the connection, with `error` as the reason told to this end."""
        if not self.lost and not self._is_dead():
            self._closing = True
            self.out.drop()
            self.out.send(Event.RESET)
            self.vanish(error)

    def vanish(self, error: Exception | None) -> None:
        """This end is gone; its protocol hears of it in the next turn."""
        if self.lost:
            return
        self.lost = True
        self.back.read(True)
        if self.protocol is not None and self.life is not None and not self.life.dead:
            self._network.loop.call_soon(self._tell_lost, error, context=self.life.context)
        self._network.forget(self)

    def _tell_lost(self, error: Exception | None) -> None:
        assert self.protocol is not None
        self.protocol.connection_lost(error)

    def _feed(self, data: bytes) -> None:
        protocol = self.protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            rest = memoryview(data)
            while rest and not self.lost:
                buffer = self._guarded(lambda: memoryview(protocol.get_buffer(-1)))
                if buffer is None:
                    return
                size = min(len(buffer), len(rest))
                buffer[:size] = rest[:size]
                self._guarded(functools.partial(protocol.buffer_updated, size))
                rest = rest[size:]
        elif isinstance(protocol, asyncio.Protocol):
            self._guarded(lambda: protocol.data_received(data))

    def _guarded(self, action: Callable[[], T]) -> T | None:
        """As asyncio: an exception of the protocol is reported, and ends the connection."""
        try:
            return action()
        except Exception as error:
            self._network.loop.call_exception_handler(
                {"message": "Fatal error: protocol failed", "exception": error, "protocol": self.protocol}
            )
            self.fail(error)
            return None

    def _is_dead(self) -> bool:
        return self.life is not None and self.life.dead
