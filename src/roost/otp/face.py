"""Methods of a process class that its handles have too, beside the declared messages; and who it is that calls."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, TypeVar

from roost.otp.process import Process

if TYPE_CHECKING:
    from roost.otp.scheduler import Scheduler

F = TypeVar("F", bound=Callable[..., object])

if TYPE_CHECKING:

    def face(method: F) -> F:
        """Declare a method of the handle."""

else:

    class face(staticmethod):
        """Declare a method of the handle. It runs in whoever calls it, at once and without a message.

        It sees the handle as `self`. What it may do is check and wrap arguments before it sends, or read what a
        process offers for reading. Handles guard every attribute but static methods; this is one that is bound.
        On a handle of another node it raises AttributeError.
        """

        def __get__(self, instance, owner=None):
            function = self.__func__
            if instance is None:
                return function
            if type(instance._process) is not Process:
                raise AttributeError(
                    f"{function.__name__} works on processes of this node only, not on {instance._process}"
                )
            if "__handle_of__" in vars(owner):
                setattr(owner, function.__name__, function)  # from now on Python finds it the fastest way
            return MethodType(function, instance)


def running_process(scheduler: Scheduler) -> Process | None:
    """The process of this world that runs right now, in whatever way; None when plain code does."""
    return scheduler.running if scheduler.reductions < 0 else scheduler._starter()
