"""What waits for a slow reader: order, budgets, and what gives way."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.backlog import Backlog, CloseSlow, Coalesce, DropOldest, Policy, Seen, SlowReaders
from roost.errors import ConfigError
from roost.limits import BACKLOG_FRAME_BYTES

COST = 10 + BACKLOG_FRAME_BYTES
"""What a frame of these tests counts."""


def look(frame: bytes, fields: Mapping[str, str]) -> Seen:
    """Frames of these tests: "r..." must be kept, anything else may be lost; "m1:..." is about 1."""
    text = frame.decode()
    return Seen(not text.startswith("r"), text[:2] if text.startswith("m") and fields else None)


def frame(text: str) -> bytes:
    return text.ljust(10, ".").encode()


def names(frames: list[bytes]) -> list[str]:
    return [each.decode().rstrip(".") for each in frames]


def make(policy: Policy) -> tuple[Backlog, SlowReaders]:
    readers = SlowReaders(policy, look)
    return Backlog(readers), readers


def counts(readers: SlowReaders) -> tuple[int, int, int, int, int]:
    return readers.behind, readers.waiting_bytes, readers.dropped, readers.coalesced, readers.closed


def test_frames_come_out_in_the_order_in_which_they_were_added() -> None:
    backlog, readers = make(CloseSlow())
    assert all(backlog.add(frame(str(number))) for number in range(5))
    assert counts(readers) == (1, 5 * COST, 0, 0, 0)
    assert names(backlog.take(25)) == ["0", "1"]
    assert names(backlog.take(1)) == ["2"]
    assert len(backlog) == 2
    assert names(backlog.take(1_000)) == ["3", "4"]
    assert backlog.take(1_000) == []
    assert not backlog
    assert counts(readers) == (0, 0, 0, 0, 0)


def test_a_reader_over_its_budget_has_to_be_closed_and_holds_nothing_any_more() -> None:
    backlog, readers = make(CloseSlow(2 * COST))
    assert backlog.add(frame("0"))
    assert backlog.add(frame("1"))
    assert not backlog.add(frame("2"))
    assert not backlog
    assert backlog.take(1_000) == []
    assert counts(readers) == (0, 0, 0, 0, 1)


def test_the_oldest_that_may_be_lost_give_way() -> None:
    backlog, readers = make(DropOldest(4 * COST))
    for text in ("r0", "1", "r2", "3", "4", "5", "6"):
        assert backlog.add(frame(text))
    assert names(backlog.take(1_000)) == ["r0", "r2", "5", "6"]
    assert counts(readers) == (0, 0, 3, 0, 0)


def test_what_must_be_kept_is_taken_first_because_it_is_older() -> None:
    backlog, _ = make(DropOldest(2 * COST))
    for text in ("r0", "1", "2"):
        assert backlog.add(frame(text))
    assert names(backlog.take(1)) == ["r0"]
    assert names(backlog.take(1)) == ["2"]


def test_a_reader_for_whom_only_what_must_be_kept_waits_is_closed() -> None:
    backlog, readers = make(DropOldest(2 * COST))
    assert [backlog.add(frame(text)) for text in ("r0", "1", "r1", "r2")] == [True, True, True, False]
    assert counts(readers) == (0, 0, 1, 0, 1)


def test_a_frame_that_alone_is_over_the_budget_is_dropped() -> None:
    backlog, readers = make(DropOldest(COST))
    assert backlog.add(frame("x" * 11))
    assert not backlog
    assert counts(readers) == (0, 0, 1, 0, 0)


def test_the_newest_of_one_thing_replaces_the_older_one() -> None:
    backlog, readers = make(Coalesce(4 * COST, events={"moved": "user"}))
    for text in ("m1:a", "r0", "m2:a", "m1:b", "m1:c", "m2:b"):
        assert backlog.add(frame(text))
    assert counts(readers) == (1, 3 * COST, 0, 3, 0)
    assert names(backlog.take(1_000)) == ["r0", "m1:c", "m2:b"]
    assert backlog.add(frame("m1:d"))
    assert readers.coalesced == 3, "what has left is not replaced"


def test_what_is_not_coalesced_is_not_lost_either() -> None:
    backlog, readers = make(Coalesce(2 * COST, events={"moved": "user"}))
    assert [backlog.add(frame(text)) for text in ("m1:a", "1", "2")] == [True, True, False]
    assert counts(readers) == (0, 0, 0, 0, 1)


def test_a_reader_that_is_gone_is_not_counted_any_more() -> None:
    backlog, readers = make(CloseSlow())
    other = Backlog(readers)
    backlog.add(frame("0"))
    other.add(frame("0"))
    assert readers.behind == 2
    backlog.clear()
    backlog.clear()
    assert counts(readers) == (1, COST, 0, 0, 0)


def test_a_broadcast_to_many_slow_readers_is_looked_into_once() -> None:
    looks: list[bytes] = []

    def noting(frame: bytes, fields: Mapping[str, str]) -> Seen:
        looks.append(frame)
        return look(frame, fields)

    readers = SlowReaders(Coalesce(events={"moved": "user"}), noting)
    broadcast = frame("m1:a")
    for _ in range(5):
        Backlog(readers).add(broadcast)
    assert looks == [broadcast]


def test_a_policy_without_a_budget_or_without_events_is_refused() -> None:
    for make_policy in (CloseSlow, DropOldest, lambda budget: Coalesce(budget, {"moved": "user"})):
        with pytest.raises(ConfigError):
            make_policy(0)
    with pytest.raises(ConfigError):
        Coalesce()


POLICIES = st.sampled_from(
    [CloseSlow(5 * COST), DropOldest(5 * COST), DropOldest(COST), Coalesce(5 * COST, events={"moved": "user"})]
)
STEPS = st.lists(st.one_of(st.integers(1, 60), st.sampled_from(["r", "x", "m1", "m2", "m3"])), max_size=80)


@given(POLICIES, STEPS)
def test_the_reader_gets_a_part_of_what_was_written_in_order_and_every_reply(
    policy: Policy, steps: list[int | str]
) -> None:
    backlog, readers = make(policy)
    written: list[bytes] = []
    got: list[bytes] = []
    for step in steps:
        if isinstance(step, int):
            got += backlog.take(step)
        else:
            written.append(frame(f"{step}:{len(written)}"))
            if not backlog.add(written[-1]):
                assert counts(readers)[:2] == (0, 0)
                return
        assert 0 <= backlog.size_bytes <= policy.budget_bytes
        assert readers.waiting_bytes == backlog.size_bytes == len(backlog) * COST
        assert readers.behind == bool(backlog)
    got += backlog.take(10_000)
    remaining = iter(written)
    assert all(each in remaining for each in got), "an ordered part of what was written"
    lost = [each for each in written if each not in got]
    assert not [each for each in lost if each.startswith(b"r")]
    assert len(lost) == readers.dropped + readers.coalesced
    if isinstance(policy, Coalesce):
        for each in lost:
            newer = written[written.index(each) + 1 :]
            assert any(other[:2] == each[:2] for other in newer), "only what a newer one has replaced"
