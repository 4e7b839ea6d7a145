"""Whatever may cross to a worker process arrives as what it was; the rest is refused."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import sys
import uuid
import zoneinfo
from typing import Annotated, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from roost.errors import NotSendable
from roost.wire.cargo import Cargo


class Point(msgspec.Struct, frozen=True):
    x: int
    y: float


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    start: Point
    end: Point
    label: str = ""


class Changing(msgspec.Struct):
    x: int


@dataclasses.dataclass(frozen=True)
class Money:
    amount: decimal.Decimal
    currency: str


class Pair(NamedTuple):
    one: object
    other: object


class Colour(enum.Enum):
    RED = "red"
    MIXED = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


def name_of(kind: type) -> str:
    if getattr(sys.modules[kind.__module__], kind.__name__, None) is not kind:
        raise LookupError(kind.__name__)
    return str(kind.__name__)


def find(name: str) -> object:
    return globals()[name]


cargo = Cargo(name_of, find)

keys = some.none() | some.booleans() | some.integers() | some.text() | some.binary()
atoms = (
    keys
    | some.floats(allow_nan=False)
    | some.complex_numbers(allow_nan=False)
    | some.decimals(allow_nan=False)
    | some.fractions()
    | some.uuids()
    | some.dates()
    | some.timedeltas()
    | some.times(timezones=some.none() | some.timezones())
    | some.datetimes(timezones=some.none() | some.timezones())
    | some.sampled_from([*Colour, *Level, msgspec.UNSET, datetime.UTC])
    | some.builds(Point, some.integers(-(2**80), 2**80), some.floats(allow_nan=False))
)
values = some.recursive(
    atoms,
    lambda inner: (
        some.lists(inner)
        | some.lists(inner).map(tuple)
        | some.dictionaries(keys | some.tuples(keys, keys), inner)
        | some.sets(keys)
        | some.frozensets(keys)
        | some.builds(Pair, inner, inner)
    ),
)


def across(value: object) -> object:
    return cargo.unpack(cargo.pack(value, "a test"))


def same(one: object, other: object) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return all(same(mine, yours) for mine, yours in zip(one, other, strict=True))
    return True


@given(values)
def test_values_arrive_as_what_they_were(value: object) -> None:
    assert same(across(value), value)


@pytest.mark.parametrize(
    "value",
    [
        2**64,
        -(2**63) - 1,
        [2**200, 1, "x"],
        {2**70: 1},
        {(1, 2): [3], None: {4}},
        Point(2**70, 1.0),
        Segment(start=Point(1, 2.0), end=Point(3, 4.0), label="s"),
        [Point(n, n / 2) for n in range(10)],
        (Point(1, 1.0), Point(2**70, 2.0)),
        Money(decimal.Decimal("1.50"), "EUR"),
        [Money(decimal.Decimal(n), "EUR") for n in range(3)],
        Pair(1, (2,)),
        [Pair(1, 2), Pair(3, 4)],
        Colour.MIXED,
        [Level.LOW, 1, True],
        fractions.Fraction(1, 3),
        uuid.UUID(int=7),
        zoneinfo.ZoneInfo("Europe/Paris"),
        datetime.timezone(datetime.timedelta(hours=2), "here"),
        datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
        [],
        (),
        {},
        set(),
        b"\x00" * 100_000,
        [["nested"] * 3] * 3,
    ],
    ids=repr,
)
def test_particular_values(value: object) -> None:
    assert same(across(value), value)


class Age(msgspec.Struct, frozen=True):
    years: Annotated[int, msgspec.Meta(ge=0)]


@pytest.mark.parametrize(
    "rows",
    [
        [Point(1, 2), Point(3, 4)],
        [Point(True, 0.5), Point(False, 0.5)],
        [Point("one", 1.0), Point("two", 2.0)],  # type: ignore[arg-type]  # nobody checks what a struct is made of
        [Point(1, 1.0), Point(None, 1.0)],  # type: ignore[arg-type]  # the same
        [Age(-1), Age(-2)],
    ],
    ids=repr,
)
def test_structs_arrive_with_what_is_in_them_and_not_with_what_is_declared(rows: list[object]) -> None:
    assert repr(across(rows)) == repr(rows)


def test_what_arrives_is_no_longer_the_same_object() -> None:
    inner = [1]
    arrived = across([inner, inner])
    assert isinstance(arrived, list)
    assert arrived[0] is not inner
    assert arrived[0] is not arrived[1]


def test_what_cannot_cross_is_refused() -> None:
    class Local(msgspec.Struct, frozen=True):
        x: int

    endless: list[object] = []
    endless.append(endless)
    for value, reason in (
        (object(), "a object cannot"),
        ([1, {"a": object()}], "a object cannot"),
        (Changing(1), "a Changing cannot"),
        (print, "builtin_function"),
        (Local(1), "not defined at the top of a module"),
        ([Local(1), Local(2)], "not defined at the top of a module"),
        (endless, "nested too deeply"),
        ("\ud800", "surrogate"),
        (bytearray(b"x"), "a bytearray cannot"),
    ):
        with pytest.raises(NotSendable, match=reason) as refusal:
            cargo.pack(value, "a test")
        assert refusal.value.where == "a test"


class Positive(msgspec.Struct, frozen=True):
    x: int

    def __post_init__(self) -> None:
        if self.x <= 0:
            raise ValueError(self.x)


@pytest.mark.parametrize("count", [1, 2])
def test_a_declared_class_that_does_not_take_its_fields_is_an_error(count: int) -> None:
    wrong = Positive(1)
    msgspec.structs.force_setattr(wrong, "x", -1)
    data = cargo.pack([wrong] * count, "a test")
    with pytest.raises(ValueError, match="-1"):
        cargo.unpack(data)
