"""Contexts: what a reader hands back with the write that follows from what he has read.

A context is the clock of an object, as text that may stand in a URL. It is sealed: a keyed hash over the clock and the
key that it belongs to stands in front. A clock that no replica ever had, or that of another key, would make replicas
believe that they have seen writes which they have not, and forget these; so a context that was made up, changed, or
taken from another key is refused.

Invariant: `parse` gives back exactly the clocks that `text` was given, for the same key and the same secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

import msgspec

from roost.core.causality import Clock, check_clock
from roost.errors import BadMessage, TooLarge
from roost.limits import CONTEXT_BYTES_MAX

SEAL_BYTES: Final = 8

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Clock).decode

NOTHING_READ: Final = "kA"
"""The context of a writer who knows that there was nothing: what was written meanwhile is kept beside his value."""


class Contexts:
    """The contexts of one cluster.

    Args:
        secret: what all members share and no client knows.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = hashlib.blake2b(b"context" + secret, digest_size=32).digest()

    def text(self, key: bytes, clock: Clock) -> str:
        """The context of what was read, or has just been written, under `key`."""
        if not clock:
            return NOTHING_READ
        encoded = _encode(clock)
        return base64.urlsafe_b64encode(self._seal(key, encoded) + encoded).decode().rstrip("=")

    def parse(self, key: bytes, text: str) -> Clock:
        """The clock of a context of `key`.

        Raises:
            BadMessage: when it is not one that this cluster has given for this key.
            TooLarge: when it is over CONTEXT_BYTES_MAX.
        """
        if text == NOTHING_READ:
            return ()
        if len(text) > CONTEXT_BYTES_MAX:
            raise TooLarge("a context", len(text), CONTEXT_BYTES_MAX)
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            seal, encoded = sealed[:SEAL_BYTES], sealed[SEAL_BYTES:]
            if seal != self._seal(key, encoded):
                raise BadMessage("a context that was not given for this key, or was changed")
            clock = _decode(encoded)
        except (binascii.Error, ValueError):
            raise BadMessage(f"{text[:40]!r} is not a context") from None
        check_clock(clock)
        return clock

    def _seal(self, key: bytes, encoded: bytes) -> bytes:
        words = len(key).to_bytes(4, "big") + key + encoded
        return hashlib.blake2b(words, key=self._secret, digest_size=SEAL_BYTES).digest()
