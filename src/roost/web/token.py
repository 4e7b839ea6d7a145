"""Signed tokens: what a server says to itself by way of a browser. The format is that of `Phoenix.Token`.

::

    from roost import token

    page_token = token.sign(SECRET, "user socket", user.id)   # given to the page
    user_id = token.verify(SECRET, "user socket", info.auth_token)   # in `connect`

A token is signed, not encrypted: whoever has it can read it. It counts until it is too old; there is no way to take
one back but to change the secret, or the salt. With the same secret, an application of Phoenix reads the tokens of
Roost, and Roost those of Phoenix.

The form is `header.content.signature`, each in base64url without padding. The header names the digest, the content is
`{data, signed_at_ms, max_age_s}` in Erlang's external term format (`wire.external_term` says what data may be), and
the signature is the HMAC of the first two with a key that PBKDF2 (RFC 8018, 5.2) makes of the secret and the salt.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
from functools import lru_cache
from typing import ClassVar, Final, Literal

from roost.cluster.node import Node
from roost.errors import BadMessage, ConfigError, Refusal, TooLarge
from roost.limits import TOKEN_CHARS_MAX, TOKEN_KEYS_MAX
from roost.wire import external_term
from roost.wire.external_term import Atom

Digest = Literal["sha256", "sha384", "sha512"]

MAX_AGE_S: Final = 86_400.0
"""How long a token counts when nothing else is said: a day."""
SECRET_BYTES_MIN: Final = 20
ITERATIONS: Final = 1_000
KEY_BYTES: Final = 32
_HEADERS: Final[dict[Digest, str]] = {"sha256": "SFMyNTY", "sha384": "SFMzODQ", "sha512": "SFM1MTI"}
_DIGESTS: Final[dict[str, Digest]] = {header: digest for digest, header in _HEADERS.items()}
_FOREVER: Final = Atom("infinity")


class TokenInvalid(Refusal):
    """A token that was not signed with this secret and salt, or was changed, or comes from the future."""

    code: ClassVar[str] = "token_invalid"

    def __str__(self) -> str:
        return "the token is not valid"


class TokenExpired(Refusal):
    """A token that is too old."""

    code: ClassVar[str] = "token_expired"

    def __str__(self) -> str:
        return "the token has expired"


class TokenMissing(Refusal):
    """There is no token."""

    code: ClassVar[str] = "token_missing"

    def __str__(self) -> str:
        return "there is no token"


def sign(
    secret: str | bytes,
    salt: str | bytes,
    data: object,
    *,
    max_age_s: float = MAX_AGE_S,
    signed_at_ms: int | None = None,
    digest: Digest = "sha256",
) -> str:
    """A token that says `data`.

    Args:
        secret: the secret of the application, SECRET_BYTES_MIN bytes at least; the same on all nodes.
        salt: what the token is for, such as "user socket": a token for one thing does not count for another.
        data: None, bool, int, float, str, bytes, and lists, tuples and dicts of these. Bytes that are UTF-8 come back
            as a str.
        max_age_s: seconds that it counts, unless `verify` says otherwise; math.inf is for ever.
        signed_at_ms: milliseconds since the epoch; now, by the clock of the current node, when not given.
        digest: what the signature is made with.

    Raises:
        ConfigError: the secret is too short.
        TypeError: data of another type.
        TooLarge: data over TERM_BYTES_MAX.
        RuntimeError: no time is given, and there is no current node.
    """
    key = _key(_bytes(secret), _bytes(salt))
    signed_at_ms = _now_ms() if signed_at_ms is None else signed_at_ms
    age = _FOREVER if max_age_s == math.inf else int(max_age_s) if float(max_age_s).is_integer() else max_age_s
    content = _HEADERS[digest] + "." + _text(external_term.encode((data, signed_at_ms, age)))
    return content + "." + _signature(key, content, digest)


def verify(
    secret: str | bytes,
    salt: str | bytes,
    token: str | None,
    *,
    max_age_s: float | None = None,
    now_ms: int | None = None,
) -> object:
    """What a token says, when it counts.

    Args:
        secret: what it was signed with.
        salt: what it must be for.
        token: the token, as it came from the client.
        max_age_s: seconds since it was signed for which it counts, whatever it says itself; math.inf is for ever.
        now_ms: milliseconds since the epoch; now, by the clock of the current node, when not given.

    Returns:
        The data; see `wire.external_term` for what Elixir's values become.

    Raises:
        TokenMissing: there is none. In `connect` these are refusals, and the client gets 403.
        TokenExpired: it is too old.
        TokenInvalid: it is not one of ours.
        ConfigError: the secret is too short.
        RuntimeError: no time is given, and there is no current node.
    """
    key = _key(_bytes(secret), _bytes(salt))
    given: object = token
    if given is None:
        raise TokenMissing
    if not isinstance(given, str) or len(given) > TOKEN_CHARS_MAX or not given.isascii():
        raise TokenInvalid
    content, _, signature = given.rpartition(".")
    header, _, body = content.partition(".")
    digest = _DIGESTS.get(header)
    if digest is None or not hmac.compare_digest(_signature(key, content, digest), signature):
        raise TokenInvalid
    data, signed_at_ms, age_s = _opened(body)
    now_ms = _now_ms() if now_ms is None else now_ms
    if signed_at_ms > now_ms:
        raise TokenInvalid
    if max_age_s is not None:
        age_s = max_age_s
    if age_s <= 0 or signed_at_ms + age_s * 1000 < now_ms:
        raise TokenExpired
    return data


def _opened(body: str) -> tuple[object, int, float]:
    """What was signed. Older versions of Phoenix sign no age, and the oldest sign a map."""
    try:
        term = external_term.decode(base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True))
    except (BadMessage, TooLarge, binascii.Error):
        raise TokenInvalid from None
    match term:
        case (data, int(signed_at_ms), int() | float() | Atom("infinity") as age):
            return data, signed_at_ms, math.inf if isinstance(age, str) else age
        case (data, int(signed_at_ms)):
            return data, signed_at_ms, MAX_AGE_S
        case {"data": data, "signed": int(signed_at_ms)}:
            return data, signed_at_ms, MAX_AGE_S
    raise TokenInvalid


@lru_cache(maxsize=TOKEN_KEYS_MAX)
def _key(secret: bytes, salt: bytes) -> bytes:
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigError("secret", f"{len(secret)} bytes are too short: at least {SECRET_BYTES_MIN}")
    return hashlib.pbkdf2_hmac("sha256", secret, salt, ITERATIONS, KEY_BYTES)


def _signature(key: bytes, content: str, digest: Digest) -> str:
    return _text(hmac.digest(key, content.encode(), digest))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _now_ms() -> int:
    return int(Node.current().runtime.clock.wall() * 1000)
