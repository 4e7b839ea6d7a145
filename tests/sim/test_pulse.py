"""A hundred nodes that watch each other: what they send does not grow with them, and who hangs is missed by all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from roost.cluster.fabric import Fabric
from roost.cluster.link import Link
from roost.cluster.mesh import mesh
from roost.config import Config
from roost.core.pulse import neighbours
from roost.otp import Scheduler, Supervisor
from roost.runtime import Runtime
from roost.sim.running import run
from roost.sim.world import World, node_name

LOOK_S = 5.0


class Meshed:
    """A node of nothing but links."""

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self.fabric = Fabric(config, runtime, b"id")
        self.fabric.know({seed.name: seed.address for seed in config.seeds})
        self.scheduler = Scheduler(runtime, config.name)

    async def start(self) -> None:
        with self.scheduler.entered():
            self.root = await Supervisor.start([mesh(self.fabric)])

    async def stop(self) -> None:
        await self.root.stop("shutdown")
        await self.fabric.stop("shutdown")


async def boot(config: Config, runtime: Runtime) -> Meshed:
    node = Meshed(config, runtime)
    await node.start()
    return node


def machines(count: int) -> list[str]:
    return [f"n{number:02}" for number in range(count)]


class Counter:
    """How many frames all nodes have sent."""

    messages = 0


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    counter, honest = Counter(), Link._write

    def write(link: Link, data: bytes) -> None:
        counter.messages += 1
        honest(link, data)

    with monkeypatch.context() as patch:
        patch.setattr(Link, "_write", write)
        yield counter


async def together(world: World[Meshed], names: list[str]) -> None:
    await world.start()
    await world.eventually(
        lambda: all(len(world.node(name).fabric.up()) == len(names) for name in names), 20.0, "a full mesh"
    )


def messages_per_node_and_second(count: int, monkeypatch: pytest.MonkeyPatch) -> float:
    async def story() -> float:
        names = machines(count)
        async with World(*names, boot=boot) as world:
            await together(world, names)
            with counted(monkeypatch) as counter:
                end_s = world.loop.time() + LOOK_S
                await world.eventually(lambda: world.loop.time() >= end_s, 2 * LOOK_S, "time")
            assert all(len(world.node(name).fabric.up()) == count for name in names)
            return counter.messages / count / LOOK_S

    return run(0, story())


def test_what_an_idle_node_sends_does_not_grow_with_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    few = messages_per_node_and_second(10, monkeypatch)
    many = messages_per_node_and_second(100, monkeypatch)
    assert 0 < many <= 1.5 * few


def test_a_node_that_hangs_is_down_for_everybody_in_a_large_cluster_and_nobody_else_is() -> None:
    async def story() -> float:
        names = machines(100)
        async with World(*names, boot=boot) as world:
            await together(world, names)
            world.pause("n42")
            hung, others = node_name("n42"), [name for name in names if name != "n42"]
            began_s = world.loop.time()
            await world.eventually(
                lambda: not any(world.node(name).fabric.is_up(hung) for name in others), 5.0, "n42 is down for all"
            )
            noticed_s = world.loop.time() - began_s
            assert all(len(world.node(name).fabric.up()) == 99 for name in others)
            world.resume("n42")
            await world.eventually(lambda: len(world.node("n42").fabric.up()) == 100, 10.0, "n42 is back")
            return noticed_s

    assert run(1, story()) <= 2.0


def test_each_half_of_a_large_cluster_that_is_cut_in_two_misses_the_other_at_once_and_none_of_its_own() -> None:
    async def story() -> None:
        names = machines(40)
        left, right = names[:20], names[20:]
        async with World(*names, boot=boot) as world:
            await together(world, names)
            world.split(left, right)
            for half in (left, right):
                members = tuple(node_name(name) for name in half)
                await world.eventually(
                    lambda half=half, members=members: all(world.node(name).fabric.up() == members for name in half),  # type: ignore[misc]  # lambda
                    3.0,
                    "a half that sees itself",
                )
            world.heal()
            await world.eventually(
                lambda: all(len(world.node(name).fabric.up()) == 40 for name in names), 10.0, "a full mesh again"
            )

    for seed in range(3):
        run(seed, story())


def test_a_cable_between_two_nodes_that_do_not_watch_each_other_is_missed_when_it_is_used() -> None:
    async def story() -> float:
        names = machines(30)
        async with World(*names, boot=boot) as world:
            await together(world, names)
            every = [node_name(name) for name in names]
            near = neighbours(every[0], every[1:])
            far = next(name for name in names[1:] if node_name(name) not in near)
            world.split({names[0]}, {far})
            began_s = world.loop.time()

            async def speak(node: Meshed) -> None:
                node.fabric.cast(node_name(far), "nobody", b"\xc0")

            await world.on(names[0], speak)
            await world.eventually(lambda: not world.node(names[0]).fabric.is_up(node_name(far)), 5.0, "far is down")
            assert len(world.node(names[0]).fabric.up()) == 29
            noticed_s = world.loop.time() - began_s
            await world.eventually(lambda: not world.node(far).fabric.is_up(every[0]), 30.0, "the other side knows")
            return noticed_s

    assert all(run(seed, story()) <= 2.5 for seed in range(3))
