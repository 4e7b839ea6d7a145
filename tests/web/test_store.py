"""The store over HTTP, request by request, against a bucket that the test controls."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import pytest

from roost.core.context import NOTHING_READ
from roost.errors import (
    CallTimeout,
    Conflict,
    DeadlineExceeded,
    InvalidQuorum,
    InvariantViolated,
    NoQuorum,
    OutcomeUnknown,
    Overloaded,
    RoostError,
    TooLarge,
)
from roost.limits import BODY_BYTES_MAX
from roost.web.store import StoreApi


class Put(NamedTuple):
    acks: int = 2
    nodes: tuple[str, ...] = ("a", "b")
    context: str = "ctx"
    values: tuple[object, ...] | None = None


class Got(NamedTuple):
    value: object
    context: str = "ctx"
    replies: int = 2


class FakeBucket:
    """Remembers what was asked; fails when told to."""

    def __init__(self, error: RoostError | None = None) -> None:
        self.error = error
        self.values: dict[str, object] = {}
        self.asked: list[dict[str, object]] = []

    def _ask(self, **facts: object) -> None:
        self.asked.append(facts)
        if self.error is not None:
            raise self.error

    async def put(self, key: str, value: object, *, return_value: bool = False, **options: object) -> Put:
        self._ask(key=key, value=value, **options)
        self.values[key] = value
        return Put(values=(value,) if return_value else None)

    async def get(self, key: str, **options: object) -> Got | None:
        self._ask(key=key, **options)
        return Got(self.values[key]) if key in self.values else None

    async def delete(self, key: str, **options: object) -> Put:
        self._ask(key=key, **options)
        self.values.pop(key, None)
        return Put()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any


async def ask(
    bucket: FakeBucket,
    method: str,
    path: str,
    body: bytes | list[bytes] = b"",
    query: bytes = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    raw_path: bytes | None = None,
) -> Answer:
    parts = list(body) if isinstance(body, list) else [body]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts) or isinstance(body, list)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": raw_path or path.encode(),
        "query_string": query,
        "headers": headers or [],
    }
    await StoreApi(bucket, "/api/store/")(scope, receive, send)
    start, end = sent
    fields = {name.decode(): value.decode() for name, value in start["headers"]}
    assert fields["content-type"] == "application/json"
    assert int(fields["content-length"]) == len(end["body"])
    return Answer(start["status"], fields, msgspec.json.decode(end["body"]))


async def test_put_get_delete() -> None:
    bucket = FakeBucket()
    put = await ask(bucket, "PUT", "/api/store/a/b é", b'{"x": [1, null]}', b"n=3&w=2")
    assert (put.status, put.body) == (
        200,
        {"data": True, "key": "a/b é", "acks": 2, "nodes": ["a", "b"], "context": "ctx"},
    )
    assert bucket.asked[-1] == {
        "key": "a/b é",
        "value": {"x": [1, None]},
        "n": 3,
        "w": 2,
        "context": None,
        "timeout_s": None,
    }
    told = await ask(bucket, "PUT", "/api/store/k", b"[1]", b"return_value=true")
    assert told.body["values"] == [[1]]
    got = await ask(bucket, "GET", "/api/store/a/b é", query=b"n=3&r=1")
    assert (got.status, got.body) == (
        200,
        {"data": {"x": [1, None]}, "key": "a/b é", "replies": 2, "context": "ctx"},
    )
    assert bucket.asked[-1] == {"key": "a/b é", "n": 3, "r": 1, "timeout_s": None}
    deleted = await ask(bucket, "DELETE", "/api/store/a/b é", query=b"w=1")
    assert (deleted.status, deleted.body) == (200, {"data": True, "key": "a/b é", "acks": 2, "nodes": ["a", "b"]})
    gone = await ask(bucket, "GET", "/api/store/a/b é")
    assert (gone.status, gone.body["error"], gone.body["key"]) == (404, "not_found", "a/b é")
    assert gone.body["context"] == NOTHING_READ


async def test_a_context_settles() -> None:
    bucket = FakeBucket()
    await ask(bucket, "PUT", "/api/store/k", b"1", b"context=a-b_c%3D")
    assert bucket.asked[-1]["context"] == "a-b_c="


async def test_a_request_says_all_that_it_needs_by_number_or_by_name() -> None:
    bucket = FakeBucket()
    query = (
        b"n=3&r=one&w=all&pr=1&pw=quorum&dw=2&node_confirms=default&notfound_ok=false&basic_quorum=true&sloppy=false"
        b"&hedge=true&return_value=false&timeout_ms=20&context=c"
    )
    written = {"n": 3, "w": "all", "dw": 2, "pw": "quorum", "node_confirms": "default", "sloppy": False}
    read = {"r": "one", "pr": 1, "notfound_ok": False, "basic_quorum": True, "hedge": True}
    both = {"n": 3, "node_confirms": "default", "sloppy": False, "timeout_s": 0.02}
    await ask(bucket, "PUT", "/api/store/k", b"1", query)
    assert bucket.asked[-1] == {"key": "k", "value": 1, "context": "c", **written, **both}
    await ask(bucket, "DELETE", "/api/store/k", query=query)
    assert bucket.asked[-1] == {"key": "k", "context": "c", **written, **both}
    await ask(bucket, "GET", "/api/store/k", query=query)
    assert bucket.asked[-1] == {"key": "k", **read, **both}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_request_says_how_long_it_waits(method: str) -> None:
    bucket = FakeBucket()
    await ask(bucket, method, "/api/store/k", b"1", b"timeout_ms=1500")
    assert bucket.asked[-1]["timeout_s"] == 1.5


async def test_a_body_may_come_in_parts() -> None:
    bucket = FakeBucket()
    assert (await ask(bucket, "PUT", "/api/store/k", [b"[1,", b"2]", b""])).status == 400
    parts = [b"[1,", b"2]"]
    answer = await ask(bucket, "PUT", "/api/store/k", [*parts])
    assert answer.status == 400, "a client that went away in the middle of its body has not said anything"
    assert bucket.asked == []


@pytest.mark.parametrize(
    ("method", "path", "body", "query", "status", "code"),
    [
        ("PUT", "/api/store/k", b"", b"", 400, "bad_request"),
        ("PUT", "/api/store/k", b"{", b"", 400, "bad_request"),
        ("PUT", "/api/store/k", b"nothing", b"", 400, "bad_request"),
        ("PUT", "/api/store/k", b"\xff", b"", 400, "bad_request"),
        ("PUT", "/api/store/k", b"[" * 100_000, b"", 400, "bad_request"),
        ("PUT", "/api/store/k", b"1", b"n=three", 400, "bad_request"),
        ("PUT", "/api/store/k", b"1", b"n=-1", 400, "bad_request"),
        ("PUT", "/api/store/k", b"1", b"n=1&n=2", 400, "bad_request"),
        ("PUT", "/api/store/k", b"1", b"w=", 400, "bad_request"),
        ("PUT", "/api/store/k", b"1", "n=٣".encode(), 400, "bad_request"),
        ("PUT", "/api/store/k", b"1", b"w=most", 400, "bad_request"),
        ("PUT", "/api/store/k", b"1", b"n=all", 400, "bad_request"),
        ("PUT", "/api/store/k", b"1", b"timeout_ms=one", 400, "bad_request"),
        ("PUT", "/api/store/k", b"1", b"sloppy=1", 400, "bad_request"),
        ("GET", "/api/store/k", b"", b"speed=fast", 400, "bad_request"),
        ("GET", "/api/store/k", b"", b"timeout_ms=0", 400, "bad_request"),
        ("GET", "/api/store/k", b"", b"timeout_ms=60001", 400, "bad_request"),
        ("GET", "/api/store/k", b"", b"n=1&" * 20, 400, "bad_request"),
        ("GET", "/api/store/", b"", b"", 400, "bad_request"),
        ("POST", "/api/store/k", b"1", b"", 405, "method_not_allowed"),
        ("PUT", "/api/store/k", b" " * BODY_BYTES_MAX + b"1", b"", 413, "too_large"),
    ],
)
async def test_bad_requests(method: str, path: str, body: bytes, query: bytes, status: int, code: str) -> None:
    bucket = FakeBucket()
    answer = await ask(bucket, method, path, body, query)
    assert (answer.status, answer.body["error"]) == (status, code)
    assert answer.body["message"]
    assert bucket.asked == []


async def test_a_declared_length_is_refused_before_the_body_is_read() -> None:
    bucket = FakeBucket()
    headers = [(b"content-length", str(BODY_BYTES_MAX + 1).encode())]
    assert (await ask(bucket, "PUT", "/api/store/k", b"1", headers=headers)).status == 413


async def test_a_body_in_parts_is_limited_too() -> None:
    answer = await ask(FakeBucket(), "PUT", "/api/store/k", [b" " * 100_000] * 12)
    assert answer.status == 413


async def test_a_key_that_is_not_text_is_refused_and_one_with_the_replacement_character_is_not() -> None:
    bucket = FakeBucket()
    bad = await ask(bucket, "GET", "/api/store/\ufffd", raw_path=b"/api/store/%FF")
    assert (bad.status, bad.body["error"]) == (400, "bad_request")
    good = await ask(bucket, "GET", "/api/store/\ufffd", raw_path=b"/api/store/%EF%BF%BD")
    assert good.status == 404


@pytest.mark.parametrize(
    ("error", "status", "facts"),
    [
        (NoQuorum(1, 2), 503, {"error": "no_quorum", "got": 1, "needed": 2, "what": "w"}),
        (NoQuorum(0, 1, "pr"), 503, {"error": "no_quorum", "got": 0, "needed": 1, "what": "pr"}),
        (OutcomeUnknown("b", "silence"), 503, {"error": "outcome_unknown", "node": "b", "reason": "silence"}),
        (Overloaded("the coordinator", 0.1), 503, {"error": "overloaded", "retry_after_s": 0.1}),
        (DeadlineExceeded(1, 2, 5.0), 504, {"error": "deadline", "got": 1, "needed": 2, "timeout_s": 5.0}),
        (CallTimeout("b", 5.0), 504, {"error": "call_timeout"}),
        (InvalidQuorum("w", 4, "more than n"), 400, {"error": "invalid_quorum", "parameter": "w", "value": 4}),
        (TooLarge("a key", 2000, 1024), 413, {"error": "too_large", "what": "a key", "size": 2000, "limit": 1024}),
        (Conflict("k", (1, [2]), "ctx"), 300, {"error": "conflict", "values": [1, [2]], "context": "ctx"}),
        (InvariantViolated("oops"), 500, {"error": "invariant_violated"}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_every_error_has_the_same_shape(
    method: str, error: RoostError, status: int, facts: dict[str, object]
) -> None:
    answer = await ask(FakeBucket(error), method, "/api/store/k", b"1")
    assert answer.status == status
    assert answer.body["message"] == str(error)
    assert answer.body["key"] == "k"
    assert {name: answer.body[name] for name in facts} == facts
    assert answer.headers.get("retry-after") == ("1" if isinstance(error, Overloaded) else None)
