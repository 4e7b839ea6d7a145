"""Signed tokens. Those of the vectors were signed by Erlang/OTP 25 in the way of Phoenix.Token."""

from __future__ import annotations

import math
from typing import Any

import pytest

from roost import token
from roost.config import Config
from roost.errors import ConfigError, Refusal, TooLarge
from roost.runtime import Runtime
from roost.web.app import Roost
from roost.web.token import TokenExpired, TokenInvalid, TokenMissing

SECRET = "a" * 64
AT_MS = 1_700_000_000_000
DAY_MS = 86_400_000
PHOENIX = "SFMyNTY.g2gDbQAAAAV1c2VyMW4GAABo5c-LAWIAAVGA.UWUDusaAHD7ZL3gjgePSF1UiuS6lD3KGQ-duj55Ehcg"  # "user1", a day


def test_a_token_is_the_one_that_phoenix_makes() -> None:
    assert token.sign(SECRET, "salt", "user1", signed_at_ms=AT_MS) == PHOENIX
    assert token.sign(SECRET.encode(), b"salt", "user1", signed_at_ms=AT_MS) == PHOENIX


@pytest.mark.parametrize(
    ("signed", "data"),
    [
        (PHOENIX, "user1"),
        (
            "SFMzODQ.g2gDdAAAAAFkAAd1c2VyX2lkYQduBgAAaOXPiwFkAAhpbmZpbml0eQ"
            ".tcPaGBIiH54-EyPG66pM5Qz5KY4tZX0jBFHjmqcKU3IKmwiEScDV38NqEcKU5lIp",
            {"user_id": 7},
        ),
        (
            "SFM1MTI.g2gDawADAQIDbgYAAGjlz4sBYgAADhA"
            ".WjuXe4SlbAwzc0FIOMuwSgErOhhFNjBD58JHLlsf_ZMnO2g8ywjgT_4nAhe830Q-iRay6byJx2Ar-EKUjnNe8w",
            [1, 2, 3],
        ),
        ("SFMyNTY.g2gCYSpuBgAAaOXPiwE.a4BEdZFpWaJi7L3lQqtd5nap9ft_Qi4oGkmb38WiLyw", 42),
        (
            "SFMyNTY.g3QAAAACZAAEZGF0YW0AAAADb2xkZAAGc2lnbmVkbgYAAGjlz4sB.VdU4qNBw4z4TxsDG8qGYD-f-_53Etu6O5QBIqlGGZog",
            "old",
        ),
    ],
)
def test_the_tokens_of_phoenix_are_read_in_all_their_forms(signed: str, data: object) -> None:
    assert token.verify(SECRET, "salt", signed, now_ms=AT_MS) == data


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("data", [None, 7, "é", ["a", {"b": (1, 2.5)}], b"\xff"])
def test_what_is_signed_is_read_again(digest: Any, data: object) -> None:
    signed = token.sign(SECRET, "salt", data, signed_at_ms=AT_MS, digest=digest)
    assert token.verify(SECRET, "salt", signed, now_ms=AT_MS) == data


@pytest.mark.parametrize("now_ms", [AT_MS, AT_MS + DAY_MS])
def test_a_token_counts_for_as_long_as_it_says(now_ms: int) -> None:
    assert token.verify(SECRET, "salt", PHOENIX, now_ms=now_ms) == "user1"


def test_a_token_that_is_too_old_has_expired() -> None:
    with pytest.raises(TokenExpired):
        token.verify(SECRET, "salt", PHOENIX, now_ms=AT_MS + DAY_MS + 1)
    short = token.sign(SECRET, "salt", 1, signed_at_ms=AT_MS, max_age_s=0.5)
    assert token.verify(SECRET, "salt", short, now_ms=AT_MS + 500) == 1
    with pytest.raises(TokenExpired):
        token.verify(SECRET, "salt", short, now_ms=AT_MS + 501)


def test_who_verifies_may_say_how_old_is_too_old() -> None:
    assert token.verify(SECRET, "salt", PHOENIX, max_age_s=math.inf, now_ms=AT_MS * 2) == "user1"
    with pytest.raises(TokenExpired):
        token.verify(SECRET, "salt", PHOENIX, max_age_s=1, now_ms=AT_MS + 1001)
    for none in (0, -1):
        with pytest.raises(TokenExpired):
            token.verify(SECRET, "salt", PHOENIX, max_age_s=none, now_ms=AT_MS)


