"""Which pages may open a socket."""

from __future__ import annotations

import pytest

from roost.web.origin import is_welcome


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
        ("http://example.org", None, "ws", False),
    ],
)
def test_only_pages_of_the_same_host(origin: str | None, host: str | None, scheme: str, expected: bool) -> None:
    assert is_welcome(origin, host, scheme, ()) is expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://app.example.org", True),
        ("https://app.example.org:443", True),
        ("http://app.example.org", False),
        ("https://app.example.org:8443", False),
        ("https://example.org", False),
    ],
)
def test_other_origins_can_be_named(origin: str, expected: bool) -> None:
    assert is_welcome(origin, "api.example.org", "wss", ["https://app.example.org"]) is expected


def test_a_star_lets_every_page_in() -> None:
    assert is_welcome("http://evil.org", "example.org", "ws", ["*"])
