"""A look into a ready frame that waits for a slow reader: may it be lost, and what is it about?

Never lost are replies, the end and the crash of a channel, everything about presences, and pushes to one client: who
sent them counts on their arrival, and nothing would tell the client that they are missing. What remains are
broadcasts. In version 1 a push looks like a broadcast, and counts as one.

A push may be replaced by a newer one when the application names its event for coalescing: then it says itself that
only the newest counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final

import msgspec

from roost.core.backlog import Seen
from roost.errors import BadMessage
from roost.wire.phoenix import binary
from roost.wire.phoenix.frame import CLOSE, ERROR, REPLY
from roost.wire.phoenix.ready import opened

PRESENCE_STATE: Final = "presence_state"
PRESENCE_DIFF: Final = "presence_diff"
KEPT_EVENTS: Final = frozenset((REPLY, CLOSE, ERROR, PRESENCE_STATE, PRESENCE_DIFF))
"""Events that no policy may leave out."""

_KEEP: Final = Seen(is_expendable=False, key=None)
_LOSE: Final = Seen(is_expendable=True, key=None)


class _Text(msgspec.Struct, array_like=True, frozen=True, gc=False):
    join_ref: msgspec.Raw
    ref: msgspec.Raw
    topic: object
    event: str
    payload: msgspec.Raw


class _Object(msgspec.Struct, frozen=True, gc=False):
    topic: object
    event: str
    payload: msgspec.Raw


_decode_text: Final = msgspec.json.Decoder(_Text).decode
_decode_object: Final = msgspec.json.Decoder(_Object).decode
_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def look(frame: bytes, fields: Mapping[str, str]) -> Seen:
    """Look into a ready frame of either version.

    Args:
        frame: as a serializer has made it. Whatever else it is must not be lost.
        fields: the field of the payload that says what an event is about, by the name of the event.

    Returns: whether the frame may be lost; and the topic, the event and the encoded value of the field, when
        the event is in `fields` and its payload is an object that has it.
    """
    is_binary, content = opened(frame)
    try:
        if is_binary:
            return _look_binary(content)
        if content.startswith(b"["):
            text = _decode_text(content)
            is_broadcast = bytes(text.join_ref) == b"null"
            topic, event, payload = text.topic, text.event, text.payload
        else:
            read = _decode_object(content)
            is_broadcast = True
            topic, event, payload = read.topic, read.event, read.payload
    except (ValueError, BadMessage):
        return _KEEP
    if event in KEPT_EVENTS:
        return _KEEP
    name = fields.get(event)
    key = None if name is None else _key(topic, event, payload, name)
    if key is None:
        return _LOSE if is_broadcast else _KEEP
    return Seen(is_broadcast, key)


def _key(topic: object, event: str, payload: msgspec.Raw, name: str) -> Hashable | None:
    try:
        value = _decode_fields(payload).get(name)
    except ValueError:
        return None  # a payload that is no object
    return None if value is None or type(topic) is not str else (topic, event, bytes(value))


def _look_binary(content: bytes) -> Seen:
    if content[:1] != bytes((binary.BROADCAST,)):
        return _KEEP
    _, event, _ = binary.decode_broadcast(content)
    return _KEEP if event in KEPT_EVENTS else _LOSE
