"""Registers are changed in every order of messages of a small world, and in random orders of a larger one."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import copy

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core.caspaxos import (
    NEVER,
    Accept,
    Accepted,
    Acceptor,
    Ballot,
    Chosen,
    Entry,
    Failed,
    Nack,
    Prepare,
    Promise,
    Proposer,
    Refused,
    Reply,
    Retry,
    Send,
)
from roost.errors import DeadlineExceeded, NoQuorum
from tests.core.paxos_world import (
    FirstHeard,
    Forgetful,
    Hasty,
    NewOnly,
    OldUnheard,
    World,
    changing,
)

ABC = frozenset("abc")
FIRST = Ballot(0, 1, "a")


def append(found: bytes | None) -> bytes | None:
    return (found or b"") + b"x"


def proposer(change: Callable[[bytes | None], bytes | None] = append, ballot: Ballot = FIRST) -> Proposer:
    return Proposer(ballot, change, lambda _: ABC, ABC)


def test_a_change_is_made_in_two_rounds() -> None:
    one = proposer()
    assert one.begin() == tuple(Send(node, Prepare(FIRST)) for node in "abc")
    assert one.replied("a", Promise(FIRST, NEVER, None)) == ()
    entry = Entry(b"x", ("a", "b", "c"))
    assert one.replied("b", Promise(FIRST, NEVER, None)) == tuple(Send(node, Accept(FIRST, entry)) for node in "abc")
    assert one.replied("c", Promise(FIRST, NEVER, None)) == ()
    assert one.replied("a", Accepted(FIRST)) == ()
    assert one.replied("a", Accepted(FIRST)) == ()
    assert one.replied("c", Accepted(FIRST)) == (Chosen(b"x"),)
    assert one.replied("b", Accepted(FIRST)) == ()


def test_a_value_that_a_majority_holds_is_read_in_one_round() -> None:
    one = proposer(lambda found: found)
    one.begin()
    old, entry = Ballot(0, 1, "Z"), Entry(b"old", ("a", "b", "c"))
    one.replied("a", Promise(FIRST, old, entry))
    assert one.replied("b", Promise(FIRST, old, entry)) == (Chosen(b"old"),)


def test_a_refusal_is_told_only_about_a_value_that_is_chosen() -> None:
    one = proposer(lambda _: None)
    one.begin()
    old, entry = Ballot(0, 1, "Z"), Entry(b"old", ("a", "b", "c"))
    one.replied("a", Promise(FIRST, old, entry))
    assert one.replied("b", Promise(FIRST, NEVER, None)) == tuple(Send(node, Accept(FIRST, entry)) for node in "abc")
    one.replied("a", Accepted(FIRST))
    assert one.replied("b", Accepted(FIRST)) == (Refused(b"old"),)


def test_a_proposer_that_comes_too_late_is_told_after_which_ballot() -> None:
    one = proposer()
    one.begin()
    higher = Ballot(0, 7, "b")
    assert one.replied("b", Nack(FIRST, higher)) == (Retry(higher, "b"),)
    assert FIRST.after(higher) == Ballot(0, 8, "a")


def test_who_may_know_of_an_overruled_majority_is_heard_before_that_majority_goes_on() -> None:
    overruled, mine = Ballot(1, 2, "d"), Ballot(1, 3, "a")
    one = Proposer(mine, lambda _: b"x", lambda _: frozenset("abc"), frozenset("abc"), must="d")
    assert [effect.node for effect in one.begin() if isinstance(effect, Send)] == ["a", "b", "c", "d"]
    old = Entry(b"old", ("a", "b", "c"))
    for node in "abc":
        assert one.replied(node, Promise(mine, FIRST, old)) == ()
    sent = one.replied("d", Promise(mine, overruled, Entry(b"new", ("d",))))
    new = Entry(b"new", ("d",))
    assert sent == tuple(Send(node, Accept(mine, new)) for node in "abcd"), "it is the history of d that goes on"


def test_a_proposer_that_is_overtaken_by_a_majority_is_told() -> None:
    one = proposer()
    one.begin()
    for node in "ab":
        one.replied(node, Promise(FIRST, NEVER, None))
    assert one.replied("c", Nack(FIRST, Ballot(0, 2, "b"))) == ()
    assert one.replied("b", Nack(FIRST, Ballot(0, 3, "b"))) == (Retry(Ballot(0, 3, "b"), "b"),)


def test_what_a_node_has_replied_before_it_was_lost_does_not_count() -> None:
    one = proposer()
    one.begin()
    one.replied("a", Promise(FIRST, NEVER, None))
    assert one.lost("a") == ()
    assert one.lost("b") == (), "whose reply is still to come"
    assert one.replied("b", Promise(FIRST, NEVER, None)) == ()
    assert len(one.replied("c", Promise(FIRST, NEVER, None))) == 3
    one.replied("b", Accepted(FIRST))
    assert one.lost("b") == ()
    assert one.replied("c", Accepted(FIRST)) == ()
    assert isinstance(one.replied("a", Accepted(FIRST))[0], Chosen)
    assert one.lost("c") == ()


def test_a_minority_is_no_quorum() -> None:
    one = proposer()
    one.begin()
    one.replied("a", Promise(FIRST, NEVER, None))
    assert one.failed("b", Prepare(FIRST)) == ()
    [answer] = one.failed("c", Prepare(FIRST))
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, NoQuorum)
    assert str(answer.error) == "1 of the 2 voters needed (votes) could answer"


def test_an_attempt_whose_time_is_up_says_so_once() -> None:
    one = proposer()
    one.begin()
    [answer] = one.deadline_passed(1.0)
    assert isinstance(answer, Failed)
    assert isinstance(answer.error, DeadlineExceeded)
    assert one.deadline_passed(1.0) == one.replied("a", Promise(FIRST, NEVER, None)) == ()


def test_an_acceptor_keeps_its_promise_and_its_value_over_a_restart() -> None:
    one = Acceptor()
    assert one.prepare(Ballot(0, 2, "a")) == Promise(Ballot(0, 2, "a"), NEVER, None)
    one = msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Acceptor)
    assert one.prepare(Ballot(0, 2, "a")) == Nack(Ballot(0, 2, "a"), Ballot(0, 2, "a"))
    assert one.accept(Ballot(0, 1, "c"), Entry(b"", ())) == Nack(Ballot(0, 1, "c"), Ballot(0, 2, "a"))
    assert one.accept(Ballot(0, 2, "a"), Entry(b"v", ("a",))) == Accepted(Ballot(0, 2, "a"))
    assert one.prepare(Ballot(1, 1, "a")) == Promise(Ballot(1, 1, "a"), Ballot(0, 2, "a"), Entry(b"v", ("a",)))


def state(world: World) -> object:
    """What tells two worlds apart; not the names of the acceptors: worlds in which they have changed places are one."""
    places = []
    for node, one in world.acceptors.items():
        part = [(node in attempt._acks, node in attempt._open) for attempt in world.attempts.values()]
        requests = frozenset((number, request) for number, at, request in world.requests if at == node)
        replies = frozenset((number, reply) for number, at, reply, _ in world.replies if at == node)
        ballots = frozenset(ballot for ballot, (_, nodes) in world.accepted.items() if node in nodes)
        places.append(hash((one.promised, one.accepted, one.entry, *part, requests, replies, ballots)))
    attempts = [(one.is_answered, one._entry, one._highest) for one in world.attempts.values()]
    return (*attempts, *sorted(places))


def forget_what_is_late(world: World) -> None:
    """Replies that change nothing any more need not arrive."""

    def is_late(number: int, reply: Reply) -> bool:
        one = world.attempts[number]
        return one.is_answered or (isinstance(reply, Promise) and one._entry is not None)

    world.replies = [reply for reply in world.replies if not is_late(reply[0], reply[2])]


def branch(world: World) -> World:
    """A copy in which something else may happen."""
    new = copy(world)
    new.acceptors = {node: copy(one) for node, one in world.acceptors.items()}
    new.attempts = {number: copy(one) for number, one in world.attempts.items()}
    for one in new.attempts.values():
        one._acks, one._open, one._asked = set(one._acks), set(one._open), set(one._asked)
        one._replies = dict(one._replies)
    new.answers = dict(world.answers)
    new.requests, new.replies = list(world.requests), list(world.replies)
    new.accepted = {ballot: (entry, set(nodes)) for ballot, (entry, nodes) in world.accepted.items()}
    return new


def explore(world: World) -> int:
    """Let everything happen that can; returns the number of worlds. A message that stays under way is one that is lost.

    A crash of an acceptor that keeps what it has written changes nothing else, so it is not told apart from a loss.
    """
    seen, todo = {state(world)}, [world]
    while todo:
        here = todo.pop()
        for act, count in ((World.arrive, len(here.requests)), (World.answer, len(here.replies))):
            for index in range(count):
                there = branch(here)
                act(there, index)
                forget_what_is_late(there)
                key = state(there)
                if key not in seen:
                    seen.add(key)
                    there.judge()
                    todo.append(there)
    return len(seen)


def small(acceptor: type[Acceptor] = Acceptor) -> World:
    """Three acceptors, and two who want to change something."""
    world = World("abc", "abc", acceptor)
    for number, node in enumerate("ab", 1):
        world.propose(number, Ballot(0, number, node), changing(node, world.first), "abc")
    return world


def test_in_every_order_of_messages_there_is_one_history() -> None:
    assert explore(small()) > 10_000


def test_the_small_world_finds_an_acceptor_that_forgets() -> None:
    with pytest.raises(AssertionError):
        explore(small(Forgetful))


def test_those_who_voted_before_have_no_say_when_all_of_them_are_dead() -> None:
    """a was dead itself when b and c let it vote again; now they are."""
    ballot, kept = Ballot(1, 9, "a"), Entry(b"x", ("b", "c"))
    one = Proposer(ballot, append, lambda _: ABC, ABC, without=frozenset("bc"))
    assert one.begin() == (Send("a", Prepare(ballot)),)
    after = Entry(b"xx", ("a",))
    assert one.replied("a", Promise(ballot, Ballot(0, 8, "b"), kept)) == (Send("a", Accept(ballot, after)),)
    assert one.replied("a", Accepted(ballot)) == (Chosen(b"xx"),)


ELECTORATES = ["a", "ab", "abc", "bc", "cd", "bcd", None, None, None]


def play(seed: int, acceptor: type[Acceptor] = Acceptor, kind: type[Proposer] = Proposer, steps: int = 400) -> World:
    """Changes of values and of electorates, messages in a random order, some of them lost, and restarts."""
    draw = random.Random(seed)
    world = World("abcd", "a", acceptor, kind)
    loss = draw.choice([0.02, 0.2, 0.4])
    rounds = dict.fromkeys("abcd", NEVER)
    number = 0

    def begin() -> None:
        nonlocal number
        number += 1
        node = draw.choice("abcd")
        rounds[node] = Ballot(
            0, max(max(rounds.values()).round + draw.choice([-1, 0, 1]), rounds[node].round + 1), node
        )
        electors = draw.choice(ELECTORATES)
        change = changing(f"{number}", world.first, None if electors is None else frozenset(electors))
        world.propose(number, rounds[node], change, draw.choice(["a", "ab", "bc", "abcd"]))

    for _ in range(steps):
        busy = len(world.requests) + len(world.replies)
        if not busy or (draw.random() < 0.05 and number - len(world.answers) < 4):
            begin()
        elif draw.random() < 0.02:
            world.restart(draw.choice("abcd"))
        elif world.requests and draw.random() < 0.5:
            act = world.lose_request if draw.random() < loss else world.arrive
            act(draw.randrange(len(world.requests)))
        elif world.replies:
            act = world.lose_reply if draw.random() < loss else world.answer
            act(draw.randrange(len(world.replies)))
        for answered in world.answers:
            ballot = world.attempts[answered].ballot
            rounds[ballot.node] = max(rounds[ballot.node], ballot)
    world.judge()
    return world


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_a_register_whose_electorate_changes_has_one_history(seed: int) -> None:
    play(seed)


def test_random_worlds_get_somewhere() -> None:
    worlds = [play(seed) for seed in range(20)]
    assert sum(len(world.chosen()) for world in worlds) > 40
    assert len({value.electors for world in worlds for value in world.chosen()}) > 4


@pytest.mark.parametrize(
    ("acceptor", "kind"),
    [
        (Forgetful, Proposer),
        (Acceptor, FirstHeard),
        (Acceptor, NewOnly),
        (Acceptor, OldUnheard),
        (Acceptor, Hasty),
    ],
)
def test_random_worlds_find_a_fault(acceptor: type[Acceptor], kind: type[Proposer]) -> None:
    def play_all() -> None:
        for seed in range(3_000):
            play(seed, acceptor, kind)

    with pytest.raises(AssertionError):
        play_all()


def test_every_attempt_is_answered_once_nothing_is_under_way() -> None:
    for seed in range(50):
        world = play(seed)
        while world.requests or world.replies:
            world.arrive(0) if world.requests else world.answer(0)
        assert set(world.answers) == set(world.attempts)
