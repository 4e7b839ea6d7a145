"""What comes next in a state machine, rule by rule. Random programs are in tests/otp."""

from __future__ import annotations

from collections.abc import Callable

from roost.core.state_machine import (
    EVENT,
    STATE,
    UNCHANGED,
    CancelTimer,
    Effect,
    Enter,
    Entered,
    Expired,
    Handle,
    Handled,
    Refuse,
    SetTimer,
    Setting,
    StateMachine,
    Transition,
    Unchanged,
)

Machine = StateMachine[str]


def machine(postponed_max: int = 10, is_gone: Callable[[str], bool] = lambda _: False) -> Machine:
    """A machine that rests in its first state, "off"."""
    made: Machine = StateMachine("off", postponed_max, is_gone)
    assert made.begin(Transition()) == [Enter()]
    assert enter(made) == []
    return made


def transition(
    goto: object = UNCHANGED,
    *events: str,
    postpone: bool = False,
    repeat: bool = False,
    **timeouts: float | Unchanged | None,
) -> Transition[str]:
    """What a handler wants; a timeout of the name `x` brings the event "x!"."""
    wanted: Transition[str] = Transition()
    wanted.state, wanted.postpone, wanted.repeat = goto, postpone, repeat
    wanted.events.extend(events)
    for key, delay_s in timeouts.items():
        wanted.set_timeout(key if key in (STATE, EVENT) else (key,), Setting(delay_s, f"{key}!"))
    return wanted


def handle(machine: Machine, event: str, wanted: Transition[str] | None = None, now: float = 0.0) -> list[Effect[str]]:
    """The handler of `event` has ended."""
    return machine.step(Handled(event, wanted or Transition()), now)


def enter(machine: Machine, wanted: Transition[str] | None = None, now: float = 0.0) -> list[Effect[str]]:
    """The enter call has ended."""
    return machine.step(Entered(wanted or Transition()), now)


def test_the_first_state_may_be_chosen_and_is_entered_before_inserted_events() -> None:
    made: Machine = StateMachine("none", 10, lambda _: False)
    assert made.begin(transition("on", "first")) == [Enter()]
    assert (made.state, made.previous) == ("on", "on")
    assert enter(made) == [Handle("first")]


def test_after_a_change_come_enter_inserted_postponed_and_zero_timeouts_in_this_order() -> None:
    door = machine()
    assert handle(door, "a", transition(postpone=True)) == []
    assert handle(door, "b", transition(postpone=True)) == []
    assert handle(door, "c", transition("on", "x", "y", later=0)) == [Enter()]
    assert (door.previous, door.state) == ("off", "on")
    assert enter(door) == [Handle("x")]
    assert handle(door, "x") == [Handle("y")]
    assert handle(door, "y") == [Handle("a")]
    assert handle(door, "a") == [Handle("b")]
    assert handle(door, "b") == [Handle("later!")]
    assert handle(door, "later!") == []


def test_the_same_state_is_no_change() -> None:
    door = machine()
    handle(door, "a", transition(postpone=True))
    assert handle(door, "b", transition("off")) == []
    assert door.postponed == 1


def test_a_repeated_state_is_entered_again_and_keeps_what_was_postponed() -> None:
    door = machine()
    handle(door, "a", transition(postpone=True, state=1.0))
    assert handle(door, "b", transition(repeat=True)) == [Enter()]
    assert enter(door, transition(repeat=True)) == [Enter()]
    assert enter(door) == []
    assert (door.postponed, door.previous, door.timeouts) == (1, "off", (STATE,))


def test_an_event_that_is_postponed_in_a_change_is_handled_again_at_once() -> None:
    door = machine(postponed_max=0)
    assert handle(door, "a", transition("on", postpone=True)) == [Enter()]
    assert enter(door) == [Handle("a")]


def test_events_of_an_earlier_transition_come_after_those_of_a_later_one() -> None:
    door = machine()
    assert handle(door, "a", transition(UNCHANGED, "x", "y")) == [Handle("x")]
    assert handle(door, "x", transition(UNCHANGED, "z")) == [Handle("z")]
    assert handle(door, "z") == [Handle("y")]


def test_too_many_postponed_events_are_refused() -> None:
    door = machine(postponed_max=1)
    assert handle(door, "a", transition(postpone=True)) == []
    assert handle(door, "b", transition(postpone=True)) == [Refuse("b")]
    assert handle(door, "go", transition("on")) == [Enter()]
    assert enter(door) == [Handle("a")]
    assert handle(door, "a") == []


def test_events_that_nobody_waits_for_make_room_but_are_looked_for_once_a_second() -> None:
    looked: list[str] = []

    def is_gone(event: str) -> bool:
        looked.append(event)
        return event == "gone"

    door = machine(2, is_gone)
    for event in ("gone", "a"):
        handle(door, event, transition(postpone=True))
    assert handle(door, "b", transition(postpone=True), now=5.0) == []
    assert handle(door, "c", transition(postpone=True), now=5.9) == [Refuse("c")]
    assert looked == ["gone", "a"]
    assert handle(door, "c", transition(postpone=True), now=6.0) == [Refuse("c")]
    assert looked == ["gone", "a", "a", "b"]


