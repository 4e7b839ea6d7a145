"""Whether two versions of a message class are the same, and old values made new."""

from __future__ import annotations

import dataclasses
import enum
import sys
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from roost.errors import BadMessage
from roost.otp.upgrading.definitions import BEFORE, NEXT, changed_classes, definition, is_value_class, make_new

HEAD = """
from __future__ import annotations
import dataclasses, enum, msgspec
from typing import NamedTuple
"""
BASE = """
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
class Item(msgspec.Struct, frozen=True):
    name: str
    colour: Colour = Colour.RED
    def shout(self):
        return self.name.upper()
class Order(msgspec.Struct, frozen=True):
    items: list[Item]
    notes: list[str] = msgspec.field(default_factory=lambda: ["none"])
class Point(NamedTuple):
    x: int
    y: int = 0
@dataclasses.dataclass(frozen=True)
class Size:
    wide: int
    high: int = 1
class Other(msgspec.Struct, frozen=True):
    x: int
class Sub(Other, frozen=True):
    y: int = 0
"""


@pytest.fixture(autouse=True)
def no_module_is_left() -> Iterator[None]:
    """Annotations are looked up in the module of a class, so there is one while a test runs."""
    yield
    sys.modules.pop("made_up", None)


def classes(source: str, head: str = HEAD) -> dict[str, Any]:
    """The classes of a source."""
    module = sys.modules["made_up"] = ModuleType("made_up")
    names = vars(module)
    exec(textwrap.dedent(head + source), names)
    return {name: kind for name, kind in names.items() if isinstance(kind, type) and is_value_class(kind)}


def changed(new: str, head: str = HEAD) -> set[str]:
    """The names of what is another class in the new source."""
    before, after = classes(BASE, head), classes(new, head)
    pairs = {kind: after[name] for name, kind in before.items() if name in after}
    added = [kind for name, kind in after.items() if name not in before]
    return {kind.__name__ for kind in changed_classes(pairs, added)}


HEADS = pytest.mark.parametrize("head", [HEAD, HEAD.replace("from __future__ import annotations", "")])


@HEADS
def test_the_same_source_defines_the_same(head: str) -> None:
    assert changed(BASE, head) == set()
    assert changed("\n\n# moved down\n" + BASE.replace("upper", "lower"), head) == set()


@HEADS
@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("x: int\n    y: int = 0\n@", "x: int\n    y: int = 5\n@", {"Point"}),
        ("x: int\n    y: int = 0\n@", "x: int\n    z: int = 0\n@", {"Point"}),
        ("high: int = 1", "high: float = 1", {"Size"}),
        ("(frozen=True)\nclass Size", "(frozen=False)\nclass Size", {"Size"}),
        ("BLUE = 2", "BLUE = 3", {"Colour", "Item", "Order"}),
        ("name: str", "name: str\n    weight: int = 0", {"Item", "Order"}),
        ('["none"]', '["nothing"]', {"Order"}),
        ("Colour.RED\n    def", "Colour.BLUE\n    def", {"Item", "Order"}),
        ("Other(msgspec.Struct, frozen=True)", "Other(msgspec.Struct, frozen=True, tag='o')", {"Other", "Sub"}),
        ("y: int = 0\n", "y: int = 0\n    z: int = 0\n", {"Sub", "Other", "Point"}),
        ("class Sub(Other", "class More(Other, frozen=True):\n    m: int = 0\nclass Sub(Other", {"Other", "Sub"}),
    ],
)
def test_what_is_changed_and_what_is_changed_with_it(old: str, new: str, names: set[str], head: str) -> None:
    assert old in BASE
    assert changed(BASE.replace(old, new), head) == names


def renewed(old: str, new: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both versions of the classes, the old ones marked as replaced."""
    before, after = classes(old), classes(new)
    for name, kind in before.items():
        if name in after and definition(kind) != definition(after[name]):
            type.__setattr__(kind, NEXT, after[name])
            type.__setattr__(after[name], BEFORE, (kind,))
    return before, after


def test_values_are_made_new_field_by_field() -> None:
    before, after = renewed(
        BASE,
        BASE.replace("y: int = 0\n@", "z: int = 7\n@")
        .replace("high: int = 1", "high: float = 1.0\n    deep: int = 9")
        .replace("BLUE = 2", "BLUE = 20\n    RED2 = 5"),
    )
    assert make_new(before["Point"](1, 2)) == after["Point"](1, 7)
    assert make_new(before["Size"](1, 2)) == after["Size"](1, 2.0, 9)
    assert make_new(before["Colour"].BLUE) is after["Colour"].BLUE


def test_values_inside_of_others_are_made_new() -> None:
    before, after = renewed(
        BASE, BASE.replace("class Point(NamedTuple):\n    x: int\n", "class Point(NamedTuple):\n    x: float\n")
    )
    old, new = before["Point"](1, 2), after["Point"](1.0, 2)
    assert make_new([1, (old, {"k": {old}})]) == [1, (new, {"k": {new}})]
    order = before["Order"]([old])
    assert make_new(order).items == [new]  # type: ignore[attr-defined]  # an Order still


def test_values_without_anything_old_stay_themselves() -> None:
    before, _ = renewed(BASE, BASE)
    for value in ([1, [2]], (1, (2,)), {"a": {1}}, before["Order"]([before["Item"]("x")]), "x", None, 1.5):
        assert make_new(value) is value


@pytest.mark.parametrize(
    ("old", "new", "name", "args", "says"),
    [
        ("wide: int", "wide: int\n    name: str", "Size", (1,), "cannot be made new"),
        ("name: str", "name: int", "Item", ("x",), "its field name cannot be made new: Expected `int`, got `str`"),
        ("    BLUE = 2\n", "", "Colour", (2,), "Colour has no member BLUE any more"),
    ],
)
def test_what_cannot_be_made_new_is_told(old: str, new: str, name: str, args: tuple[object, ...], says: str) -> None:
    before, _ = renewed(BASE, BASE.replace(old, new, 1))
    with pytest.raises(BadMessage, match=says):
        make_new([before[name](*args)])


def test_a_type_that_fits_is_converted() -> None:
    before, after = renewed(BASE, BASE.replace("x: int\nclass Sub", "x: float\nclass Sub"))
    assert make_new(before["Other"](3)) == after["Other"](3.0)
    assert isinstance(make_new(before["Other"](3)).x, float)  # type: ignore[attr-defined]  # an Other


def test_what_is_a_value_class() -> None:
    class Plain:
        pass

    assert not is_value_class(Plain)
    assert not is_value_class(dict)
    assert is_value_class(enum.IntEnum)
    assert is_value_class(dataclasses.make_dataclass("Made", ["x"]))
