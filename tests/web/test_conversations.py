"""Random conversations, pipelined or not, between clients and their channels.

What a client hears is judged by what a client of Phoenix makes of it (`tests.web.listener`): nothing out of order,
nothing twice, nothing missing, and both sides agree in the end on what is joined and who is present.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from typing import ClassVar

import msgspec
import pytest

from roost.live.channel import Channel, Payload, intercept
from roost.web import connection as connection_module
from roost.wire import phoenix
from tests.live.cable import Cables
from tests.web.listener import Listener
from tests.web.rooms import Room, Rooms, open_gate
from tests.web.stage import Client, Collecting, make_live, settle

TOPICS = ("room:a", "slow:b")
PARAMS: Sequence[Payload] = (
    {},
    {},
    {"wait": 1},
    {"early": 1},
    {"name": "ada"},
    {"parting": 1},
    {"refuse": "no"},
    {"crash": 1},
)
EVENTS = (
    *("echo", "slow", "hold", "shout", "whisper", "push", "refuse", "show", "hide", "mood", "later"),
    *("crash", "quit", "quit badly", "stop", "stop silently", "unfit", "never declared", "show at the end"),
)


class Lingering(Room, topic="slow:*"):
    """Takes its time to end."""

    @intercept("shout")
    def on_shout(self, payload: Payload) -> None:
        self.push("overheard", payload)

    async def terminate(self, reason: object) -> None:
        super().terminate(reason)
        await self.gate.wait()


class Talks(Rooms):
    """The socket of these conversations."""

    channels: ClassVar[Sequence[type[Channel]]] = (Room, Lingering)


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Crash reports by the thousand say nothing."""
    monkeypatch.setattr(connection_module, "SOCKET_PENDING_MAX", 6)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Conversation:
    """One client that says something random, and others that have joined the same topics for good: one on another node,
    perhaps one on its own."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cables = Cables()
        self.live, self.clock = make_live("a", self.cables.fabric("a"))
        self.there, self.clock_there = make_live("b", self.cables.fabric("b"))
        self.cables.plug("a", "b")
        self.cables.flow()
        self.serializer = self.random.choice((phoenix.V2, phoenix.V2, phoenix.V1))
        self.client = Collecting(self.live, Talks, self.serializer)
        self.beside = Client(self.there, Talks)
        self.neighbours = [Client(self.live, Talks)] if self.random.random() < 0.3 else []
        self.listener = Listener(self.serializer is phoenix.V1)
        self.refs = 0
        self.said = 0

    async def begin(self) -> None:
        for topic in TOPICS:
            self.beside.say("b", "b", topic, "phx_join", {"name": "bo"})
            for neighbour in self.neighbours:
                neighbour.say("n", "n", topic, "phx_join", {})
        await self.time_passes()

    async def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
            while self.random.random() < 0.4 or self.client.is_paused:
                await self.let_happen()

    def step(self) -> None:
        self.listen()
        topic, dice = self.random.choice(TOPICS), self.random.random()
        if dice < 0.25:
            self.say(topic, "phx_join", self.random.choice(PARAMS), join=True)
        elif dice < 0.35:
            self.say(topic, "phx_leave", {})
        elif dice < 0.80:
            self.say(topic, self.random.choice(EVENTS), {"key": f"k{self.random.randrange(3)}"})
        elif dice < 0.90:
            self.said += 1
            live = self.random.choice((self.live, self.there))
            live.pubsub.broadcast(topic, "news", {"n": self.said, "by": live.pubsub.node})
        elif dice < 0.95:
            self.open_gate_briefly()
        else:
            self.say("phoenix", "heartbeat", {})

    def say(self, topic: str, event: str, payload: dict[str, object], *, join: bool = False) -> None:
        self.refs += 1
        ref = str(self.refs)
        join_ref = ref if join else self.random.choice((*[self.listener.join_ref(topic)] * 8, None, "0"))
        self.listener.says(join_ref, ref, topic, event)
        if self.serializer is phoenix.V1:
            frame = {"topic": topic, "event": event, "payload": payload, "ref": ref}
            self.client.connection.take(msgspec.json.encode(frame), binary=False)
        else:
            self.client.say(join_ref, ref, topic, event, payload)

    def open_gate_briefly(self) -> None:
        socket = self.client.connection.socket
        assert isinstance(socket, Talks)
        socket.gate.set()
        socket.gate.clear()

    async def time_passes(self, time_s: float = 0.03) -> None:
        """On both nodes, and between them."""
        for clock in (self.clock, self.clock_there):
            clock.advance(time_s)
            await settle()
        self.cables.flow()

    async def let_happen(self) -> None:
        if self.client.is_paused:
            self.open_gate_briefly()
        if self.random.random() < 0.3:
            await self.time_passes(self.random.choice((0.0, 0.03, 0.03, 1.0)))
        await settle()
        self.clock.advance(0.0)
        assert self.client.collected == [], "what was written waits for nobody"
        self.listen()

    def listen(self) -> None:
        """What has come, in the order of what is said meanwhile."""
        self.client.flush()
        inbox, self.client.inbox = self.client.inbox, []
        for frame in inbox:
            self.listener.hears(frame)

    async def finish(self) -> None:
        """Everything has its time; then the two sides compare notes."""
        open_gate(self.client)
        for _ in range(8):
            await self.time_passes()
            await self.let_happen()
        connection, scheduler = self.client.connection, self.live.scheduler
        joined = self.listener.joined()
        assert {topic: seat.join_ref for topic, seat in connection.seats.items()} == joined
        assert len(scheduler.processes) == len(joined) + len(self.neighbours) * len(TOPICS)
        for topic in TOPICS:
            assert self.live.pubsub.subscribers(topic) == (topic in joined) + len(self.neighbours)
            self.listener.agrees(topic, self.live.presence.list(topic))
        assert connection._pending == 0
        assert self.client.closed_with is None
        assert self.listener.unanswered() == []

    async def end(self) -> None:
        """The connection ends, in one way or another, and nothing of it remains."""
        connection = self.client.connection
        self.listener.is_ending = True
        drains = self.random.random() < 0.5
        if drains:
            connection.drain()
            await self.let_happen()
            connection.drain()
        else:
            connection.lost()
        open_gate(self.client)
        for _ in range(3):
            await self.time_passes()
            await self.let_happen()
        assert self.client.closed_with == (1012 if drains else None)
        assert connection.seats == {}
        assert len(self.live.scheduler.processes) == len(self.neighbours) * len(TOPICS)
        for topic in TOPICS:
            assert self.live.pubsub.subscribers(topic) == len(self.neighbours)
            assert list(self.live.presence.list(topic)) == list(self.there.presence.list(topic)) == ["bo"]


@pytest.mark.parametrize("block", range(3))
async def test_a_client_of_phoenix_understands_whatever_it_hears(block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        conversation = Conversation(seed)
        await conversation.begin()
        try:
            await conversation.run(40)
            if seed % 3:
                await conversation.finish()
            await conversation.end()
        except AssertionError as error:
            error.add_note(f"seed {seed}\n" + "\n".join(map(str, conversation.listener.transcript)))
            raise
