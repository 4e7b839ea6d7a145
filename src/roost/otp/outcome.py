"""How a handler says what no return value can say: three exceptions that are not errors.

A reply has a type, and these are no replies; raised, they leave that type alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roost.otp.ties import Reason


class Ignore(Exception):
    """Raised in `init`: there is nothing to do, so the process does not run, and that is no failure.

    Whoever starts it gets `StartIgnored`. A supervisor goes on without the child and keeps its plan.
    """

    def __str__(self) -> str:
        return "Ignore is for init: a process that runs ends with Stop"


class Stop(Exception):
    """End this process: `terminate` runs with `reason`, then everybody is told.

    In `init` it is a plain "no": whoever starts the process gets `StartFailed`, and nothing is logged as a crash.
    In a call, `reply` is what the caller gets, after `terminate` has run; without it he gets `ProcessDown`.

    Args:
        reason: why; "normal", "shutdown" and "shutdown:..." are clean ends, anything else counts as a failure.
        reply: the reply of the call that is being handled.
    """

    def __init__(self, reason: Reason = "normal", *, reply: object = ...) -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply

    @property
    def replies(self) -> bool:
        """Whether there is a reply."""
        return self.reply is not ...


class NoReply(Exception):
    """Raised in a call: the reply comes later, through the `Caller` that `self.caller()` gave."""

    def __str__(self) -> str:
        return "NoReply without self.caller() before: nobody could ever reply"
