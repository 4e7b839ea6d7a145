"""Messages of the server where only text can travel, as in the JSON answers of a long poll.

A text frame travels as it is. For a binary frame there are two forms:

- *encoded*: the base64 of the frame, for clients that have said that they know it. It cannot be mistaken for a text
  frame, since neither `[` nor `{` is in its alphabet. Clients send their binary frames in the same way.
- *spelled*: a text frame of the same meaning whose payload, or whose response, is `{"base64": ...}`. Any client of
  Phoenix can read it.
"""

from __future__ import annotations

import base64

from roost.errors import BadMessage
from roost.wire.phoenix.binary import BROADCAST, PUSH, REPLY, names
from roost.wire.phoenix.frame import REPLY as REPLY_EVENT
from roost.wire.phoenix.frame import encode
from roost.wire.phoenix.ready import opened

_HEADS = {PUSH: 4, REPLY: 5, BROADCAST: 3}
"""Bytes before the names: the kind, and the size of each name."""


def plain(frame: bytes, *, encoded: bool) -> str:
    """The text in which a ready frame travels.

    Args:
        frame: a ready frame, of text or binary.
        encoded: whether the client knows the encoded form of a binary frame.

    Raises:
        BadMessage: a frame that no serializer makes.
    """
    is_binary, content = opened(frame)
    if not is_binary:
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise BadMessage(f"a text frame: {error}") from None
    return base64.b64encode(content).decode() if encoded else _spelled(content)


def _spelled(content: bytes) -> str:
    kind = content[0] if content else -1
    head = _HEADS.get(kind)
    if head is None or len(content) < head:
        raise BadMessage("a binary frame of the server: of no known kind")
    found, data = names(content, head)
    payload: dict[str, object] = {"base64": base64.b64encode(data).decode()}
    if kind == PUSH:
        join_ref, topic, event = found
        return encode((join_ref or None, None, topic, event, payload)).decode()
    if kind == REPLY:
        join_ref, ref, topic, status = found
        response = {"status": status, "response": payload}
        return encode((join_ref or None, ref or None, topic, REPLY_EVENT, response)).decode()
    topic, event = found
    return encode((None, None, topic, event, payload)).decode()
