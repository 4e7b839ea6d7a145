"""Quorum: how many replicas have answered, and what follows from that.

A `PutOp` or a `GetOp` is one operation: a pure state machine that is fed what replicas answer and says, in effects,
what to do. It answers exactly once: when its terms are met, as soon as they can no longer be, or when its time is up,
whatever comes first. A replica that fails is replaced by the next spare node, in the same slot; the spares are named
when the operation begins.

What is counted follows Riak: `needed` answers (r, w), some of them of holders (pr, pw), of different nodes
(node_confirms) and on disk (dw). So a read whose replicas are all up fails after n - max(r, pr) + 1 failures, or, with
basic_quorum, after more than half of n when that is sooner.

After its answer a `GetOp` goes on collecting, and when nothing more can come it says which replicas hold less than
the others together: read repair (Dynamo, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from roost.core.causality import merge_encoded
from roost.core.ring import Replica
from roost.core.terms import ReadTerms, Terms, majority
from roost.errors import DeadlineExceeded, NoQuorum, RoostError


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


class Lack(NamedTuple):
    """A demand that is not met: only `got` of the `needed`, by the parameter `what`."""

    got: int
    needed: int
    what: str


class Demands:
    """What is counted of one operation beside the number of its answers. Most operations demand nothing more.

    Args:
        replicas: who is asked.
        terms: what is demanded.
        is_staged: whether each of them answers twice, the second time when its copy is on disk.
    """

    __slots__ = ("_durable", "_flushing", "_is_staged", "_nodes", "_primaries", "_terms", "_waiting")

    def __init__(self, replicas: Sequence[Replica], terms: Terms, is_staged: bool) -> None:
        self._terms = terms
        self._is_staged = is_staged
        self._waiting = list(replicas)
        self._primaries = 0
        self._nodes: set[str] = set()
        self._durable = 0
        self._flushing = len(replicas) if is_staged else 0

    def asked(self, replica: Replica) -> None:
        """One more is asked."""
        self._waiting.append(replica)
        self._flushing += self._is_staged

    def answered(self, replica: Replica) -> None:
        """One has answered."""
        self._waiting.remove(replica)
        self._primaries += replica.is_primary
        self._nodes.add(replica.node)

    def lost(self, replica: Replica) -> None:
        """One has failed."""
        self._waiting.remove(replica)

    def flushed(self, is_durable: bool) -> None:
        """The copy of one that was asked is on disk, or will not be."""
        self._flushing -= 1
        self._durable += is_durable

    def unmet(self) -> Lack | None:
        """The first demand that is not met yet."""
        return self._lack(self._primaries, self._durable, len(self._nodes))

    def hopeless(self, reserve: Sequence[Replica] = ()) -> Lack | None:
        """The first demand that can no longer be met, even when all of `reserve` are asked too."""
        waiting = [*self._waiting, *reserve]
        primaries = self._primaries + sum(replica.is_primary for replica in waiting)
        nodes = len(self._nodes.union([replica.node for replica in waiting]))
        return self._lack(primaries, self._durable + self._flushing, nodes)

    def _lack(self, primaries: int, durable: int, nodes: int) -> Lack | None:
        terms = self._terms
        if primaries < terms.primaries:
            return Lack(primaries, terms.primaries, terms.names[1])
        if nodes < terms.nodes:
            return Lack(nodes, terms.nodes, "node_confirms")
        if self._is_staged and durable < terms.durable:
            return Lack(durable, terms.durable, "dw")
        return None


class PutOp:
    """One operation that needs `terms.needed` of `replicas` to say yes, and whatever else its terms demand.

    Args:
        replicas: the preference list; the shell asks all of them at the start.
        terms: when it is done.
        spares: nodes that may stand in for replicas that fail, in order.

    Attributes:
        acks: the replicas that have answered, in order.
        is_answered: whether the caller has its answer.
        counted: how many had answered when the terms were met.
    """

    __slots__ = ("acks", "counted", "demands", "is_answered", "needed", "open", "spares", "terms")

    def __init__(self, replicas: Sequence[Replica], terms: Terms, spares: Sequence[str] = ()) -> None:
        needed, durable = terms.needed, terms.durable
        self.terms = terms
        self.needed = needed if durable <= needed else durable  # where dw is over w, the answers are those of disks
        self.open = len(replicas)
        self.spares = spares
        self.acks: list[Replica] = []
        self.is_answered = False
        self.counted = 0
        is_staged = 0 < durable < needed
        demanding = is_staged or terms.primaries or terms.nodes
        self.demands = Demands(replicas, terms, is_staged) if demanding else None

    def begin(self) -> Effects:
        """Refuse at once, before anybody is asked, when too few replicas are up."""
        if self.open >= self.needed and self.demands is None:
            return NOTHING
        return self._give_up(self._hopeless())

    def refusal(self) -> NoQuorum | None:
        """Why it need not begin: too few replicas are up."""
        if self.open >= self.needed and self.demands is None:
            return None
        lack = self._hopeless()
        return None if lack is None else NoQuorum(*lack)

    def replied(self, replica: Replica) -> Effects:
        """A replica has done what was asked."""
        if not self.open:
            return NOTHING  # after the deadline
        self.open -= 1
        acks = self.acks
        acks.append(replica)
        if self.demands is not None:
            self.demands.answered(replica)
        if self.is_answered or len(acks) < self.needed:
            return NOTHING
        return self._settle()

    def flushed(self, is_durable: bool) -> Effects:
        """The copy of a replica is on disk, or will not be; only where the terms are staged."""
        demands = self.demands
        if self.is_answered or demands is None:
            return NOTHING
        demands.flushed(is_durable)
        if is_durable:
            return self._settle() if len(self.acks) >= self.needed else NOTHING
        return self._give_up(self._hopeless())

    def failed(self, replica: Replica) -> Effects:
        """A replica has refused, is down, or has not answered in its time."""
        if not self.open:
            return NOTHING
        self.open -= 1
        if self.demands is not None:
            self.demands.lost(replica)
        return self._replace(replica) or self._give_up(self._hopeless())

    def deadline_passed(self, timeout_s: float) -> Effects:
        """The time is up. What still comes is not waited for."""
        self.open = 0
        if self.is_answered:
            return NOTHING
        self.is_answered = True
        got = len(self.acks)
        lack = None if self.demands is None or got < self.needed else self.demands.unmet()
        got, needed, what = lack or Lack(got, self.needed, self._what)
        return (Answer(DeadlineExceeded(got, needed, timeout_s, what)),)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done."""
        return self.is_answered

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that have answered, in order."""
        return tuple(replica.node for replica in self.acks)

    def _replace(self, replica: Replica) -> Effects:
        """Ask the next spare in place of a replica that has failed, unless that cannot help."""
        if self.is_answered or not self.spares:
            return NOTHING
        spare = Replica(replica.slot, self.spares[0], False)
        if self.demands is not None:
            if self.demands.hopeless((spare,)) is not None:
                return NOTHING
            self.demands.asked(spare)
        self.spares = self.spares[1:]
        self.open += 1
        return (Send(spare),)

    def _settle(self) -> Effects:
        """Enough have answered: is that all that is demanded?"""
        if self.demands is not None and self.demands.unmet() is not None:
            return NOTHING
        self.is_answered = True
        self.counted = len(self.acks)
        return SUCCESS

    def _hopeless(self) -> Lack | None:
        """What can no longer be met."""
        possible = len(self.acks) + self.open
        if possible < self.needed:
            return Lack(possible, self.needed, self._what)
        return None if self.demands is None else self.demands.hopeless()

    @property
    def _what(self) -> str:
        """By which parameter so many answers are needed."""
        return "dw" if self.needed > self.terms.needed else self.terms.names[0]

    def _give_up(self, lack: Lack | None) -> Effects:
        if lack is None or self.is_answered:
            return NOTHING
        self.is_answered = True
        return (Answer(NoQuorum(*lack)),)


class GetOp(PutOp):
    """One read that needs `terms.needed` of `replicas` to say what they hold.

    Args:
        replicas: who is asked at the start.
        terms: when it is done.
        spares: nodes that may stand in for replicas that fail, in order.
        reserve: the rest of the preference list: who is asked when one of the others fails, has nothing where that
            does not count, or is slow. Empty when all are asked at the start.

    Attributes:
        found: everything that has been found so far, merged; None when nothing was.
    """

    __slots__ = ("_failures", "_heard", "_misses", "found", "replies", "reserve")

    terms: ReadTerms

    def __init__(
        self,
        replicas: Sequence[Replica],
        terms: ReadTerms,
        spares: Sequence[str] = (),
        reserve: Sequence[Replica] = (),
    ) -> None:
        super().__init__(replicas, terms, spares)
        self.reserve = reserve
        self.found: bytes | None = None
        self.replies: list[bytes | None] = []
        self._heard = self.acks if terms.notfound_ok else []
        self._misses = 0
        self._failures = terms.n - self.open - len(reserve)  # those that nobody serves now

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
        if self._heard is not self.acks:
            self._heard.append(replica)
            if found is None:
                return self._missed(replica)
        effects = self.replied(replica)
        if self.open:
            return effects
        return effects + (self._finish() if self.reserve else self._repair())

    def failed(self, replica: Replica) -> Effects:
        """A replica has failed. See `PutOp.failed`; those in reserve come before the spares."""
        if not self.open:
            return NOTHING
        effects = super().failed(replica)
        return effects if self.open else effects + self._finish()

    def hedge(self) -> Effects:
        """Ask one more of those in reserve: another one is slow."""
        if self.is_answered or not self.reserve:
            return NOTHING
        more, self.reserve = self.reserve[0], self.reserve[1:]
        self.open += 1
        if self.demands is not None:
            self.demands.asked(more)
        return (Send(more),)

    def deadline_passed(self, timeout_s: float) -> Effects:
        """The time is up: answer if that is still to be done, and repair what did answer."""
        self.reserve = ()
        return super().deadline_passed(timeout_s) + self._repair()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done: answered, and no reply is waited for."""
        return self.is_answered and self.open == 0

    def _missed(self, replica: Replica) -> Effects:
        """A replica has nothing, and that does not count."""
        self.open -= 1
        self._misses += 1
        if self.demands is not None:
            self.demands.lost(replica)
        effects = self._give_up(self._hopeless()) or self.hedge()
        return effects if self.open else effects + self._finish()

    def _replace(self, replica: Replica) -> Effects:
        """Ask one of those in reserve, or the next spare."""
        effects = NOTHING if self.reserve else super()._replace(replica)
        if not effects:
            self._failures += 1
            effects = self._give_up(self._hopeless()) or self.hedge()
        return effects

    def _hopeless(self) -> Lack | None:
        terms = self.terms
        got = len(self.acks)
        possible = got + self.open + len(self.reserve)
        if possible < self.needed:
            return Lack(possible, self.needed, self._what)
        if terms.basic_quorum and self._misses + self._failures >= majority(terms.n):
            return Lack(got, self.needed, self._what)
        return None if self.demands is None else self.demands.hopeless(self.reserve)

    def _give_up(self, lack: Lack | None) -> Effects:
        """Without any copy found nor failed, to give up means that there is nothing."""
        if lack is not None and self._misses and not self.acks and not self._failures and not self.is_answered:
            self.is_answered = True
            return SUCCESS
        return super()._give_up(lack)

    def _finish(self) -> Effects:
        """No reply is waited for: repair; where the replicas do not agree, those in reserve too."""
        if self.reserve and not self.is_answered:
            return self.hedge()  # all have answered, but not as the terms demand
        if self.reserve and self.replies.count(self.found) != len(self.replies):
            rest, self.reserve = self.reserve, ()
            self.open = len(rest)
            if self.demands is not None:
                for replica in rest:
                    self.demands.asked(replica)
            return tuple(Send(replica) for replica in rest)
        return self._repair()

    def _repair(self) -> Effects:
        """Whom to repair: holders that hold less. What stands in for one only keeps what it was given for it."""
        found = self.found
        if found is None or self.replies.count(found) == len(self.replies):
            return NOTHING
        stale = tuple(
            replica
            for replica, held in zip(self._heard, self.replies, strict=True)
            if held != found and replica.is_primary
        )
        return (Repair(found, stale),) if stale else NOTHING
