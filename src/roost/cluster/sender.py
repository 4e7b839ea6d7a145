"""Senders: where the reply to a command goes, and the bound on how many wait for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

OnReply = Callable[[object], None]
"""Called exactly once: with what the vnode replied, or with the RoostError that ended the command."""


class Later:
    """Returned by a handler that replies later, through its `Sender`. There is one: LATER."""

    __slots__ = ()


LATER: Final = Later()


class Sender:
    """Where the reply to one command goes; to be called once, and harmless after that.

    Attributes:
        node: the node that the command came from.
    """

    __slots__ = ("_on_reply", "_waiting", "node")

    def __init__(self, node: str, on_reply: OnReply) -> None:
        self.node = node
        self._on_reply: OnReply | None = on_reply
        self._waiting: Waiting | None = None

    def reply(self, reply: object) -> None:
        """Answer the command: with a declared reply, or with a RoostError."""
        on_reply = self._on_reply
        if on_reply is not None:
            self._on_reply = None
            if self._waiting is not None:
                self._waiting.remove(self)
            on_reply(reply)

    def waits_in(self, waiting: Waiting) -> None:
        """The reply comes later: until then this is one of those that wait for the vnode."""
        if self._on_reply is not None:
            self._waiting = waiting
            waiting.add(self)


class Waiting:
    """The senders that wait for one vnode.

    Args:
        whole: counts those that wait for any vnode of the host.
    """

    __slots__ = ("_senders", "_whole")

    def __init__(self, whole: Crowd) -> None:
        self._senders: dict[Sender, None] = {}
        self._whole = whole

    def __len__(self) -> int:
        return len(self._senders)

    def add(self, sender: Sender) -> None:
        """One more waits."""
        self._senders[sender] = None
        self._whole.size += 1

    def remove(self, sender: Sender) -> None:
        """It has its reply."""
        if sender in self._senders:
            del self._senders[sender]
            self._whole.size -= 1

    def all(self) -> tuple[Sender, ...]:
        """Those that wait, in the order in which they came."""
        return tuple(self._senders)


class Crowd:
    """How many wait for the vnodes of one host.

    Attributes:
        refused: how many commands were refused because too many waited.
    """

    __slots__ = ("refused", "size")

    def __init__(self) -> None:
        self.size = 0
        self.refused = 0
