"""What a function carries along when it goes to another process."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import pytest

from roost.errors import BadFunction, NotSendable
from roost.otp.closure import Closure, carried


class Point(NamedTuple):
    x: int

    def plus(self, by: int) -> int:
        return self.x + by


def double(value: int) -> int:
    return 2 * value


def test_what_carries_nothing_is_itself() -> None:
    functions: tuple[Callable[..., object], ...] = (
        double,
        lambda value: value,
        operator.add,
        operator.itemgetter("a"),
        dict.get,
        list.append,
        int,
        list[int],
        dict.fromkeys,
        len,
        ", ".join,
        Point._make,
    )
    for function in functions:
        assert carried(function) is function or carried(function) == function


def test_variables_that_a_function_closes_over_are_its_own_from_now_on() -> None:
    items, number = ["a"], 3

    def show() -> tuple[list[str], int]:
        return items, number

    copy = carried(show)
    items.append("b")
    number = 4
    assert copy() == (["a"], 3)
    copy()[0].append("c")
    assert items == ["a", "b"]


def test_a_function_cannot_reach_out_of_itself() -> None:
    count = 0

    def add() -> int:
        nonlocal count
        count += 1
        return count

    copy = carried(add)
    assert (copy(), copy(), count) == (1, 2, 0)


def test_functions_inside_functions_go_along_even_in_a_circle() -> None:
    words = ["tea"]

    def even(number: int) -> bool:
        return number == 0 or odd(number - 1)

    def odd(number: int) -> bool:
        return bool(words) and number != 0 and even(number - 1)

    copy = carried(even)
    words.clear()
    assert copy(4)
    assert not even(4)


def test_defaults_and_partials_are_copied() -> None:
    seen: list[int] = [0]

    def note(value: int, into: list[int] = seen, *, more: list[int] = seen) -> list[int]:
        return [*into, *more, value]

    copy = carried(note)
    partial = carried(functools.partial(operator.add, seen))
    named = carried(functools.partial(note, into=seen))
    seen.append(1)
    assert copy(5) == [0, 0, 5]
    assert partial([7]) == [0, 7]
    assert named(5) == [0, 0, 5]
    assert (copy.__name__, copy.__qualname__) == (note.__name__, note.__qualname__)


def test_a_variable_without_a_value_has_none_there_either() -> None:
    def outer() -> Callable[[], int]:
        def inner() -> int:
            return later

        copy = carried(inner)
        later = 1
        assert inner() == later
        return copy

    with pytest.raises(NameError):
        outer()()


def test_what_cannot_cross_is_refused_and_named() -> None:
    class Connection:
        def ask(self) -> int:
            return 1

    connection, items = Connection(), [1]
    with pytest.raises(NotSendable, match=r"a Connection cannot .*'connection', which .* closes over"):
        carried(lambda: connection.ask())
    with pytest.raises(NotSendable, match="a Connection"):
        carried(connection.ask)
    with pytest.raises(NotSendable, match="builtin_function_or_method"):
        carried(items.append)
    with pytest.raises(BadFunction, match="3 is not a function"):
        Closure(3, (), {})  # type: ignore[arg-type]  # the mistake that is meant
    with pytest.raises(NotSendable, match="argument 2 of double"):
        Closure(double, (connection,), {})
    with pytest.raises(NotSendable, match="'by' of double"):
        Closure(double, (), {"by": connection})
    assert carried(Point(3).plus)(4) == 7


def test_async_functions_are_known_through_partials() -> None:
    async def fetch(value: int) -> int:
        return value

    assert Closure(fetch, (), {}).is_async
    assert Closure(functools.partial(fetch, 1), (), {}).is_async
    assert not Closure(double, (), {}).is_async
    assert repr(Closure(double, (), {})) == "double"
    assert repr(Closure(functools.partial(functools.partial(double)), (), {})) == "double"
