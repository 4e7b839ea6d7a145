"""The binary frames of V2, against bytes seen on the real Phoenix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import BadMessage, TooLarge
from roost.wire import phoenix
from roost.wire.phoenix import binary


def test_a_push_of_a_client_is_read() -> None:
    frame = phoenix.V2.decode(b"\x00\x02\x02\x06\x0410" + b"30room:abinp\x01\x02", binary=True)
    assert (frame.join_ref, frame.ref, frame.topic, frame.event) == ("10", "30", "room:a", "binp")
    assert phoenix.payload_of(frame) == b"\x01\x02"


@pytest.mark.parametrize(
    ("data", "names", "payload"),
    [
        (b"\x00\x01\x01\x01\x0101te\x01", ("0", "1", "t", "e"), b"\x01"),
        (b"\x00\x02\x01\x03\x02101topev\x01", ("10", "1", "top", "ev"), b"\x01"),
    ],
)
def test_what_the_phoenix_client_packs_is_read(data: bytes, names: tuple[str, str, str, str], payload: bytes) -> None:
    frame = phoenix.V2.decode(data, binary=True)
    assert (frame.join_ref, frame.ref, frame.topic, frame.event) == names
    assert phoenix.payload_of(frame) == payload


def test_what_the_phoenix_client_unpacks_is_what_is_sent() -> None:
    push = phoenix.opened(phoenix.V2.push("123", "top", "some-event", b"\x01\x01"))
    assert push == (True, b"\x00\x03\x03\x0a123topsome-event\x01\x01")
    reply = phoenix.opened(phoenix.V2.reply("123", "12", "top", "ok", b"\x01\x01"))
    assert reply == (True, b"\x01\x03\x02\x03\x0212312topok\x01\x01")
    broadcast = phoenix.opened(phoenix.V2.broadcast("top", "some-event", b"\x01\x01"))
    assert broadcast == (True, b"\x02\x03\x0atopsome-event\x01\x01")


def test_references_of_no_bytes_are_none() -> None:
    frame = phoenix.V2.decode(b"\x00\x00\x00\x01\x01te", binary=True)
    assert (frame.join_ref, frame.ref, frame.payload) == (None, None, b"")


def test_golden_server_frames() -> None:
    assert phoenix.V2.push("10", "room:a", "binp", b"\x00\x01") == b"\x82\x12\x00\x02\x06\x0410room:abinp\x00\x01"
    assert phoenix.V2.broadcast("room:a", "binb", b"\x42") == b"\x82\x0e\x02\x06\x04room:abinb\x42"
    assert phoenix.V2.reply("10", "30", "room:a", "ok", b"\x01\x02\x03\x04") == (
        b"\x82\x15\x01\x02\x02\x06\x021030room:aok\x01\x02\x03\x04"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x00\x01\x01\x01",
        b"\x01\x01\x01\x01\x011234",
        b"\x02\x01\x01te",
        b"\x07\x01\x01\x01\x011234",
        b"\x00\x01\x01\x01\xff1234",
        b"\x00\x01\x01\x01\x0112\xff4",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(BadMessage):
        phoenix.V2.decode(data, binary=True)


def test_a_name_that_does_not_fit_is_refused_where_it_is_sent() -> None:
    with pytest.raises(TooLarge) as refused:
        phoenix.V2.broadcast("é" * 128, "e", b"")
    assert refused.value.what == "TOPIC_BYTES_MAX"


@given(st.text(max_size=60), st.text(max_size=60), st.binary())
def test_a_broadcast_is_read_on_another_node(topic: str, event: str, data: bytes) -> None:
    assert phoenix.broadcast_in(phoenix.V2.broadcast(topic, event, data)) == (topic, event, data)


def test_a_text_broadcast_is_read_on_another_node() -> None:
    topic, event, payload = phoenix.broadcast_in(phoenix.V2.broadcast("t", "e", {"x": 1}))
    assert (topic, event, bytes(payload)) == ("t", "e", b'{"x":1}')


@given(st.binary(max_size=80))
def test_no_input_breaks_out(data: bytes) -> None:
    try:
        binary.decode_push(data)
    except BadMessage:
        return
