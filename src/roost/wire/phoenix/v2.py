"""Version 2: text frames `[join_ref, ref, topic, event, payload]`, and the layouts of `binary` for bytes."""

from __future__ import annotations

from typing import Final

import msgspec

from roost.errors import BadMessage
from roost.wire.phoenix import binary
from roost.wire.phoenix.frame import (
    CLOSE,
    ERROR,
    REPLY,
    Frame,
    Ref,
    Serializer,
    check_names,
    check_size,
    encode,
    object_of,
)
from roost.wire.phoenix.ready import binary_frame, opened, text_frame


class _Text(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A text frame; elements after the fifth are ignored, as Phoenix ignores them."""

    join_ref: Ref
    ref: Ref
    topic: object
    event: str
    payload: msgspec.Raw


_decode: Final = msgspec.json.Decoder(_Text).decode


class _V2:
    """The serializer of version 2."""

    __slots__ = ()

    version: Final = "2.0.0"

    def decode(self, data: str | bytes, *, binary: bool) -> Frame:
        """Read one message of a client."""
        check_size(data)
        if binary:
            return decode_binary(data)
        try:
            text = _decode(data)
        except (ValueError, RecursionError) as error:
            raise BadMessage(f"a V2 frame: {error}") from error
        frame = Frame(text.join_ref, text.ref, text.topic, text.event, text.payload)
        check_names(frame)
        return frame

    def reply(self, join_ref: Ref, ref: Ref, topic: object, status: str, response: object) -> bytes:
        """The answer to the message `ref`."""
        if type(response) is bytes:
            return binary_frame(binary.reply(join_ref, ref, topic, status, response))
        return text_frame(encode((join_ref, ref, topic, REPLY, {"status": status, "response": response})))

    def push(self, join_ref: Ref, topic: str, event: str, payload: object) -> bytes:
        """A message for one joined channel."""
        if type(payload) is bytes:
            return binary_frame(binary.push(join_ref, topic, event, payload))
        return text_frame(encode((join_ref, None, topic, event, object_of(payload))))

    def broadcast(self, topic: str, event: str, payload: object) -> bytes:
        """A message for everyone on a topic."""
        if type(payload) is bytes:
            return binary_frame(binary.broadcast(topic, event, payload))
        return text_frame(encode((None, None, topic, event, object_of(payload))))

    def close(self, join_ref: Ref, topic: str) -> bytes:
        """Says: this channel has ended."""
        return text_frame(encode((join_ref, join_ref, topic, CLOSE, {})))

    def error(self, join_ref: Ref, topic: str, reason: str) -> bytes:
        """Says: this channel has crashed, join again."""
        return text_frame(encode((join_ref, join_ref, topic, ERROR, {"reason": reason})))


V2: Final[Serializer] = _V2()


def decode_binary(data: str | bytes) -> Frame:
    """Read a binary frame of a client."""
    assert isinstance(data, bytes), "a binary frame is bytes"
    return binary.decode_push(data)


def broadcast_in(frame: bytes) -> tuple[str, str, msgspec.Raw | bytes]:
    """Topic, event and payload (JSON, or bytes) of a ready frame that `V2.broadcast` made, here or on another node.

    Raises:
        BadMessage: it is none.
    """
    is_binary, content = opened(frame)
    if is_binary:
        return binary.decode_broadcast(content)
    try:
        text = _decode(content)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"a broadcast: {error}") from error
    if type(text.topic) is not str:
        raise BadMessage("a broadcast: a topic that is not text")
    return text.topic, text.event, text.payload
