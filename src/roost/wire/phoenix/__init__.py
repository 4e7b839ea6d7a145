"""The protocol of Phoenix sockets: what clients send, and what they are sent.

`frame` has the words of the protocol, `v2` and `v1` its two serializers, `binary` the layouts of V2 for bytes,
`ready` the WebSocket frames in which everything leaves, and `sent` looks into those that wait for a slow reader.
"""

from roost.wire.phoenix.frame import (
    CLOSE,
    ERROR,
    ERROR_STATUS,
    HEARTBEAT,
    JOIN,
    LEAVE,
    OK_STATUS,
    REPLY,
    SOCKET_TOPIC,
    Frame,
    Payload,
    Ref,
    Serializer,
    encode_payload,
    matches,
    payload_of,
)
from roost.wire.phoenix.ready import binary_frame, is_ready, opened, text_frame, text_of
from roost.wire.phoenix.sent import look
from roost.wire.phoenix.v1 import V1
from roost.wire.phoenix.v2 import V2, broadcast_in

__all__ = [
    "CLOSE",
    "ERROR",
    "ERROR_STATUS",
    "HEARTBEAT",
    "JOIN",
    "LEAVE",
    "OK_STATUS",
    "REPLY",
    "SOCKET_TOPIC",
    "V1",
    "V2",
    "Frame",
    "Payload",
    "Ref",
    "Serializer",
    "binary_frame",
    "broadcast_in",
    "encode_payload",
    "is_ready",
    "look",
    "matches",
    "opened",
    "payload_of",
    "text_frame",
    "text_of",
]
