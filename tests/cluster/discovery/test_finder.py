"""Members are found by every strategy, told by a process that outlives what fails, and never this node itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from roost.cluster.discovery.finder import Finder, discovery_child
from roost.cluster.discovery.strategy import strategy
from roost.cluster.fabric import Fabric
from roost.config import Address, Config
from roost.errors import ConfigError
from roost.otp import Scheduler, Supervisor
from roost.runtime import Runtime
from roost.sim.running import run
from roost.sim.world import World
from tests.cluster.meadow import configs

OWN, OTHER = Address("127.0.0.1", 4100), Address("127.0.0.1", 4101)


def looking(discovery: str) -> Config:
    return Config(name="a@127.0.0.1", listen=OWN, cookie=b"x", discovery=discovery)


async def found_by(config: Config, count: int) -> list[Address]:
    """What the discovery of a node with these settings tells, until that is so much."""
    found: list[Address] = []
    enough = asyncio.Event()

    def on_found(address: Address) -> None:
        found.append(address)
        if len(found) >= count:
            enough.set()

    runtime = Runtime.real()
    child = discovery_child(config, runtime, Fabric(config, runtime, b""), on_found)
    assert child is not None
    with Scheduler(runtime).entered():
        root = await Supervisor.start([child])
        await enough.wait()
        await root.stop("shutdown")
    return found


async def test_static_addresses_are_found_and_this_node_is_not() -> None:
    assert await found_by(looking(f"static:{OWN}, {OTHER},[::1]:5"), 2) == [OTHER, Address("::1", 5)]


async def test_every_address_of_a_name_is_found() -> None:
    config = Config(name="a@127.0.0.1", listen=Address("127.0.0.1", 1), cookie=b"x", discovery="dns:localhost:4101")
    assert OTHER in await found_by(config, 1)


def test_a_name_in_a_simulated_world_stands_for_its_hosts() -> None:
    async def story() -> Sequence[Address]:
        async def boot(config: Config, runtime: Runtime) -> Asker:
            return Asker(config, runtime)

        async with World("a", "b", boot=boot) as world:
            await world.start()
            world.network.names["members"] = ("b", "a")
            return await world.on("a", lambda asker: asker.look("dns:members:7000"))

    assert run(0, story()) == (Address("a", 7000), Address("b", 7000))


class Asker:
    """A machine that looks for members."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime

    async def look(self, discovery: str) -> Sequence[Address]:
        config = looking(discovery)
        fabric = Fabric(config, self.runtime, b"")
        return await strategy(config, self.runtime, fabric, lambda _: None, lambda _: None).look()

    async def stop(self) -> None:
        """Nothing runs."""


class Moody:
    """A strategy that does what it is told to."""

    def __init__(self, *moods: Callable[[], Sequence[Address]]) -> None:
        self.moods = list(moods)
        self.is_closed = False

    async def look(self) -> Sequence[Address]:
        return self.moods.pop(0)() if self.moods else ()

    async def close(self) -> None:
        self.is_closed = True


def failing() -> Sequence[Address]:
    raise OSError("nobody can tell")


@pytest.mark.virtual_time
async def test_what_fails_is_tried_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    moody = Moody(failing, failing, lambda: [OWN, OTHER])
    found: asyncio.Future[Address] = asyncio.get_running_loop().create_future()

    async def boot(config: Config, runtime: Runtime) -> Asker:
        with Scheduler(runtime).entered():
            finder = await Finder.start(lambda: moody, OWN, found.set_result)
            assert await found == OTHER
            await finder.stop()
        return Asker(config, runtime)

    async with World("a", boot=boot) as world:
        await world.start()
    assert moody.is_closed
    assert [record.getMessage() for record in caplog.records if record.name == "roost.discovery"] == [
        "no members can be looked for: nobody can tell"
    ]


@pytest.mark.parametrize(
    "discovery",
    ["dns", "dns:", "dns:name", "static:", "static:a", "kubernetes:x:1", "kubernetes:ns/app=x", "etcd:x", "zenoh"],
)
def test_a_strategy_that_makes_no_sense_is_named(discovery: str) -> None:
    config = looking(discovery)
    with pytest.raises(ConfigError, match="ROOST_DISCOVERY"):
        discovery_child(config, Runtime.real(), Fabric(config, Runtime.real(), b""), lambda _: None)


def test_a_node_that_is_told_nothing_looks_for_nobody() -> None:
    config = configs("a")[0]
    assert discovery_child(config, Runtime.real(), Fabric(config, Runtime.real(), b""), lambda _: None) is None
