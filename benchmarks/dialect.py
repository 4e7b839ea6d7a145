"""What sockets of one server say, so that one generator can play the crowds of all of them.

A socket joins, and is told so; it publishes, and everybody hears it; it asks, and is answered. How each of them looks
on the wire is the dialect's business; none of them looks into what it is sent more than it has to.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from benchmarks.child import Failed

PAYLOAD: Final = {"body": "x" * 64}
TOPIC: Final = "bench:room"
PUBLISH: Final = "new_msg"
ASK: Final = "echo"

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class Dialect(Protocol):
    """How to talk to one kind of server."""

    @property
    def path(self) -> str:
        """The path and query of its address."""

    @property
    def greets(self) -> bool:
        """Whether the server speaks first, and a socket joins only then."""

    def join(self) -> bytes:
        """What makes a socket hear the topic."""

    def publish(self) -> bytes:
        """What makes everybody hear something."""

    def ask(self, number: int) -> bytes:
        """What makes the server answer."""

    @property
    def heard_bytes(self) -> int:
        """The size of what everybody hears, which no other message of the server has."""

    def answer_to(self, text: bytes) -> int | None:
        """The number of the request that a message of the server answers, 0 for the join; None for anything else.

        Raises:
            Failed: the server has refused.
        """

    def pong(self, text: bytes) -> bytes | None:
        """What must be said to a message of the server so that it does not close the socket."""

    def beat(self) -> bytes | None:
        """What must be said now and then so that the server does not close the socket; None when nothing."""


class Phoenix:
    """Our server, and a bare one that speaks just enough of the protocol."""

    path = "/socket/websocket?vsn=2.0.0"
    greets = False

    def __init__(self, topic: str = TOPIC) -> None:
        self._topic = topic
        self.heard_bytes = len(_encode((None, None, topic, PUBLISH, PAYLOAD)))

    def join(self) -> bytes:
        """A join with the reference 0."""
        return _encode(("0", "0", self._topic, "phx_join", {}))

    def publish(self) -> bytes:
        """A push without a reference that could be mistaken for a request's."""
        return _encode(("0", None, self._topic, PUBLISH, PAYLOAD))

    def ask(self, number: int) -> bytes:
        """A push that is answered with its payload."""
        return _encode(("0", str(number), self._topic, ASK, PAYLOAD))

    def answer_to(self, text: bytes) -> int | None:
        """What a reply refers to."""
        _, ref, _, event, payload = _decode(text)
        if event != "phx_reply":
            return None
        if payload["status"] != "ok":
            raise Failed(f"refused: {text[:200]!r}")
        return None if ref is None else int(ref)

    def pong(self, text: bytes) -> bytes | None:
        """The server asks for nothing."""
        return None

    def beat(self) -> bytes | None:
        """A heartbeat, without a reference that could be mistaken for a request's."""
        return _encode((None, None, "phoenix", "heartbeat", {}))


class Consumer:
    """Django Channels, with the consumer in `channels_room`, which joins a socket when it connects."""

    path = "/room"
    greets = True
    heard_bytes = len(_encode({"type": PUBLISH, **PAYLOAD}))

    def join(self) -> bytes:
        """The consumer has done it already; this asks whether it has."""
        return self.ask(0)

    def publish(self) -> bytes:
        """What goes to the group."""
        return _encode({"type": PUBLISH, **PAYLOAD})

    def ask(self, number: int) -> bytes:
        """What is answered."""
        return _encode({"type": ASK, "ref": number, **PAYLOAD})

    def answer_to(self, text: bytes) -> int | None:
        """What an answer refers to."""
        message = _decode(text)
        return int(message["ref"]) if message["type"] == "reply" else None

    def pong(self, text: bytes) -> bytes | None:
        """The server asks for nothing."""
        return None

    def beat(self) -> bytes | None:
        """The server waits for ever."""
        return None


class SocketIo:
    """python-socketio: Engine.IO 4 over a WebSocket, with the events of `socketio_room`."""

    path = "/socket.io/?EIO=4&transport=websocket"
    greets = True
    heard_bytes = len(b"42" + _encode((PUBLISH, PAYLOAD)))

    def join(self) -> bytes:
        """Connects to the default namespace, whose handler enters the room."""
        return b"40"

    def publish(self) -> bytes:
        """An event without acknowledgement."""
        return b"42" + _encode((PUBLISH, PAYLOAD))

    def ask(self, number: int) -> bytes:
        """An event with acknowledgement."""
        return b"42%d" % number + _encode((ASK, PAYLOAD))

    def answer_to(self, text: bytes) -> int | None:
        """What an acknowledgement refers to; 0 when the connection stands."""
        if text.startswith(b"40"):
            return 0
        return int(text[2 : text.index(b"[")]) if text.startswith(b"43") else None

    def pong(self, text: bytes) -> bytes | None:
        """Engine.IO's own heartbeat."""
        return b"3" if text == b"2" else None

    def beat(self) -> bytes | None:
        """The server asks when it wants to know."""
        return None
