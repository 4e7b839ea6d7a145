"""Every order of commands, messages, answers and losses: whatever the giver has acknowledged is at the taker."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.core import handoff
from roost.core.handoff import (
    Begin,
    Effects,
    Finish,
    Forget,
    Given,
    Giving,
    Items,
    Offer,
    Recheck,
    Retry,
    TakenBack,
    Taking,
    digest,
)

Store = dict[bytes, int]


def packed(value: int) -> bytes:
    return b"%d" % value


class Pair:
    """A giver and a taker of counters, and a link that keeps its order and may break."""

    def __init__(self, *, follows: bool = True, forgets: bool = False) -> None:
        self.giver: Store = {}
        self.taker: Store = {}
        self.giving = Giving(follows=follows, forgets=forgets, window=2)
        self.taking: Taking | None = None
        self.there: deque[Callable[[], None]] = deque()
        self.back: deque[Callable[[], None]] = deque()
        self.pairs: dict[int, list[tuple[bytes, int]]] = {}
        self.relayed: list[tuple[bytes, int]] = []
        self.sent = 0
        self.room = 100  # items in one message
        self.is_given = False
        self.broken: list[str] = []

    # What may happen

    def add(self, key: bytes, number: int) -> None:
        """A command: add, and forget at zero."""
        giving = self.giving
        if giving.is_relaying:
            add(self.giver, key, number)
            self.relayed.append((key, number))
            self.there.append(partial(self.relay, key, number))
            return
        add(self.giver, key, number)
        if giving.is_following:
            attempt = giving.forwarded()

            def arrives() -> None:
                add(self.taker, key, number)
                self.back.append(lambda: self.perform(self.giving.forward_answered(attempt)))

            self.there.append(arrives)

    def relay(self, key: bytes, number: int) -> None:
        self.relayed.remove((key, number))
        add(self.taker, key, number)

    def begin(self) -> None:
        if self.giving.phase == "waiting":
            self.perform(self.giving.begin())

    def deliver(self) -> None:
        if self.there:
            self.there.popleft()()

    def answer(self) -> None:
        if self.back:
            self.back.popleft()()

    def lose(self) -> None:
        """The link breaks: what is on its way is lost."""
        self.there.clear()
        self.back.clear()
        self.relayed.clear()  # nobody was told that these were done
        self.taking = None
        self.perform(self.giving.failed(self.giving.attempt))

    def crash(self) -> None:
        """The taker loses its memory."""
        self.lose()
        self.taker.clear()

    def settle(self) -> None:
        """Nothing fails any more."""
        for _ in range(1000):
            self.begin()
            while self.there or self.back:
                self.deliver()
                self.answer()
            if self.giving.phase in ("given", "done"):
                return
        raise AssertionError("never given")

    # What the machine decides

    def perform(self, effects: Effects) -> None:
        todo = deque(effects)
        while todo:
            match todo.popleft():
                case Begin(attempt):
                    self.there.append(partial(self.begun, attempt))
                case Offer(ticket, keys):
                    pairs = [(key, self.giver[key]) for key in keys if key in self.giver]
                    self.pairs[ticket] = pairs
                    self.there.append(
                        partial(self.compared, ticket, pairs, [key for key in keys if key not in self.giver])
                    )
                case Items(ticket, keys):
                    if len(keys) > self.room:
                        self.giving.put_back(keys[self.room :])
                        keys = keys[: self.room]
                    pairs = [(key, self.giver[key]) for key in keys if key in self.giver]
                    self.pairs[ticket] = pairs
                    self.sent += len(pairs)
                    self.there.append(
                        partial(self.stored, ticket, pairs, [key for key in keys if key not in self.giver])
                    )
                case Recheck(attempt):
                    todo.extendleft(reversed(self.giving.rechecked(attempt, self.giver.keys())))
                case Finish(attempt) if self.giving.phase == "closing":
                    self.there.append(partial(self.finished, attempt))
                case Forget(ticket):
                    for key, value in self.pairs.pop(ticket, []):
                        if self.taker.get(key) is None:
                            self.broken.append("forgotten here, and not there")
                        if self.giver.get(key) == value:
                            del self.giver[key]
                case Given():
                    self.is_given = True
                    acknowledged = dict(self.giver)
                    for key, number in self.relayed:
                        add(acknowledged, key, -number)
                    if self.taker != acknowledged:
                        self.broken.append(f"given, but {self.taker} is not {acknowledged}")
                case TakenBack() | Retry():
                    self.is_given = False
                case _:
                    pass

    # The taker

    def begun(self, attempt: int) -> None:
        self.taking = Taking(attempt, self.taker if self.giving.follows else ())
        offers = bool(self.taker)
        self.back.append(lambda: self.perform(self.giving.accepted(attempt, list(self.giver), offers=offers)))

    def gone(self, absent: list[bytes]) -> None:
        assert self.taking is not None
        if self.giving.follows:
            self.taking.named(absent)
            for key in absent:
                self.taker.pop(key, None)

    def compared(self, ticket: int, pairs: list[tuple[bytes, int]], absent: list[bytes]) -> None:
        assert self.taking is not None
        self.gone(absent)
        self.taking.named([key for key, _ in pairs])
        there = {key: digest(packed(value)) for key, value in self.taker.items()}
        missing = [key for key, value in pairs if there.get(key) != digest(packed(value))]
        self.pairs[ticket] = [pair for pair in pairs if pair[0] not in missing]
        self.back.append(lambda: self.perform(self.giving.answered(ticket, missing)))

    def stored(self, ticket: int, pairs: list[tuple[bytes, int]], absent: list[bytes]) -> None:
        assert self.taking is not None
        self.gone(absent)
        self.taking.named([key for key, _ in pairs])
        self.taker.update(pairs)
        self.back.append(lambda: self.perform(self.giving.answered(ticket)))

    def finished(self, attempt: int) -> None:
        assert self.taking is not None
        for key in self.taking.unwanted():
            del self.taker[key]
        self.back.append(lambda: self.perform(self.giving.finished(attempt)))


def add(store: Store, key: bytes, number: int) -> None:
    total = store.get(key, 0) + number
    if total:
        store[key] = total
    else:
        store.pop(key, None)


KEYS = [b"%d" % number for number in range(6)]
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(KEYS), st.integers(-2, 2).filter(bool)),
        st.sampled_from(["begin", "deliver", "deliver", "deliver", "answer", "answer", "answer", "lose", "crash"]),
    ),
    max_size=120,
)


def told(story: list[tuple[bytes, int] | str], pair: Pair) -> None:
    for step in story:
        if isinstance(step, str):
            getattr(pair, step)()
        else:
            pair.add(*step)
    pair.settle()


@settings(max_examples=1_000, deadline=None)
@given(steps, st.dictionaries(st.sampled_from(KEYS), st.integers(1, 3)), st.integers(1, 2))
def test_whatever_is_acknowledged_is_at_the_taker_when_it_is_given(
    story: list[tuple[bytes, int] | str], stale: Store, room: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handoff, "HANDOFF_BATCH_ITEMS", 2)
        patch.setattr(handoff, "HANDOFF_OFFER_ITEMS", 2)
        pair = Pair()
        pair.room = room
        pair.taker.update(stale)
        told(story, pair)
        while pair.there or pair.back:
            pair.deliver()
            pair.answer()
    assert pair.broken == []
    assert pair.is_given
    assert pair.taker == pair.giver


@settings(max_examples=200, deadline=None)
@given(steps)
def test_what_stands_in_forgets_only_what_the_holder_has(story: list[tuple[bytes, int] | str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handoff, "HANDOFF_BATCH_ITEMS", 2)
        patch.setattr(handoff, "HANDOFF_OFFER_ITEMS", 2)
        pair = Pair(follows=False, forgets=True)
        told([step for step in story if step != "crash"], pair)
    assert pair.broken == []
    assert pair.giver == {} or pair.giving.phase == "done"


@pytest.mark.parametrize("stale", [{}, {b"old": 1}])
def test_a_slot_that_gets_new_keys_all_the_time_is_given_nevertheless(stale: Store) -> None:
    pair = Pair()
    pair.giver = {b"%d" % number: 1 for number in range(500)}
    pair.taker.update(stale)
    pair.begin()
    for number in range(500, 700):
        pair.add(b"%d" % number, 1)
        pair.deliver()
        pair.deliver()
        pair.answer()
        pair.answer()
    assert pair.is_given
    assert pair.broken == []


def test_a_second_attempt_sends_only_what_is_missing() -> None:
    pair = Pair()
    pair.giver = {b"%d" % number: 1 for number in range(500)}
    pair.begin()
    for _ in range(3):
        pair.deliver()
        pair.answer()
    had = len(pair.taker)
    assert 0 < had < 500
    pair.lose()
    pair.sent = 0
    pair.settle()
    assert pair.sent == 500 - had
    assert pair.taker == pair.giver


def test_answers_to_an_earlier_attempt_mean_nothing() -> None:
    giving = Giving(follows=True, forgets=False, window=2)
    giving.begin()
    giving.failed(1)
    giving.begin()
    assert giving.accepted(1, [b"x"], offers=False) == ()
    assert giving.failed(1) == ()
    assert giving.finished(2) == ()
    assert giving.answered(7) == ()
    assert giving.forward_answered(1) == ()
    assert giving.accepted(2, [], offers=False) == (Recheck(2),)
    assert giving.rechecked(2, set()) == (Finish(2),)
    assert giving.finished(2) == (Given(),)
    assert giving.failed(2) == (TakenBack(), Retry(1))


def _forwards_are_not_sent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Giving, "is_following", property(lambda self: False))


def _deleted_before_it_is_confirmed(patch: pytest.MonkeyPatch) -> None:
    go_on = Giving._go_on

    def forget_at_once(self: Giving) -> Effects:
        effects = go_on(self)
        return (*effects, *(Forget(one.ticket) for one in effects if isinstance(one, Items)))

    patch.setattr(Giving, "_go_on", forget_at_once)


def _given_before_forwards_are_answered(patch: pytest.MonkeyPatch) -> None:
    def never_mind(self: Giving) -> int:
        return self.attempt - 1

    patch.setattr(Giving, "forwarded", never_mind)


def _not_rechecked(patch: pytest.MonkeyPatch) -> None:
    rechecked = Giving.rechecked
    patch.setattr(Giving, "rechecked", lambda self, attempt, held: rechecked(self, attempt, set()))


def _gone_keys_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pair, "gone", lambda self, absent: None)


def _stale_keys_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Taking, "unwanted", lambda self: ())


@pytest.mark.parametrize(
    ("plant", "forgets"),
    [
        (_forwards_are_not_sent, False),
        (_deleted_before_it_is_confirmed, True),
        (_given_before_forwards_are_answered, False),
        (_not_rechecked, False),
        (_stale_keys_stay, False),
        (_gone_keys_stay, False),
    ],
)
def test_a_planted_fault_is_caught(plant: Callable[[pytest.MonkeyPatch], None], forgets: bool) -> None:
    for seed in range(400):
        draw = random.Random(seed)
        verbs = ["begin", *["deliver"] * 6, *["answer"] * 6, "lose"]
        story: list[tuple[bytes, int] | str] = [
            (draw.choice(KEYS), draw.choice([-1, 1, 2])) if draw.random() < 0.4 else draw.choice(verbs)
            for _ in range(200)
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(handoff, "HANDOFF_BATCH_ITEMS", 2)
            plant(patch)
            pair = Pair(follows=not forgets, forgets=forgets)
            pair.taker = {} if forgets else {KEYS[0]: 9}
            told(story, pair)
        if pair.broken:
            return
    raise AssertionError("not caught")
