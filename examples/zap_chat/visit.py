"""A visit: the commands that somebody types, on whatever connection, and what he is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import reduce
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from examples.zap_chat.room import (
    TOP_MAX,
    Answer,
    Change,
    Enter,
    Guess,
    Leave,
    Line,
    Look,
    Read,
    Say,
    StartGame,
    Visitor,
    merge,
)
from examples.zap_chat.vnode import COPIES, Command, Copy, Fetch, Keep, Missed, Ping, Pong, Reply, Unread
from roost import GenServer, cast, pg
from roost.cluster.node import Node
from roost.errors import Refusal, RoostError

if TYPE_CHECKING:
    from roost.web.kv import AppRing

BANNER: Final = "connected! 'set-name <name>' and 'join <chat name>' to get started"
HELP: Final = (
    "set-name NAME          what the others call you",
    "join ROOM, leave ROOM  go into a room, and out of it",
    "say ROOM TEXT          tell everybody in the room",
    "who ROOM               who is there",
    "show-unread            what was said in rooms that you have left",
    "start-game ROOM N      guess a number from 1 to N",
    "guess ROOM NUMBER      three guesses each",
    "scores ROOM            who has won how often",
    "ping N                 which nodes answer",
)
LINE_BYTES_MAX: Final = 1_000
"""A command."""
NAME_MAX: Final = 30
"""Characters of the name of somebody, or of a room."""
ROOMS_EACH: Final = 20
"""Rooms that one visitor may be in."""
TOKEN_BYTES: Final = 9


class Listener(GenServer):
    """A process that hears what happens in the rooms that it has joined."""

    @cast
    def hear(self, text: str) -> None:
        """Something has happened in a room: show it."""


def group_of(room: str) -> str:
    """The process group of those who listen to a room; each of them stays on the node where its connection is."""
    return f"zap:{room}"


def announce(room: str, news: tuple[str, ...]) -> None:
    """Tell everybody in a room, on all nodes."""
    for listener in pg.members(group_of(room), Listener):
        for text in news:
            listener.hear(text)


async def ask(ring: AppRing[Command, Reply], room: str, command: Change | Look) -> Answer:
    """Tell both copies of a room, and believe the first one to answer.

    Whoever comes in waits for both, is told by the one that knows more, and makes them alike when they differ. A node
    that stands in for one that is lost knows nothing of the room, so none may.

    Raises:
        NoQuorum: both nodes that have the room are down.
        DeadlineExceeded: they are too slow.
    """
    key = f"chat/{room}"
    w = 1
    if isinstance(command, Enter):
        replicas = Node.current().placement.replicas(ring.ring.partition(key), COPIES)
        w = max(1, sum(replica.is_primary for replica in replicas))
    answers = [each for each in await ring.write(key, command, w=w, sloppy=False) if isinstance(each, Answer)]
    if len(set(answers)) > 1:
        copies = [each for each in await ring.read(key, Fetch(room), r=w, sloppy=False) if isinstance(each, Copy)]
        await ring.write(key, Keep(room, reduce(merge, (copy.value for copy in copies))), w=w, sloppy=False)
    return max(answers, key=lambda answer: (answer.is_in, len(answer.to_you), -len(answer.to_all)))


class Visit:
    """One connection's dialogue with the rooms.

    Args:
        me: the process that listens for it.
        ring: where the rooms are.
        tell: shows a line of text to whoever has typed.
        owner: the secret word of somebody who has been here before, when he has one.
    """

    def __init__(
        self, me: Listener, ring: AppRing[Command, Reply], tell: Callable[[str], None], owner: str | None = None
    ) -> None:
        node = Node.current()
        self._me = me
        self._ring = ring
        self._tell = tell
        self._runtime = node.runtime
        visit = self._token()
        self.who = Visitor("", owner or self._token(), visit, node.name)
        self.rooms: dict[str, None] = {}
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "set-name": self._set_name,
            "join": self._join,
            "leave": self._leave,
            "say": self._say,
            "who": lambda rest: self._look(rest, "who"),
            "scores": lambda rest: self._look(rest, "scores"),
            "show-unread": self._show_unread,
            "start-game": self._start_game,
            "guess": self._guess,
            "ping": self._ping,
            "help": self._help,
        }

    async def take(self, line: str) -> None:
        """Do what a line says; whatever goes wrong is told in words."""
        line = " ".join(line.split())
        if not line:
            return
        verb, _, rest = line.partition(" ")
        command = self._commands.get(verb)
        if command is None or not line.isprintable():
            shown = "".join(letter if letter.isprintable() else "?" for letter in line)
            self._tell(f"sorry, I don't understand '{shown}'. Try 'help'")
            return
        try:
            await command(rest)
        except Refusal as refusal:
            self._tell(f"sorry, {refusal}")
        except RoostError as error:
            self._tell(f"sorry, that did not work: {error}. Try again")

    async def close(self) -> None:
        """The connection has ended: leave every room. Where that fails, the node stops, and others see him out."""
        for room in tuple(self.rooms):
            with suppress(RoostError):
                await self._leave(room, quietly=True)

    async def _set_name(self, rest: str) -> None:
        name = _name(rest, "a name")
        old, rooms = self.who.name, tuple(self.rooms)
        if name != old:
            for room in rooms:
                await self._leave(room, quietly=True)
            self.who = replace(self.who, name=name)
        self._tell(f"ok your name is {name}")
        if name != old:
            for room in rooms:
                await self._join(room)

    async def _join(self, rest: str) -> None:
        room = _name(rest, "a room")
        self._need_name()
        if room not in self.rooms and len(self.rooms) >= ROOMS_EACH:
            raise Refusal(f"you are in {ROOMS_EACH} rooms already: leave one")
        if room not in self.rooms:
            pg.join(group_of(room), self._me)
        answer = await self._enter(room)
        for text in answer.to_you:
            self._tell(text)

    async def _enter(self, room: str) -> Answer:
        """Go in, or in again; whoever is not let in hears nothing."""
        try:
            answer = await self._ask(room, Enter(room, self.who, self._now_ms()))
        except RoostError:
            if room not in self.rooms:
                pg.leave(group_of(room), self._me)
            raise
        if answer.is_in:
            self.rooms[room] = None
            announce(room, answer.to_all)
        else:
            self.rooms.pop(room, None)
            pg.leave(group_of(room), self._me)
        return answer

    async def _leave(self, rest: str, *, quietly: bool = False) -> None:
        room = _name(rest, "a room")
        if room in self.rooms:
            del self.rooms[room]
            pg.leave(group_of(room), self._me)
        answer = await self._ask(room, Leave(room, self.who, self._now_ms()))
        announce(room, answer.to_all)
        if not quietly:
            for text in answer.to_you:
                self._tell(text)

    async def _say(self, rest: str) -> None:
        room, _, text = rest.partition(" ")
        self._need_name()
        room = _name(room, "a room")
        if not text:
            raise Refusal(f"what do you want to say? 'say {room} <message>'")
        await self._act(room, Say(room, self.who, Line(self._now_ms(), self._token(), self.who.name, text)))

    async def _start_game(self, rest: str) -> None:
        room, _, top = rest.partition(" ")
        self._need_name()
        highest = _number(top or "100", 2, TOP_MAX)
        secret = 1 + self._runtime.entropy.number(64) % highest
        await self._act(_name(room, "a room"), StartGame(room, self.who, self._now_ms(), secret, highest))

    async def _guess(self, rest: str) -> None:
        room, _, number = rest.partition(" ")
        self._need_name()
        await self._act(_name(room, "a room"), Guess(room, self.who, _number(number, 1, TOP_MAX)))

    async def _act(self, room: str, command: Change) -> None:
        """Do something in a room. When that has forgotten him, since all who knew it were lost, he goes in again."""
        answer = await self._ask(room, command)
        if not answer.is_in and room in self.rooms and (await self._enter(room)).is_in:
            answer = await self._ask(room, command)
        for text in answer.to_you:
            self._tell(text)
        announce(room, answer.to_all)

    async def _look(self, rest: str, what: str) -> None:
        room = _name(rest, "a room")
        for text in (await self._ask(room, Look(room, what))).to_you:
            self._tell(text)

    async def _show_unread(self, rest: str) -> None:
        """Asks the whole ring, since nobody knows in which rooms he has been."""
        self._need_name()
        found = [each async for each in self._ring.coverage(Unread(self.who.name)) if isinstance(each, Missed)]
        if not found:
            self._tell("nothing is unread")
        for missed in sorted(found, key=lambda each: each.room):
            for line in missed.lines:
                self._tell(f"{missed.room} - {line.name}: {line.text}")
            await self._ask(missed.room, Read(missed.room, self.who, missed.lines[-1].at_ms))

    async def _ping(self, rest: str) -> None:
        """Each ping goes to another partition."""
        for _ in range(_number(rest or "1", 1, 10)):
            pong = await self._ring.command(self._token(), Ping())
            assert isinstance(pong, Pong)
            self._tell(f"pong from partition {pong.partition} on {pong.node}")

    async def _help(self, rest: str) -> None:
        for text in HELP:
            self._tell(text)

    async def _ask(self, room: str, command: Change | Look) -> Answer:
        return await ask(self._ring, room, command)

    def _need_name(self) -> None:
        if not self.who.name:
            raise Refusal("you need a name first: 'set-name <name>'")

    def _now_ms(self) -> int:
        return int(self._runtime.clock.wall() * 1000)

    def _token(self) -> str:
        return self._runtime.entropy.token(TOKEN_BYTES).hex()


def _name(text: str, what: str) -> str:
    if not text:
        raise Refusal(f"{what} is missing")
    if " " in text:
        raise Refusal(f"{what} is one word")
    if len(text) > NAME_MAX:
        raise Refusal(f"{what} has at most {NAME_MAX} characters")
    return text


def _number(text: str, lowest: int, highest: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest):
        raise Refusal(f"'{text}' is not a number from {lowest} to {highest}")
    return int(text)
