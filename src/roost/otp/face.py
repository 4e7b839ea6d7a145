"""`@face`: methods of a process class that its handles have too, beside the declared messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

F = TypeVar("F", bound=Callable[..., object])

_MARK: Final = "__face__"


def face(method: F) -> F:
    """Declare a method of the handle. It runs in whoever calls it, at once and without a message.

    It sees the handle as `self`. What it may do is check and wrap arguments before it sends, or read what a process
    offers for reading. On a handle of another node it raises AttributeError.
    """
    method.__dict__[_MARK] = True
    return method


def is_face(member: object) -> bool:
    """Whether a member of a class was declared so."""
    return _MARK in getattr(member, "__dict__", ())