def test_a_token_can_count_for_ever() -> None:
    endless = token.sign(SECRET, "salt", 1, signed_at_ms=AT_MS, max_age_s=math.inf)
    assert token.verify(SECRET, "salt", endless, now_ms=AT_MS * 100) == 1


def test_a_token_from_the_future_is_invalid() -> None:
    with pytest.raises(TokenInvalid):
        token.verify(SECRET, "salt", PHOENIX, now_ms=AT_MS - 1)


@pytest.mark.parametrize(("secret", "salt"), [("b" * 64, "salt"), (SECRET, "other")])
def test_another_secret_or_salt_makes_it_invalid(secret: str, salt: str) -> None:
    with pytest.raises(TokenInvalid):
        token.verify(secret, salt, PHOENIX, now_ms=AT_MS)


def test_a_change_of_any_character_makes_it_invalid() -> None:
    for place in range(len(PHOENIX)):
        changed = PHOENIX[:place] + ("B" if PHOENIX[place] == "A" else "A") + PHOENIX[place + 1 :]
        with pytest.raises(TokenInvalid):
            token.verify(SECRET, "salt", changed, now_ms=AT_MS)


def test_the_digest_of_the_header_is_the_one_of_the_signature() -> None:
    with pytest.raises(TokenInvalid):
        token.verify(SECRET, "salt", PHOENIX.replace("SFMyNTY", "SFM1MTI"), now_ms=AT_MS)


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "x", "SFMyNTY", "SFMyNTY.", "SFMyNTY..", "SFMyNTY.é.é", PHOENIX + "=", PHOENIX + ".",
     "none.a.b", " " + PHOENIX, "x" * 100_000, 7, b"x"],
)  # fmt: skip
def test_what_is_no_token_is_invalid(text: Any) -> None:
    with pytest.raises(TokenInvalid):
        token.verify(SECRET, "salt", text, now_ms=AT_MS)


def test_a_token_over_the_bound_is_not_even_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "TOKEN_CHARS_MAX", len(PHOENIX))
    assert token.verify(SECRET, "salt", PHOENIX, now_ms=AT_MS) == "user1"
    monkeypatch.setattr(token, "TOKEN_CHARS_MAX", len(PHOENIX) - 1)
    with pytest.raises(TokenInvalid):
        token.verify(SECRET, "salt", PHOENIX, now_ms=AT_MS)


def test_no_token_is_missing_and_all_of_these_are_refusals() -> None:
    with pytest.raises(TokenMissing):
        token.verify(SECRET, "salt", None, now_ms=AT_MS)
    assert issubclass(TokenMissing, Refusal)
    assert issubclass(TokenInvalid, Refusal)
    assert issubclass(TokenExpired, Refusal)


def test_a_short_secret_is_refused() -> None:
    for secret in ("", "a" * 19):
        with pytest.raises(ConfigError):
            token.sign(secret, "salt", 1, signed_at_ms=AT_MS)
        with pytest.raises(ConfigError):
            token.verify(secret, "salt", PHOENIX, now_ms=AT_MS)
    token.sign("a" * 20, "salt", 1, signed_at_ms=AT_MS)


def test_data_that_is_no_term_or_too_large_is_refused() -> None:
    with pytest.raises(TypeError):
        token.sign(SECRET, "salt", {1, 2}, signed_at_ms=AT_MS)
    with pytest.raises(TooLarge):
        token.sign(SECRET, "salt", "x" * 20_000, signed_at_ms=AT_MS)


async def test_the_clock_is_that_of_the_node() -> None:
    with pytest.raises(RuntimeError):
        token.sign(SECRET, "salt", 1)
    running = await Roost("signer").boot(Config(), Runtime.real())
    try:
        with running.node.entered():
            signed = token.sign(SECRET, "salt", 1)
            assert token.verify(SECRET, "salt", signed) == 1
        late_ms = int(running.node.runtime.clock.wall() * 1000) + DAY_MS + 60_000
        with pytest.raises(TokenExpired):
            token.verify(SECRET, "salt", signed, now_ms=late_ms)
    finally:
        await running.stop()
