"""Zap Chat: rooms and a guessing game on a ring, for `nc` and for a browser.

A room lives on two nodes. It moves with its members, its history and its game when nodes join or leave, and outlives
the loss of one of them. The connections stay where they are: a process listens for each, in a process group for every
room that it has joined.

    roost run examples.zap_chat:app
    nc localhost 4040      # from other terminals also 4041 and 4042; then: set-name Ada, join tea, say tea hello
    open http://localhost:4000/
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from examples.pages import pages
from examples.zap_chat.keeper import Keeper
from examples.zap_chat.tcp import CONNECTIONS_MAX, Door
from examples.zap_chat.visit import BANNER, LINE_BYTES_MAX, NAME_MAX, ROOMS_EACH, Listener, Visit
from examples.zap_chat.vnode import COPIES, RoomVnode
from roost import Channel, DynamicSupervisor, Roost, Socket, cast, event
from roost.errors import Refusal
from roost.live.channel import Payload
from roost.otp import Reason

OWNER_MAX: Final = 64
"""Characters of the secret word with which a page gets its name back."""
OWNER_MIN: Final = 16


class ZapChannel(Channel, Listener, topic="zap:*"):
    """The same dialogue for a page. The page remembers who it is, and goes on where it was when its node is lost."""

    async def join(self, topic: str, params: Payload, socket: Socket) -> Payload:
        """Say hello, or go on."""
        owner, name, rooms = params.get("owner"), params.get("name"), params.get("rooms")
        if not isinstance(owner, str) or not OWNER_MIN <= len(owner) <= OWNER_MAX:
            raise Refusal(f"owner is a secret word with {OWNER_MIN} to {OWNER_MAX} characters")
        self.visit = Visit(self.handle, ring, self._print, owner)
        if isinstance(name, str) and 1 <= len(name) <= NAME_MAX:
            await self.visit.take(f"set-name {name}")
            for room in rooms[:ROOMS_EACH] if isinstance(rooms, list) else []:
                await self.visit.take(f"join {room}")
        return {"banner": BANNER, "node": self.scheduler.name, **self._me()}

    @event("line")
    async def line(self, payload: Payload) -> Payload:
        """A command; what it prints comes before the reply."""
        line = payload.get("line")
        if not isinstance(line, str) or len(line.encode()) > LINE_BYTES_MAX:
            raise Refusal(f"a line has at most {LINE_BYTES_MAX} bytes")
        await self.visit.take(line)
        return self._me()

    @cast
    def hear(self, text: str) -> None:
        """Something has happened in a room."""
        self._print(text)

    async def terminate(self, reason: Reason) -> None:
        """The page was closed, or its connection is lost."""
        if hasattr(self, "visit"):  # a visitor that was not let in has none
            await self.visit.close()

    def _print(self, text: str) -> None:
        self.push("print", {"text": text})

    def _me(self) -> Payload:
        return {"name": self.visit.who.name, "rooms": list(self.visit.rooms)}


class ZapSocket(Socket):
    """Everybody may come in."""

    channels = (ZapChannel,)


app: Roost = Roost("zap_chat", sockets={"/socket": ZapSocket})
ring = app.ring(RoomVnode, n=COPIES)
app.children = (
    DynamicSupervisor.child(max_children=CONNECTIONS_MAX, name="visits"),
    Keeper.child(ring, name="keeper"),
    Door.child(ring, name="door"),
)
app.web = pages(Path(__file__).parent / "page")
