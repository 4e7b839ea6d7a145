"""Contexts survive the journey through a client, and nothing else is taken for one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.causality import Clock
from roost.core.context import NOTHING_READ, SEAL_BYTES, Contexts
from roost.errors import BadMessage, TooLarge
from roost.limits import CONTEXT_BYTES_MAX

KEY = b"user:42"
CONTEXTS = Contexts(b"cookie")

clocks = st.dictionaries(st.integers(0, 2**64 - 1), st.integers(1, 2**53 - 1), max_size=5).map(
    lambda counters: tuple(sorted(counters.items()))
)


@given(clocks, st.binary(max_size=20))
def test_a_context_survives_the_journey_through_a_url(clock: Clock, key: bytes) -> None:
    text = CONTEXTS.text(key, clock)
    assert all(char.isalnum() or char in "-_" for char in text)
    assert CONTEXTS.parse(key, text) == clock
    assert Contexts(b"cookie").parse(key, text) == clock


def test_nothing_read_is_the_same_for_every_key_and_cluster() -> None:
    assert CONTEXTS.text(KEY, ()) == NOTHING_READ
    assert CONTEXTS.parse(b"other", NOTHING_READ) == Contexts(b"x").parse(KEY, NOTHING_READ) == ()


def test_the_context_of_another_key_or_another_cluster_is_refused() -> None:
    text = CONTEXTS.text(KEY, ((5, 1),))
    for contexts, key in ((CONTEXTS, b"user:43"), (CONTEXTS, b""), (Contexts(b"other"), KEY), (Contexts(b""), KEY)):
        with pytest.raises(BadMessage, match="not given for this key"):
            contexts.parse(key, text)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_context_that_was_changed_anywhere_is_refused(place: int, flip: int) -> None:
    text = CONTEXTS.text(KEY, ((5, 1), (9, 2)))
    sealed = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    sealed[place % len(sealed)] ^= flip
    with pytest.raises(BadMessage):
        CONTEXTS.parse(KEY, base64.urlsafe_b64encode(bytes(sealed)).decode().rstrip("="))


@pytest.mark.parametrize("text", ["", "?", "ä", "AAAA", "A" * (2 * SEAL_BYTES), "k", "kA=", "kAAA"])
def test_what_is_no_context_is_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        CONTEXTS.parse(KEY, text)


def test_a_context_is_bounded() -> None:
    with pytest.raises(TooLarge):
        CONTEXTS.parse(KEY, "A" * (CONTEXT_BYTES_MAX + 1))
