"""The first words on a link: who is there, and does it know the cookie?

    dialler                         acceptor
    Hello(nonce d)         -->
                           <--      Challenge(hello with nonce a, proof a)     or Denied(reason)
    Proof(proof d)         -->                                                 or Denied(reason)
                           <--      Welcome                                    or Denied(reason)

A proof is an HMAC-SHA256 with the cookie over both hellos, so it binds the names, the boots, the ring and both
nonces; the cookie itself never travels. Each side proves before the other believes anything that it says, and the
acceptor proves first, so that a dialler never answers a stranger. The two proofs have different labels: neither can
be sent back as the other.

Invariant: each side takes each word only in its own turn: an acceptor is opened by a valid proof and by nothing else,
a dialler by a welcome that follows one. A handshake ends once, as agreed or as refused, within four frames of at most
HANDSHAKE_BYTES_MAX.
"""

from __future__ import annotations

import hmac
from typing import Literal

import msgspec

from roost.errors import HandshakeRefused

PROTOCOL_VERSION = 1
PROTOCOL_VERSION_MIN = 1
NONCE_BYTES = 32

Role = Literal["node", "console"]


class Hello(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Who speaks. `ring` is the digest of its ring; a console has none. Versions are the highest and the lowest
    that it speaks; `features` is what it can do beyond the version."""

    version: int
    version_min: int
    cluster: str
    node: str
    incarnation: int
    role: Role
    ring: bytes
    nonce: bytes
    features: tuple[str, ...] = ()


class Challenge(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """The acceptor's own hello, and its proof."""

    hello: Hello
    proof: bytes


class Proof(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """The dialler's proof."""

    proof: bytes


class Welcome(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """The link is open from here on."""


class Denied(msgspec.Struct, array_like=True, tag=5, frozen=True):
    """Why there will be no link."""

    reason: str


Word = Hello | Challenge | Proof | Welcome | Denied

encode_word = msgspec.msgpack.Encoder().encode
decode_word = msgspec.msgpack.Decoder(Word).decode


class Handshake:
    """One side of one handshake.

    Args:
        me: this side's hello, with a fresh nonce.
        cookie: the secret that both sides must know.
        expected: the name that a dialler wants to reach; None for an acceptor or a console.
    """

    __slots__ = ("_awaited", "_cookie", "_me", "expected", "peer")

    def __init__(self, me: Hello, cookie: bytes, expected: str | None = None) -> None:
        self._me = me
        self._cookie = cookie
        self.expected = expected
        self.peer: Hello | None = None
        """Who the other side says it is; proved once `step` has answered with Proof or Welcome."""
        self._awaited: type[Hello | Challenge | Proof | Welcome] = Hello

    @property
    def local(self) -> str:
        """This side's name."""
        return self._me.node

    def open(self) -> Hello:
        """What a dialler says first. Whoever does not say it is an acceptor."""
        self._awaited = Challenge
        return self._me

    def step(self, word: Word) -> tuple[Word | None, bool]:
        """Take one word of the other side; return the answer, if any, and whether the link is open now.

        Raises:
            HandshakeRefused: when there will be no link; a Denied with its reason tells the other side.
        """
        if isinstance(word, Denied):
            raise HandshakeRefused(f"the other side says: {word.reason[:200]}")
        if type(word) is not self._awaited:
            raise HandshakeRefused(f"an unexpected {type(word).__name__}")
        if isinstance(word, Hello):
            self._meet(word)
            self._awaited = Proof
            return Challenge(self._me, self._prove(b"acceptor", word, self._me)), False
        if isinstance(word, Challenge):
            self._meet(word.hello)
            self._believe(word.proof, b"acceptor", self._me, word.hello)
            self._awaited = Welcome
            return Proof(self._prove(b"dialler", self._me, word.hello)), False
        if isinstance(word, Proof):
            assert self.peer is not None
            self._believe(word.proof, b"dialler", self.peer, self._me)
            return Welcome(), True
        return None, True

    def _meet(self, peer: Hello) -> None:
        me = self._me
        if peer.version < me.version_min or me.version < peer.version_min:
            raise HandshakeRefused(
                f"protocol versions {peer.version_min}-{peer.version} and "
                f"{me.version_min}-{me.version} have none in common"
            )
        if len(peer.nonce) != NONCE_BYTES:
            raise HandshakeRefused("a nonce of the wrong size")
        if peer.cluster != me.cluster:
            raise HandshakeRefused(f"{peer.node} belongs to cluster {peer.cluster!r}, this is {me.cluster!r}")
        if self.expected is not None and peer.node != self.expected:
            raise HandshakeRefused(f"expected {self.expected}, found {peer.node}")
        if peer.role == me.role == "node" and peer.node == me.node:
            raise HandshakeRefused(f"the name {me.node} is taken by this very node")
        self.peer = peer

    def _prove(self, label: bytes, dialler: Hello, acceptor: Hello) -> bytes:
        words = label + encode_word(dialler) + encode_word(acceptor)
        return hmac.digest(self._cookie, words, "sha256")

    def _believe(self, proof: bytes, label: bytes, dialler: Hello, acceptor: Hello) -> None:
        if not hmac.compare_digest(proof, self._prove(label, dialler, acceptor)):
            raise HandshakeRefused("the cookies differ")


def check_rings(mine: bytes, theirs: bytes, peer: str) -> None:
    """Refuse a node that was born into another ring.

    Raises:
        HandshakeRefused: when the digests differ.
    """
    if mine != theirs:
        raise HandshakeRefused(
            f"{peer} has another ring: its members or its ring size differ; give both nodes the same settings, "
            "and data folders of the same cluster"
        )
