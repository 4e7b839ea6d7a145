"""A bucket over HTTP: PUT, GET and DELETE of `<prefix><key>`, each with its own N, R and W.

A raw ASGI application, since this is the path that a store's speed is measured on: no request and response objects,
no router.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from roost.core.context import NOTHING_READ
from roost.errors import Conflict, RoostError
from roost.limits import BODY_BYTES_MAX, REQUEST_TIMEOUT_MS_MAX
from roost.web.answer import Receive, Scope, Send, answer, encode, fail, refuse

_decode: Final = msgspec.json.Decoder().decode


class Written(Protocol):
    """What a write tells."""

    @property
    def acks(self) -> int: ...
    @property
    def nodes(self) -> tuple[str, ...]: ...
    @property
    def context(self) -> str: ...


class Read(Protocol):
    """What a read tells."""

    @property
    def value(self) -> object: ...
    @property
    def context(self) -> str: ...
    @property
    def replies(self) -> int: ...


class Bucket(Protocol):
    """Where the values are."""

    async def put(
        self,
        key: str,
        value: object,
        *,
        n: int | None = None,
        w: int | None = None,
        context: str | None = None,
        timeout_s: float | None = None,
    ) -> Written:
        """Write one value."""

    async def get(
        self, key: str, *, n: int | None = None, r: int | None = None, timeout_s: float | None = None
    ) -> Read | None:
        """Read one value."""

    async def delete(
        self,
        key: str,
        *,
        n: int | None = None,
        w: int | None = None,
        context: str | None = None,
        timeout_s: float | None = None,
    ) -> Written:
        """Delete one value."""


@dataclass(frozen=True, slots=True)
class _Query:
    """What a request asks for beside its key."""

    n: int | None = None
    r: int | None = None
    w: int | None = None
    context: str | None = None
    timeout_ms: int | None = None

    @property
    def timeout_s(self) -> float | None:
        """How long to wait for the replicas, in seconds."""
        return None if self.timeout_ms is None else self.timeout_ms / 1000


class StoreApi:
    """The ASGI application. `prefix` is the path before the key, such as "/api/store/"."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._skip = len(prefix)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Every error body has the one shape."""
        key = _key(scope, self._skip)
        method = scope["method"]
        if not key:
            await refuse(send, 400, "bad_request", f"the path must be {self._prefix}<key>, percent-encoded UTF-8")
            return
        try:
            query = _parse(scope["query_string"])
        except ValueError as error:
            await refuse(send, 400, "bad_request", str(error), key=key)
            return
        try:
            if method == "GET" or method == "HEAD":
                await self._get(send, key, query)
            elif method == "PUT":
                await self._put(scope, receive, send, key, query)
            elif method == "DELETE":
                await self._delete(send, key, query)
            else:
                message = f"{method} is not possible here"
                await refuse(send, 405, "method_not_allowed", message, (b"allow", b"GET, PUT, DELETE"), key=key)
        except Conflict as conflict:
            # 300 Multiple Choices: what a client needs to choose is in the body.
            facts = {"key": key, "values": conflict.values, "context": conflict.context}
            await answer(send, 300, encode({"error": "conflict", "message": str(conflict), **facts}))
        except RoostError as error:
            await fail(send, error, key=key)

    async def _get(self, send: Send, key: str, query: _Query) -> None:
        found = await self._bucket.get(key, n=query.n, r=query.r, timeout_s=query.timeout_s)
        if found is None:
            # The context of nothing: a PUT with it does not replace what somebody else has written meanwhile.
            message = f"nothing is stored under {key!r}"
            await refuse(send, 404, "not_found", message, key=key, context=NOTHING_READ)
            return
        body = encode({"data": found.value, "key": key, "replies": found.replies, "context": found.context})
        await answer(send, 200, body)

    async def _put(self, scope: Scope, receive: Receive, send: Send, key: str, query: _Query) -> None:
        body = await _body(scope, receive)
        if body is None:
            message = f"the body is over the limit of {BODY_BYTES_MAX} bytes"
            await refuse(send, 413, "too_large", message, key=key, limit=BODY_BYTES_MAX)
            return
        try:
            value = _decode(body)
        except (ValueError, RecursionError) as error:
            await refuse(send, 400, "bad_request", f"the body is not JSON: {error}", key=key)
            return
        written = await self._bucket.put(
            key, value, n=query.n, w=query.w, context=query.context, timeout_s=query.timeout_s
        )
        answered = {"data": True, "key": key, "acks": written.acks, "nodes": written.nodes, "context": written.context}
        await answer(send, 200, encode(answered))

    async def _delete(self, send: Send, key: str, query: _Query) -> None:
        written = await self._bucket.delete(key, n=query.n, w=query.w, context=query.context, timeout_s=query.timeout_s)
        await answer(send, 200, encode({"data": True, "key": key, "acks": written.acks, "nodes": written.nodes}))


def _key(scope: Scope, skip: int) -> str | None:
    path: str = scope["path"]
    key = path[skip:]
    if "\ufffd" in key:
        # The server has replaced what is not UTF-8; a key that really has this character is not refused.
        try:
            unquote_to_bytes(scope["raw_path"]).decode()
        except (KeyError, UnicodeDecodeError):
            return None
    return key


@functools.lru_cache(maxsize=256)
def _parse(query: bytes) -> _Query:
    """The query of one request; the same few come again and again.

    Raises:
        ValueError: a parameter that is unknown, doubled or not a number; says which.
    """
    if not query:
        return _Query()
    found: dict[str, Any] = {}  # Any: the fields of _Query
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=8):
        if name not in ("n", "r", "w", "context", "timeout_ms") or name in found:
            raise ValueError(f"the query may have n, r, w, context and timeout_ms, each once; not {name!r}")
        if name == "context":
            found[name] = text
        elif text.isascii() and text.isdecimal() and len(text) <= 6:
            found[name] = int(text)
        else:
            raise ValueError(f"{name} must be a number, not {text!r}")
    if not 1 <= found.get("timeout_ms", 1) <= REQUEST_TIMEOUT_MS_MAX:
        raise ValueError(f"timeout_ms must be from 1 to {REQUEST_TIMEOUT_MS_MAX}")
    return _Query(**found)


async def _body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body, or None when it is too large, which a declared length tells before anything is read."""
    for name, text in scope["headers"]:
        if name == b"content-length" and text.isdigit() and int(text) > BODY_BYTES_MAX:
            return None
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return body if len(body) <= BODY_BYTES_MAX else None
    parts, size = [body], len(body)
    while message.get("more_body", False) and size <= BODY_BYTES_MAX:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        part: bytes = message.get("body", b"")
        parts.append(part)
        size += len(part)
    return b"".join(parts) if size <= BODY_BYTES_MAX else None
