"""Definitions of values: whether two versions of a message class say the same, and values of the old one made new.

A value class is a struct, a dataclass, a named tuple or an Enum: what it is, is what its fields are. So when its
definition is unchanged, the old class stays and nothing needs to be done about its instances; when it is changed, the
new one is another class, and a value of the old one is made new field by field.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping, Sequence
from types import CodeType, FunctionType
from typing import Final, get_type_hints

import msgspec

from roost.errors import BadMessage

NEXT: Final = "__upgraded__"
"""The attribute of a class that has been replaced: the class that it became."""
BEFORE: Final = "__old_forms__"
"""The attribute of the class that it became: all the classes that it was before."""


def is_value_class(kind: type) -> bool:
    """Whether it is one of those whose fields say all."""
    return issubclass(kind, (msgspec.Struct, enum.Enum)) or dataclasses.is_dataclass(kind) or _is_named_tuple(kind)


def changed_classes(pairs: Mapping[type, type], added: Sequence[type]) -> frozenset[type]:
    """Which of the old value classes have another definition now.

    A class also counts as changed when a field of it, or a base, is of a changed one; and when a new class is derived
    from its new version, as a struct cannot change its base.

    Args:
        pairs: the new version of each old value class.
        added: value classes that have no old version.
    """
    changed = {old for old, new in pairs.items() if definition(old) != definition(new)}
    olds = {new: old for old, new in pairs.items()}
    while True:
        names = {old.__name__ for old in changed}
        derived = [pairs[old] for old in changed] + list(added)
        bases = {olds[base] for new in derived for base in new.__mro__[1:] if base in olds}
        more = {old for old in pairs if old in bases or _mentions(old, names) or changed.intersection(old.__mro__)}
        if more <= changed:
            return frozenset(changed)
        changed |= more


def definition(kind: type) -> object:
    """What can be compared with `==` to see whether two classes have the same fields, in the same way."""
    if issubclass(kind, enum.Enum):
        return [(name, member.value) for name, member in kind.__members__.items()]
    bases = [(base.__module__, base.__qualname__) for base in kind.__bases__]
    if issubclass(kind, msgspec.Struct):
        config = kind.__struct_config__
        settings = [(name, _default(getattr(config, name))) for name in dir(config) if not name.startswith("_")]
        fields: object = (kind.__struct_fields__, kind.__struct_encode_fields__, settings)
        defaults = [_default(value) for value in kind.__struct_defaults__]
    elif dataclasses.is_dataclass(kind):
        fields = [(field.name, field.init, field.kw_only) for field in dataclasses.fields(kind)]
        fields = (fields, repr(getattr(kind, "__dataclass_params__", None)))
        defaults = [(_default(field.default), _default(field.default_factory)) for field in dataclasses.fields(kind)]
    else:
        fields = getattr(kind, "_fields", ())
        defaults = [(name, _default(value)) for name, value in getattr(kind, "_field_defaults", {}).items()]
    return bases, fields, defaults, _annotations(kind)


def make_new(value: object) -> object:
    """The value with everything in it that is of a replaced class made new; itself when there is nothing.

    Raises:
        BadMessage: when a field that is needed now is not there, or is of another type now.
    """
    kind = type(value)
    if NEXT in vars(kind):
        return make_new(_converted(value, vars(kind)[NEXT]))
    if kind in (list, tuple, set, frozenset) and isinstance(value, (list, tuple, set, frozenset)):
        items = [make_new(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else kind(items)
    if isinstance(value, dict) and kind is dict:
        pairs = {make_new(key): make_new(item) for key, item in value.items()}
        return value if all(pairs.get(key) is item for key, item in value.items()) else pairs
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        news = {name: new for name, old in fields.items() if (new := make_new(old)) is not old}
        return msgspec.structs.replace(value, **news) if news else value
    return value


def _converted(value: object, kind: type) -> object:
    """The value in its new form."""
    if isinstance(value, enum.Enum):
        if issubclass(kind, enum.Enum) and value.name in kind.__members__:
            return kind[value.name]
        raise BadMessage(f"{kind.__name__} has no member {value.name} any more")
    hints, before = get_type_hints(kind), _annotations(type(value))
    now, held = _annotations(kind), frozenset(_field_names(type(value)))
    fields: dict[str, object] = {}
    for name in _field_names(kind):
        if name in held:
            field: object = getattr(value, name)
            fields[name] = field if before.get(name) == now.get(name) else _as(field, hints.get(name, object), name)
    try:
        return kind(**fields)
    except Exception as error:  # a field without a default, or a __post_init__ that does not like what it gets
        raise BadMessage(f"an old {kind.__name__} cannot be made new: {error}") from error


def _as(value: object, hint: object, name: str) -> object:
    """A field that is declared in another way now."""
    new = make_new(value)
    if isinstance(hint, type) and isinstance(new, hint):
        return new
    try:
        converted: object = msgspec.convert(new, hint)
    except (msgspec.ValidationError, TypeError) as error:
        raise BadMessage(f"its field {name} cannot be made new: {error}") from error
    return converted


def _field_names(kind: type) -> Sequence[str]:
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind) if field.init]
    names: Sequence[str] = getattr(kind, "_fields", ())
    return names


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _annotations(kind: type) -> dict[str, str]:
    """The annotations of the fields as text, those of bases among them."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for name, note in vars(base).get("__annotations__", {}).items():
            found[name] = note if isinstance(note, str) else repr(note)
    return found


def _mentions(kind: type, names: set[str]) -> bool:
    return any(not names.isdisjoint(re.findall(r"\w+", note)) for note in _annotations(kind).values())


def _default(value: object) -> object:
    """A default such that equal ones compare as equal, though a function is made anew each time it is read."""
    if isinstance(value, enum.Enum):
        return type(value).__qualname__, value.name
    if is_value_class(type(value)):
        return type(value).__qualname__, repr(value)
    function = getattr(value, "factory", value)
    return _code(function.__code__) if isinstance(function, FunctionType) else function


def _code(code: CodeType) -> object:
    """What a function does, without the lines where it says so."""
    constants = [_code(const) if isinstance(const, CodeType) else (type(const), const) for const in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames
