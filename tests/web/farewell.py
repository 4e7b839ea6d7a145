"""An application whose channels say why they end, in the log and to their clients."""

from __future__ import annotations

import logging

from roost.live.channel import Channel, Payload, event
from roost.web.app import Roost
from roost.web.socket import Socket

logger = logging.getLogger("farewell")


class Room(Channel, topic="room:*"):
    """Broadcasts, and says goodbye."""

    def join(self, topic: str, params: Payload, socket: Socket) -> Payload:
        self.name = str(params.get("name"))
        return {"hello": self.name}

    @event("say")
    def say(self, payload: Payload) -> None:
        self.broadcast("said", payload)

    def terminate(self, reason: object) -> None:
        logger.info("goodbye %s: %s", self.name, reason)
        self.push("goodbye", {"reason": str(reason)})


class Rooms(Socket):
    """Everyone may come in."""

    channels = (Room,)


app = Roost("farewell", sockets={"/socket": Rooms})
