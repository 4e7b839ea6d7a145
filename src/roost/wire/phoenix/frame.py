"""The words of the protocol: a frame of a client, its payload, and what a serializer can do.

References belong to the client: they are kept opaque and echoed with their type (`"90"` is not `90`).
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from roost.errors import BadMessage, TooLarge
from roost.limits import SOCKET_FRAME_BYTES_MAX, TOPIC_BYTES_MAX

Ref = str | int | None
"""A client's reference to one of its messages, or to one of its joins."""

Payload = dict[str, object] | bytes
"""What an event carries: a JSON object, or bytes."""

SOCKET_TOPIC: Final = "phoenix"
"""The topic of the socket itself; its only event is `heartbeat`."""
HEARTBEAT: Final = "heartbeat"
JOIN: Final = "phx_join"
LEAVE: Final = "phx_leave"
REPLY: Final = "phx_reply"
CLOSE: Final = "phx_close"
ERROR: Final = "phx_error"
OK_STATUS: Final = "ok"
ERROR_STATUS: Final = "error"


class Frame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message of a client. `payload` is still JSON, or bytes: the channel that it is for decodes it.

    `topic` is a str in every honest frame; anything else matches no channel.
    """

    join_ref: Ref
    ref: Ref
    topic: object
    event: str
    payload: msgspec.Raw | bytes


class Serializer(Protocol):
    """One version of the protocol. What it makes is a *ready frame* (`ready`).

    A payload or response that is `bytes` leaves as a binary frame, anything else as JSON.
    """

    @property
    def version(self) -> str:
        """What the client says in `vsn`, at its newest: "2.0.0"."""

    def decode(self, data: str | bytes, *, binary: bool) -> Frame:
        """Read one message of a client.

        Raises:
            TooLarge: it is over SOCKET_FRAME_BYTES_MAX.
            BadMessage: it is no frame of this version, or has a name over TOPIC_BYTES_MAX.
        """

    def reply(self, join_ref: Ref, ref: Ref, topic: object, status: str, response: object) -> bytes:
        """The answer to the message `ref`.

        Raises:
            TypeError: the response holds something that this version cannot express.
            TooLarge: a name in a binary frame is over TOPIC_BYTES_MAX.
        """

    def push(self, join_ref: Ref, topic: str, event: str, payload: object) -> bytes:
        """A message for one joined channel. Raises as `reply` does; what is neither object nor bytes is a TypeError."""

    def broadcast(self, topic: str, event: str, payload: object) -> bytes:
        """A message for everyone on a topic. Raises as `push` does."""

    def close(self, join_ref: Ref, topic: str) -> bytes:
        """Says: this channel has ended. Its `ref` is the join's, as in Phoenix."""

    def error(self, join_ref: Ref, topic: str, reason: str) -> bytes:
        """Says: this channel has crashed, join again."""


encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def payload_of(frame: Frame) -> Payload:
    """The payload of a frame, a value that nobody else holds.

    Raises:
        BadMessage: it is neither a JSON object nor bytes.
    """
    raw = frame.payload
    if type(raw) is bytes:
        return raw
    try:
        payload = _decode(raw)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"a payload: {error}") from error
    if type(payload) is not dict:
        raise BadMessage("a payload that is not an object")
    return payload


def encode_payload(payload: object) -> msgspec.Raw:
    """Encode a payload once, for several frames.

    Raises:
        TypeError: a value that JSON cannot express.
    """
    return msgspec.Raw(encode(payload))


def object_of(payload: object) -> object:
    """The payload of a push or broadcast, perhaps encoded already. Phoenix, too, sends nothing but objects there, and
    clients in languages with types read nothing else.

    Raises:
        TypeError: it is no object, or holds something that JSON cannot express.
    """
    if type(payload) is dict or type(payload) is msgspec.Raw:
        return payload
    encoded = encode_payload(payload)
    if not bytes(encoded).startswith(b"{"):
        raise TypeError(f"a payload is an object or bytes, not {type(payload).__name__}")
    return encoded


def check_size(data: str | bytes) -> None:
    """Refuse what is over SOCKET_FRAME_BYTES_MAX with TooLarge."""
    if len(data) > SOCKET_FRAME_BYTES_MAX:
        raise TooLarge("SOCKET_FRAME_BYTES_MAX", len(data), SOCKET_FRAME_BYTES_MAX)


def check_names(frame: Frame) -> None:
    """Refuse a frame with a name over TOPIC_BYTES_MAX with BadMessage."""
    for name in (frame.topic, frame.event, frame.ref, frame.join_ref):
        if type(name) is str and len(name) > TOPIC_BYTES_MAX // 4 and len(name.encode()) > TOPIC_BYTES_MAX:
            raise BadMessage(f"a frame: a name over {TOPIC_BYTES_MAX} bytes")


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic is the one a channel declared: the same, or of the same prefix when it ends with `*`."""
    return topic.startswith(pattern[:-1]) if pattern.endswith("*") else topic == pattern
