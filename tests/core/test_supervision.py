"""Who is stopped and started when a child ends: the decisions alone, and a search for decisions that do not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.intensity import BACKOFF_FIRST_S, Intensity
from roost.core.supervision import (
    RUNNING,
    STOPPED,
    WAITING,
    Again,
    AutoShutdown,
    Decision,
    GiveUp,
    Line,
    Restart,
    ShutDown,
    Strategy,
    Supervision,
)


def family(
    strategy: Strategy,
    labels: str = "abcd",
    *,
    restart: Restart = "permanent",
    max_restarts: int = 100,
    auto_shutdown: AutoShutdown = "never",
    significant: str = "",
    keeps_stopped: bool = True,
) -> Supervision[Line]:
    """Children that run since time 0."""
    intensity = Intensity(max_restarts, 5.0)
    plan: Supervision[Line] = Supervision(strategy, intensity, auto_shutdown, keeps_stopped=keeps_stopped)
    for label in labels:
        line = Line(label, restart, label in significant, 5.0)
        plan.add(line)
        plan.started(line, 0.0)
    return plan


def names(lines: tuple[Line, ...]) -> str:
    """The ids of children."""
    return "".join(line.id for line in lines)


def look(plan: Supervision[Line]) -> str:
    """`a` runs, `a?` waits, `(a)` does neither."""
    shown = {RUNNING: "{}", WAITING: "{}?", STOPPED: "({})"}
    return " ".join(shown[line.state].format(line.id) for line in plan.lines.values())


def end(plan: Supervision[Line], label: str, now: float = 1.0, *, clean: bool = False) -> Decision[Line]:
    """A child ends by itself."""
    return plan.ended(plan.lines[label], clean, now)


def again(decision: Decision[Line]) -> Again[Line]:
    """The decision to restart."""
    assert isinstance(decision, Again)
    return decision


def bring_back(plan: Supervision[Line], cause: Line, now: float = 1.0) -> tuple[str, str]:
    """Do what is due, with success."""
    stop, start = plan.due(cause)
    for line in start:
        plan.started(line, now)
    return names(stop), names(start)


@pytest.mark.parametrize(
    ("strategy", "stop", "start"),
    [("one_for_one", "", "b"), ("one_for_all", "dca", "abcd"), ("rest_for_one", "dc", "bcd")],
)
def test_who_is_restarted_with_a_child(strategy: Strategy, stop: str, start: str) -> None:
    plan = family(strategy)
    decision = again(end(plan, "b"))
    assert (decision.cause.id, names(decision.stop), decision.pause_s) == ("b", stop, 0.0)
    assert bring_back(plan, decision.cause) == ("", start)
    assert look(plan) == "a b c d"


@pytest.mark.parametrize(
    ("restart", "clean", "again"),
    [
        ("permanent", True, True),
        ("permanent", False, True),
        ("transient", True, False),
        ("transient", False, True),
        ("temporary", True, False),
        ("temporary", False, False),
    ],
)
@pytest.mark.parametrize("keeps_stopped", [True, False])
def test_which_ends_are_answered(restart: Restart, clean: bool, again: bool, keeps_stopped: bool) -> None:
    plan = family("one_for_one", "ab", restart=restart, keeps_stopped=keeps_stopped)
    decision = end(plan, "a", clean=clean)
    assert isinstance(decision, Again) == again
    kept = again or (restart == "transient" and keeps_stopped)
    assert look(plan) == (("a? b" if again else "(a) b") if kept else "b")


def test_pauses_begin_with_none_and_grow() -> None:
    plan = family("one_for_one", "a")
    pauses = []
    for _ in range(4):
        decision = again(end(plan, "a"))
        pauses.append(decision.pause_s)
        bring_back(plan, decision.cause)
    assert pauses == [0.0, BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]


def test_one_restart_too_many() -> None:
    plan = family("one_for_all", "ab", max_restarts=1)
    bring_back(plan, again(end(plan, "a")).cause)
    decision = end(plan, "b")
    assert isinstance(decision, GiveUp)
    assert decision.cause.id == "b"


def test_a_start_that_fails_counts_and_is_the_cause_of_the_next_one() -> None:
    plan = family("rest_for_one", max_restarts=3)
    _, (_, c, d) = plan.due(again(end(plan, "b")).cause)
    plan.started(plan.lines["b"], 1.0)
    decision = plan.failed(c, 1.0)
    assert (names(again(decision).stop), again(decision).pause_s) == ("", 0.0)
    assert look(plan) == "a b c? d?"
    assert plan.due(c) == ((), (c, d))
    assert again(plan.failed(c, 1.0)).pause_s == BACKOFF_FIRST_S
    assert isinstance(plan.failed(c, 1.0), GiveUp)


def test_all_that_had_started_is_stopped_again_when_one_for_all_fails_halfway() -> None:
    plan = family("one_for_all")
    _, (a, b, c, _) = plan.due(again(end(plan, "d")).cause)
    plan.started(a, 1.0)
    plan.started(b, 1.0)
    assert names(again(plan.failed(c, 1.0)).stop) == "ba"
    assert look(plan) == "a? b? c? d?"


def test_a_failure_within_a_running_pause_begins_no_second_one() -> None:
    plan = family("rest_for_one")
    bring_back(plan, again(end(plan, "b")).cause)
    first = again(end(plan, "b"))
    assert first.pause_s == BACKOFF_FIRST_S
    plan.started(plan.lines["c"], 1.0)
    assert again(end(plan, "c")).pause_s is None
    earlier = again(end(plan, "a"))
    assert earlier.pause_s == 0.0, "but one before it begins a restart of its own"
    assert bring_back(plan, earlier.cause) == ("", "abcd")
    assert plan.due(first.cause) == ((), ())


def test_what_is_stopped_on_purpose_does_not_wait() -> None:
    plan = family("one_for_all", "ab")
    cause = again(end(plan, "a")).cause
    waits = []
    for label in "ba":
        plan.stopped(plan.lines[label])
        waits.append(plan.waits)
    assert waits == [True, False]
    assert plan.due(cause) == ((), ())
    assert look(plan) == "(a) (b)"


@pytest.mark.parametrize(
    ("auto_shutdown", "ended", "last"),
    [
        ("never", "ab", False),
        ("any_significant", "a", True),
        ("any_significant", "c", False),
        ("all_significant", "a", False),
        ("all_significant", "ab", True),
        ("all_significant", "acb", True),
    ],
)
def test_significant_children(auto_shutdown: AutoShutdown, ended: str, last: bool) -> None:
    plan = family("one_for_one", "abc", restart="transient", significant="ab", auto_shutdown=auto_shutdown)
    decisions = [end(plan, label, clean=True) for label in ended]
    assert isinstance(decisions[-1], ShutDown) == last
    assert not any(decisions[:-1])


EVENTS = st.lists(
    st.tuples(st.sampled_from(["end", "finish", "due", "fail", "stop", "start", "delete", "add"]), st.integers(0, 4)),
    max_size=60,
)


@given(st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]), EVENTS)
def test_whatever_happens_every_child_that_waits_comes_back(strategy: Strategy, events: list[tuple[str, int]]) -> None:
    """Act on the decisions as a supervisor does, with one pause per child or one for all, and look at the states."""
    plan = family(strategy, "abcde")
    for number, line in enumerate(plan.lines.values()):
        line.restart = ("permanent", "transient", "permanent", "temporary", "permanent")[number]
    pauses: dict[str, Line] = {}
    added = 0

    def follow(decision: Decision[Line], failing: int = -1) -> None:
        while decision is not None:
            assert isinstance(decision, Again)
            assert len(set(map(id, decision.stop))) == len(decision.stop)
            order = list(plan.lines)
            assert [one.id for one in decision.stop if one.id in order] == sorted(
                (one.id for one in decision.stop if one.id in order), key=order.index, reverse=True
            )
            if decision.pause_s is None:
                assert pauses
                return
            if strategy != "one_for_one":
                pauses.clear()
            if decision.pause_s > 0:
                pauses[decision.cause.id] = decision.cause
                return
            decision = bring(decision.cause, failing)

    def bring(cause: Line, failing: int) -> Decision[Line]:
        _, start = plan.due(cause)
        assert all(line.state == WAITING for line in start)
        for number, line in enumerate(start):
            if number == failing:
                return plan.failed(line, 0.0)
            plan.started(line, 0.0)
        return None

    for verb, number in events:
        lines = list(plan.lines.values())
        if verb == "add":
            added += 1
            line = Line(f"new {added}", "permanent", False, 5.0)
            plan.add(line)
            plan.started(line, 0.0)
        elif verb in ("due", "fail") and pauses:
            cause = pauses.pop(list(pauses)[number % len(pauses)])
            follow(bring(cause, number if verb == "fail" else -1), -1)
        elif lines:
            line = lines[number % len(lines)]
            if verb in ("end", "finish") and line.state == RUNNING:
                follow(plan.ended(line, verb == "finish", 0.0))
            elif verb == "stop":
                plan.stopped(line)
                if strategy == "one_for_one" or not plan.waits:
                    pauses.pop(line.id, None)
            elif verb == "start" and line.state == STOPPED:
                plan.started(line, 0.0)
            elif verb == "delete" and line.state == STOPPED:
                plan.remove(line)
        waiting = [line for line in plan.lines.values() if line.state == WAITING]
        if strategy == "one_for_one":
            assert {line.id for line in waiting} == set(pauses) & {line.id for line in waiting}
        else:
            assert len(pauses) <= 1
            assert not waiting or pauses, "whoever waits, waits for the end of a pause"
    for cause in list(pauses.values()):
        bring(cause, -1)
    assert not plan.waits