def test_a_change_of_state_ends_the_state_timeout_but_not_that_of_the_new_state() -> None:
    door = machine()
    assert handle(door, "a", transition(state=3.0)) == [SetTimer(STATE, 1, 3.0)]
    assert handle(door, "b", transition("on", state=2.0)) == [CancelTimer(STATE), Enter()]
    assert enter(door) == [SetTimer(STATE, 2, 2.0)]
    assert door.step(Expired(STATE, 1), 3.0) == []
    assert door.step(Expired(STATE, 2), 4.0) == [Handle("state!")]


def test_any_event_ends_the_event_timeout() -> None:
    door = machine()
    assert handle(door, "a", transition(event=3.0)) == [SetTimer(EVENT, 1, 3.0)]
    loud = not door.quiet
    assert handle(door, "b") == [CancelTimer(EVENT)]
    assert loud
    assert door.quiet
    assert handle(door, "c", transition(UNCHANGED, "x", event=0)) == [Handle("x")]
    assert handle(door, "x") == []


def test_a_named_timeout_survives_a_change_and_other_events() -> None:
    door = machine()
    assert handle(door, "a", transition(tea=3.0)) == [SetTimer(("tea",), 1, 3.0)]
    handle(door, "b", transition("on"))
    assert enter(door) == []
    assert door.step(Expired(("tea",), 1), 3.0) == [Handle("tea!")]
    assert door.step(Expired(("tea",), 1), 3.0) == []


def test_names_of_timeouts_are_apart_from_the_two_that_have_none() -> None:
    door = machine()
    wanted = transition()
    wanted.set_timeout((STATE,), Setting(1.0, "named"))
    handle(door, "a", wanted)
    handle(door, "b", transition("on"))
    enter(door)
    assert door.has_timeout((STATE,))
    assert not door.has_timeout(STATE)


def test_of_several_settings_the_last_counts_enter_call_included() -> None:
    door = machine()
    wanted = transition("on", tea=3.0)
    wanted.set_timeout(("tea",), Setting(4.0, "strong"))
    handle(door, "a", wanted)
    assert enter(door, transition(tea=0)) == [Handle("tea!")]


def test_an_update_exchanges_the_event_and_keeps_the_time() -> None:
    door = machine()
    handle(door, "a", transition(tea=3.0))
    assert handle(door, "b", transition(tea=UNCHANGED)) == []
    assert door.step(Expired(("tea",), 1), 3.0) == [Handle("tea!")]
    assert handle(door, "tea!", transition(tea=UNCHANGED)) == [Handle("tea!")]


def test_an_updated_zero_timeout_keeps_its_place_and_one_set_again_loses_it() -> None:
    door = machine()
    assert handle(door, "a", transition(UNCHANGED, "x", one=0, two=0)) == [Handle("x")]
    update = transition()
    update.set_timeout(("one",), Setting(UNCHANGED, "one again"))
    assert handle(door, "x", update) == [Handle("one again")]
    assert handle(door, "one again") == [Handle("two!")]
    assert handle(door, "two!", transition(UNCHANGED, "y", one=0, two=0)) == [Handle("y")]
    assert handle(door, "y", transition(one=0)) == [Handle("two!")]
    assert handle(door, "two!") == [Handle("one!")]


def test_a_zero_timeout_that_is_set_to_a_later_time_waits_for_it() -> None:
    door = machine()
    assert handle(door, "a", transition(UNCHANGED, "x", tea=0)) == [Handle("x")]
    assert handle(door, "x", transition(tea=2.0)) == [SetTimer(("tea",), 1, 2.0)]
    assert door.step(Expired(("tea",), 1), 2.0) == [Handle("tea!")]


def test_a_timeout_is_cancelled_wherever_it_is() -> None:
    door = machine()
    handle(door, "a", transition(tea=2.0))
    assert handle(door, "b", transition(tea=None)) == [CancelTimer(("tea",))]
    assert handle(door, "c", transition(UNCHANGED, "x", tea=0)) == [Handle("x")]
    assert handle(door, "x", transition(tea=None)) == []
    assert handle(door, "y", transition(tea=None)) == []


def test_an_absolute_timeout_is_a_timer_even_when_its_time_has_passed() -> None:
    door = machine()
    wanted = transition()
    wanted.set_timeout(("past",), Setting(3.0, "past!", absolute=True))
    wanted.set_timeout(("later",), Setting(7.5, "later!", absolute=True))
    assert handle(door, "a", wanted, now=5.0) == [SetTimer(("past",), 1, 0.0), SetTimer(("later",), 2, 2.5)]
