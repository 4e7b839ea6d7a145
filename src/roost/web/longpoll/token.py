"""The token of a session: where it is, signed, so that every node of the cluster can find it and nobody can make one.

`base64url(content) "." base64url(HMAC-SHA256(key, content))`, without padding. The key is derived from the cookie,
which all members share. A token is all that a request has to show: whoever has it is the client.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

import msgspec

from roost.errors import BadMessage
from roost.limits import LONGPOLL_TOKEN_BYTES_MAX, LONGPOLL_TOKEN_S

_LABEL: Final = b"roost long poll token 1"
_ITERATIONS: Final = 100_000


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where a session is.

    Attributes:
        node: the node that has it.
        incarnation: which boot of that node.
        session: the session's name there, unpredictable.
        issued_s: when it began, in seconds since the epoch.
    """

    node: str
    incarnation: int
    session: bytes
    issued_s: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Place).decode


def derive_key(cookie: bytes) -> bytes:
    """The key of a cluster's tokens. It tells nothing of the cookie.

    Anybody may have a token, and try in peace which cookie it was made with: each try takes as long as this, some tens
    of milliseconds (RFC 8018, PBKDF2).
    """
    return hashlib.pbkdf2_hmac("sha256", cookie, _LABEL, _ITERATIONS)


def seal(key: bytes, place: Place) -> str:
    """The token of a session."""
    content = _encode(place)
    return f"{_to_text(content)}.{_to_text(hmac.digest(key, content, hashlib.sha256))}"


def unseal(key: bytes, token: str, now_s: float) -> Place:
    """Where the session of a token is, or was.

    Args:
        key: the key of the cluster.
        token: what a client shows.
        now_s: seconds since the epoch.

    Raises:
        BadMessage: it was not made with this key, or is older than LONGPOLL_TOKEN_S.
    """
    if len(token) > LONGPOLL_TOKEN_BYTES_MAX:
        raise BadMessage("a token: too long")
    head, dot, tail = token.partition(".")
    try:
        content, signature = _from_text(head), _from_text(tail)
    except (binascii.Error, ValueError):
        raise BadMessage("a token: not base64") from None
    if not dot or not hmac.compare_digest(hmac.digest(key, content, hashlib.sha256), signature):
        raise BadMessage("a token: not signed by this cluster")
    try:
        place = _decode(content)
    except msgspec.MsgspecError as error:
        raise BadMessage(f"a token: {error}") from None
    if now_s - place.issued_s > LONGPOLL_TOKEN_S:
        raise BadMessage("a token: expired")
    return place


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_text(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
