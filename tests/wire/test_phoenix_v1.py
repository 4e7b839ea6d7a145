"""The frames of V1."""

from __future__ import annotations

import pytest

from roost.errors import BadMessage
from roost.wire import phoenix


def test_a_client_frame_is_read() -> None:
    frame = phoenix.V1.decode('{"topic":"room:a","event":"say","payload":{"x":1},"ref":"7"}', binary=False)
    assert (frame.join_ref, frame.ref, frame.topic, frame.event) == (None, "7", "room:a", "say")
    assert phoenix.payload_of(frame) == {"x": 1}


def test_a_join_stands_for_its_own_reference() -> None:
    frame = phoenix.V1.decode('{"topic":"room:a","event":"phx_join","payload":{},"ref":"7"}', binary=False)
    assert frame.join_ref == "7"


@pytest.mark.parametrize("text", ['["1","1","t","e",{}]', '{"topic":"t","event":"e","ref":"1"}', "7", ""])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        phoenix.V1.decode(text, binary=False)


def test_there_are_no_binary_frames() -> None:
    with pytest.raises(BadMessage):
        phoenix.V1.decode(b"\x00\x00\x00\x01\x01te", binary=True)
    for send in (phoenix.V1.broadcast, lambda *names: phoenix.V1.push("1", *names)):
        with pytest.raises(TypeError):
            send("t", "e", b"\x00")


def test_golden_server_frames() -> None:
    assert phoenix.text_of(phoenix.V1.reply("7", "8", "room:a", "ok", {"x": 1})) == (
        '{"topic":"room:a","event":"phx_reply","payload":{"status":"ok","response":{"x":1}},"ref":"8"}'
    )
    assert phoenix.text_of(phoenix.V1.push("7", "t", "e", {})) == '{"topic":"t","event":"e","payload":{},"ref":null}'
    assert phoenix.text_of(phoenix.V1.broadcast("t", "e", {})) == '{"topic":"t","event":"e","payload":{},"ref":null}'
    assert phoenix.text_of(phoenix.V1.close("7", "t")) == '{"topic":"t","event":"phx_close","payload":{},"ref":"7"}'
    assert phoenix.text_of(phoenix.V1.error("7", "t", "channel_crash")) == (
        '{"topic":"t","event":"phx_error","payload":{"reason":"channel_crash"},"ref":"7"}'
    )
