"""What may cross from one process to another, and how.

No two processes share something that either can change. Immutable values pass by reference, lists, dicts and sets
are copied to the bottom, anything else is refused with a sentence that says how to declare a message.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import uuid
import zoneinfo
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from roost.errors import NotSendable

ATOMS: Final[frozenset[type]] = frozenset(
    (
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        datetime.timezone,
        zoneinfo.ZoneInfo,
        decimal.Decimal,
        fractions.Fraction,
        uuid.UUID,
        msgspec.Raw,
        msgspec.UnsetType,
    )
)
"""Types whose values never change and hold nothing that does: one set lookup says "send it"."""

_Rule = Callable[[object, "_Crossing"], object]


class _Crossing:
    """How values cross: whether strangers are let through."""

    __slots__ = ("strict",)

    def __init__(self, strict: bool) -> None:
        self.strict = strict

    def take(self, value: object) -> object:
        return value if type(value) in ATOMS else _RULES[type(value)](value, self)


_MESSAGE: Final = _Crossing(True)
_INIT: Final = _Crossing(False)


def isolate(value: object, where: str) -> object:
    """The value as another process may have it: itself when nothing in it can change, else a copy.

    Args:
        value: what crosses.
        where: what it is to the reader of an error, such as "argument 2 of Stock.reserve".

    Raises:
        NotSendable: when it is, or contains, something that could be changed from both sides.
    """
    if type(value) in ATOMS:
        return value
    try:
        return _RULES[type(value)](value, _MESSAGE)
    except NotSendable as error:
        raise NotSendable(error.type_name, where) from None
    except RecursionError:
        raise NotSendable(f"{type(value).__name__} nested too deeply", where) from None
    except Exception as error:  # such as a `__post_init__` that does not take a copy
        raise NotSendable(type(value).__name__, where) from error


def isolate_all(values: tuple[object, ...], where: Callable[[int], str]) -> tuple[object, ...]:
    """Several values at once; `where` names one by its position, counted from 0, when it cannot cross.

    Raises:
        NotSendable: as `isolate` does.
    """
    if len(values) == 1:
        kind = type(values[0])
        try:
            return values if kind in ATOMS else (_RULES[kind](values[0], _MESSAGE),)
        except Exception:
            return (isolate(values[0], where(0)),)
    return tuple([value if type(value) in ATOMS else isolate(value, where(at)) for at, value in enumerate(values)])


def isolate_error(error: Exception, where: str) -> Exception:
    """A refusal as its caller may have it: itself when nothing that it carries can change, else a copy.

    Returns NotSendable instead when it carries something that could be changed from both sides.
    """
    carried = vars(error)
    if ATOMS.issuperset(map(type, error.args)) and ATOMS.issuperset(map(type, carried.values())):
        return error
    try:
        args, attributes = isolate(error.args, where), isolate(carried, where)
    except NotSendable as unfit:
        return unfit
    assert isinstance(args, tuple)
    assert isinstance(attributes, dict)
    if args is error.args and all(value is carried[name] for name, value in attributes.items()):
        return error
    copy = type(error).__new__(type(error), *args)
    copy.__dict__.update(attributes)
    copy.__cause__, copy.__context__, copy.__suppress_context__ = (
        error.__cause__,
        error.__context__,
        error.__suppress_context__,
    )
    return copy.with_traceback(error.__traceback__)


def hand_over(value: object) -> object:
    """An argument of `init` as a new process gets it.

    Lists, dicts and sets are copied, so that a restart begins with what was meant. Unlike a message it may also be
    anything else: a connection or a callable that is given to the process and used by nobody else.
    """
    return value if type(value) in ATOMS else _RULES[type(value)](value, _INIT)


def _pass(value: object, crossing: _Crossing) -> object:
    return value


def _refuse(value: object, crossing: _Crossing) -> object:
    if crossing.strict:
        raise NotSendable(_name(value), "on its way")
    return value


def _name(value: object) -> str:
    kind = type(value).__name__
    return f"{kind} that nobody has awaited" if isinstance(value, Awaitable) else kind


def _copy_list(value: object, crossing: _Crossing) -> object:
    assert isinstance(value, list)
    if ATOMS.issuperset(map(type, value)):
        return value.copy()
    take = crossing.take
    return [item if type(item) in ATOMS else take(item) for item in value]


def _copy_dict(value: object, crossing: _Crossing) -> object:
    assert isinstance(value, dict)
    take = crossing.take
    return {
        key if type(key) in ATOMS else take(key): item if type(item) in ATOMS else take(item)
        for key, item in value.items()
    }


def _copy_set(value: object, crossing: _Crossing) -> object:
    assert isinstance(value, set)
    return {crossing.take(item) for item in value}


def _keep_frozenset(value: object, crossing: _Crossing) -> object:
    assert isinstance(value, frozenset)
    items = [(item, crossing.take(item)) for item in value]
    return value if all(old is new for old, new in items) else frozenset(new for _, new in items)


def _keep_tuple(value: object, crossing: _Crossing) -> object:
    assert isinstance(value, tuple)
    for item in value:
        if type(item) not in ATOMS:
            break
    else:
        return value
    items = tuple([crossing.take(item) for item in value])
    if all(old is new for old, new in zip(value, items, strict=True)):
        return value
    return tuple.__new__(type(value), items)


def _keep_struct(value: object, crossing: _Crossing) -> object:
    assert isinstance(value, msgspec.Struct)
    changed: dict[str, object] = {}
    for name in value.__struct_fields__:
        item = getattr(value, name)
        if type(item) not in ATOMS and (new := crossing.take(item)) is not item:
            changed[name] = new
    return msgspec.structs.replace(value, **changed) if changed else value


def _keep_dataclass(value: object, crossing: _Crossing) -> object:
    fields = dataclasses.fields(value)  # type: ignore[arg-type]  # the rule is chosen for dataclasses only
    items = {field.name: getattr(value, field.name) for field in fields}
    items.update(getattr(value, "__dict__", {}))  # what `__post_init__` has worked out crosses too
    news = {name: crossing.take(item) for name, item in items.items()}
    if all(news[name] is item for name, item in items.items()):
        return value
    copy = object.__new__(type(value))
    for name, item in news.items():
        object.__setattr__(copy, name, item)
    return copy


def _keep_bare_tuple(value: object, crossing: _Crossing) -> object:
    if crossing.strict and vars(value):
        raise NotSendable(_name(value), "on its way")
    return _keep_tuple(value, crossing)


class _Rules(dict[type, _Rule]):
    """How values of each type cross: a constant table whose lines are worked out when they are first read."""

    def __missing__(self, kind: type) -> _Rule:
        rule = self[kind] = _rule(kind)
        return rule


_RULES: Final = _Rules(
    {list: _copy_list, dict: _copy_dict, set: _copy_set, frozenset: _keep_frozenset, tuple: _keep_tuple}
)


def _rule(kind: type) -> _Rule:
    if issubclass(kind, enum.Enum) or getattr(kind, "__sendable__", False) is True:
        return _pass
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _keep_bare_tuple if kind.__dictoffset__ else _keep_tuple
    if issubclass(kind, msgspec.Struct) and kind.__struct_config__.frozen:
        return _keep_struct
    parameters: object = getattr(kind, "__dataclass_params__", None)
    if getattr(parameters, "frozen", False):
        return _keep_dataclass
    return _refuse
