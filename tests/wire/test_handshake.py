"""Who gets in, who does not, and what a stranger can learn."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import HandshakeRefused
from roost.wire.handshake import (
    NONCE_BYTES,
    Challenge,
    Denied,
    Handshake,
    Hello,
    Proof,
    Welcome,
    Word,
    check_certificate,
    check_cluster,
    decode_word,
    encode_word,
)

A = Hello(2, 1, "meadow", "a@h", 1, "node", b"id", b"A" * NONCE_BYTES)
B = Hello(2, 1, "meadow", "b@h", 2, "node", b"id", b"B" * NONCE_BYTES)


def shake(dialler: Handshake, acceptor: Handshake) -> tuple[bool, bool]:
    """Carry every word across, through its bytes; return who holds the link for open."""
    word: Word | None = dialler.open()
    sides, is_open, turn = (acceptor, dialler), [False, False], 0
    while word is not None:
        word, is_open[turn] = sides[turn].step(decode_word(encode_word(word)))
        turn = 1 - turn
    return is_open[1], is_open[0]


def test_the_same_cookie_opens_the_link_and_each_knows_the_other() -> None:
    dialler, acceptor = Handshake(A, b"cookie", "b@h"), Handshake(B, b"cookie")
    assert shake(dialler, acceptor) == (True, True)
    assert (dialler.peer, acceptor.peer) == (B, A)


def test_another_cookie_is_refused_by_the_dialler_before_it_proves_anything() -> None:
    dialler, acceptor = Handshake(A, b"cookie", "b@h"), Handshake(B, b"other")
    challenge, _ = acceptor.step(dialler.open())
    assert isinstance(challenge, Challenge)
    with pytest.raises(HandshakeRefused, match="cookies differ"):
        dialler.step(challenge)


def test_a_dialler_without_the_cookie_is_refused() -> None:
    acceptor = Handshake(B, b"cookie")
    acceptor.step(A)
    with pytest.raises(HandshakeRefused, match="cookies differ"):
        acceptor.step(Proof(bytes(32)))


def test_the_acceptors_proof_cannot_be_sent_back_as_the_diallers() -> None:
    acceptor = Handshake(B, b"cookie")
    challenge, _ = acceptor.step(A)
    assert isinstance(challenge, Challenge)
    with pytest.raises(HandshakeRefused):
        acceptor.step(Proof(challenge.proof))


def test_a_recorded_proof_is_worthless_against_a_fresh_nonce() -> None:
    dialler, acceptor = Handshake(A, b"cookie"), Handshake(B, b"cookie")
    challenge, _ = acceptor.step(dialler.open())
    assert challenge is not None
    proof, _ = dialler.step(challenge)
    assert proof is not None
    again = Handshake(msgspec.structs.replace(B, nonce=b"C" * NONCE_BYTES), b"cookie")
    again.step(A)
    with pytest.raises(HandshakeRefused):
        again.step(proof)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cluster": "elsewhere"}, "belongs to cluster"),
        ({"version": 0, "version_min": 0}, "none in common"),
        ({"version": 9, "version_min": 3}, "none in common"),
        ({"nonce": b"short"}, "nonce"),
        ({"node": "b@h"}, "taken by this very node"),
    ],
)
def test_a_wrong_hello_is_refused_with_its_reason(change: dict[str, object], reason: str) -> None:
    with pytest.raises(HandshakeRefused, match=reason):
        Handshake(B, b"cookie").step(msgspec.structs.replace(A, **change))


@pytest.mark.parametrize(("version", "version_min", "spoken"), [(3, 1, 2), (3, 2, 2), (2, 2, 2), (1, 1, 1)])
def test_a_peer_that_speaks_one_of_our_versions_is_welcome(version: int, version_min: int, spoken: int) -> None:
    other = msgspec.structs.replace(B, version=version, version_min=version_min, features=("x", "y"))
    dialler = Handshake(msgspec.structs.replace(A, features=("y", "z")), b"cookie")
    acceptor = Handshake(other, b"cookie")
    assert shake(dialler, acceptor) == (True, True)
    assert dialler.version == acceptor.version == spoken
    assert dialler.features == acceptor.features == {"y"}


@pytest.mark.parametrize(
    ("hosts", "peer", "is_believed"),
    [
        (("h",), "b@h", True),
        (("x", "H.example.org"), "b@h.Example.org", True),
        (("*.example.org",), "b@h.example.org", True),
        (("10.0.0.1",), "b@10.0.0.1", True),
        (("*.example.org",), "b@x.h.example.org", False),
        (("*.example.org",), "b@example.org", False),
        (("*",), "b@h", False),
        (("b@h",), "b@h", False),
        (("g",), "b@h", False),
        ((), "b@h", False),
    ],
)
def test_a_certificate_speaks_for_the_hosts_that_it_names(hosts: tuple[str, ...], peer: str, is_believed: bool) -> None:
    if is_believed:
        check_certificate(hosts, peer)
        return
    with pytest.raises(HandshakeRefused, match="made out to"):
        check_certificate(hosts, peer)


def test_a_name_that_the_certificate_does_not_bear_is_refused_before_anything_is_proved() -> None:
    acceptor = Handshake(B, b"cookie")
    acceptor.certified = ("elsewhere",)
    with pytest.raises(HandshakeRefused, match="the certificate of a@h is made out to elsewhere"):
        acceptor.step(A)
    console = Handshake(B, b"cookie")
    console.certified = ("elsewhere",)
    answer, _ = console.step(msgspec.structs.replace(A, node="console", role="console"))
    assert isinstance(answer, Challenge)


def test_a_guest_is_of_no_cluster_but_not_of_this_name() -> None:
    guest = msgspec.structs.replace(A, role="guest", cluster_id=b"")
    assert shake(Handshake(guest, b"cookie"), Handshake(B, b"cookie")) == (True, True)
    with pytest.raises(HandshakeRefused, match="taken by this very node"):
        Handshake(B, b"cookie").step(msgspec.structs.replace(guest, node="b@h"))


def test_a_node_that_is_not_the_one_dialled_is_refused() -> None:
    with pytest.raises(HandshakeRefused, match="expected c@h, found b@h"):
        shake(Handshake(A, b"cookie", "c@h"), Handshake(B, b"cookie"))


@pytest.mark.parametrize("word", [Welcome(), Proof(bytes(32)), Denied("no"), Challenge(A, bytes(32))])
def test_nothing_but_a_hello_opens_a_handshake_with_an_acceptor(word: Word) -> None:
    with pytest.raises(HandshakeRefused):
        Handshake(B, b"cookie").step(word)


def test_a_second_hello_is_refused() -> None:
    acceptor = Handshake(B, b"cookie")
    acceptor.step(A)
    with pytest.raises(HandshakeRefused, match="unexpected Hello"):
        acceptor.step(A)


@pytest.mark.parametrize("word", [Welcome(), Challenge(A, bytes(32)), A, Proof(bytes(32))])
def test_an_acceptor_that_has_met_a_stranger_is_opened_by_nothing_but_a_proof(word: Word) -> None:
    acceptor = Handshake(B, b"cookie")
    acceptor.step(A)
    with pytest.raises(HandshakeRefused):
        acceptor.step(word)


@pytest.mark.parametrize("word", [B, Welcome(), Proof(bytes(32)), Challenge(B, bytes(32))])
def test_a_dialler_believes_nobody_but_an_acceptor_that_has_proved_itself(word: Word) -> None:
    dialler = Handshake(A, b"cookie", "b@h")
    dialler.open()
    with pytest.raises(HandshakeRefused):
        dialler.step(word)


def test_a_dialler_never_plays_the_acceptor() -> None:
    dialler = Handshake(A, b"cookie", "b@h")
    challenge, _ = Handshake(B, b"cookie").step(dialler.open())
    assert challenge is not None
    dialler.step(challenge)
    for word in (B, Proof(bytes(32)), challenge):
        with pytest.raises(HandshakeRefused, match="unexpected"):
            dialler.step(word)


@given(st.binary(max_size=200))
def test_no_bytes_get_past_the_declared_words(noise: bytes) -> None:
    try:
        word = decode_word(noise)
    except msgspec.MsgspecError:
        return
    try:
        _, is_open = Handshake(B, b"cookie").step(word)
    except HandshakeRefused:
        return
    assert not is_open


def test_clusters_must_agree() -> None:
    check_cluster(b"x", b"x", "b@h")
    with pytest.raises(HandshakeRefused, match="another cluster"):
        check_cluster(b"x", b"y", "b@h")
