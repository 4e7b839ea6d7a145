"""Which pages may open a socket."""

from __future__ import annotations

from typing import Any

import pytest

from roost.errors import ConfigError
from roost.web.origin import SAME_HOST, Origin, OriginPolicy
from roost.web.socket import Socket


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "expected"),
    [
        (None, "example.org", "ws", True),
        (None, None, "ws", True),
        ("http://example.org", "example.org", "ws", True),
        ("http://EXAMPLE.org", "example.ORG", "ws", True),
        ("http://example.org:80", "example.org", "ws", True),
        ("https://example.org", "example.org:443", "wss", True),
        ("https://example.org", "example.org", "wss", True),
        ("http://127.0.0.1:4000", "127.0.0.1:4000", "ws", True),
        ("http://[::1]:4000", "[::1]:4000", "ws", True),
        ("http://127.0.0.1:4001", "127.0.0.1:4000", "ws", True),
        ("http://localhost:4000", "127.0.0.1:4000", "ws", False),
        ("http://evil.org", "example.org", "ws", False),
        ("http://example.org.evil.org", "example.org", "ws", False),
        ("http://evil.org/example.org", "example.org", "ws", False),
        ("http://example.org@evil.org", "example.org", "ws", False),
        ("http://sub.example.org", "example.org", "ws", False),
        ("null", "example.org", "ws", False),
        ("", "example.org", "ws", False),
        ("file://example.org", "example.org", "ws", False),
        ("http://example.org:x", "example.org", "ws", False),
        ("http://example.org, http://evil.org", "example.org", "ws", False),
        ("http://example.org", None, "ws", False),
    ],
)
def test_only_pages_of_the_same_host(origin: str | None, host: str | None, scheme: str, expected: bool) -> None:
    assert SAME_HOST.is_welcome(origin, host, scheme) is expected


@pytest.mark.parametrize(
    ("entry", "origin", "expected"),
    [
        ("https://app.example.org", "https://app.example.org", True),
        ("https://app.example.org", "https://app.example.org:443", True),
        ("https://app.example.org", "http://app.example.org", False),
        ("https://app.example.org", "https://app.example.org:8443", False),
        ("https://app.example.org", "https://example.org", False),
        ("https://app.example.org:8443", "https://app.example.org:8443", True),
        ("https://app.example.org:8443", "https://app.example.org", False),
        ("//app.example.org", "http://app.example.org:4000", True),
        ("//app.example.org", "https://app.example.org", True),
        ("//app.example.org", "https://x.app.example.org", False),
        ("//app.example.org:4000", "http://app.example.org:4000", True),
        ("//app.example.org:4000", "http://app.example.org", False),
        ("//*.example.org", "https://example.org", True),
        ("//*.example.org", "https://a.example.org", True),
        ("//*.example.org", "http://a.b.example.org:1", True),
        ("//*.example.org", "https://evilexample.org", False),
        ("//*.example.org", "https://example.org.evil.org", False),
        ("https://*.example.org", "http://a.example.org", False),
        ("//[::1]", "http://[::1]:4000", True),
        ("//EXAMPLE.org", "https://example.ORG", True),
        ("//example.org", "null", False),
    ],
)
def test_a_list_names_every_origin_that_may(entry: str, origin: str, expected: bool) -> None:
    policy = OriginPolicy(["https://other.org", entry])
    assert policy.is_welcome(origin, "api.example.org", "wss") is expected
    assert policy.is_welcome(None, "api.example.org", "wss")


def test_a_list_leaves_out_the_own_host_that_it_does_not_name() -> None:
    assert not OriginPolicy(["//other.org"]).is_welcome("http://example.org", "example.org", "ws")


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "expected"),
    [
        ("http://example.org:4000", "example.org:4000", "ws", True),
        ("http://example.org:4001", "example.org:4000", "ws", False),
        ("https://example.org", "example.org", "wss", True),
        ("https://example.org", "example.org", "https", True),
        ("https://example.org", "example.org:443", "ws", False),
        ("http://example.org", None, "ws", False),
    ],
)
def test_conn_wants_scheme_host_and_port_of_the_request(
    origin: str, host: str | None, scheme: str, expected: bool
) -> None:
    assert OriginPolicy("conn").is_welcome(origin, host, scheme) is expected


def test_a_function_is_asked_with_the_origin_and_must_say_true() -> None:
    asked: list[Origin] = []

    def ask(origin: Origin) -> Any:
        asked.append(origin)
        return {"good.org": True, "odd.org": "yes"}.get(origin.host)

    policy = OriginPolicy(ask)
    assert policy.is_welcome("https://good.org", "example.org", "ws")
    assert not policy.is_welcome("https://odd.org", "example.org", "ws")
    assert not policy.is_welcome("https://bad.org", "example.org", "ws")
    assert not policy.is_welcome("null", "example.org", "ws")
    assert policy.is_welcome(None, "example.org", "ws")
    assert asked == [("https", "good.org", 443), ("https", "odd.org", 443), ("https", "bad.org", 443)]


def test_false_lets_every_page_in() -> None:
    assert OriginPolicy(False).is_welcome("http://evil.org", "example.org", "ws")
    assert OriginPolicy(False).is_welcome("null", "example.org", "ws")


async def later(origin: Origin) -> bool:
    return True


@pytest.mark.parametrize(
    "rule",
    [
        None,
        "example.org",
        "//example.org",
        [],
        ["*"],
        ["example.org"],
        ["ftp://example.org"],
        ["https://example.org/"],
        ["https://user@example.org"],
        ["//*"],
        ["//a.*.org"],
        ["//example.org:port"],
        [7],
        7,
        later,
    ],
)
def test_a_rule_that_means_nothing_is_refused_when_the_class_is_made(rule: Any) -> None:
    with pytest.raises(ConfigError, match="check_origin"):
        type("Rule", (Socket,), {"check_origin": rule})


def test_every_class_has_its_own_rule() -> None:
    class Base(Socket):
        check_origin = ("//a.org",)

    class Child(Base):
        check_origin = ("//b.org",)

    class Heir(Base):
        pass

    def lets_in(kind: type[Socket]) -> list[bool]:
        return [kind.__origins__.is_welcome(f"http://{host}.org", "c.org", "ws") for host in "abc"]

    assert lets_in(Base) == lets_in(Heir) == [True, False, False]
    assert lets_in(Child) == [False, True, False]
    assert lets_in(Socket) == [False, False, True]
