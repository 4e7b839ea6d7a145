"""The first words on a link: who is there, and does it know the cookie?

    dialler                         acceptor
    Hello(nonce d)         -->
                           <--      Challenge(hello with nonce a, proof a)     or Denied(reason)
    Proof(proof d)         -->                                                 or Denied(reason)
                           <--      Welcome                                    or Denied(reason)

A proof is an HMAC-SHA256 with the cookie over both hellos, so it binds the names, the boots, the clusters and both
nonces; the cookie itself never travels. Each side proves before the other believes anything that it says, and the
acceptor proves first, so that a dialler never answers a stranger. The two proofs have different labels: neither can
be sent back as the other.

Where links have certificates, a name is believed only when the certificate says the host in it, and that is looked at
as soon as the name has been said.

Versions: each side says the highest and the lowest that it speaks. They go on with the highest that both know, and
with the features that both have. Version 2 added Probe and Doubt; nothing else is different in version 1.

Invariant: each side takes each word only in its own turn: an acceptor is opened by a valid proof and by nothing else,
a dialler by a welcome that follows one. A handshake ends once, as agreed or as refused, within four frames of at most
HANDSHAKE_BYTES_MAX.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from roost.core.interest import BUCKETS
from roost.errors import HandshakeRefused
from roost.limits import PRESENCE_SHARDS

PROTOCOL_VERSION: Final = 2
PROTOCOL_VERSION_MIN: Final = 1
PROBE_VERSION: Final = 2
"""The first version whose peers know Probe and Doubt."""
TOPICS: Final = f"topics/{BUCKETS}"
"""Topics fall into so many buckets. A node that makes it another number cannot be told which topics are wanted."""
PRESENCES: Final = f"presences/{PRESENCE_SHARDS}"
"""Presences are divided into so many shards. A node that makes it another number cannot be told of any."""
FEATURES: Final[tuple[str, ...]] = (TOPICS, PRESENCES)
"""What this release can do beyond its version."""
NONCE_BYTES: Final = 32
OTHER_CLUSTER: Final = "is a member of another cluster of this name"
"""What is said of a node that is told by its cluster's identity; it passes by itself while the node joins."""

Role = Literal["node", "console", "guest"]
"""A member of the cluster; an operator's console; a node that asks without being a member of this cluster (yet)."""


class Hello(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Who speaks. `cluster` is the name of its cluster, `cluster_id` tells clusters of one name apart; a console
    has none. Versions are the highest and the lowest that it speaks; `features` is what it can do beyond them."""

    version: int
    version_min: int
    cluster: str
    node: str
    incarnation: int
    role: Role
    cluster_id: bytes
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
        expected: the name that a dialler wants to reach; None for an acceptor, a console or a guest.

    Attributes:
        certified: the hosts that the other side's certificate names; None where links have no certificates.
        peer: who the other side says it is; proved once `step` has answered with Proof or Welcome.
        version: the version that both speak, once the other side has introduced itself.
        features: what both can do beyond that.
    """

    __slots__ = ("_awaited", "_cookie", "_me", "certified", "expected", "features", "peer", "version")

    def __init__(self, me: Hello, cookie: bytes, expected: str | None = None) -> None:
        self._me = me
        self._cookie = cookie
        self.expected = expected
        self.certified: tuple[str, ...] | None = None
        self.peer: Hello | None = None
        self.version = 0
        self.features: frozenset[str] = frozenset()
        self._awaited: type[Hello | Challenge | Proof | Welcome] = Hello

    @property
    def me(self) -> Hello:
        """How this side introduces itself."""
        return self._me

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
        if peer.role != "console" and me.role != "console" and peer.node == me.node:
            raise HandshakeRefused(f"the name {me.node} is taken by this very node")
        if self.certified is not None and peer.role != "console":
            check_certificate(self.certified, peer.node)
        self.version = min(me.version, peer.version)
        self.features = frozenset(me.features) & frozenset(peer.features)
        self.peer = peer

    def _prove(self, label: bytes, dialler: Hello, acceptor: Hello) -> bytes:
        words = label + encode_word(dialler) + encode_word(acceptor)
        return hmac.digest(self._cookie, words, "sha256")

    def _believe(self, proof: bytes, label: bytes, dialler: Hello, acceptor: Hello) -> None:
        if not hmac.compare_digest(proof, self._prove(label, dialler, acceptor)):
            raise HandshakeRefused("the cookies differ")


def check_cluster(mine: bytes, theirs: bytes, peer: str) -> None:
    """Refuse a node that is a member of another cluster, though that has the same name and the same cookie.

    Raises:
        HandshakeRefused: when the clusters differ.
    """
    if mine != theirs:
        raise HandshakeRefused(
            f"{peer} {OTHER_CLUSTER}: one of the two must leave its own, or start with an empty data folder, before it "
            "can join"
        )


def check_certificate(hosts: Iterable[str], peer: str) -> None:
    """Refuse a node whose certificate does not name the host in the name that it claims.

    A name may begin with a wildcard for one label, as RFC 6125 has it: "*.example.org".

    Args:
        hosts: the names of hosts and the addresses that the certificate was made for.
        peer: what the other side says it is called, "a@db1.example.org".

    Raises:
        HandshakeRefused: when none of them is its host.
    """
    hosts = tuple(hosts)
    host = peer.partition("@")[2].lower()
    wildcard = "*." + host.partition(".")[2]
    if not any(name.lower() in (host, wildcard) for name in hosts):
        raise HandshakeRefused(f"the certificate of {peer} is made out to {', '.join(hosts) or 'nobody'}")
