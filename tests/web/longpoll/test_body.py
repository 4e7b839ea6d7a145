"""Bodies, tokens, and messages where only text travels: whatever is put in comes out, and nothing else does."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost import limits
from roost.errors import BadMessage, TooLarge
from roost.web.longpoll.body import Said, frames_of
from roost.web.longpoll.token import Place, derive_key, seal, unseal
from roost.wire import phoenix
from roost.wire.phoenix.plain import plain

NDJSON = "application/x-ndjson; charset=utf-8"
KEY = derive_key(b"cookie")
ANOTHER_KEY = derive_key(b"another")
Texts = st.text(max_size=30)
Json = st.lists(Texts, max_size=4).map(msgspec.json.encode) | st.dictionaries(Texts, Texts, max_size=3).map(
    msgspec.json.encode
)
Lines = st.tuples(st.just(False), Json) | st.tuples(st.just(True), st.binary(min_size=1, max_size=60))


@given(st.lists(Lines, max_size=limits.LONGPOLL_LINES_MAX), st.sampled_from((b"\n", b"\r\n", b"\n\n")), st.booleans())
def test_lines_come_out_as_they_were_put_in(lines: list[tuple[bool, bytes]], end: bytes, last: bool) -> None:
    body = end.join(base64.b64encode(data) if binary else data for binary, data in lines)
    assert frames_of(body + end * last, NDJSON) == [Said(*line) for line in lines]


@given(st.binary(max_size=300))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        frames = frames_of(body, NDJSON)
    except BadMessage:
        return
    assert len(frames) <= limits.LONGPOLL_LINES_MAX
    assert all(said.is_binary or said.data in body for said in frames)


@given(st.binary(max_size=300), st.sampled_from(("", "text/plain", "application/json")))
def test_a_body_of_another_type_is_one_text_frame(body: bytes, content_type: str) -> None:
    assert frames_of(body, content_type) == (Said(False, body),)


@pytest.mark.parametrize("more", [1, limits.LONGPOLL_LINES_MAX, 10_000])
def test_a_line_too_many_is_refused_with_all_others(more: int) -> None:
    with pytest.raises(TooLarge) as refusal:
        frames_of(b"\n".join([b"[]"] * (limits.LONGPOLL_LINES_MAX + more)), NDJSON)
    assert refusal.value.args[0] == "LONGPOLL_LINES_MAX"


def test_empty_lines_do_not_count() -> None:
    assert frames_of(b"\n" * 1_000 + b"[]", NDJSON) == [Said(False, b"[]")]


# Tokens

Places = st.builds(Place, Texts, st.integers(0, 2**53), st.binary(max_size=16), st.integers(0, 2**40))


@given(Places)
def test_a_token_leads_to_its_session(place: Place) -> None:
    assert unseal(KEY, seal(KEY, place), place.issued_s + limits.LONGPOLL_TOKEN_S) == place
    with pytest.raises(BadMessage):
        unseal(KEY, seal(KEY, place), place.issued_s + limits.LONGPOLL_TOKEN_S + 1)
    with pytest.raises(BadMessage):
        unseal(ANOTHER_KEY, seal(KEY, place), place.issued_s)


@given(Places, st.data())
def test_a_token_in_which_anything_is_changed_is_none(place: Place, data: st.DataObject) -> None:
    token = seal(KEY, place)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="latin-1").filter(lambda character: character != token[at]))
    changed = token[:at] + other + token[at + 1 :]
    try:
        found = unseal(KEY, changed, place.issued_s)
    except BadMessage:
        return
    assert found == place  # the unused bits of the last character of base64


@given(st.text(max_size=200))
def test_any_text_is_no_token(text: str) -> None:
    with pytest.raises(BadMessage):
        unseal(KEY, text, 0.0)


def test_a_long_text_is_not_looked_at() -> None:
    with pytest.raises(BadMessage, match="too long"):
        unseal(KEY, "A" * (limits.LONGPOLL_TOKEN_BYTES_MAX + 1), 0.0)


# Messages

Names = st.text(min_size=1, max_size=20)


@given(Names, Names, Names, Names, st.binary(max_size=300))
def test_bytes_are_encoded_or_spelled_out(join_ref: str, ref: str, topic: str, name: str, data: bytes) -> None:
    encoded = {"base64": base64.b64encode(data).decode()}
    told = {
        phoenix.V2.push(join_ref, topic, name, data): [join_ref, None, topic, name, encoded],
        phoenix.V2.reply(join_ref, ref, topic, name, data): [
            join_ref, ref, topic, "phx_reply", {"status": name, "response": encoded},
        ],
        phoenix.V2.broadcast(topic, name, data): [None, None, topic, name, encoded],
    }  # fmt: skip
    for frame, spelled in told.items():
        assert base64.b64decode(plain(frame, encoded=True), validate=True) == phoenix.opened(frame)[1]
        assert msgspec.json.decode(plain(frame, encoded=False)) == spelled


@given(Names, st.dictionaries(Texts, Texts, max_size=3), st.booleans())
def test_text_travels_as_it_is(topic: str, payload: dict[str, object], encoded: bool) -> None:
    for serializer in (phoenix.V2, phoenix.V1):
        frame = serializer.broadcast(topic, "said", payload)
        assert plain(frame, encoded=encoded) == phoenix.text_of(frame)
        assert plain(frame, encoded=encoded)[0] in "[{"


@pytest.mark.parametrize("content", [b"", b"\x07", b"\x00", b"\x01\x01\x01\x01", b"\x02\x05\x05a"])
def test_what_no_serializer_makes_is_told(content: bytes) -> None:
    with pytest.raises(BadMessage):
        plain(phoenix.binary_frame(content), encoded=False)
