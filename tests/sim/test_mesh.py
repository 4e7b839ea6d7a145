"""The links of real nodes under every fault: they come back, and every request has exactly one answer."""

from __future__ import annotations

import asyncio
import random

import msgspec

from roost.cluster.link import Link
from roost.cluster.node import Node
from roost.config import Config
from roost.errors import CallTimeout, NodeCrashed, NodeDown, RoostError
from roost.runtime import Runtime
from roost.sim.nemesis import KINDS, Nemesis, Plan
from roost.sim.running import run
from roost.sim.world import World, node_name
from roost.wire.messages import Request

NAMES = ("a", "b", "c")
RAGE_S = 8.0
MENDED_S = 5.0
SEEDS = 40


class Echo:
    """Answers with the question."""

    def on_request(self, link: Link, request: Request) -> None:
        link.reply(request.id, bytes(request.body))

    def on_cast(self, link: Link, body: msgspec.Raw) -> None:
        raise AssertionError("nobody casts here")


class Asker:
    """Asks other nodes, and remembers how often each question was answered."""

    def __init__(self, world: World[Node]) -> None:
        self.world = world
        self.draw = random.Random(f"{world.seed}/asker")
        self.outcomes: dict[str, int] = {}
        self.answers: dict[int, int] = {}
        self.asked = 0

    async def ask(self, end_s: float) -> None:
        while self.world.loop.time() < end_s:
            await asyncio.sleep(self.draw.expovariate(50.0))
            if self.world.running:
                name = self.draw.choice(self.world.running)
                other = self.draw.choice([other for other in NAMES if other != name])
                try:
                    async with asyncio.timeout(5.0):
                        await self.world.on(name, lambda node, other=other: self._ask(node, other))  # type: ignore[misc]  # lambda
                except (NodeDown, CallTimeout, NodeCrashed, TimeoutError) as error:
                    outcome = type(error).__name__
                else:
                    outcome = "ok"
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    async def _ask(self, node: Node, other: str) -> None:
        self.asked += 1
        number = self.asked
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_reply(outcome: msgspec.Raw | RoostError) -> None:
            self.answers[number] = self.answers.get(number, 0) + 1
            if answer.done():
                return
            if isinstance(outcome, RoostError):
                answer.set_exception(outcome)
            else:
                assert msgspec.msgpack.decode(outcome, type=int) == number
                answer.set_result(None)

        node.fabric.request(node_name(other), "echo", msgspec.msgpack.encode(number), 1.0, on_reply)
        await answer


async def boot(config: Config, runtime: Runtime) -> Node:
    """A node with nothing on it but the echo."""
    node = Node(config, runtime)
    node.fabric.serve("echo", Echo())
    await node.start()
    return node


def meshed(world: World[Node]) -> bool:
    """Whether everybody reaches everybody."""
    return all(len(world.node(name).fabric.up()) == len(NAMES) for name in NAMES)


async def _story() -> tuple[str, dict[str, int]]:
    async with World(*NAMES, boot=boot, drift=0.001) as world:
        await world.start()
        await world.eventually(lambda: meshed(world), 1.0, "a full mesh at the start")
        asker = Asker(world)
        async with asyncio.TaskGroup() as group:
            group.create_task(Nemesis(world, Plan.draw(world.seed)).rage(RAGE_S))
            group.create_task(asker.ask(world.loop.time() + RAGE_S))
        await world.eventually(lambda: meshed(world), MENDED_S, "a full mesh after the faults")
        assert all(count == 1 for count in asker.answers.values())
        missing = asker.asked - len(asker.answers)
        assert missing <= asker.outcomes.get("NodeCrashed", 0) + asker.outcomes.get("TimeoutError", 0)
        for name in NAMES:
            await world.stop(name)
        return world.trace.digest, asker.outcomes


def test_links_come_back_and_answer_every_request_once() -> None:
    totals: dict[str, int] = {}
    for seed in range(SEEDS):
        try:
            _, outcomes = run(seed, _story())
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        for outcome, count in outcomes.items():
            totals[outcome] = totals.get(outcome, 0) + count
    assert totals["ok"] > 50 * SEEDS
    assert {"NodeDown", "CallTimeout", "NodeCrashed"} <= set(totals)


def test_equal_seeds_have_equal_digests() -> None:
    digests = [run(seed, _story())[0] for seed in range(4)]
    assert [run(seed, _story())[0] for seed in range(4)] == digests


def test_a_hung_node_is_down_after_its_missed_heartbeats_and_back_when_it_runs() -> None:
    async def story() -> tuple[float, float]:
        async with World(*NAMES, boot=boot) as world:
            await world.start()
            await world.eventually(lambda: meshed(world), 1.0, "a full mesh")
            began_s = world.loop.time()
            world.pause("b")
            await world.eventually(lambda: world.node("a").fabric.up() == ("a@sim", "c@sim"), 10.0, "b is down for a")
            noticed_s = world.loop.time() - began_s
            world.resume("b")
            began_s = world.loop.time()
            await world.eventually(lambda: meshed(world), 10.0, "a full mesh again")
            return noticed_s, world.loop.time() - began_s

    for seed in range(4):
        noticed_s, back_s = run(seed, story())
        assert 0.5 < noticed_s <= 2.0
        assert back_s <= 3.0


def test_a_one_way_split_is_noticed_by_both_sides() -> None:
    async def story() -> None:
        async with World(*NAMES, boot=boot) as world:
            await world.start()
            await world.eventually(lambda: meshed(world), 1.0, "a full mesh")
            world.split_one_way({"a"}, {"b"})
            await world.eventually(lambda: not world.node("b").fabric.is_up("a@sim"), 3.0, "a is down for b")
            await world.eventually(lambda: not world.node("a").fabric.is_up("b@sim"), 3.0, "b is down for a")
            world.heal()
            await world.eventually(lambda: meshed(world), 5.0, "a full mesh again")

    for seed in range(4):
        run(seed, story())


def test_the_faults_of_these_seeds_cover_every_kind() -> None:
    assert {kind for seed in range(SEEDS) for kind in Plan.draw(seed).kinds} == set(KINDS)
