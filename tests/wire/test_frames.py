"""Frames survive any split of the stream, and nothing oversized is taken in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import TooLarge
from roost.wire.frames import FrameReader, frame


@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 40), min_size=1, max_size=50))
def test_any_split_gives_the_same_frames(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(payload) for payload in payloads)
    reader, read = FrameReader(300), []
    position = 0
    for cut in cuts:
        read += [bytes(view) for view in reader.feed(stream[position : position + cut])]
        position += cut
    read += [bytes(view) for view in reader.feed(stream[position:])]
    assert read == payloads


def test_a_frame_over_the_limit_is_refused_by_its_header_alone() -> None:
    reader = FrameReader(10)
    with pytest.raises(TooLarge) as refusal:
        reader.feed((11).to_bytes(4, "big"))
    assert (refusal.value.size, refusal.value.limit) == (11, 10)


def test_a_frame_at_the_limit_is_taken() -> None:
    assert [bytes(view) for view in FrameReader(10).feed(frame(b"0123456789"))] == [b"0123456789"]


def test_a_huge_frame_in_small_reads_is_joined_once() -> None:
    payload = bytes(1_000_000)
    stream, reader = frame(payload), FrameReader(1_000_000)
    views = [view for start in range(0, len(stream), 1000) for view in reader.feed(stream[start : start + 1000])]
    assert [bytes(view) for view in views] == [payload]
