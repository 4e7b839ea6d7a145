"""Erlang's external term format. The vectors were written by Erlang/OTP 25's own term_to_binary."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import BadMessage, TooLarge
from roost.limits import TERM_BYTES_MAX, TERM_DEPTH_MAX
from roost.wire.external_term import Atom, decode, encode

VECTORS: list[tuple[str, object]] = [
    ("836400036e696c", None),
    ("8364000474727565", True),
    ("8364000566616c7365", False),
    ("83640007757365725f6964", Atom("user_id")),
    ("836100", 0),
    ("8361ff", 255),
    ("836200000100", 256),
    ("8362ffffffff", -1),
    ("836280000000", -(2**31)),
    ("83627fffffff", 2**31 - 1),
    ("836e040000000080", 2**31),
    ("836e040101000080", -(2**31) - 1),
    ("836e06000068e5cf8b01", 1_700_000_000_000),
    ("836e0d0000000000000000000000000010", 1 << 100),
    ("83463ff8000000000000", 1.5),
    ("8346bfd0000000000000", -0.25),
    ("836d00000003616263", "abc"),
    ("836d00000002fffe", b"\xff\xfe"),
    ("836d00000002c3a9", "é"),
    ("836a", []),
    ("836b0003010203", [1, 2, 3]),
    ("836c00000003640001616d000000016261036a", [Atom("a"), "b", 3]),
    ("836800", ()),
    ("836802610168016102", (1, (2,))),
    ("837400000000", {}),
    (
        "837400000002640007757365725f696461076d000000016b6c00000001463ff00000000000006a",
        {Atom("user_id"): 7, "k": [1.0]},
    ),
]


@pytest.mark.parametrize(("written", "term"), VECTORS)
def test_what_erlang_writes_is_read(written: str, term: object) -> None:
    found = decode(bytes.fromhex(written))
    assert found == term
    assert type(found) is type(term)


@pytest.mark.parametrize(
    ("written", "term"),
    [vector for vector in VECTORS if not isinstance(vector[1], list) and "64000" not in vector[0]],
)
def test_what_is_written_is_what_erlang_writes(written: str, term: object) -> None:
    assert encode(term).hex() == written


def test_an_atom_is_written_in_utf_8_and_equals_its_letters() -> None:
    assert encode(Atom("ok")).hex() == "8377026f6b"
    assert decode(encode({Atom("user_id"): 7})) == {"user_id": 7}
    assert repr(decode(encode(Atom("ok")))) == "Atom('ok')"
    assert decode(encode("true")) == "true"


terms = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**2000), 2**2000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.just(b"\xff\x00"),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(terms)
def test_what_is_written_is_read_again(term: object) -> None:
    assert decode(encode(term)) == term


@given(st.binary(max_size=60))
def test_any_bytes_are_a_term_or_refused(data: bytes) -> None:
    try:
        decode(b"\x83" + data)
    except BadMessage:
        return


@pytest.mark.parametrize(
    "written",
    [
        "",
        "82",
        "83",
        "8361",
        "83610000",
        "8362000000",
        "836d000000ff6162",
        "83463ff8",
        "836dffffffff",
        "836cffffffff",
        "8369ffffffff",
        "8374ffffffff",
        "836c0000000161016102",  # an improper list
        "8368026c000000016101616a",  # one whose tail could be taken for its end and the next term
        "835864000d6e6f6e6f6465406e6f686f7374000000090000000000000000",  # a pid
        "834d000000010320",  # a bit string
        "8350000002f4789ccb61606030ca05125c897030ca1de50e636e1600788ed5bb",  # compressed
        "8374000000026400016161026d00000001616101",  # :a and "a" as keys
        "8374000000016a6101",  # a list as a key
        "83467ff8000000000000",  # NaN
        "83467ff0000000000000",  # infinity
        "837601ff",
        "837702fffe",
        "83" + "6801" * 2_000 + "6101",
    ],
)
def test_everything_else_is_refused(written: str) -> None:
    with pytest.raises(BadMessage):
        decode(bytes.fromhex(written))


def test_the_bounds_are_kept_on_both_sides() -> None:
    deep: Any = 1
    for _ in range(TERM_DEPTH_MAX):
        deep = [deep]
    assert decode(encode(deep)) == deep
    with pytest.raises(TooLarge):
        encode([deep])
    with pytest.raises(TooLarge):
        encode("x" * TERM_BYTES_MAX)
    with pytest.raises(TooLarge):
        decode(b"\x83" + bytes(TERM_BYTES_MAX))
    with pytest.raises(TooLarge):
        encode(1 << 2040)
    with pytest.raises(BadMessage):
        decode(b"\x83" + b"l\x00\x00\x00\x01" * (TERM_DEPTH_MAX + 1) + b"a\x01" + b"j" * (TERM_DEPTH_MAX + 1))


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 1j, math.inf, math.nan, [object()], {"k": object()}, Atom("x" * 256)]
)
def test_a_value_that_is_no_term_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        encode(value)
