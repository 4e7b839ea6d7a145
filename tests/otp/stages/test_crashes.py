"""Random lives of supervised stages: whatever crashes, every event is handled or reported.

A source of numbers, two stages in the middle, and consumers, all of them under supervisors, are killed, crash by
themselves, leave and come back, at random moments of virtual time.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Literal

import pytest

from roost.core.outlet import Outlet, Undelivered
from roost.otp import Child, GenServer, Ignore, Scheduler, Supervisor
from roost.otp.stages.consumer import Consumer
from roost.otp.stages.producer import Producer
from roost.otp.stages.producer_consumer import ProducerConsumer
from roost.otp.stages.stage import Stage
from roost.sim import run

HISTORIES = 150
EVENTS = 120


class World:
    """What a history is judged by: it is handed to every process, and outlives them all."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.handled = Counter[int]()
        self.unmarked = Counter[int]()
        self.reported = Counter[int]()
        self.crashes = 0
        self.quiet = False

    def maybe_crash(self, share: float) -> None:
        """Crash with a certain probability, as long as the history lasts."""
        if not self.quiet and self.random.random() < share:
            self.crashes += 1
            raise RuntimeError("bad luck")


class Spring(Producer[int]):
    """Makes EVENTS numbers; it is the one that does not crash, as what it has not made yet is its own affair."""

    def init(self, world: World) -> None:
        self.world, self.next = world, 0

    def handle_demand(self, demand: int) -> list[int]:
        """The next ones."""
        first = self.next
        self.next = min(EVENTS, first + demand)
        if self.next == EVENTS:
            self.finish()
        return list(range(first, self.next))

    def handle_undelivered(self, undelivered: Undelivered) -> None:
        """Remember."""
        self.world.reported.update(number for number in undelivered.events if isinstance(number, int))


class Copier(ProducerConsumer[int, int]):
    """Passes events on, sometimes slowly; it drops nothing by itself."""

    async def init(self, world: World, name: str, max_demand: int) -> None:
        self.world = world
        if "spring" not in self.scheduler.names:
            raise Ignore  # everything is handled
        self.subscribe_to("spring", max_demand=max_demand, cancel="transient")

    async def handle_events(self, events: list[int]) -> list[int]:
        """The same again."""
        if self.world.random.random() < 0.3:
            await self.scheduler.runtime.clock.sleep(self.world.random.random())
        self.world.maybe_crash(0.08)
        return events

    def handle_undelivered(self, undelivered: Undelivered) -> None:
        """Remember."""
        self.world.reported.update(number for number in undelivered.events if isinstance(number, int))


class Sink(Consumer[int]):
    """Handles events of whichever copier runs."""

    def init(self, world: World, max_demand: int, mode: Literal["redeliver", "report"]) -> None:
        self.world = world
        for name in ("left", "right"):
            if name in self.scheduler.names:
                self.subscribe_to(name, max_demand=max_demand, cancel="permanent", on_crash=mode)

    async def handle_events(self, events: list[int]) -> None:
        """Count them."""
        if self.world.random.random() < 0.3:
            await self.scheduler.runtime.clock.sleep(self.world.random.random())
        for number in events:
            self.world.maybe_crash(0.02)
            self.world.handled[number] += 1
            if not self.delivery.again:
                self.world.unmarked[number] += 1


def tree(world: World, mode: Literal["redeliver", "report"]) -> list[Child]:
    """The source, the middle and the consumers; what comes later depends on what comes before."""
    demand = world.random.randint(1, 9)
    return [
        Spring.child(world, name="spring", restart="transient"),
        Copier.child(world, "left", demand, name="left"),
        Copier.child(world, "right", demand, name="right"),
        *(Sink.child(world, demand, mode, id=f"sink {number}") for number in range(3)),
    ]


async def history(world: World, mode: Literal["redeliver", "report"]) -> None:
    """Kill stages at random; then let everything come to its end."""
    clock = Scheduler.current().runtime.clock
    children = tree(world, mode)
    groups = [
        await Supervisor.start([child], max_restarts=1_000, within_s=1.0) if number else await Supervisor.start([child])
        for number, child in enumerate(children)
    ]
    spring = Spring.whereis("spring")
    for _ in range(world.random.randint(0, 12)):
        await clock.sleep(world.random.random())
        states = [state for group in groups[1:] for state in await group.which_children()]
        victims: list[GenServer] = [state.process for state in states if state.process is not None]
        if victims:
            world.crashes += 1
            world.random.choice(victims).exit(world.random.choice(["kill", "broken", "shutdown"]))
    world.quiet = True
    down = spring.down()
    for _ in range(3_000):
        if down.done():
            break
        await clock.sleep(1.0)
        for group in groups[3:]:  # a consumer that started when no copier ran has no producer: the next one has
            for state in await group.which_children():
                if isinstance(state.process, Stage) and clock.now() % 10 < 1:
                    state.process.exit("shutdown")
    assert down.done(), "it never ends"
    for group in reversed(groups):
        await group.stop("shutdown")


def lost(world: World) -> list[int]:
    """What was neither handled nor reported."""
    return [number for number in range(EVENTS) if not world.handled[number] and not world.reported[number]]


def play(seed: int, mode: Literal["redeliver", "report"]) -> World:
    """One history."""
    world = World(seed)
    run(seed, history(world, mode))
    return world


def judge(histories: range, mode: Literal["redeliver", "report"]) -> tuple[int, int]:
    """Play histories. Returns how many crashes there were, and how many events came more than once."""
    crashes = again = 0
    for seed in histories:
        world = play(seed, mode)
        assert not lost(world), f"seed {seed}: lost {lost(world)}"
        crashes += world.crashes
        again += sum(count > 1 for count in world.handled.values())
    return crashes, again


@pytest.mark.parametrize("mode", ["redeliver", "report"])
def test_whatever_crashes_every_event_is_handled_or_reported(mode: Literal["redeliver", "report"]) -> None:
    crashes, again = judge(range(HISTORIES), mode)
    assert crashes > HISTORIES
    assert again > 0


def test_a_lost_redelivery_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: what comes back from a consumer that has ended is dropped."""
    monkeypatch.setattr(Outlet, "_return", lambda self, ref, lots: None)
    with pytest.raises(AssertionError, match=r"lost|never ends"):
        judge(range(5), "redeliver")
