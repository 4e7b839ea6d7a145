"""A bucket over HTTP: PUT, GET and DELETE of `<prefix><key>`, each with its own N, R, W and so on.

A raw ASGI application, since this is the path that a store's speed is measured on: no request and response objects,
no router.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final, Protocol, Unpack, cast
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from roost.core.context import NOTHING_READ
from roost.core.terms import READ_OPTIONS, WRITE_OPTIONS, ReadOptions, WriteOptions
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
    @property
    def values(self) -> tuple[object, ...] | None: ...


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
        context: str | None = None,
        return_value: bool = False,
        timeout_s: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> Written:
        """Write one value."""

    async def get(self, key: str, *, timeout_s: float | None = None, **options: Unpack[ReadOptions]) -> Read | None:
        """Read one value."""

    async def delete(
        self,
        key: str,
        *,
        context: str | None = None,
        timeout_s: float | None = None,
        **options: Unpack[WriteOptions],
    ) -> Written:
        """Delete one value."""


_COUNTS: Final = ("n", "r", "w", "pr", "pw", "dw", "node_confirms")
_FLAGS: Final = ("notfound_ok", "basic_quorum", "sloppy", "hedge", "return_value")
_NAMES: Final = (*_COUNTS, *_FLAGS, "context", "timeout_ms")
_SYMBOLS: Final = ("one", "quorum", "all", "default")


@dataclass(frozen=True, slots=True)
class _Query:
    """What a request asks for beside its key. What concerns the other kind of operation is left aside, so that a
    client may say the same with each request."""

    writes: WriteOptions
    reads: ReadOptions
    return_value: bool = False
    context: str | None = None
    timeout_s: float | None = None


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
        found = await self._bucket.get(key, timeout_s=query.timeout_s, **query.reads)
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
            key,
            value,
            context=query.context,
            return_value=query.return_value,
            timeout_s=query.timeout_s,
            **query.writes,
        )
        answered = {"data": True, "key": key, "acks": written.acks, "nodes": written.nodes, "context": written.context}
        if written.values is not None:
            answered["values"] = written.values
        await answer(send, 200, encode(answered))

    async def _delete(self, send: Send, key: str, query: _Query) -> None:
        written = await self._bucket.delete(key, context=query.context, timeout_s=query.timeout_s, **query.writes)
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
    found: dict[str, Any] = {}  # Any: the options of reads and writes
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=len(_NAMES)):
        if name not in _NAMES or name in found:
            raise ValueError(f"the query may have {', '.join(_NAMES)}, each once; not {name!r}")
        found[name] = _meaning(name, text)
    timeout_ms = found.pop("timeout_ms", None)
    if timeout_ms is not None and not 1 <= timeout_ms <= REQUEST_TIMEOUT_MS_MAX:
        raise ValueError(f"timeout_ms must be from 1 to {REQUEST_TIMEOUT_MS_MAX}")
    return _Query(
        cast(WriteOptions, {name: found[name] for name in found if name in WRITE_OPTIONS}),
        cast(ReadOptions, {name: found[name] for name in found if name in READ_OPTIONS}),
        found.get("return_value", False),
        found.get("context"),
        None if timeout_ms is None else timeout_ms / 1000,
    )


def _meaning(name: str, text: str) -> object:
    if name == "context":
        return text
    if name in _FLAGS:
        if text not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, not {text!r}")
        return text == "true"
    if text in _SYMBOLS and name not in ("n", "timeout_ms"):
        return text
    if text.isascii() and text.isdecimal() and len(text) <= 6:
        return int(text)
    names = "" if name in ("n", "timeout_ms") else f" or one of {', '.join(_SYMBOLS)}"
    raise ValueError(f"{name} must be a number{names}, not {text!r}")


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
