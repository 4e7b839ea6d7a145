"""The ring that the rooms live on: two copies of each, which move with everything that is in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from examples.zap_chat.room import (
    Answer,
    Enter,
    Guess,
    Leave,
    Line,
    Look,
    Read,
    Room,
    Say,
    StartGame,
    Visitor,
    change,
    look,
    merge,
)
from roost.cluster.keyed_vnode import KeyedVnode
from roost.cluster.vnode import Sender
from roost.errors import Refusal

COPIES: Final = 2
"""Nodes that have each room."""
ROOMS_MAX: Final = 1_000
"""Rooms in one partition; one where nobody is makes place for a new one."""


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Is anybody there?"""


class Pong(msgspec.Struct, frozen=True, tag=True):
    """Where the ping has arrived."""

    partition: int
    node: str


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """All that this copy has of a room."""

    room: str


class Copy(msgspec.Struct, frozen=True, tag=True):
    """One copy of a room."""

    value: Room


class Keep(msgspec.Struct, frozen=True, tag=True):
    """What another copy has: keep what is missing here."""

    room: str
    value: Room


class Unread(msgspec.Struct, frozen=True, tag=True):
    """To the whole ring: what was said while somebody was away?"""

    name: str


class Missed(msgspec.Struct, frozen=True, tag=True):
    """What was said in one room meanwhile."""

    room: str
    lines: tuple[Line, ...]


class Stranded(msgspec.Struct, frozen=True, tag=True):
    """To the whole ring: who is in a room through a node that is lost?"""

    node: str


class Ghost(msgspec.Struct, frozen=True, tag=True):
    """Somebody whose connection is lost with its node."""

    room: str
    who: Visitor


Question = Look | Ping | Fetch | Unread | Stranded
Command = Enter | Leave | Say | Read | StartGame | Guess | Keep | Look | Ping | Fetch | Unread | Stranded
Reply = Answer | Copy | Pong | Missed | Ghost


class RoomVnode(KeyedVnode[Command, Reply, Room]):
    """One copy of the rooms of one partition."""

    def handle_command(self, command: Command, sender: Sender) -> Reply:
        """All that happens follows from the command and the room: the copies are told alike, and do alike."""
        if isinstance(command, Ping):
            return Pong(self.partition, self.node)
        if isinstance(command, Unread | Stranded):
            raise Refusal("this is a question to the whole ring")
        room = self.store.get(command.room, Room())
        if isinstance(command, Look):
            return look(room, command)
        if isinstance(command, Fetch):
            return Copy(room)
        room, answer = (merge(room, command.value), Answer()) if isinstance(command, Keep) else change(room, command)
        if room.people:
            if not self._has_place(command.room):
                return Answer(("there are too many rooms already: join another one",), is_in=False)
            self.store[command.room] = room
        return answer

    def forwards(self, command: Command) -> object:
        """While the rooms move, the next node must do what changes one."""
        return None if isinstance(command, Question) else command

    def merge(self, key: str, mine: Room, given: Room) -> Room:
        """A copy that was elsewhere comes home."""
        return merge(mine, given)

    def cover(self, command: Command) -> Iterator[Reply]:
        """Questions that no single room can answer."""
        for name, room in tuple(self.store.items()):
            if isinstance(command, Unread):
                if lines := room.unread(command.name):
                    yield Missed(name, lines)
            elif isinstance(command, Stranded):
                for who, person in room.people.items():
                    if person.is_here and person.node == command.node:
                        yield Ghost(name, Visitor(who, person.owner, person.visit, person.node))

    def _has_place(self, name: str) -> bool:
        """Whether there is place for this room; the room that is quiet longest, and empty, goes for it."""
        if name in self.store or len(self.store) < ROOMS_MAX:
            return True
        quiet = [
            (room.lines[-1].at_ms if room.lines else 0, old) for old, room in self.store.items() if not room.here()
        ]
        if not quiet:
            return False
        del self.store[min(quiet)[1]]
        return True
