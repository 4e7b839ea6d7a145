"""JSON answers over HTTP, and the one shape of every error: {"error": code, "message": sentence, ...facts}."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from roost.errors import (
    CallTimeout,
    Conflict,
    DeadlineExceeded,
    Overloaded,
    Refusal,
    RoostError,
    TooLarge,
    Unavailable,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
# Any: scopes and messages of ASGI are open dicts by its specification.

encode: Final = msgspec.json.Encoder(enc_hook=repr).encode

_JSON: Final = (b"content-type", b"application/json")
_NO_STORE: Final = (b"cache-control", b"no-store")


async def answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send one whole JSON response."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [_JSON, (b"content-length", b"%d" % len(body)), _NO_STORE, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def refuse(
    send: Send, status: int, code: str, message: str, *headers: tuple[bytes, bytes], **facts: object
) -> None:
    """Send an error that is no RoostError: a path that is not there, a body that is not JSON."""
    await answer(send, status, encode({"error": code, "message": message, **facts}), *headers)


async def fail(send: Send, error: RoostError, **facts: object) -> None:
    """Send a RoostError, with the HTTP status it means."""
    body = encode({"error": error.code, "message": str(error), **error.facts(), **facts})
    headers = []
    if isinstance(error, Overloaded):
        headers.append(retry_after(error.retry_after_s))
    await answer(send, status_of(error), body, *headers)


def retry_after(pause_s: float) -> tuple[bytes, bytes]:
    """The header that asks a client to come back after `pause_s` seconds, in whole ones, at least one."""
    return b"retry-after", b"%d" % max(1, math.ceil(pause_s))


def status_of(error: RoostError) -> int:
    """What an error means in HTTP: 400 and above for refusals, 503 and 504 when the world failed, 500 for a bug."""
    if isinstance(error, Conflict):
        return 300
    if isinstance(error, TooLarge):
        return 413
    if isinstance(error, Refusal):
        return 400
    if isinstance(error, DeadlineExceeded | CallTimeout):
        return 504
    if isinstance(error, Unavailable):
        return 503
    return 500
