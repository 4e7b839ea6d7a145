"""What crosses between processes: by reference, as a copy, or not at all."""

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import NotSendable, Refusal
from roost.otp.isolation import hand_over, isolate, isolate_all, isolate_error


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    tags: list[str]


class Order(msgspec.Struct, frozen=True):
    id: int
    lines: list[str] = []


@dataclass(frozen=True)
class Placed:
    id: int
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Slotted:
    lines: tuple[int, ...]


class Mutable(msgspec.Struct):
    id: int


@dataclass
class Loose:
    id: int


class Declared:
    __sendable__: ClassVar[bool] = True

    def __repr__(self) -> str:
        return "Declared()"


@pytest.mark.parametrize(
    "value",
    [
        1,
        "text",
        b"bytes",
        None,
        2.5,
        datetime.datetime(2026, 1, 1),
        datetime.timedelta(1),
        Decimal("1.5"),
        uuid.UUID(int=7),
        Colour.RED,
        (1, ("a", b"b")),
        frozenset({1, (2, 3)}),
        Order(1),
        Slotted((1, 2)),
        Declared(),
        msgspec.UNSET,
    ],
    ids=repr,
)
def test_what_cannot_change_passes_by_reference(value: object) -> None:
    crossed = isolate(value, "here")
    if isinstance(value, Order):
        assert crossed == value
        assert crossed is not value  # it holds a list
    else:
        assert crossed is value


@pytest.mark.parametrize(
    "value",
    [
        [1, [2, [3]]],
        {"a": {"b": [1]}},
        {1, 2},
        ([1], 2),
        Point(1, ["a"]),
        Order(1, ["a"]),
        Placed(1, ["a"]),
        {("a", 1): {"x"}},
    ],
    ids=repr,
)
def test_what_can_change_is_copied(value: object) -> None:
    crossed = isolate(value, "here")
    assert crossed == value
    assert crossed is not value
    assert type(crossed) is type(value)


def test_copies_reach_the_bottom() -> None:
    inner = ["a"]
    for value in ([inner], {"k": inner}, (inner,), Point(1, inner), Order(1, inner), Placed(1, inner)):
        before = repr(value)
        crossed = isolate(value, "here")
        inner.append("b")
        assert repr(crossed) == before
        inner.pop()


@pytest.mark.parametrize(
    "value",
    [object(), Mutable(1), Loose(1), bytearray(b"x"), print, int, [object()], {"k": Loose(1)}, (Loose(1),), Order],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_and_named(value: object) -> None:
    with pytest.raises(NotSendable) as refused:
        isolate(value, "argument 2 of Stock.reserve")
    assert refused.value.where == "argument 2 of Stock.reserve"
    assert "frozen=True" in str(refused.value)


class Loaded(NamedTuple("Loaded", [("x", int)])):
    """Has a `__dict__`, as every subclass of a named tuple that does not say otherwise."""


@dataclass(frozen=True)
class Summed:
    """Works something out that is no field."""

    items: list[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", sum(self.items))
        object.__setattr__(self, "log", [])


def test_what_an_immutable_value_carries_besides_its_fields_is_not_shared_either() -> None:
    bare = Loaded(1)
    assert isolate(bare, "here") is bare
    vars(bare)["cache"] = []
    with pytest.raises(NotSendable, match="Loaded"):
        isolate(bare, "here")
    assert hand_over(bare) is bare
    summed = Summed([1, 2])
    crossed = isolate(summed, "here")
    assert vars(crossed) == {"items": [1, 2], "total": 3, "log": []}
    assert vars(crossed)["log"] is not vars(summed)["log"]


class Short(Refusal):
    def __init__(self, items: object) -> None:
        super().__init__(items)
        self.items = items


def test_a_refusal_shares_nothing_either() -> None:
    plain = Short("tea")
    assert isolate_error(plain, "here") is plain
    items = ["tea"]
    refusal = Short(items)
    refusal.__cause__ = plain
    crossed = isolate_error(refusal, "here")
    assert isinstance(crossed, Short)
    assert crossed.items == items
    assert crossed.items is not items
    assert crossed.args == (items,)
    assert crossed.args[0] is not items
    assert crossed.__cause__ is plain
    assert isinstance(isolate_error(Short(object()), "the refusal of Stock.take"), NotSendable)


class Once(msgspec.Struct, frozen=True):
    """Can be made, but not made again."""

    items: list[int]
    made: ClassVar[int] = 0

    def __post_init__(self) -> None:
        Once.made += 1
        if Once.made > 1:
            raise ValueError("there is one already")


def test_what_cannot_be_copied_is_the_mistake_of_the_sender() -> None:
    once = Once([1])
    with pytest.raises(NotSendable, match="Once") as refused:
        isolate_all((once,), "argument {}".format)
    assert isinstance(refused.value.__cause__, ValueError)


def test_a_list_inside_itself_is_refused() -> None:
    knot: list[object] = []
    knot.append(knot)
    with pytest.raises(NotSendable, match="too deeply"):
        isolate(knot, "here")


def test_init_may_be_handed_anything_but_lists_are_its_own() -> None:
    connection, items = object(), [1]
    taken = hand_over([connection, items])
    assert isinstance(taken, list)
    assert taken[0] is connection
    assert taken[1] == [1]
    assert taken[1] is not items


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(VALUES)
def test_nothing_that_can_change_is_shared(value: object) -> None:
    def mutable(value: object) -> set[int]:
        if isinstance(value, dict):
            return {id(value)}.union(*[mutable(item) for item in value.values()])
        if isinstance(value, (list, tuple)):
            return ({id(value)} if isinstance(value, list) else set()).union(*[mutable(item) for item in value])
        return set()

    crossed = isolate(value, "here")
    assert crossed == value
    assert not mutable(value) & mutable(crossed)
