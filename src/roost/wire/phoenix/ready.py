"""Ready frames: messages of the server, already inside the unmasked WebSocket frame in which they leave.

A broadcast is encoded and framed once, whatever the number of sockets that it is written to. Who has to frame by
himself (another ASGI server, a long poll) opens a ready frame again, which costs one slice.
"""

from __future__ import annotations

from typing import Final

TEXT: Final = 0x81
"""The first byte of a final text frame (RFC 6455 section 5.2)."""
BINARY: Final = 0x82
"""The first byte of a final binary frame."""


def text_frame(payload: bytes) -> bytes:
    """Put UTF-8 `payload` into one final, unmasked WebSocket text frame."""
    return _frame(TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """Put `payload` into one final, unmasked WebSocket binary frame."""
    return _frame(BINARY, payload)


def is_ready(frame: bytes) -> bool:
    """Whether this is one ready frame, and nothing else: of what other nodes send, nothing else may reach a client."""
    if len(frame) < 2 or frame[0] not in (TEXT, BINARY):
        return False
    size = frame[1]
    if size < 126:
        return len(frame) == 2 + size
    end = 4 if size == 126 else 10
    return size <= 127 and len(frame) == end + int.from_bytes(frame[2:end], "big")


def opened(frame: bytes) -> tuple[bool, bytes]:
    """Whether a ready frame is binary, and what is in it."""
    size = frame[1]
    return frame[0] == BINARY, frame[2 if size < 126 else 4 if size == 126 else 10 :]


def text_of(frame: bytes) -> str:
    """The text in a ready text frame."""
    return opened(frame)[1].decode()


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload
