"""Guests of the hall: Phoenix clients that talk, listen, come and go, and remember everything that they were told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.real.ground import lasting
from tests.real.hall import CRIES, FLICKER, LINKS, ROOM, SAID, TALK
from tests.real.house import House

REST_S: Final = 0.1
OPEN_S: Final = 2.0
JOIN_S: Final = 10.0
BURST: Final = 4
BURST_S: Final = 0.12
STAY_S: Final = (0.3, 2.0)
GONE_S: Final = (0.05, 0.3)
FOREVER: Final = float("inf")


class Heard(NamedTuple):
    """One message that came: its number, when its node has sent it, and when it was here."""

    n: int
    at: float
    came: float


class Said(NamedTuple):
    """One message of which its node has told that it was sent."""

    n: int
    at: float


class Seen(NamedTuple):
    """What a node has told of another one's boot."""

    at: float
    life: str
    up: bool


class Shown(NamedTuple):
    """A change of the list in the room."""

    at: float
    ref: str
    life: str
    is_join: bool


class Hearing:
    """One topic that was joined once: from the reply to the join until the guest asked to leave.

    Attributes:
        since, until: when, in seconds.
        got: what was heard, by who said it.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.since, self.until = FOREVER, FOREVER
        self.got: dict[str, list[Heard]] = {}


class Visit:
    """One connection of one guest.

    Attributes:
        who: the guest, and which of its visits it is.
        letter: where it is.
        life: the boot of the node there.
        until: when it was over.
        hearings: what it has heard, each time that it joined a topic.
        said: what it has said.
        seen: what its node has told of the others.
        there: who is in the room now: the key and the boot of each reference.
        shown: every change of that.
        wrong: what no client should ever be told.
        in_room: since when it has the list of the room.
    """

    def __init__(self, who: str, letter: str, now: float) -> None:
        self.who, self.letter = who, letter
        self.life = ""
        self.since, self.until = now, FOREVER
        self.hearings: list[Hearing] = []
        self.said: list[Said] = []
        self.seen: dict[Seen, None] = {}
        self.there: dict[str, tuple[str, str]] = {}
        self.shown: list[Shown] = []
        self.wrong: list[str] = []
        self.in_room = FOREVER

    def shows(self, life: str, at: float) -> int:
        """How many of a boot were in the room at a moment."""
        return sum(1 if one.is_join else -1 for one in self.shown if one.life == life and one.at <= at)


class Guests:
    """All guests: some at each place, who come again whenever they are sent away.

    Args:
        house: where they are.
        count: how many at each place.
        seed: what they draw from.

    Attributes:
        visits: all there have been.
    """

    def __init__(self, house: House, count: int, seed: str) -> None:
        self.house = house
        self.visits: list[Visit] = []
        self.is_talking = True
        self._guests = [
            _Guest(self, letter, f"{letter}{number}", random.Random(f"{seed}/{letter}{number}"))
            for letter in house.founders
            for number in range(count)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let them in."""
        self._tasks = [asyncio.create_task(guest.stay()) for guest in self._guests]

    async def close(self) -> None:
        """Send them away."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def present(self) -> list[Visit]:
        """The visits that are not over, of guests that have been let into the room."""
        return [visit for visit in self.visits if visit.until == FOREVER and visit.in_room != FOREVER]

    @property
    def are_all_here(self) -> bool:
        """Whether every guest is in the room."""
        return len(self.present()) == len(self._guests)

    @property
    def failures(self) -> Sequence[BaseException]:
        """What has ended a guest who should have stayed."""
        return [error for task in self._tasks if task.done() and (error := task.exception()) is not None]


class _Guest:
    def __init__(self, all: Guests, letter: str, name: str, draw: random.Random) -> None:
        self._all, self._letter, self._name, self._draw = all, letter, name, draw
        self._visits = 0

    async def stay(self) -> None:
        """Come again and again."""
        while True:
            with suppress(OSError, TimeoutError, WebSocketException, ExceptionGroup):
                await self._visit()
            await lasting(REST_S)

    async def _visit(self) -> None:
        web = self._all.house.ground.web(self._letter)
        url = f"ws://{web.host}:{web.port}/socket/websocket?vsn=2.0.0"
        async with connect(url, ping_interval=None, open_timeout=OPEN_S, close_timeout=0.1) as socket:
            self._visits += 1
            talk = _Talk(self._all, Visit(f"{self._name}.{self._visits}", self._letter, self._all.house.now()), socket)
            self._all.visits.append(talk.visit)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(talk.listen())
                    group.create_task(self._behave(talk))
            finally:
                talk.visit.until = self._all.house.now()

    async def _behave(self, talk: _Talk) -> None:
        links = await talk.join(LINKS)
        talk.visit.life = links["life"]
        for one in links["seen"]:
            talk.see(one)
        await talk.join(CRIES)
        await talk.join(ROOM)
        await talk.join(TALK)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._speak(talk))
            group.create_task(self._flicker(talk))

    async def _speak(self, talk: _Talk) -> None:
        n = 0
        while True:
            await lasting(self._draw.uniform(0.5, 1.5) * BURST_S)
            if self._all.is_talking:
                for _ in range(BURST - 1):
                    n += 1
                    await talk.say(TALK, "say", {"n": n})
                n += 1
                await talk.ask(TALK, "say", {"n": n})

    async def _flicker(self, talk: _Talk) -> None:
        while True:
            await talk.join(FLICKER)
            await lasting(self._draw.uniform(*STAY_S))
            await talk.leave(FLICKER)
            await lasting(self._draw.uniform(*GONE_S))


class _Talk:
    """What is said to a guest and by it in one visit."""

    def __init__(self, all: Guests, visit: Visit, socket: ClientConnection) -> None:
        self._now = all.house.now
        self.visit, self._socket = visit, socket
        self._ref = 0
        self._joined: dict[str, str] = {}
        self._hearing: dict[str, Hearing] = {}
        self._asked: dict[str, asyncio.Future[Any]] = {}
        self._joins: dict[str, Hearing] = {}
        self._leaves: dict[str, str] = {}

    async def say(self, topic: str, event: str, payload: object) -> str:
        """Send an event; return its reference."""
        self._ref += 1
        ref = str(self._ref)
        frame = [ref if event == "phx_join" else self._joined[topic], ref, topic, event, payload]
        await self._socket.send(msgspec.json.encode(frame).decode())
        return ref

    async def ask(self, topic: str, event: str, payload: object) -> Any:  # Any: it is JSON
        """Send an event and wait for its reply."""
        future = self._asked[str(self._ref + 1)] = asyncio.get_running_loop().create_future()
        await self.say(topic, event, payload)
        return await future

    async def join(self, topic: str) -> Any:  # Any: it is JSON
        """Join a topic; what comes from now on may be heard, and what is sent after the reply must be."""
        ref = str(self._ref + 1)
        hearing = self._hearing[topic] = self._joins[ref] = Hearing(topic)
        self.visit.hearings.append(hearing)
        self._joined[topic] = ref
        async with asyncio.timeout(JOIN_S):
            return await self.ask(topic, "phx_join", {"who": self.visit.who})

    async def leave(self, topic: str) -> None:
        """Leave a topic; after the reply nothing may come."""
        self._hearing[topic].until = self._now()
        self._leaves[str(self._ref + 1)] = topic
        await self.ask(topic, "phx_leave", {})

    async def listen(self) -> None:
        """Take what comes until the node hangs up."""
        async for text in self._socket:
            self._take(msgspec.json.decode(text))
        raise ConnectionError("hung up")

    def _take(self, frame: list[Any]) -> None:
        _, ref, topic, event, payload = frame
        if event == "phx_reply":
            self._reply(ref, topic, payload)
        elif event == SAID:
            hearing = self._hearing.get(topic)
            if hearing is None:
                self.visit.wrong.append(f"{payload['by']} was heard on {topic}, which had been left")
            else:
                heard = Heard(payload["n"], payload["at"], self._now())
                hearing.got.setdefault(payload["by"], []).append(heard)
        elif event == "link":
            self.see(payload)
        elif event == "presence_state":
            self.visit.in_room = self._now()
            self._join_room(payload)
        elif event == "presence_diff":
            if self.visit.in_room == FOREVER:
                return  # whatever it says is in the state, which comes next
            self._join_room(payload["joins"])
            self._leave_room(payload["leaves"])
        elif event != "phx_close":
            self.visit.wrong.append(f"{event} on {topic}: {payload}")

    def _reply(self, ref: str, topic: str, payload: Any) -> None:  # Any: it is JSON
        response = payload["response"]
        if payload["status"] != "ok":
            self.visit.wrong.append(f"refused on {topic}: {response}")
        if hearing := self._joins.pop(ref, None):
            hearing.since = self._now()
        if left := self._leaves.pop(ref, None):
            del self._hearing[left]
        if "at" in response:
            self.visit.said.append(Said(response["n"], response["at"]))
        if future := self._asked.pop(ref, None):
            future.set_result(response)

    def see(self, told: Any) -> None:  # Any: it is JSON
        """What the node has seen of another."""
        self.visit.seen[Seen(told["at"], told["life"], told["up"])] = None

    def _join_room(self, entries: Any) -> None:  # Any: it is JSON
        for key, entry in entries.items():
            for meta in entry["metas"]:
                ref, life = meta["phx_ref"], meta["life"]
                if ref in self.visit.there:
                    self.visit.wrong.append(f"{key} of {life} has joined twice")
                self.visit.there[ref] = key, life
                self.visit.shown.append(Shown(self._now(), ref, life, is_join=True))

    def _leave_room(self, entries: Any) -> None:  # Any: it is JSON
        for key, entry in entries.items():
            for meta in entry["metas"]:
                ref, life = meta["phx_ref"], meta["life"]
                if self.visit.there.pop(ref, None) is None:
                    self.visit.wrong.append(f"{key} of {life} has left without being there")
                else:
                    self.visit.shown.append(Shown(self._now(), ref, life, is_join=False))
