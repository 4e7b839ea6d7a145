"""What polls and posts are answered with.

Every answer of the protocol is JSON with a `status` of its own inside, as Phoenix has it. The client of Phoenix knows
200, 204, 403, 410 and 500 as the status of a poll and stops working at any other; of a post it knows 200, and takes any
other for the end of the session.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from roost.web.answer import Send

OK: Final = 200
NOTHING: Final = 204
"""A poll has waited in vain, or was followed by another one."""
BAD_REQUEST: Final = 400
FORBIDDEN: Final = 403
TIMEOUT: Final = 408
CONFLICT: Final = 409
GONE: Final = 410
"""There is no such session (any more). To a poll, that is also how a new one is announced."""
TOO_LARGE: Final = 413
FAILED: Final = 500
"""Come again later: the client of Phoenix connects anew, with growing pauses."""
UNAVAILABLE: Final = 503

_TYPE: Final = (b"content-type", b"application/json; charset=utf-8")
_NO_STORE: Final = (b"cache-control", b"no-store")
ANY_ORIGIN: Final = (b"access-control-allow-origin", b"*")
"""What a page may not read was refused before; and what a token is needed for, no cookie helps with."""


class Polled(msgspec.Struct, array_like=True, frozen=True):
    """The outcome of a poll: a status, and the messages of the server, oldest first."""

    status: int
    messages: tuple[str, ...] = ()


class Posted(msgspec.Struct, array_like=True, frozen=True):
    """The outcome of a post: a status, how many of its frames were taken, and why not all."""

    status: int
    taken: int = 0
    reason: str = ""


class _PollAnswer(msgspec.Struct, frozen=True):
    status: int
    token: str | None
    messages: tuple[str, ...]


_encode: Final = msgspec.json.Encoder().encode


def poll_body(status: int, token: str | None, messages: tuple[str, ...] = ()) -> bytes:
    """The JSON that answers a poll."""
    return _encode(_PollAnswer(status, token, messages))


def post_body(posted: Posted) -> bytes:
    """The JSON that answers a post."""
    if posted.status == OK:
        return b'{"status":200}'
    return _encode({"status": posted.status, "taken": posted.taken, "reason": posted.reason})


def refusal_body(status: int, reason: str) -> bytes:
    """The JSON that refuses a request."""
    return _encode({"status": status, "token": None, "messages": (), "reason": reason})


async def reply(send: Send, body: bytes, http_status: int = OK, *headers: tuple[bytes, bytes]) -> None:
    """Send one whole answer."""
    length = (b"content-length", b"%d" % len(body))
    start: dict[str, Any] = {  # Any: the messages of ASGI are open dicts
        "type": "http.response.start",
        "status": http_status,
        "headers": [_TYPE, length, _NO_STORE, ANY_ORIGIN, *headers],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
