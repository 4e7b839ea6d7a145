"""Windows: what belongs together, and when it is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.window import Fire, Fold, Late, Panes, Window, WindowEffect
from roost.errors import ConfigError


def told(effects: Iterable[WindowEffect]) -> list[object]:
    """The effects in short: (pane, events), "pane kind", or the late ones."""
    short: list[object] = []
    for effect in effects:
        if isinstance(effect, Fold):
            short.append((effect.pane, list(effect.events)))
        elif isinstance(effect, Fire):
            short.append(f"{effect.pane} {effect.kind}")
        else:
            short.append(["late", *effect.events])
    return short


def test_the_whole_stream_fires_once_and_even_without_events() -> None:
    panes = Panes(Window.whole())
    assert told(panes.take([1, 2])) == [(0, [1, 2])]
    assert told(panes.end()) == ["0 done"]
    assert told(Panes(Window.whole()).end()) == ["0 done"]


def test_it_may_fire_after_some_events_and_after_some_time() -> None:
    panes = Panes(Window.whole(every=3, every_s=10.0))
    assert told(panes.take([1, 2])) == [(0, [1, 2])]
    assert told(panes.tick()) == ["0 periodic"]
    assert told(panes.tick()) == []
    assert told(panes.take([3, 4, 5, 6, 7])) == [(0, [3]), "0 every", (0, [4, 5, 6]), "0 every", (0, [7])]
    assert told(panes.end()) == ["0 done"]


@given(st.integers(1, 100_000), st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.1, 60.1, 1 / 3]))
def test_an_event_at_the_beginning_of_a_window_is_in_it(number: int, size_s: float) -> None:
    panes = Panes(Window.fixed(size_s, by=float))
    begins = panes.starts_at(number)
    assert told(panes.take([begins, begins])) == [(number, [begins, begins])]


def test_a_count_window_is_full_after_so_many_events() -> None:
    panes = Panes(Window.count(3))
    assert told(panes.take([1, 2])) == [(0, [1, 2])]
    assert told(panes.take([3, 4, 5, 6])) == [(0, [3]), "0 done", (1, [4, 5, 6]), "1 done"]
    assert told(panes.end()) == []
    assert told(panes.take([7])) == [(2, [7])]
    assert told(panes.end()) == ["2 done"]


def test_a_periodic_window_ends_with_its_period() -> None:
    panes = Panes(Window.periodic(60.0))
    assert told(panes.take([1])) == [(0, [1])]
    assert told(panes.tick()) == ["0 done"]
    assert told(panes.tick()) == []
    assert told(panes.take([2])) == [(2, [2])]
    assert told(panes.end()) == ["2 done"]


def test_a_fixed_window_goes_by_the_time_of_the_events() -> None:
    panes = Panes(Window.fixed(10.0, by=float))
    assert told(panes.take([1, 5, 12, 3, 25])) == [(0, [1, 5]), (1, [12]), "0 done", (2, [25]), "1 done", ["late", 3]]
    assert told(panes.end()) == ["2 done"]


def test_a_fixed_window_waits_for_late_events() -> None:
    panes = Panes(Window.fixed(10.0, by=float, lateness_s=5.0))
    assert told(panes.take([1, 12, 3])) == [(0, [1]), (1, [12]), (0, [3])]
    assert told(panes.take([15])) == [(1, [15]), "0 done"]
    assert told(panes.take([9])) == [["late", 9]]
    assert panes.starts_at(1) == 10.0


def test_times_before_zero_have_windows_too() -> None:
    assert told(Panes(Window.fixed(10.0, by=float)).take([-1, 1])) == [(-1, [-1]), (0, [1]), "-1 done"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Window.count(0),
        lambda: Window.periodic(-1.0),
        lambda: Window.fixed(1.0, by=float, lateness_s=-1.0),
        lambda: Window.whole(every=0),
        lambda: Window.whole(every_s=float("nan")),
    ],
)
def test_windows_that_make_no_sense_are_refused(wrong: object) -> None:
    assert callable(wrong)
    with pytest.raises(ConfigError):
        wrong()


@given(st.lists(st.lists(st.integers(-30, 60), max_size=8), max_size=12), st.integers(1, 20), st.integers(0, 15))
def test_every_event_is_in_its_window_or_late_and_every_window_is_closed_once(
    batches: list[list[int]], size: int, lateness: int
) -> None:
    panes = Panes(Window.fixed(size, by=float, lateness_s=lateness))
    seen = Counter[object]()
    closed = list[int]()
    greatest = float("-inf")
    for batch in batches:
        effects = list(panes.take(batch))
        greatest = max([greatest, *batch])
        for effect in effects:
            if isinstance(effect, Fold):
                assert effect.pane not in closed
                assert all(effect.pane == event // size for event in effect.events if isinstance(event, int))
                seen.update(effect.events)
            elif isinstance(effect, Late):
                assert all((int(str(event)) // size + 1) * size <= greatest - lateness for event in effect.events)
                seen.update(effect.events)
            else:
                closed.append(effect.pane)
    closed += [effect.pane for effect in panes.end() if isinstance(effect, Fire)]
    assert seen == Counter(event for batch in batches for event in batch)
    assert len(closed) == len(set(closed))
    assert set(closed) == {event // size for batch in batches for event in batch} - _only_late(batches, size, lateness)


def _only_late(batches: list[list[int]], size: int, lateness: int) -> set[int]:
    """Windows all of whose events came too late."""
    greatest = float("-inf")
    in_time: set[int] = set()
    every: set[int] = set()
    for event in [event for batch in batches for event in batch]:
        every.add(event // size)
        if (event // size + 1) * size > greatest:
            in_time.add(event // size)
        greatest = max(greatest, event - lateness)
    return every - in_time


@given(st.lists(st.lists(st.integers(), max_size=7), max_size=12), st.integers(1, 9), st.integers(1, 9))
def test_counts_are_exact_however_the_events_come(batches: list[list[int]], size: int, every: int) -> None:
    panes = Panes(Window("count", size, every=every))
    sizes = Counter[int]()
    order = list[object]()
    for batch in batches:
        for effect in panes.take(batch):
            if isinstance(effect, Fold):
                sizes[effect.pane] += len(effect.events)
                order += effect.events
            elif isinstance(effect, Fire) and effect.kind == "done":
                assert sizes[effect.pane] == size
    list(panes.end())
    assert order == [event for batch in batches for event in batch]
    assert sum(sizes.values()) == len(order)
