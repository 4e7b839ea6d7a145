"""The application that the clients of others are told to work with: `roost run tests.e2e.acceptance:app`.

Everything that a channel can do has an event here, so that each client can show what it makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from roost import Channel, ConnectInfo, NoReply, Roost, Socket, Stop, event, info, send
from roost.errors import Refusal
from roost.live.channel import Payload
from roost.live.event import intercept
from roost.live.reply import ReplyRef, Status, reply


class Probe(Channel, topic="room:*"):
    """A room in which a client can try everything."""

    def join(self, topic: str, params: Payload, socket: Visitor) -> Payload:
        """Let everybody in who does not say `refuse`."""
        if params.get("refuse"):
            raise Refusal("not today")
        self.name = str(params.get("name", "nobody"))
        self.track(self.name, {"node": self.scheduler.name})
        send(self.handle, "after_join")
        return {"name": self.name, "node": self.scheduler.name, "user": socket.user}

    @info
    def after_join(self, message: str) -> None:
        """Push something without being asked."""
        self.push("welcome", {"name": self.name})

    @event("echo")
    def echo(self, payload: Payload | bytes) -> Payload | bytes:
        """Give back what was sent."""
        return payload

    @event("shout")
    def shout(self, payload: Payload | bytes) -> None:
        """Tell everybody."""
        self.broadcast("shouted", payload)

    @event("whisper")
    def whisper(self, payload: Payload) -> None:
        """Tell everybody else."""
        self.broadcast_from("whispered", payload)

    @event("secret")
    def secret(self, payload: Payload) -> None:
        """Tell everybody, each in words of his own."""
        self.broadcast("secret_told", payload)

    @intercept("secret_told")
    def secret_told(self, payload: Payload) -> None:
        """Say it to this client."""
        self.push("secret_told", {**payload, "to": self.name})

    @event("status")
    def status(self, payload: Payload) -> Status:
        """Answer with a status of the client's choice."""
        return Status(str(payload["status"]), {"left": 0})

    @event("refuse")
    def refuse(self, payload: Payload) -> None:
        """Refuse."""
        raise Refusal("no")

    @event("later")
    def later(self, payload: Payload) -> None:
        """Answer after another message."""
        self.waiting: ReplyRef = self.reply_ref()
        raise NoReply

    @event("now")
    def now(self, payload: Payload) -> None:
        """Answer what waits."""
        reply(self.waiting, {"late": True})

    @event("mood")
    def mood(self, payload: Payload) -> None:
        """Change what is shown of this client."""
        self.track(self.name, {"node": self.scheduler.name, "mood": payload["mood"]})

    @event("crash")
    def crash(self, payload: Payload) -> None:
        """Crash."""
        raise RuntimeError("as asked")

    @event("stop")
    def end(self, payload: Payload) -> Payload:
        """End the channel with a reply."""
        raise Stop("normal", reply={"bye": self.name})

    @event("kick")
    def kick(self, payload: Payload) -> None:
        """Close every connection of a user."""
        app.disconnect(f"user:{payload['user']}")


class Visitor(Socket):
    """Whoever says who it is."""

    channels = (Probe,)

    def connect(self, params: Mapping[str, str], info: ConnectInfo) -> None:
        """Take the token when there is one, else the parameter."""
        self.user = info.auth_token or params.get("user", "nobody")
        if self.user == "mallory":
            raise Refusal("not you")

    def id(self) -> str | None:
        """All connections of one user."""
        return f"user:{self.user}"


app = Roost("acceptance", sockets={"/socket": Visitor})
