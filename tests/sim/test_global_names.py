"""Cluster-wide names under every fault: one owner per epoch, rising epochs, and an old owner who is told first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
import pytest

from roost.cluster import global_name, name_service
from roost.cluster.name_service import NameLost
from roost.cluster.node import Node
from roost.config import Config
from roost.core.caspaxos import Acceptor, Ballot, Nack, Promise
from roost.errors import DeadlineExceeded, NameTaken, NoQuorum, NoSuchProcess
from roost.otp import GenServer, call, info
from roost.runtime import Runtime
from roost.sim.nemesis import Nemesis, Plan
from roost.sim.running import run
from roost.sim.world import World

NAMES = ("a", "b", "c")
KINDS = ("crash", "split", "one_way", "power_cut", "slow_disk", "full_disk", "reset", "pause")
"""Faults that take a name from its owner often enough."""
ACT_S = 40.0
SETTLE_S = 20.0
SEEDS = 30
MUTANT_SEEDS = 60


class Reign(NamedTuple):
    """One owner, as he was told."""

    node: str
    incarnation: int
    pid: int


class Chronicle:
    """What all candidates of a world were told, in the order of its time."""

    def __init__(self) -> None:
        self.reigns: dict[int, Reign] = {}
        self.over: set[int] = set()
        self.wrong: list[str] = []
        self.asked = self.answered = self.lost = 0

    def crowned(self, epoch: int, reign: Reign, alive: set[int]) -> None:
        """Somebody has the name; `alive` are the boots that run, and can have been told."""
        known = self.reigns.get(epoch)
        if known is not None and known != reign:
            self.wrong.append(f"{known} and {reign} both have epoch {epoch}")
        if known is None and self.reigns and epoch < max(self.reigns):
            self.wrong.append(f"epoch {epoch} came after {max(self.reigns)}")
        for old, other in self.reigns.items():
            if old != epoch and old not in self.over and other.incarnation in alive:
                self.wrong.append(f"{other} was not told of its end before {reign} began")
        self.reigns[epoch] = reign


class Again(msgspec.Struct, frozen=True):
    """Time to do something."""


class Candidate(GenServer):
    """Wants the name; has it for a while; gives it back."""

    def init(self, home: NamesNode) -> None:
        self.home = home
        self.epoch: int | None = None
        self.send_after(self.pause(), Again())

    def pause(self) -> float:
        return self.scheduler.runtime.entropy.uniform(0.1, 2.0)

    @info
    async def again(self, message: Again) -> None:
        if self.epoch is None:
            await self.seek()
        elif self.scheduler.runtime.entropy.uniform(0.0, 1.0) < 0.3 and not self.home.settling:
            await self.abdicate()
        self.send_after(self.pause(), message)

    async def seek(self) -> None:
        chronicle, home = self.home.chronicle, self.home
        chronicle.asked += 1
        home.asking += 1
        try:
            lease = await global_name.register("leader", self.handle, timeout_s=home.patience_s)
        except (NameTaken, NoQuorum, DeadlineExceeded):
            return
        finally:
            chronicle.answered += 1
            home.asking -= 1
        fabric = home.node.fabric
        if lease.is_valid:
            self.epoch = lease.epoch
            chronicle.crowned(lease.epoch, Reign(fabric.node, fabric.incarnation, self.handle.pid), home.alive())

    async def abdicate(self) -> None:
        epoch, self.epoch = self.epoch, None
        assert epoch is not None
        self.home.chronicle.over.add(epoch)
        try:
            await global_name.unregister("leader", timeout_s=1.0)
        except (NoQuorum, DeadlineExceeded, NoSuchProcess):
            return

    @info
    def lost(self, message: NameLost) -> None:
        self.home.chronicle.over.add(message.epoch)
        self.home.chronicle.lost += 1
        if self.epoch == message.epoch:
            self.epoch = None

    @call
    def reigns(self) -> int | None:
        return self.epoch


class NamesNode:
    """A node with a candidate."""

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        chronicle: Chronicle,
        lives: list[NamesNode],
        running: Callable[[], list[NamesNode]],
    ) -> None:
        self.chronicle, self.lives, self.running = chronicle, lives, running
        self.node = Node(config, runtime)
        self.node.add_child(Candidate.child(self, name="candidate"))
        self.patience_s = 6.0
        self.asking = 0
        self.settling = False

    def alive(self) -> set[int]:
        """The boots of which a process may be the owner now."""
        return {life.node.fabric.incarnation for life in self.running()}

    async def stop(self) -> None:
        await self.node.stop()


async def _story(kinds: tuple[str, ...] | None = None) -> Chronicle:
    chronicle, lives = Chronicle(), list[NamesNode]()

    async def boot(config: Config, runtime: Runtime) -> NamesNode:
        home = NamesNode(config, runtime, chronicle, lives, lambda: [world.node(name) for name in world.running])
        lives.append(home)
        await home.node.start()
        return home

    async with World(*NAMES, boot=boot, drift=0.001) as world:
        drawn = Plan.draw(world.seed, KINDS) if kinds is None else Plan(kinds, 0.8, 2.0)
        plan = Plan(drawn.kinds, drawn.pause_s * 2, drawn.length_s * 2)  # longer than a lease, now and then
        await world.start()
        await Nemesis(world, plan).rage(ACT_S)
        for name in NAMES:
            world.node(name).settling = True
        await world.eventually(lambda: _meshed(world), SETTLE_S, "a full mesh")
        await world.eventually(lambda: len(_reigning(world)) == 1, SETTLE_S, "one owner of the name")
        [epoch] = _reigning(world)
        reign = chronicle.reigns[epoch]
        for name in NAMES:
            assert await world.on(name, _epoch_of_the_leader) == epoch
        assert chronicle.asked - chronicle.answered <= sum(life.asking for life in lives)
        if "pause" not in plan.kinds:
            assert chronicle.wrong == [], chronicle.wrong
        assert [line for line in chronicle.wrong if "not told" not in line] == []
        assert reign.node in {life.node.name for life in lives}
        for name in NAMES:
            await world.stop(name)
        return chronicle


async def _epoch_of_the_leader(home: NamesNode) -> int | None:
    with home.node.entered():
        return await (await global_name.whereis("leader", Candidate)).reigns()


def _meshed(world: World[NamesNode]) -> bool:
    return all(len(world.node(name).node.fabric.up()) == len(NAMES) for name in NAMES)


def _reigning(world: World[NamesNode]) -> list[int]:
    found = []
    for name in NAMES:
        server = world.node(name).node.scheduler.whereis("candidate").server
        assert isinstance(server, Candidate)
        if server.epoch is not None:
            found.append(server.epoch)
    return found


def test_a_name_has_one_owner_per_epoch_and_the_old_one_is_told_first() -> None:
    reigns = lost = 0
    for seed in range(SEEDS):
        try:
            chronicle = run(seed, _story())
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        reigns += len(chronicle.reigns)
        lost += chronicle.lost
    assert reigns > 4 * SEEDS
    assert lost > SEEDS // 3


def _caught(patch: pytest.MonkeyPatch, kinds: tuple[str, ...]) -> bool:
    for seed in range(MUTANT_SEEDS):
        try:
            run(seed, _story(kinds))
        except (AssertionError, NoSuchProcess):
            return True
    return False


def test_a_name_that_is_taken_before_its_lease_is_over_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_service, "LAPSE_S", 0.5)
    assert _caught(monkeypatch, ("split", "reset"))


def test_an_acceptor_that_forgets_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(self: Acceptor, ballot: Ballot) -> Promise | Nack:
        return Promise(ballot, Ballot(0, 0, ""), None)

    monkeypatch.setattr(Acceptor, "prepare", prepare)
    assert _caught(monkeypatch, ("crash", "split"))


async def _outside() -> None:
    async with World("a", boot=_boot_alone) as world:
        await world.start()

        async def act() -> None:
            process = await Lonely.start()
            lease = await global_name.register("one", process)
            assert (lease.name, lease.epoch, lease.is_valid) == ("one", 1, True)
            assert await global_name.whereis("one", Lonely) == process
            again = await global_name.register("one", process)
            assert again.epoch == 1
            other = await Lonely.start()
            with pytest.raises(NameTaken):
                await global_name.register("one", other, timeout_s=1.0)
            await asyncio.sleep(10.0)
            assert lease.is_valid, "it is renewed"
            process.exit("kill")
            assert (await global_name.register("one", other)).epoch == 2
            await global_name.unregister("one")
            for action in (global_name.unregister("one"), global_name.whereis("one")):
                with pytest.raises(NoSuchProcess):
                    await action
            assert (await global_name.register("one", other)).epoch == 3

        await world.on("a", _within(act))
        world.power_cut()
        await world.start()

        async def later() -> None:
            assert (await global_name.register("one", await Lonely.start(), timeout_s=9.0)).epoch == 4

        await world.on("a", _within(later))
        await world.stop("a")


def _within(act: Callable[[], Awaitable[None]]) -> Callable[[Node], Awaitable[None]]:
    """Let code run as a part of a node."""

    async def acting(node: Node) -> None:
        with node.entered():
            await act()

    return acting


class Lonely(GenServer):
    """A process that knows nothing of names."""


async def _boot_alone(config: Config, runtime: Runtime) -> Node:
    node = Node(config, runtime)
    await node.start()
    return node


def test_a_name_is_given_renewed_given_back_and_kept_on_disk() -> None:
    run(0, _outside())


async def _unaware() -> None:
    async with World(*NAMES, boot=_boot_alone, drift=0.001) as world:
        await world.start()
        await world.eventually(lambda: len(world.node("a").fabric.up()) == 3, SETTLE_S, "a full mesh")
        found: list[Lonely] = []

        async def act() -> None:
            found.append(await Lonely.start())
            await global_name.register("one", found[0])

        async def refused() -> None:
            with pytest.raises(NoQuorum):
                await global_name.whereis("one")

        await world.on("a", _within(act))
        world.split({"a"}, {"b", "c"})
        await world.eventually(lambda: not found[0].is_alive(), 4.0, "the end of an owner that is cut off")
        assert found[0]._process.reason == "lost the name 'one'"
        await world.on("a", _within(refused))


def test_an_owner_that_does_not_listen_is_ended_and_a_minority_is_refused() -> None:
    run(0, _unaware())
