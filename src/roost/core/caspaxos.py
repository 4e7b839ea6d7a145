"""CASPaxos: one value that a majority of nodes agrees on, changed step by step, with no leader and no log.

A register holds one value. A change is a function from the value that it finds to the next one. `Acceptor` is one
node's memory of the register; `Proposer` is one attempt to make one change: a pure state machine that is told what
acceptors reply and says, in effects, whom to ask what. It answers exactly once.

Source: Denis Rystsov, "CASPaxos: Replicated State Machines without logs" (2018). Who votes, the electorate, may change
with the value, in one step and to any other set of nodes, as in Raft's joint consensus (Ongaro, 2014, section 4.3):

- A value is chosen by a majority of the electorate before it and a majority of its own.
- A proposer has to hear both majorities of the highest value that it is told of, and asks further nodes until it has.
- Nothing is built on a value that changes the electorate until it is known to be chosen: it is proposed again first.

So of two values that are chosen, the later one is made from the earlier one, possibly through others in between.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from roost.errors import DeadlineExceeded, NoQuorum, RoostError


class Ballot(msgspec.Struct, frozen=True, order=True, array_like=True):
    """The number of one attempt; later attempts have higher ones, no two have the same.

    Attributes:
        generation: 0, until an operator begins anew because a majority is lost for ever; what is older counts no more.
        round: counts the attempts.
        node: who proposes.
    """

    generation: int
    round: int
    node: str

    def after(self, other: Ballot) -> Ballot:
        """The next ballot of this node: higher than this one and than `other`."""
        highest = max(self, other)
        return Ballot(highest.generation, highest.round + 1, self.node)


NEVER = Ballot(0, 0, "")
"""The ballot of the value that nobody has written."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What is written: a value, and who voted before it. None is the value of a register that nobody has written."""

    value: bytes | None
    before: tuple[str, ...]


