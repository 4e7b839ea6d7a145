"""Chat: rooms with a history, who is here, who is typing, and private rooms that one enters with a token.

Whoever makes a private room gets a signed token for it, and hands it on as a link. No node remembers who may come in:
the signature says so on each of them.

    roost run examples.chat:app
    open http://localhost:4000/ http://localhost:4001/
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from examples.chat.history import Message, added, merge_histories
from examples.pages import pages
from roost import Channel, Roost, Socket, Status, event, token
from roost.cluster.node import Node
from roost.errors import Refusal, Unavailable
from roost.live.channel import Payload

NAME_MAX: Final = 40
ROOM_MAX: Final = 60
BODY_MAX: Final = 4_000
ID_BYTES: Final = 9
SECRET_BYTES: Final = 32
INVITATION_S: Final = 7 * 86_400.0
"""How long an invitation to a private room counts."""
INVITATION: Final = "invitation"


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What is said to make a private room."""

    title: str


class RoomChannel(Channel, topic="room:*"):
    """One visitor of one room, which is open to everybody."""

    async def join(self, topic: str, params: Payload, socket: Socket) -> Payload | Status:
        """Come in under a name; the reply is what was said before."""
        self.room = topic
        try:
            self.title = await self.admit(topic.partition(":")[2], params)
        except Refusal as refusal:
            return Status("uninvited", {"reason": str(refusal)})
        try:
            self.name = text_of(params.get("name"), NAME_MAX, "a name")
        except Refusal as refusal:
            return Status("nameless", {"reason": str(refusal)})
        try:
            found = await rooms.get(self.room)
        except Unavailable as error:
            raise Refusal(f"the history of this room cannot be read now: {error}") from error
        node = self.scheduler.name
        self.track(self.name, {"node": node, "here_since": self.now_ms()})
        return {"title": self.title, "history": [] if found is None else found.value, "node": node}

    async def admit(self, room: str, params: Payload) -> str:
        """Let a visitor in, or raise a Refusal; the title of the room."""
        return text_of(room, ROOM_MAX, "the name of a room")

    @event("say")
    async def say(self, payload: Payload) -> None:
        """It is kept on most nodes before anybody sees it."""
        message: Message = {
            "id": self.scheduler.runtime.entropy.token(ID_BYTES).hex(),
            "name": self.name,
            "body": text_of(payload.get("body"), BODY_MAX, "a message"),
            "at": self.now_ms(),
        }
        try:
            await rooms.update(self.room, lambda old: added(old, message))
        except Unavailable as error:
            raise Refusal(f"your message could not be kept: {error}") from error
        self.broadcast("said", message)

    @event("typing")
    def typing(self, payload: Payload) -> None:
        """Tell the others; a page forgets it again by itself after a few seconds."""
        self.broadcast_from("typing", {"name": self.name})

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.scheduler.runtime.clock.wall() * 1000)


class PrivateChannel(RoomChannel, topic="private:*"):
    """One visitor of a room that only those enter who have been invited."""

    async def admit(self, room: str, params: Payload) -> str:
        """The token must be signed for this very room."""
        given = params.get("token")
        if not isinstance(given, str):
            raise Refusal("this room is private")
        said = token.verify(await secret(), INVITATION, given)
        if not isinstance(said, dict) or said.get("room") != room:
            raise Refusal("this invitation is for another room")
        return str(said.get("title"))


class ChatSocket(Socket):
    """Everybody may connect; a room asks for a name, and a private one for a token."""

    channels = (RoomChannel, PrivateChannel)


def text_of(value: object, characters_max: int, what: str) -> str:
    """A text that is neither empty nor too long."""
    text = value.strip() if isinstance(value, str) else ""
    if not 1 <= len(text) <= characters_max:
        raise Refusal(f"{what} has from 1 to {characters_max} characters")
    return text


def one_of(values: tuple[object, ...]) -> object:
    """Two nodes have made a secret at the same time: all take the same one of them."""
    return min(map(str, values))


async def secret() -> str:
    """What tokens are signed with: made by the first node that needs it, and the same on all of them from then on."""
    found = await secrets.get("tokens")
    if found is None:
        await secrets.put("tokens", Node.current().runtime.entropy.token(SECRET_BYTES).hex())
        found = await secrets.get("tokens")
    assert found is not None
    return cast("str", found.value)


async def make_private(request: Request) -> JSONResponse:
    """POST /private with {"title": "Plans"}: 201, the topic of a new room, and the token with which one enters it."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return JSONResponse({"error": "the body must be application/json"}, 415)
    try:
        title = text_of(msgspec.json.decode(await request.body(), type=Wish).title, ROOM_MAX, "the name of a room")
        room = Node.current().runtime.entropy.token(ID_BYTES).hex()
        signed = token.sign(await secret(), INVITATION, {"room": room, "title": title}, max_age_s=INVITATION_S)
    except (msgspec.MsgspecError, Refusal) as error:
        return JSONResponse({"error": str(error)}, 400)
    except Unavailable as error:
        return JSONResponse({"error": f"no room can be made now: {error}"}, 503)
    return JSONResponse({"topic": f"private:{room}", "title": title, "token": signed}, 201)


app: Roost = Roost(
    "chat",
    sockets={"/socket": ChatSocket},
    web=pages(Path(__file__).parent / "page", [Route("/private", make_private, methods=["POST"])]),
)
rooms = app.kv("rooms", merge=merge_histories)
secrets = app.kv("secrets", merge=one_of)
