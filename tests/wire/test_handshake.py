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
    check_rings,
    decode_word,
    encode_word,
)

A = Hello(1, 1, "meadow", "a@h", 1, "node", b"ring", b"A" * NONCE_BYTES)
B = Hello(1, 1, "meadow", "b@h", 2, "node", b"ring", b"B" * NONCE_BYTES)


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
        ({"version": 9, "version_min": 2}, "none in common"),
        ({"nonce": b"short"}, "nonce"),
        ({"node": "b@h"}, "taken by this very node"),
    ],
)
def test_a_wrong_hello_is_refused_with_its_reason(change: dict[str, object], reason: str) -> None:
    with pytest.raises(HandshakeRefused, match=reason):
        Handshake(B, b"cookie").step(msgspec.structs.replace(A, **change))


def test_a_newer_peer_that_still_speaks_our_version_is_welcome() -> None:
    newer = msgspec.structs.replace(B, version=2, version_min=1)
    assert shake(Handshake(A, b"cookie"), Handshake(newer, b"cookie")) == (True, True)


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


def test_rings_must_agree() -> None:
    check_rings(b"x", b"x", "b@h")
    with pytest.raises(HandshakeRefused, match="another ring"):
        check_rings(b"x", b"y", "b@h")