class Prepare(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Asks for the promise to accept nothing below `ballot`, and for what has been accepted."""

    ballot: Ballot


class Accept(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Asks to keep `entry`."""

    ballot: Ballot
    entry: Entry


class Promise(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The answer to Prepare(ballot): what has been accepted, and at which ballot."""

    ballot: Ballot
    accepted: Ballot
    entry: Entry | None


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The answer to Accept(ballot): it is kept."""

    ballot: Ballot


class Nack(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The answer to a ballot that comes too late: a higher one, or the same, is promised."""

    ballot: Ballot
    promised: Ballot


Request = Prepare | Accept
Reply = Promise | Accepted | Nack


class Acceptor(msgspec.Struct, array_like=True):
    """What one node remembers of one register.

    The shell keeps it on disk (it can be encoded as it is) and sends a reply only once the state that the reply speaks
    of is there: an acceptor that forgets breaks every promise of the register.

    Attributes:
        promised: nothing below it is accepted any more.
        accepted: the ballot at which `entry` was accepted.
        entry: what was accepted last; None before the first.
    """

    promised: Ballot = NEVER
    accepted: Ballot = NEVER
    entry: Entry | None = None

    def prepare(self, ballot: Ballot) -> Promise | Nack:
        """Promise. The same ballot is not promised twice: its proposer may have crashed and begun again."""
        if ballot <= self.promised:
            return Nack(ballot, self.promised)
        self.promised = ballot
        return Promise(ballot, self.accepted, self.entry)

    def accept(self, ballot: Ballot, entry: Entry) -> Accepted | Nack:
        """Keep `entry`, unless a higher ballot has been promised."""
        if ballot < self.promised:
            return Nack(ballot, self.promised)
        self.promised = self.accepted = ballot
        self.entry = entry
        return Accepted(ballot)

    def handle(self, request: Request) -> Reply:
        """The reply to a request. State has changed unless it is a Nack."""
        match request:
            case Prepare(ballot):
                return self.prepare(ballot)
            case Accept(ballot, entry):
                return self.accept(ballot, entry)


class Send(msgspec.Struct, frozen=True):
    """Ask `node`; tell the proposer its reply, or that there will be none."""

    node: str
    request: Request


class Chosen(msgspec.Struct, frozen=True):
    """The change is made: `value` is in the register."""

    value: bytes | None


class Refused(msgspec.Struct, frozen=True):
    """The change was refused by its own function: `value` is in the register."""

    value: bytes | None


class Retry(msgspec.Struct, frozen=True):
    """Another proposer came between. Try again with a ballot after `after`, once a random pause is over.

    The change may have happened nevertheless, or still happen: its function has to know its own work when it sees it.

    Attributes:
        after: the highest ballot that was promised to another.
        by: who has promised it; one of them.
    """

    after: Ballot
    by: str = ""


class Failed(msgspec.Struct, frozen=True):
    """Too few answered. The change may have happened, or still happen."""

    error: RoostError


Answer = Chosen | Refused | Retry | Failed
Effect = Send | Answer
Effects = tuple[Effect, ...]

NOTHING: Effects = ()

Change = Callable[[bytes | None], bytes | None]
"""From the value that is found to the next one; None refuses. It may be called more than once."""

Electorate = Callable[[bytes | None], frozenset[str]]
"""Who votes on what follows a value. All who use one register have to agree on it for None."""


def has_majority(of: frozenset[str], nodes: set[str]) -> bool:
    """Whether more than half of `of` are among `nodes`."""
    return len(of & nodes) * 2 > len(of)


class Proposer:
    """One attempt to make one change.

    Args:
        ballot: its number, higher than every one that this node has used.
        change: makes the next value.
        electorate: who votes on what follows a value.
        guess: who votes at present, as far as known; a wrong guess costs time only.
        without: nodes that are dead for ever: the others decide as if these had never had a vote. Unless that is so,
            and the ballot is of a generation that nobody has used, two values may be chosen side by side.
        must: a node that has to be heard beside the majorities, or "": for a ballot of a generation of which this node
            knows by the promise of that one only. Whoever has begun it may have gone on without a majority.

    Attributes:
        ballot: its present number; it rises when an unfinished change of the electorate has to be finished first.
        is_answered: whether it has given its answer.
    """

    __slots__ = (
        "_acks", "_asked", "_barred_by", "_beaten_by", "_change", "_electorate", "_entry", "_guess", "_highest",
        "_is_own", "_must", "_open", "_replies", "_voters", "_without", "ballot", "is_answered",
    )  # fmt: skip

    def __init__(
        self,
        ballot: Ballot,
        change: Change,
        electorate: Electorate,
        guess: frozenset[str],
        without: frozenset[str] = frozenset(),
        must: str = "",
    ) -> None:
        self.ballot = ballot
        self.is_answered = False
        self._must = {must} - {""}
        self._without = without
        self._change, self._electorate, self._guess = change, electorate, guess

    def begin(self) -> Effects:
        """Ask for promises."""
        self._entry: Entry | None = None  # what is proposed, once promises are there
        self._is_own = False  # whether that is the change, or a value that was found
        self._asked: set[str] = set()
        self._open: set[str] = set()  # asked, no reply yet
        self._acks: set[str] = set()  # have replied yes
        self._replies: dict[str, Ballot] = {}
        self._highest: tuple[Ballot, Entry | None] = (NEVER, None)
        self._beaten_by, self._barred_by = NEVER, ""
        self._voters = self._voters_of(None)
        return self._ask(self._guess.union(self._must, *self._voters) - self._without)

    def replied(self, node: str, reply: Reply) -> Effects:
        """`node` has replied. A reply to an earlier ballot or phase changes nothing."""
        if self.is_answered or reply.ballot != self.ballot or node not in self._open:
            return NOTHING
        match reply:
            case Promise(_, accepted, entry) if self._entry is None:
                return self._promised(node, accepted, entry)
            case Accepted() if self._entry is not None:
                self._open.discard(node)
                self._acks.add(node)
                return self._count_accepts()
            case Nack(_, promised) if self._entry is None:
                return self._answer(Retry(promised, node))
            case Nack(_, promised):
                self._open.discard(node)
                if promised > self._beaten_by:
                    self._beaten_by, self._barred_by = promised, node
                return self._count_accepts()
            case _:
                return NOTHING

    def failed(self, node: str, request: Request) -> Effects:
        """`node` is down, or has not answered `request` in its time."""
        is_accept = isinstance(request, Accept)
        is_late = request.ballot != self.ballot or is_accept != (self._entry is not None)
        if self.is_answered or is_late or node not in self._open:
            return NOTHING
        self._open.discard(node)
        return self._count_accepts() if is_accept else self._count_promises()

    def lost(self, node: str) -> Effects:
        """`node` is not reached any more: it may come back without its memory, so its replies count no more."""
        if self.is_answered or node not in self._acks:
            return NOTHING
        self._acks.discard(node)
        self._replies.pop(node, None)
        return self._count_promises() if self._entry is None else self._count_accepts()

    def deadline_passed(self, timeout_s: float) -> Effects:
        """The time is up. What still comes is not waited for."""
        if self.is_answered:
            return NOTHING
        return self._answer(Failed(DeadlineExceeded(len(self._acks), self._needed(), timeout_s, "votes")))

    def _voters_of(self, entry: Entry | None) -> tuple[frozenset[str], frozenset[str]]:
        """Whose majorities choose an entry, and have to be heard by whoever goes on from it."""
        now = self._electorate(None if entry is None else entry.value) - self._without
        return (now if entry is None else frozenset(entry.before) - self._without), now

    def _is_enough(self, nodes: set[str]) -> bool:
        """Whether both majorities are among `nodes`. Those before have no say when all of them are dead for ever."""
        before, now = self._voters
        return has_majority(now, nodes) and (not before or has_majority(before, nodes))

    def _needed(self) -> int:
        return max(len(of) // 2 + 1 for of in self._voters)

    def _answer(self, answer: Answer) -> Effects:
        self.is_answered = True
        return (answer,)

    def _ask(self, nodes: frozenset[str]) -> Effects:
        new = sorted(nodes - self._asked)
        self._asked.update(new)
        self._open.update(new)
        return tuple(Send(node, Prepare(self.ballot)) for node in new)

    def _promised(self, node: str, accepted: Ballot, entry: Entry | None) -> Effects:
        self._open.discard(node)
        self._acks.add(node)
        self._replies[node] = accepted
        asked: Effects = NOTHING
        if accepted > self._highest[0]:
            self._highest = (accepted, entry)
            self._voters = self._voters_of(entry)
            asked = self._ask(frozenset().union(*self._voters))
        return asked + self._count_promises()

    def _count_promises(self) -> Effects:
        if self._is_enough(self._acks) and self._must <= self._acks:
            return self._go_on()
        if self._open:
            return NOTHING
        return self._answer(Failed(NoQuorum(len(self._acks), self._needed(), "votes")))

    def _go_on(self) -> Effects:
        """Promises are there: make the change, or first make sure of what was found."""
        ballot, entry = self._highest
        found = None if entry is None else entry.value
        is_chosen = entry is None or self._is_enough({n for n, accepted in self._replies.items() if accepted == ballot})
        before, now = self._voters
        if entry is not None and before != now and not is_chosen:
            return self._propose(entry, is_own=False)
        value = self._change(found)
        if value is None and is_chosen:
            return self._answer(Refused(found))
        if value is None:
            assert entry is not None
            return self._propose(entry, is_own=False)
        if value == found and is_chosen:
            return self._answer(Chosen(found))
        self._voters = (now, self._electorate(value) - self._without)
        return self._propose(Entry(value, tuple(sorted(now))), is_own=True)

    def _propose(self, entry: Entry, *, is_own: bool) -> Effects:
        self._entry, self._is_own = entry, is_own
        self._acks = set()
        self._open = set().union(*self._voters)
        return tuple(Send(node, Accept(self.ballot, entry)) for node in sorted(self._open))

    def _count_accepts(self) -> Effects:
        if self._is_enough(self._acks):
            return self._chosen()
        if self._is_enough(self._acks | self._open):
            return NOTHING
        if self._beaten_by > self.ballot:
            return self._answer(Retry(self._beaten_by, self._barred_by))
        return self._answer(Failed(NoQuorum(len(self._acks), self._needed(), "votes")))

    def _chosen(self) -> Effects:
        assert self._entry is not None
        if self._is_own:
            return self._answer(Chosen(self._entry.value))
        value = self._entry.value
        if self._change(value) is None:
            return self._answer(Refused(value))
        self.ballot = self.ballot.after(NEVER)
        self._guess = frozenset().union(*self._voters)
        return self.begin()
