"""The diallers of a mesh follow the members: whoever comes is dialled, whoever goes is forgotten, nobody else is."""

from __future__ import annotations

from collections.abc import Mapping

from roost.cluster.fabric import Fabric
from roost.cluster.mesh import Dialler, Heart, Roll, mesh
from roost.config import Address, Config
from roost.otp import GenServer, Scheduler, Supervisor
from roost.runtime import Runtime
from roost.sim.running import run
from roost.sim.world import LINK_PORT, World, node_name


class Meshed:
    """A node of nothing but links, that knows nobody yet."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.fabric = Fabric(config, runtime, b"id")
        self.scheduler = Scheduler(runtime, config.name)

    async def start(self) -> None:
        with self.scheduler.entered():
            self.root = await Supervisor.start([mesh(self.fabric)])

    async def stop(self) -> None:
        await self.root.stop("shutdown")
        await self.fabric.stop("shutdown")

    async def know(self, places: Mapping[str, Address]) -> None:
        self.fabric.know(places)

    async def crash(self, kind: type[GenServer]) -> None:
        """End every process of a class."""
        for process in list(self.scheduler.processes.values()):
            if isinstance(process.server, kind):
                process.kill()

    def diallers(self) -> list[str]:
        """Whom this node dials."""
        servers = [process.server for process in self.scheduler.processes.values() if process.alive]
        return sorted(server._peer for server in servers if isinstance(server, Dialler))


async def boot(config: Config, runtime: Runtime) -> Meshed:
    node = Meshed(config, runtime)
    await node.start()
    return node


def places(names: str) -> dict[str, Address]:
    return {node_name(name): Address(name, LINK_PORT) for name in names}


def up(world: World[Meshed], name: str) -> str:
    return "".join(node.partition("@")[0] for node in world.node(name).fabric.up())


async def tell(world: World[Meshed], who: str, names: str) -> None:
    for name in who:
        await world.on(name, lambda node: node.know(places(names)))


def test_members_that_come_are_dialled_and_those_that_go_are_not_dialled_again() -> None:
    async def story() -> None:
        async with World("a", "b", "c", boot=boot) as world:
            await world.start()
            assert [up(world, name) for name in "abc"] == ["a", "b", "c"]
            await tell(world, "ab", "ab")
            await world.eventually(lambda: up(world, "a") == up(world, "b") == "ab", 3.0, "a and b are linked")
            await tell(world, "abc", "abc")
            await world.eventually(lambda: all(up(world, name) == "abc" for name in "abc"), 3.0, "all are linked")
            assert [world.node(name).diallers() for name in "abc"] == [["b@sim", "c@sim"], ["c@sim"], []]
            await tell(world, "ab", "ab")
            await world.eventually(lambda: [up(world, name) for name in "abc"] == ["ab", "ab", "c"], 3.0, "c is out")
            await world.eventually(lambda: world.node("a").diallers() == ["b@sim"], 1.0, "nobody dials c")
            world.crash("b")
            await world.eventually(lambda: up(world, "a") == "a", 3.0, "b is down")
            await world.restart("b")
            await tell(world, "b", "ab")
            await world.eventually(lambda: up(world, "a") == up(world, "b") == "ab", 5.0, "b is dialled for ever")

    for seed in range(4):
        run(seed, story())


def test_the_mesh_outlives_the_crash_of_each_of_its_processes() -> None:
    async def story() -> None:
        async with World("a", "b", "c", boot=boot) as world:
            await world.start()
            await tell(world, "abc", "abc")
            await world.eventually(lambda: all(up(world, name) == "abc" for name in "abc"), 3.0, "all are linked")
            kinds: tuple[type[GenServer], ...] = (Roll, Heart, Dialler)
            for kind in kinds:
                await world.on("a", lambda node, kind=kind: node.crash(kind))  # type: ignore[misc]  # lambda
                await world.eventually(lambda: world.node("a").diallers() == ["b@sim", "c@sim"], 3.0, "diallers")
                assert up(world, "a") == "abc"
            world.reset("a", "c")
            await world.eventually(lambda: up(world, "a") == "abc" == up(world, "c"), 5.0, "c is dialled again")

    run(0, story())
