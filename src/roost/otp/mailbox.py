"""The mailbox of a process: what waits, how much may wait, and what happens when it is full."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

from roost.errors import ConfigError, Overloaded
from roost.otp.crash import report_lost
from roost.otp.declare import ASKED, ASYNC, CONTROL, Spec

if TYPE_CHECKING:
    from roost.otp.process import Process

# Any: what belongs to a Spec depends on its kind; see roost.otp.declare
Mailbox = deque[Any]
"""Pairs of entries, a Spec and what belongs to it."""

CLOSED: Final[Mailbox] = deque(maxlen=0)
"""The mailbox of the dead: whatever is put into it is lost."""


# Any: as above
class Kept(tuple[Any, ...]):
    """What belongs to a Spec that no overflow policy lets go of: what the process has put before its mailbox, and the
    few messages that must arrive."""

    __slots__ = ()


Overflow = Literal["refuse", "drop_oldest", "drop_newest"]
"""What a full mailbox does: refuse the sender, or let go of a message. A call is refused in any case, never dropped:
its caller gets Overloaded."""
_OVERFLOWS: Final = get_args(Overflow)


class MailboxMonitor(Protocol):
    """Who is told of mailboxes that have grown long."""

    mailbox_mark: int
    """How many messages are many."""

    def mailbox(self, process: Process, messages: int, /) -> None:
        """The process is about to handle its mail, and more than `mailbox_mark` messages wait."""


RETRY_AFTER_S: Final = 0.1
"""When a refused sender may come back: a mailbox that was full is usually empty a moment later."""


def check_bound(owner: str, messages_max: int, overflow: str) -> None:
    """Check what a class says of its mailbox.

    Raises:
        ConfigError: when the bound is below 1, or the policy is another word.
    """
    if type(messages_max) is not int or messages_max < 1:
        raise ConfigError("mailbox_messages_max", f"{messages_max!r} in {owner}: it must be a number, at least 1")
    if overflow not in _OVERFLOWS:
        raise ConfigError("overflow", f"{overflow!r} in {owner} is not one of {', '.join(_OVERFLOWS)}")


# Any: what belongs to a Spec depends on its kind; see roost.otp.declare
def full(process: Process, box: Mailbox, spec: Spec, content: tuple[Any, ...]) -> bool:
    """One message more than the mailbox may hold. Returns whether it may come in, because another one has gone.

    Raises:
        Overloaded: when the policy is "refuse", or somebody waits for a reply to the message.
    """
    overflow = type(process.server).overflow
    waits = spec.kind in (ASKED, ASYNC) and content[2] is not None
    if overflow == "refuse" or (overflow == "drop_newest" and waits):
        raise _overloaded(process)
    if overflow == "drop_newest" or _drop_oldest(process, box):
        _count(process, overflow)
    return overflow == "drop_oldest"


def _drop_oldest(process: Process, box: Mailbox) -> bool:
    """Let go of the oldest message that comes from others; a caller is told. Returns False when there is none."""
    own: list[tuple[Spec, object]] = []
    dropped: tuple[Spec, Any] | None = None
    while box and dropped is None:
        spec, content = box.popleft(), box.popleft()
        if spec.kind == CONTROL or type(content) is Kept:
            own.append((spec, content))
        else:
            dropped = spec, content
    for order in reversed(own):
        box.extendleft(reversed(order))
    if dropped is None:
        return False
    spec, content = dropped
    if spec.kind in (ASKED, ASYNC):
        *_, reply, patience = content
        if patience is not None:
            patience.forget(reply)
        if reply is not None and not reply.done():
            reply.set_exception(_overloaded(process))
    return True


def _overloaded(process: Process) -> Overloaded:
    return Overloaded(f"the mailbox of {process}", RETRY_AFTER_S)


def _count(process: Process, overflow: str) -> None:
    """Tell the log of the first, second, fourth, eighth ... message that was dropped."""
    modes = process.moded
    modes.dropped += 1
    if modes.dropped & (modes.dropped - 1) == 0:
        report_lost(process, f"its mailbox is full ({overflow}): {modes.dropped} messages dropped so far")
