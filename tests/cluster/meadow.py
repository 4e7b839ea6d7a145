"""A few fabrics on loopback, for the stories of this folder."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import msgspec

from roost.cluster.fabric import Fabric, PeerDown, PeerUp
from roost.cluster.link import Link
from roost.config import Address, Config, Seed
from roost.runtime import Runtime
from roost.wire.messages import Request
from tests.e2e.cluster import free_ports

COOKIE = b"meadow"


def configs(*names: str, cookie: bytes = COOKIE, cluster: str = "meadow") -> list[Config]:
    """One Config per name, all of one cluster, on free ports."""
    first = free_ports(len(names))
    seeds = tuple(Seed(f"{name}@127.0.0.1", Address("127.0.0.1", first + number)) for number, name in enumerate(names))
    return [Config(name=seed.name, cluster=cluster, listen=seed.address, seeds=seeds, cookie=cookie) for seed in seeds]


def knowing(config: Config, identity: bytes = b"id") -> Fabric:
    """A fabric that knows the seeds of its configuration as members."""
    fabric = Fabric(config, Runtime.real(), identity)
    fabric.know({seed.name: seed.address for seed in config.seeds})
    return fabric


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds."""
    for _ in itertools.count():
        if condition():
            return
        await asyncio.sleep(0)


class Echo:
    """A service that gives back what it is given, and remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_request(self, link: Link, request: Request) -> None:
        link.reply(request.id, bytes(request.body))

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        self.heard.append(msgspec.msgpack.decode(body))


class Meadow:
    """Fabrics that see each other, with everything that they saw written down."""

    def __init__(self, *settings: Config, identity: bytes = b"id") -> None:
        self.fabrics = {config.name[0]: knowing(config, identity) for config in settings}
        self.events: dict[str, list[PeerUp | PeerDown]] = {name: [] for name in self.fabrics}
        self.echoes = {name: Echo() for name in self.fabrics}
        self._changed = asyncio.Event()
        for name, fabric in self.fabrics.items():
            fabric.watch(self._note(name))
            fabric.serve("echo", self.echoes[name])

    def _note(self, name: str) -> Callable[[PeerUp | PeerDown], None]:
        def note(event: PeerUp | PeerDown) -> None:
            self.events[name].append(event)
            self._changed.set()

        return note

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; looked at whenever a fabric saw something."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def connect(self) -> None:
        """Listen and dial everywhere, until everybody sees everybody."""
        for fabric in self.fabrics.values():
            await fabric.listen()
        for fabric in self.fabrics.values():
            for peer in fabric.peers_to_dial():
                await fabric.dial(peer)
        await self.until(lambda: all(len(fabric.up()) == len(self.fabrics) for fabric in self.fabrics.values()))

    async def stop(self) -> None:
        """Hang up everywhere and wait until every connection is gone."""
        await asyncio.gather(*[fabric.stop("the story is over") for fabric in self.fabrics.values()])
