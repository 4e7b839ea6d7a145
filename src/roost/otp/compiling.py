"""What becomes of a class of processes when its body is complete: its tables, its plain functions, its handle."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from types import FrameType, FunctionType
from typing import TYPE_CHECKING

from roost.errors import ConfigError
from roost.otp.declare import TOLD, Call, Cast, Info, Spec, local_names
from roost.otp.handle import FACE, handle_class
from roost.otp.mailbox import check_bound
from roost.otp.matching import HANDLERS, Accepted, guarded

if TYPE_CHECKING:
    from roost.otp.gen_server import GenServer


def compile_class(cls: type[GenServer]) -> None:
    """Replace the declarations of a class by plain functions, and list them in its tables.

    Raises:
        ConfigError: when it has an `__init__`, declares what every handle has already, or says of its mailbox what
            makes no sense.
    """
    if "__init__" in vars(cls):
        raise ConfigError("__init__", f"nobody would call that of {cls.__name__}: set up its state in `init`")
    check_bound(cls.__name__, cls.mailbox_messages_max, cls.overflow)
    _declare_matching(cls, _names_around_class_statement())
    calls: dict[str, Spec] = {}
    casts: dict[str, Spec] = {}
    for name, member in members(cls).items():
        declared = getattr(member, "__spec__", None)
        if isinstance(member, (Call, Cast, Info)):
            spec, method = member.compile(cls.__name__)
            declared = (type(member), spec)
            setattr(cls, name, method)
        if isinstance(declared, tuple) and name in FACE:
            raise ConfigError(name, f"every handle has this already: {cls.__name__} must call its message otherwise")
        if isinstance(declared, tuple):
            table = {Call: calls, Cast: casts}.get(declared[0])
            if table is not None:
                table[name] = declared[1]
    cls.__calls__, cls.__casts__, cls.__infos__ = calls, casts, None
    cls.__init_async__ = asyncio.iscoroutinefunction(cls.init)
    cls.__handle__ = handle_class(cls, frozenset((*calls, *casts)))


def info_table(cls: type[GenServer]) -> dict[type, Spec | None]:
    """The handlers of messages by class, those of `handle_info` where no `@info` is nearer."""
    found = members(cls)
    table: dict[type, Spec | None] = {}
    function = found.get("handle_info")
    if isinstance(function, FunctionType):
        accepted: Accepted = function.__dict__["__accepted__"]
        table.update(dict.fromkeys(accepted.classes, Spec(function, TOLD, cls.__name__, {})))
    for member in found.values():
        declared = getattr(member, "__spec__", None)
        if isinstance(declared, tuple) and declared[0] is Info:
            table[declared[1].message_type()] = declared[1]
    return table


def members(cls: type) -> dict[str, object]:
    """Every attribute of the class by name, as the nearest class defines it, without those of GenServer itself."""
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__[:-1]):
        if "_process" not in vars(base):
            found.update(vars(base))
    return found


def _names_around_class_statement() -> Mapping[str, object]:
    """The local names that annotations in the class may mean, when the class is made inside a function.

    Between that function and here are only methods that run while a class is made.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name in ("__init_subclass__", "__new__", "__call__", "new_class"):
        frame = frame.f_back
    return {} if frame is None else local_names(frame)


def _declare_matching(cls: type[GenServer], scope: Mapping[str, object]) -> None:
    """What a class handles with one `match` is declared like anything else: as `call`, and as `cast`."""
    for name, face in HANDLERS.items():
        function = vars(cls).get(name)
        if isinstance(function, FunctionType):
            handler = guarded(function, Accepted(function, scope), face)
            setattr(cls, face, Call(handler, scope) if face == "call" else Cast(handler, scope))
    function = vars(cls).get("handle_info")
    if isinstance(function, FunctionType):
        function.__dict__["__accepted__"] = Accepted(function, scope)
