"""Chat rooms: a history that every node keeps, messages to everybody, and who is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from roost.errors import Refusal, Unavailable
from roost.live.channel import Channel, Payload, event

if TYPE_CHECKING:
    from roost.demo.app import DemoSocket

HISTORY_MAX: Final = 50
"""Messages that a room remembers."""
BODY_MAX: Final = 4_000
NAME_MAX: Final = 40
ROOM_MAX: Final = 60
ID_BYTES: Final = 9

Message = dict[str, object]


def merge_histories(histories: tuple[object, ...]) -> object:
    """One history of several that were written without knowing of each other: every message once, the newest last."""
    messages = {str(message["id"]): message for history in histories for message in cast("list[Message]", history)}
    ordered = sorted(messages.values(), key=lambda message: (cast("int", message["at"]), str(message["id"])))
    return ordered[-HISTORY_MAX:]


class RoomChannel(Channel, topic="room:*"):
    """One visitor of one room."""

    async def join(self, topic: str, params: Payload, socket: DemoSocket) -> Payload:
        """Come in under a name; the reply is what was said before."""
        self.rooms = socket.rooms
        self.room = topic.removeprefix("room:")
        self.name = _text(params.get("name"), NAME_MAX, "a name")
        _text(self.room, ROOM_MAX, "the name of a room")
        try:
            found = await self.rooms.get(self.room)
        except Unavailable as error:
            raise Refusal(f"the history of this room cannot be read now: {error}") from error
        node = self.scheduler.name
        self.track(self.name, {"node": node, "online_at": self.now_ms()})
        return {"history": [] if found is None else found.value, "node": node}

    @event("new_msg")
    async def new_msg(self, payload: Payload) -> Payload:
        """Say something: it is kept on most nodes before anybody sees it."""
        message: Message = {
            "id": self.scheduler.runtime.entropy.token(ID_BYTES).hex(),
            "name": self.name,
            "body": _text(payload.get("body"), BODY_MAX, "a message"),
            "at": self.now_ms(),
            "node": self.scheduler.name,
        }

        def add(old: object) -> object:
            history = cast("list[Message]", old or [])
            if history:
                # Later than what this node has seen, even within one millisecond or when its clock is behind.
                message["at"] = max(cast("int", message["at"]), cast("int", history[-1]["at"]) + 1)
            return merge_histories((history, [message]))

        try:
            await self.rooms.update(self.room, add)
        except Unavailable as error:
            raise Refusal(f"your message could not be kept: {error}") from error
        self.broadcast("new_msg", message)
        return {}

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.scheduler.runtime.clock.wall() * 1000)


def _text(value: object, characters_max: int, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(text) <= characters_max:
        raise Refusal(f"{what} has from 1 to {characters_max} characters")
    return text
