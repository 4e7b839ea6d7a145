"""Version 1: text frames that are objects, `{"topic", "event", "payload", "ref"}`.

It has no reference to joins: the reference of the message that joins stands for it, and is never sent back.
"""

from __future__ import annotations

from typing import Final

import msgspec

from roost.errors import BadMessage
from roost.wire.phoenix.frame import (
    CLOSE,
    ERROR,
    JOIN,
    REPLY,
    Frame,
    Ref,
    Serializer,
    check_names,
    check_size,
    encode,
    object_of,
)
from roost.wire.phoenix.ready import text_frame


class _Object(msgspec.Struct, frozen=True, gc=False):
    topic: object
    event: str
    payload: msgspec.Raw
    ref: Ref
    join_ref: Ref = None


_decode: Final = msgspec.json.Decoder(_Object).decode


class _V1:
    """The serializer of version 1."""

    __slots__ = ()

    version: Final = "1.0.0"

    def decode(self, data: str | bytes, *, binary: bool) -> Frame:
        """Read one message of a client."""
        if binary:
            raise BadMessage("a V1 frame: version 1 has no binary frames")
        check_size(data)
        try:
            read = _decode(data)
        except (ValueError, RecursionError) as error:
            raise BadMessage(f"a V1 frame: {error}") from error
        join_ref = read.ref if read.event == JOIN and read.join_ref is None else read.join_ref
        frame = Frame(join_ref, read.ref, read.topic, read.event, read.payload)
        check_names(frame)
        return frame

    def reply(self, join_ref: Ref, ref: Ref, topic: object, status: str, response: object) -> bytes:
        """The answer to the message `ref`."""
        return _ready(topic, REPLY, {"status": status, "response": _textual(response)}, ref)

    def push(self, join_ref: Ref, topic: str, event: str, payload: object) -> bytes:
        """A message for one joined channel."""
        return _ready(topic, event, object_of(_textual(payload)), None)

    def broadcast(self, topic: str, event: str, payload: object) -> bytes:
        """A message for everyone on a topic."""
        return _ready(topic, event, object_of(_textual(payload)), None)

    def close(self, join_ref: Ref, topic: str) -> bytes:
        """Says: this channel has ended."""
        return _ready(topic, CLOSE, {}, join_ref)

    def error(self, join_ref: Ref, topic: str, reason: str) -> bytes:
        """Says: this channel has crashed, join again."""
        return _ready(topic, ERROR, {"reason": reason}, join_ref)


V1: Final[Serializer] = _V1()


def _ready(topic: object, event: str, payload: object, ref: Ref) -> bytes:
    return text_frame(encode({"topic": topic, "event": event, "payload": payload, "ref": ref}))


def _textual(payload: object) -> object:
    if type(payload) is bytes:
        # The encoder would make base64 of it, which no client expects.
        raise TypeError("version 1 of the protocol has no binary payloads")
    return payload
