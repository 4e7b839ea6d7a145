"""The text frames of V2, against bytes seen on the real Phoenix."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import BadMessage, TooLarge
from roost.limits import SOCKET_FRAME_BYTES_MAX, TOPIC_BYTES_MAX
from roost.wire import phoenix


def _read(text: str | bytes) -> phoenix.Frame:
    return phoenix.V2.decode(text, binary=False)


def test_a_client_frame_is_read() -> None:
    frame = _read('["10","1","room:a","new_msg",{"body":"hi"}]')
    assert (frame.join_ref, frame.ref, frame.topic, frame.event) == ("10", "1", "room:a", "new_msg")
    assert phoenix.payload_of(frame) == {"body": "hi"}


def test_references_keep_their_type() -> None:
    frame = _read('[null,90,"phoenix","heartbeat",{}]')
    assert frame.join_ref is None
    assert phoenix.V2.reply(None, frame.ref, "phoenix", "ok", {})[2:] == (
        b'[null,90,"phoenix","phx_reply",{"status":"ok","response":{}}]'
    )


def test_elements_after_the_fifth_are_ignored() -> None:
    assert _read('["1","2","t","e",{},{"more":1},2]').event == "e"


def test_a_topic_of_another_type_survives() -> None:
    assert _read('["1","2",{"x":1},"phx_join",{}]').topic == {"x": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        '{"topic":"t"}',
        '["1","2","t","e"]',
        '["1","2","t",7,{}]',
        '[true,"2","t","e",{}]',
        '[1.5,"2","t","e",{}]',
        '["1",["2"],"t","e",{}]',
        '["1","2","t","e",{}] and more',
        '["1","2","t","e",{"a":}]',
        "[" * 100_000,
        '["1","2","t","e",' + "[" * 100_000,
        b'["1","2","\xff","e",{}]',
        '["1","2","' + "t" * (TOPIC_BYTES_MAX + 1) + '","e",{}]',
        '["1","2","t","' + "é" * 128 + '",{}]',
        '["1","' + "9" * 256 + '","t","e",{}]',
    ],
)
def test_anything_else_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadMessage):
        _read(text)


def test_names_may_be_as_long_as_the_limit() -> None:
    topic = "t" * TOPIC_BYTES_MAX
    assert _read(f'["1","2","{topic}","e",{{}}]').topic == topic


def test_a_huge_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge) as refused:
        _read(" " * (SOCKET_FRAME_BYTES_MAX + 1))
    assert refused.value.what == "SOCKET_FRAME_BYTES_MAX"


@pytest.mark.parametrize("payload", ["null", "[]", '"text"', "7"])
def test_a_channel_takes_only_objects(payload: str) -> None:
    frame = _read(f'["1","2","t","e",{payload}]')
    with pytest.raises(BadMessage):
        phoenix.payload_of(frame)


def test_golden_server_frames() -> None:
    assert phoenix.V2.reply("10", "11", "room:a", "ok", {"x": 1}) == (
        b'\x81\x43["10","11","room:a","phx_reply",{"status":"ok","response":{"x":1}}]'
    )
    assert phoenix.V2.push("10", "room:a", "evt", {"x": 1})[2:] == b'["10",null,"room:a","evt",{"x":1}]'
    assert phoenix.V2.broadcast("room:a", "evt", {"x": 1})[2:] == b'[null,null,"room:a","evt",{"x":1}]'
    assert phoenix.V2.close("10", "room:a")[2:] == b'["10","10","room:a","phx_close",{}]'
    assert phoenix.V2.error("10", "room:a", "channel_crash")[2:] == (
        b'["10","10","room:a","phx_error",{"reason":"channel_crash"}]'
    )


def test_an_encoded_payload_is_spliced_in() -> None:
    payload = phoenix.encode_payload({"x": [1, "é"]})
    assert phoenix.text_of(phoenix.V2.broadcast("t", "e", payload)) == '[null,null,"t","e",{"x":[1,"é"]}]'


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_frame_headers(size: int, header: bytes) -> None:
    frame = phoenix.text_frame(b"x" * size)
    assert frame[: len(header)] == header
    assert len(frame) == len(header) + size
    assert phoenix.text_of(frame) == "x" * size


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("room:*", "room:lobby", True),
        ("room:*", "room:", True),
        ("room:*", "rooms", False),
        ("room:lobby", "room:lobby", True),
        ("room:lobby", "room:lobby2", False),
        ("foo*", "foobar", True),
        ("*", "anything", True),
    ],
)
def test_topic_patterns(pattern: str, topic: str, expected: bool) -> None:
    assert phoenix.matches(pattern, topic) is expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.none() | st.integers() | st.text(max_size=60), st.text(max_size=60), st.dictionaries(st.text(), json_values))
def test_what_is_pushed_can_be_read(ref: phoenix.Ref, topic: str, payload: dict[str, object]) -> None:
    frame = _read(phoenix.text_of(phoenix.V2.push(ref, topic, "e", payload)))
    assert (frame.join_ref, frame.ref, frame.topic) == (ref, None, topic)
    assert phoenix.payload_of(frame) == payload


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_input_breaks_out(text: bytes | str) -> None:
    try:
        frame = _read(text)
        phoenix.payload_of(frame)
    except (BadMessage, TooLarge):
        return
    assert isinstance(frame.payload, msgspec.Raw)
