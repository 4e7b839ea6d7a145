"""A world of acceptors and proposers whose messages arrive in any order, or never; it judges what is chosen.

A value is the list of the changes that have been made, and the electorate. So a value that is chosen has to begin with
every value that was chosen before it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from roost.core.caspaxos import (
    Accept,
    Acceptor,
    Answer,
    Ballot,
    Change,
    Chosen,
    Effects,
    Entry,
    Failed,
    Promise,
    Proposer,
    Refused,
    Reply,
    Request,
    Retry,
    Send,
    has_majority,
)

Electors = frozenset[str]


class Value(msgspec.Struct, frozen=True, array_like=True):
    """What is in the register: the changes so far, and who votes on the next one."""

    changes: tuple[str, ...]
    electors: tuple[str, ...]


def decoded(value: bytes | None, first: Electors) -> Value:
    """The value; in a register that nobody has written, `first` votes."""
    return Value((), tuple(sorted(first))) if value is None else msgspec.msgpack.decode(value, type=Value)


def changing(name: str, first: Electors, electors: Electors | None = None) -> Change:
    """The change `name`: once, and with it the electorate."""

    def change(value: bytes | None) -> bytes | None:
        found = decoded(value, first)
        if name in found.changes:
            return value
        now = found.electors if electors is None else tuple(sorted(electors))
        return msgspec.msgpack.encode(Value((*found.changes, name), now))

    return change


class Forgetful(Acceptor):
    """A fault: promises, and forgets it."""

    def prepare(self, ballot: Ballot) -> Promise:  # the type of a node that never says no
        return Promise(ballot, self.accepted, self.entry)


class FirstHeard(Proposer):
    """A fault: takes the value that it is told of first, not that of the highest ballot."""

    def _promised(self, node: str, accepted: Ballot, entry: Entry | None) -> Effects:
        if self._highest[1] is not None:
            accepted = min(accepted, self._highest[0])
        return super()._promised(node, accepted, entry)


class NewOnly(Proposer):
    """A fault: asks only the new electorate whether it agrees."""

    def _propose(self, entry: Entry, *, is_own: bool) -> Effects:
        self._voters = (self._voters[1], self._voters[1])
        return super()._propose(entry, is_own=is_own)


class OldUnheard(Proposer):
    """A fault: hears only the electorate of the value that it finds, not the one before."""

    def _voters_of(self, entry: Entry | None) -> tuple[Electors, Electors]:
        now = super()._voters_of(entry)[1]
        return now, now


class Hasty(Proposer):
    """A fault: builds on a change of the electorate that may not have been chosen."""

    def _go_on(self) -> Effects:
        self._replies = dict.fromkeys(self._replies, self._highest[0])
        return super()._go_on()


class World:
    """Acceptors, attempts, messages under way, and everything that has been accepted."""

    def __init__(
        self, nodes: str, first: str, acceptor: Callable[[], Acceptor] = Acceptor, proposer: type[Proposer] = Proposer
    ) -> None:
        self.first = frozenset(first)
        self.acceptors = {node: acceptor() for node in nodes}
        self.attempts: dict[int, Proposer] = {}
        self.changes: dict[int, Change] = {}
        self.answers: dict[int, Answer] = {}
        self.requests: list[tuple[int, str, Request]] = []
        self.replies: list[tuple[int, str, Reply, Request]] = []
        self.accepted: dict[Ballot, tuple[Entry, set[str]]] = {}
        self._proposer = proposer

    def electorate(self, value: bytes | None) -> Electors:
        """Who votes after `value`."""
        return frozenset(decoded(value, self.first).electors)

    def propose(self, attempt: int, ballot: Ballot, change: Change, guess: str) -> None:
        """Begin an attempt."""
        self.attempts[attempt] = self._proposer(ballot, change, self.electorate, frozenset(guess))
        self.changes[attempt] = change
        self.perform(attempt, self.attempts[attempt].begin())

    def perform(self, attempt: int, effects: Effects) -> None:
        """What an attempt says."""
        for effect in effects:
            match effect:
                case Send(node, request):
                    self.requests.append((attempt, node, request))
                case Chosen() | Refused() | Retry() | Failed():
                    assert attempt not in self.answers, "answered twice"
                    self.answers[attempt] = effect

    def arrive(self, index: int) -> None:
        """A request reaches its acceptor."""
        attempt, node, request = self.requests.pop(index)
        reply = self.acceptors[node].handle(request)
        if isinstance(request, Accept) and self.acceptors[node].accepted == request.ballot:
            entry, nodes = self.accepted.setdefault(request.ballot, (request.entry, set()))
            assert entry == request.entry, "two values at one ballot"
            nodes.add(node)
        self.replies.append((attempt, node, reply, request))

    def answer(self, index: int) -> None:
        """A reply reaches its proposer."""
        attempt, node, reply, _ = self.replies.pop(index)
        self.perform(attempt, self.attempts[attempt].replied(node, reply))

    def lose_request(self, index: int) -> None:
        """A request gets lost, and its proposer is told that there is no reply."""
        attempt, node, request = self.requests.pop(index)
        self.perform(attempt, self.attempts[attempt].failed(node, request))

    def lose_reply(self, index: int) -> None:
        """A reply gets lost."""
        attempt, node, _, request = self.replies.pop(index)
        self.perform(attempt, self.attempts[attempt].failed(node, request))

    def restart(self, node: str) -> None:
        """An acceptor crashes and comes back with what is on its disk."""
        was = self.acceptors[node]
        self.acceptors[node] = msgspec.msgpack.decode(msgspec.msgpack.encode(was), type=type(was))

    def chosen(self) -> list[Value]:
        """What has been chosen, by ballot; AssertionError when one does not follow from the one before."""
        found: list[Value] = []
        for _, (entry, nodes) in sorted(self.accepted.items(), key=lambda item: item[0]):
            value = decoded(entry.value, self.first)
            if has_majority(frozenset(entry.before), nodes) and has_majority(frozenset(value.electors), nodes):
                before = found[-1].changes if found else ()
                assert value.changes[: len(before)] == before, f"{value.changes} was chosen after {before}"
                found.append(value)
        return found

    def judge(self) -> None:
        """Everything that is chosen makes one history, and whoever was told that his change is made is in it."""
        history = self.chosen()
        made = history[-1].changes if history else ()
        for attempt, answer in self.answers.items():
            if isinstance(answer, Chosen):
                changes = decoded(answer.value, self.first).changes
                assert made[: len(changes)] == changes, f"attempt {attempt} was told {changes}, but it is {made}"
