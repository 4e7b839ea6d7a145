"""What may be lost of that which waits for a slow reader, told by a look into the frame."""

from __future__ import annotations

import pytest

from roost.core.backlog import Seen
from roost.wire.phoenix import V1, V2, Serializer, encode_payload, look, text_frame

KEEP, LOSE = Seen(False, None), Seen(True, None)
FIELDS = {"moved": "user", "presence_diff": "joins", "phx_reply": "status"}


@pytest.mark.parametrize("serializer", [V1, V2])
def test_what_every_policy_has_to_keep(serializer: Serializer) -> None:
    for frame in (
        serializer.reply("1", "2", "room:a", "ok", {"user": 1}),
        serializer.reply(None, None, "phoenix", "ok", {}),
        serializer.close("1", "room:a"),
        serializer.error("1", "room:a", "channel_crash"),
        serializer.push("1", "room:a", "presence_state", {}),
        serializer.broadcast("room:a", "presence_diff", {"joins": {}, "leaves": {}}),
    ):
        assert look(frame, {}) == look(frame, FIELDS) == KEEP


@pytest.mark.parametrize("serializer", [V1, V2])
def test_a_broadcast_may_be_lost_and_is_about_the_field_that_is_named(serializer: Serializer) -> None:
    frame = serializer.broadcast("room:a", "moved", {"x": 1, "user": "bo", "y": [2]})
    assert look(frame, {}) == LOSE
    assert look(frame, FIELDS) == Seen(True, ("room:a", "moved", b'"bo"'))
    assert look(serializer.broadcast("room:a", "said", {"user": "bo"}), FIELDS) == LOSE


def test_a_push_to_one_client_is_kept_unless_its_event_is_named() -> None:
    assert look(V2.push("1", "room:a", "said", {}), FIELDS) == KEEP
    assert look(V2.push("1", "room:a", "moved", {"user": 3}), FIELDS) == Seen(False, ("room:a", "moved", b"3"))


def test_things_are_told_apart_by_topic_event_and_the_type_of_the_value() -> None:
    fields = {"moved": "user", "drawn": "user"}
    frames = [
        V2.broadcast(topic, event, {"user": user})
        for topic in ("room:a", "room:b")
        for event in ("moved", "drawn")
        for user in (1, True, "1", 1.0, None, [1], {"id": 1})
    ]
    assert len({look(frame, fields).key for frame in frames}) == len(frames)


def test_a_payload_without_the_field_is_about_nothing() -> None:
    assert look(V2.broadcast("room:a", "moved", {"x": 1}), FIELDS) == LOSE
    assert look(V2.broadcast("room:a", "moved", encode_payload([1])), FIELDS) == LOSE


def test_binary_frames() -> None:
    assert look(V2.broadcast("room:a", "moved", b"\0\1"), FIELDS) == LOSE
    assert look(V2.broadcast("room:a", "presence_diff", b"\0\1"), FIELDS) == KEEP
    assert look(V2.push("1", "room:a", "moved", b"\0\1"), FIELDS) == KEEP
    assert look(V2.reply("1", "2", "room:a", "ok", b"\0\1"), FIELDS) == KEEP


def test_what_is_no_frame_of_phoenix_is_kept() -> None:
    for content in (b"", b"[", b"[1]", b"{}", b"hello"):
        assert look(text_frame(content), FIELDS) == KEEP
