"""The network seam of simulated nodes, and the network between them, which can be split, healed and reset.

Each node is a host of its own: the host part of an address is the node's short name. Connections are streams of
bytes with TCP's guarantees and none beyond: see `roost.sim.pipe`. A netsplit does not end a connection, it only
silences it, so that whoever relies on it has to find out by heartbeat, as over a cable that was cut.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import random
from collections.abc import Callable, Iterable
from typing import Final

from roost.config import Address, Tls
from roost.runtime.net import Listener
from roost.sim.life import Life
from roost.sim.loop import SimLoop
from roost.sim.pipe import Event, Pipe
from roost.sim.trace import Trace
from roost.sim.transport import SimTransport
from roost.sim.weather import Climate, Weather

FIRST_FREE_PORT: Final = 40_000
"""Where the ports begin that are given to callers, and to listeners that ask for port 0."""


class SimNetwork:
    """What lies between the nodes of one world.

    Args:
        loop: of the world.
        trace: where deliveries are counted in.
        climate: how it behaves when nothing is broken.
    """

    def __init__(self, loop: SimLoop, trace: Trace, climate: Climate | None = None) -> None:
        self.loop = loop
        self.context = contextvars.copy_context()
        self.weather = Weather(climate or Climate(), random.Random(f"{loop.seed}/network"))
        self._trace = trace
        self._listeners: dict[Address, _Listener] = {}
        self._ends: dict[int, SimTransport] = {}
        self._blocked: dict[tuple[str, str], None] = {}
        self._dark: dict[str, None] = {}
        self._next_port = FIRST_FREE_PORT
        self.names: dict[str, tuple[str, ...]] = {}
        """What names stand for beside the hosts' own: which hosts."""

    # Verbs for the one who runs the world

    def block(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Let nothing pass from any of `sources` to any of `targets`; the other direction is untouched."""
        for source in sources:
            for target in targets:
                if source != target:
                    self._blocked[source, target] = None

    def heal(self) -> None:
        """Let everything pass again, what was held included."""
        self._blocked.clear()
        self._wake()

    def reset(self, one: str, other: str) -> int:
        """Break every connection between two hosts mid-stream; both ends hear of it. Returns how many."""
        broken = 0
        for end in [*self._ends.values()]:
            if end.host == one and end.out.target.host == other and not end.lost:
                broken += 1
                end.out.reset()
                end.back.reset()
        return broken

    def cut(self, life: Life, dark: bool) -> None:
        """A node died: nothing it does reaches the network any more.

        Args:
            life: whose seam is cut.
            dark: the machine died with it, so that its peers hear nothing at all until it is back; otherwise its
                kernel resets its connections.
        """
        if dark:
            self._dark[life.name] = None
        for address, listener in [*self._listeners.items()]:
            if listener.life is life:
                del self._listeners[address]
        for end in [*self._ends.values()]:
            if end.life is life:
                end.back.drop()
                if dark:
                    end.out.truncate()
                elif not end.lost:
                    end.out.reset()
                end.lost = True
                self.forget(end)

    def light(self, host: str) -> None:
        """A machine is back: whoever still talks to its former life is told that the connection is gone."""
        if host in self._dark:
            del self._dark[host]
            self._wake()

    def passes(self, source: str, target: str) -> bool:
        """Whether bytes get from `source` to `target` now."""
        return (source, target) not in self._blocked and target not in self._dark

    def connections(self) -> int:
        """Ends of connections that stand."""
        return sum(not end.lost for end in self._ends.values())

    # What nodes and connections use

    def net(self, life: Life) -> SimNet:
        """The seam of one life of a node."""
        return SimNet(self, life)

    def port(self) -> int:
        """A port that nobody uses."""
        self._next_port += 1
        return self._next_port

    def bind(self, life: Life, address: Address, accept: Callable[[], asyncio.Protocol]) -> Listener:
        """Accept connections at an address.

        Raises:
            OSError: the address belongs to another host, or is taken.
        """
        if address.host != life.name:
            raise OSError(errno.EADDRNOTAVAIL, f"{address.host} is not this host")
        bound = Address(address.host, address.port or self.port())
        if bound in self._listeners:
            raise OSError(errno.EADDRINUSE, f"{bound} is taken")
        self._listeners[bound] = listener = _Listener(self, life, bound, accept)
        return listener

    def unbind(self, listener: _Listener) -> None:
        """Accept nothing more there."""
        if self._listeners.get(listener.address) is listener:
            del self._listeners[listener.address]

    def dial(self, life: Life, address: Address, on_open: Callable[[], asyncio.BaseProtocol]) -> SimTransport:
        """Begin to connect; `on_open` is asked for the protocol once the other side has accepted."""
        own = Address(life.name, self.port())
        near = SimTransport(self, life.name, life, own, address)
        far = SimTransport(self, address.host, None, address, own)
        near.out = far.back = Pipe(self, near, far)
        far.out = near.back = Pipe(self, far, near)
        near.on_open = on_open
        for end in (near, far):
            self._ends[id(end)] = end
        near.out.send(Event.CALL)
        return near

    def deliver(self, pipe: Pipe, event: Event, data: bytes) -> None:
        """Something has reached the end of a pipe."""
        target = pipe.target
        if target.life is not None and target.life.dead:
            if event is not Event.RESET and not pipe.source.lost:
                target.out.send(Event.RESET)
            return
        self._trace.add(event.value, pipe.source.host, target.host, data)
        if event is Event.CALL:
            self._answer(target)
        elif event is Event.OPEN:
            if not target.lost and target.on_open is not None:
                target.opened(target.on_open())
        else:
            target.arrived(event, data)
            source = pipe.source
            if source.waits and source.life is not None and not source.lost:
                self.loop.call_soon(source.on_drained, context=source.life.context)

    def forget(self, end: SimTransport) -> None:
        """Let go of a connection once both ends are gone."""
        other = end.out.target
        if end.lost and other.lost:
            self._ends.pop(id(end), None)
            self._ends.pop(id(other), None)

    def _answer(self, far: SimTransport) -> None:
        """As a kernel: accept for a listener, even one that is paused; refuse when there is none."""
        host, port = far.get_extra_info("sockname")
        listener = self._listeners.get(Address(host, port))
        if listener is None:
            far.lost = True
            far.out.send(Event.RESET)
            return
        far.life = listener.life
        far.back.read(False)
        far.out.send(Event.OPEN)
        self.loop.call_soon(lambda: far.opened(listener.accept()), context=listener.life.context)

    def _wake(self) -> None:
        for end in [*self._ends.values()]:
            end.out.wake()


class _Listener:
    def __init__(
        self, network: SimNetwork, life: Life, address: Address, accept: Callable[[], asyncio.Protocol]
    ) -> None:
        self._network = network
        self.life, self.address, self.accept = life, address, accept

    def close(self) -> None:
        self._network.unbind(self)


class SimNet:
    """The network as one life of a node sees it."""

    def __init__(self, network: SimNetwork, life: Life) -> None:
        self._network, self._life = network, life

    async def listen(
        self, address: Address, accept: Callable[[], asyncio.Protocol], tls: Tls | None = None
    ) -> Listener:
        """Accept connections at `address`, whose host is this node's name. There is no TLS here.

        Raises:
            OSError: the address is taken, or another host's.
        """
        await asyncio.sleep(0)
        return self._network.bind(self._life, address, accept)

    async def connect(
        self, address: Address, make: Callable[[], asyncio.Protocol], timeout_s: float, tls: Tls | None = None
    ) -> None:
        """Connect to `address`. There is no TLS here.

        Raises:
            OSError: nothing answered within `timeout_s`, or nobody listens there.
        """
        opened: asyncio.Future[None] = self._network.loop.create_future()
        attempt = _Attempt(opened)

        def on_open() -> asyncio.BaseProtocol:
            protocol = make()
            attempt.stands(protocol)
            return protocol

        end = self._network.dial(self._life, address, on_open)
        end.protocol = attempt
        try:
            async with asyncio.timeout(timeout_s):
                await opened
        except BaseException:
            end.abort()
            raise

    async def resolve(self, name: str, port: int, timeout_s: float) -> tuple[Address, ...]:
        """The hosts that `name` stands for in this world; a host's own name is itself."""
        await asyncio.sleep(0)
        return tuple(sorted(Address(host, port) for host in self._network.names.get(name, (name,))))


class _Attempt(asyncio.BaseProtocol):
    """Stands in for the protocol while a connection is being made."""

    def __init__(self, opened: asyncio.Future[None]) -> None:
        self._opened = opened

    def stands(self, protocol: asyncio.BaseProtocol) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
