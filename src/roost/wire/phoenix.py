"""The Phoenix channels protocol, version 2: text frames `[join_ref, ref, topic, event, payload]`.

References belong to the client: they are kept opaque and echoed with their type (`"90"` is not `90`). What the server
sends is made here as a *ready frame*: the JSON inside an unmasked WebSocket text frame (RFC 6455 section 5.2), so that
one broadcast is encoded and framed once, whatever the number of sockets it is written to.
"""

from __future__ import annotations

from typing import Final

import msgspec

from roost.errors import BadMessage, TooLarge
from roost.limits import SOCKET_FRAME_BYTES_MAX, TOPIC_BYTES_MAX

Ref = str | int | None
"""A client's reference to one of its messages, or to one of its joins."""

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
    """One message of a client. `payload` is still JSON: the channel that it is for decodes it.

    `topic` is a str in every honest frame; anything else matches no channel.
    """

    join_ref: Ref
    ref: Ref
    topic: object
    event: str
    payload: msgspec.Raw


_frames: Final = msgspec.json.Decoder(Frame)
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


def decode(text: str | bytes) -> Frame:
    """Read one text frame. Elements after the fifth are ignored, as Phoenix ignores them.

    Raises:
        TooLarge: the frame is over SOCKET_FRAME_BYTES_MAX.
        BadMessage: not JSON, not an array of five, a reference that is neither text nor integer, an event that is not
            text, or a name over TOPIC_BYTES_MAX.
    """
    if len(text) > SOCKET_FRAME_BYTES_MAX:
        raise TooLarge("SOCKET_FRAME_BYTES_MAX", len(text), SOCKET_FRAME_BYTES_MAX)
    try:
        frame = _frames.decode(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"a V2 frame: {error}") from error
    for name in (frame.topic, frame.event, frame.ref, frame.join_ref):
        if type(name) is str and len(name) > TOPIC_BYTES_MAX // 4 and len(name.encode()) > TOPIC_BYTES_MAX:
            raise BadMessage(f"a V2 frame: a name over {TOPIC_BYTES_MAX} bytes")
    return frame


def payload_of(frame: Frame) -> dict[str, object]:
    """The payload of a frame, a value that nobody else holds.

    Raises:
        BadMessage: it is not a JSON object.
    """
    try:
        payload = _decode(frame.payload)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"a payload: {error}") from error
    if type(payload) is not dict:
        raise BadMessage("a payload that is not an object")
    return payload


def text_frame(payload: bytes) -> bytes:
    """Put UTF-8 `payload` into one final, unmasked WebSocket text frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def text_of(frame: bytes) -> str:
    """The text inside a ready frame, for servers that frame by themselves."""
    size = frame[1]
    return frame[2 if size < 126 else 4 if size == 126 else 10 :].decode()


def reply(join_ref: Ref, ref: Ref, topic: object, status: str, response: object) -> bytes:
    """The ready frame that answers the message `ref`."""
    return text_frame(_encode((join_ref, ref, topic, REPLY, {"status": status, "response": response})))


def push(join_ref: Ref, topic: str, event: str, payload: object) -> bytes:
    """The ready frame of a message for one joined channel."""
    return text_frame(_encode((join_ref, None, topic, event, payload)))


def broadcast(topic: str, event: str, payload: object) -> bytes:
    """The ready frame of a message for everyone on a topic."""
    return text_frame(_encode((None, None, topic, event, payload)))


def close(join_ref: Ref, topic: str) -> bytes:
    """The ready frame that says: this channel has ended. Its `ref` is the join's, as in Phoenix."""
    return text_frame(_encode((join_ref, join_ref, topic, CLOSE, {})))


def error(join_ref: Ref, topic: str, reason: str) -> bytes:
    """The ready frame that says: this channel has crashed, join again."""
    return text_frame(_encode((join_ref, join_ref, topic, ERROR, {"reason": reason})))


def encode_payload(payload: object) -> msgspec.Raw:
    """Encode a payload once, for several frames.

    Raises:
        TypeError: a value that JSON cannot express.
    """
    return msgspec.Raw(_encode(payload))


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic is the one a channel declared: the same, or of the same prefix when it ends with `*`."""
    return topic.startswith(pattern[:-1]) if pattern.endswith("*") else topic == pattern
