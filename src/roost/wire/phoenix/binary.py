"""The binary layouts of V2. Lengths are one byte each, so a name has at most 255 bytes of UTF-8.

They are not symmetric: what a client pushes has a `ref`, what the server pushes has none.

=================  ====  =====================================================================================
client push        `00`  len(join_ref) len(ref) len(topic) len(event), join_ref ref topic event, data
server push        `00`  len(join_ref) len(topic) len(event), join_ref topic event, data
server reply       `01`  len(join_ref) len(ref) len(topic) len(status), join_ref ref topic status, data
server broadcast   `02`  len(topic) len(event), topic event, data
=================  ====  =====================================================================================
"""

from __future__ import annotations

from typing import Final

from roost.errors import BadMessage, TooLarge
from roost.limits import TOPIC_BYTES_MAX
from roost.wire.phoenix.frame import Frame, Ref

PUSH: Final = 0
REPLY: Final = 1
BROADCAST: Final = 2
_PUSH_HEAD: Final = 5
_BROADCAST_HEAD: Final = 3


def decode_push(data: bytes) -> Frame:
    """Read what a client pushes. A reference of no bytes is none.

    Raises:
        BadMessage: of another kind, too short, or with a name that is not UTF-8.
    """
    if len(data) < _PUSH_HEAD or data[0] != PUSH:
        raise BadMessage("a binary frame: not a push")
    (join_ref, ref, topic, event), rest = names(data, _PUSH_HEAD)
    return Frame(join_ref or None, ref or None, topic, event, rest)


def decode_broadcast(data: bytes) -> tuple[str, str, bytes]:
    """Topic, event and data of a broadcast that `broadcast` made."""
    (topic, event), rest = names(data, _BROADCAST_HEAD)
    return topic, event, rest


def push(join_ref: Ref, topic: str, event: str, data: bytes) -> bytes:
    """What the server pushes to one joined channel."""
    return _pack(PUSH, (join_ref, topic, event), data)


def reply(join_ref: Ref, ref: Ref, topic: object, status: str, data: bytes) -> bytes:
    """The answer to one message."""
    return _pack(REPLY, (join_ref, ref, topic, status), data)


def broadcast(topic: str, event: str, data: bytes) -> bytes:
    """A message for everyone on a topic."""
    return _pack(BROADCAST, (topic, event), data)


def names(data: bytes, head: int) -> tuple[list[str], bytes]:
    """The names in a binary frame whose head is `head` bytes long, and what follows them.

    Raises:
        BadMessage: it is shorter than its head says, or a name is not UTF-8.
    """
    if len(data) < head:
        raise BadMessage("a binary frame: shorter than its head")
    found: list[str] = []
    at = head
    try:
        for size in data[1:head]:
            name = data[at : at + size]
            if len(name) != size:
                raise BadMessage("a binary frame: shorter than its head says")
            found.append(name.decode())
            at += size
    except UnicodeDecodeError as error:
        raise BadMessage(f"a binary frame: {error}") from error
    return found, data[at:]


def _pack(kind: int, names: tuple[object, ...], data: bytes) -> bytes:
    encoded = [b"" if name is None else str(name).encode() for name in names]
    for name in encoded:
        if len(name) > TOPIC_BYTES_MAX:
            raise TooLarge("TOPIC_BYTES_MAX", len(name), TOPIC_BYTES_MAX)
    return b"".join((bytes((kind, *map(len, encoded))), *encoded, data))
