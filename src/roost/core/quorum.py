"""Quorum: how many replicas have answered, and what follows from that.

A `PutOp` or a `GetOp` is one operation: a pure state machine that is fed what replicas answer and says, in effects,
what to do. It answers exactly once: when enough replicas have answered, as soon as that can no longer happen, or when
its time is up, whatever comes first. A replica that fails is replaced by the next spare node, in the same partition;
the spares are named when the operation begins.

After its answer a `GetOp` goes on collecting, and when nothing more can come it says which replicas hold less than
the others together: read repair (Dynamo, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from roost.core.causality import merge_encoded
from roost.core.ring import Replica
from roost.errors import DeadlineExceeded, InvalidQuorum, NoQuorum, RoostError


class Send(msgspec.Struct, frozen=True, gc=False):
    """Ask this replica."""

    replica: Replica


class Answer(msgspec.Struct, frozen=True):
    """Tell the caller: `error` when it failed; the facts of a success are in the operation."""

    error: RoostError | None


class Repair(msgspec.Struct, frozen=True):
    """Write `found` to these replicas: they hold less."""

    found: bytes
    replicas: tuple[Replica, ...]


Effect = Send | Answer | Repair
Effects = tuple[Effect, ...]

NOTHING: Effects = ()
SUCCESS: Effects = (Answer(None),)


def check_quorum(parameter: str, value: int, n: int, members: int) -> None:
    """Refuse numbers that no cluster of `members` nodes can satisfy. `parameter` is "r" or "w".

    Raises:
        InvalidQuorum: when n is not between 1 and the number of members, or the value not between 1 and n.
    """
    if not 1 <= n <= members:
        raise InvalidQuorum("n", n, f"it must be from 1 to {members}, the number of nodes in this cluster")
    if not 1 <= value <= n:
        raise InvalidQuorum(parameter, value, f"it must be from 1 to n={n}")


def majority(n: int) -> int:
    """More than half of `n`: what r and w are when nothing is said, so that reads see writes."""
    return n // 2 + 1


class PutOp:
    """One operation that needs `needed` of `replicas` to say yes.

    Args:
        replicas: the preference list; the shell asks all of them at the start.
        needed: how many must answer.
        spares: nodes that may stand in for replicas that fail, in order.

    Attributes:
        acks: the replicas that have answered, in order.
        is_answered: whether the caller has its answer.
    """

    __slots__ = ("acks", "is_answered", "needed", "open", "spares")

    def __init__(self, replicas: Sequence[Replica], needed: int, spares: Sequence[str] = ()) -> None:
        self.needed = needed
        self.open = len(replicas)
        self.spares = spares
        self.acks: list[Replica] = []
        self.is_answered = False

    def begin(self) -> Effects:
        """Refuse at once, before anybody is asked, when too few replicas are up."""
        if self.open < self.needed:
            self.is_answered = True
            return (Answer(NoQuorum(self.open, self.needed)),)
        return NOTHING

    def replied(self, replica: Replica) -> Effects:
        """A replica has done what was asked."""
        if not self.open:
            return NOTHING  # after the deadline
        self.open -= 1
        acks = self.acks
        acks.append(replica)
        if len(acks) == self.needed and not self.is_answered:
            self.is_answered = True
            return SUCCESS
        return NOTHING

    def failed(self, replica: Replica) -> Effects:
        """A replica has refused, is down, or has not answered in its time."""
        if not self.open:
            return NOTHING
        if self.spares and not self.is_answered:
            spare, self.spares = self.spares[0], self.spares[1:]
            return (Send(Replica(replica.partition, spare, False)),)
        self.open -= 1
        possible = len(self.acks) + self.open
        if possible < self.needed and not self.is_answered:
            self.is_answered = True
            return (Answer(NoQuorum(possible, self.needed)),)
        return NOTHING

    def deadline_passed(self, timeout_s: float) -> Effects:
        """The time is up. What still comes is not waited for."""
        self.open = 0
        if self.is_answered:
            return NOTHING
        self.is_answered = True
        return (Answer(DeadlineExceeded(len(self.acks), self.needed, timeout_s)),)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done."""
        return self.is_answered

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that have answered, in order."""
        return tuple(replica.node for replica in self.acks)


class GetOp(PutOp):
    """One read that needs `needed` of `replicas` to say what they hold.

    Attributes:
        found: everything that has been found so far, merged; None when nothing was.
    """

    __slots__ = ("found", "replies")

    def __init__(self, replicas: Sequence[Replica], needed: int, spares: Sequence[str] = ()) -> None:
        super().__init__(replicas, needed, spares)
        self.found: bytes | None = None
        self.replies: list[bytes | None] = []

    def found_at(self, replica: Replica, found: bytes | None) -> Effects:
        """A replica has said what it holds: an encoded object, or None.

        Raises:
            msgspec.MsgspecError: when that is no object; then nothing has changed.
        """
        if not self.open:
            return NOTHING
        if found != self.found:
            self.found = merge_encoded(self.found, found)
        self.replies.append(found)
        effects = self.replied(replica)
        return effects if self.open else effects + self._repair()

    def failed(self, replica: Replica) -> Effects:
        """A replica has failed. See `PutOp.failed`."""
        if not self.open:
            return NOTHING
        effects = super().failed(replica)
        return effects if self.open else effects + self._repair()

    def deadline_passed(self, timeout_s: float) -> Effects:
        """The time is up: answer if that is still to be done, and repair what did answer."""
        return super().deadline_passed(timeout_s) + self._repair()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done: answered, and no reply is waited for."""
        return self.is_answered and self.open == 0

    def _repair(self) -> Effects:
        found = self.found
        if found is None or self.replies.count(found) == len(self.replies):
            return NOTHING
        stale = tuple(replica for replica, held in zip(self.acks, self.replies, strict=True) if held != found)
        return (Repair(found, stale),)
