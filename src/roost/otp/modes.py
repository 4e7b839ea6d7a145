"""What makes a process unlike most others for a while: suspended, traced, waiting with a timeout, owing replies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

if TYPE_CHECKING:
    from roost.otp.reply import Caller
    from roost.runtime.clock import Timer

Tracer = Callable[[str, object, object], None]
"""Who is told what a process does: ("in", Spec, (arguments, keyword arguments)), ("out", Spec, reply or error) and
("end", None, reason)."""


class Timeout(msgspec.Struct, frozen=True):
    """No message came in the time that `self.receive_timeout` has set."""

    __sendable__: ClassVar[bool] = True


class Modes:
    """Made when the first of these is needed, as most processes never do."""

    __slots__ = ("asleep", "callers", "deferring", "dropped", "overdue", "suspended", "timeout", "tracer")

    def __init__(self) -> None:
        self.asleep = False
        """Idle, but not `open`: whatever comes must take the way through the mailbox."""
        self.suspended = False
        self.tracer: Tracer | None = None
        self.timeout: Timer | None = None
        self.overdue = False
        """The receive timeout is over, but something waits; perhaps nobody will have to handle that any more."""
        # Any: who owes a reply does not ask of what type it is
        self.deferring: Caller[Any] | None = None
        """What `self.caller()` gave to the handler that runs."""
        self.callers: dict[Caller[Any], None] = {}
        """Who waits for a reply that was put off."""
        self.dropped = 0
        """How many messages the overflow policy has dropped."""

    @property
    def closed(self) -> bool:
        """Whether an idle process must not be open."""
        return self.suspended or self.tracer is not None or self.timeout is not None

    def disarm(self) -> None:
        """A message has come: the receive timeout is over."""
        if self.timeout is not None:
            self.timeout.cancel()
            self.timeout = None
            self.overdue = False
